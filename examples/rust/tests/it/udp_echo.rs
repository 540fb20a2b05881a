//! `udp_echo`: alone, and several workers on one socket.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use oneport_e2e::run::client_patience;
use oneport_e2e::wait::eventually;
use oneport_e2e::{Run, Signal, tcp};

use crate::started::start;

const PROGRAM: &str = env!("CARGO_BIN_EXE_udp_echo");

/// So many datagrams at once, each answered: by whom.
fn ask(address: SocketAddr, datagrams: usize) -> BTreeSet<u32> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(client_patience())).unwrap();
    for number in 0..datagrams {
        socket.send_to(format!("datagram {number}").as_bytes(), address).unwrap();
    }
    let mut buffer = [0; 256];
    let mut answers = BTreeSet::new();
    let mut pids = BTreeSet::new();
    for _ in 0..datagrams {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!(from, address);
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let (echo, _) = text.split_once(" from ").unwrap();
        answers.insert(echo.to_owned());
        pids.insert(tcp::pid_in(&text));
    }
    assert_eq!(answers.len(), datagrams, "each answered once");
    pids
}

#[test]
fn alone_it_echoes_datagrams() {
    let example = start(PROGRAM);
    assert_eq!(ask(example.address(), 3), [example.pid()].into());
    example.signal(Signal::TERM);
    example.ended();
}

#[test]
fn under_oneport_every_worker_answers_and_each_datagram_is_answered_once() {
    let app = Run::target([PROGRAM]).instances(2).start();
    let address = app.serving(2);
    let workers: BTreeSet<u32> = app.workers().into_values().collect();
    let mut answered = BTreeSet::new();
    eventually("both to answer", || {
        answered.extend(ask(address, 50));
        (answered == workers).then_some(())
    });
    app.stop();
}
