//! What is none of the primary's happens as without the library, most of it without a question.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use oneport_sys::listen;
use oneport_sys::preload::{Answer, ReusePort};

use crate::harness::{Primary, Program, is_readable_within, listening, probe};

#[test]
fn other_sockets_no_sockets_and_nonsense_are_the_kernels() {
    let Some(probe) = probe() else { return };
    let primary = Primary::new();
    let program = Program::start(probe, "others", 0, &primary);
    let invalid = |what: &str, errno| format!("{what} errno {errno}");
    assert_eq!(program.lines(), ["abstract 0", "listen 0", "shutdown 0", "datagram 0", "netlink 0", "udp 0"]);
    assert_eq!(program.lines(), [invalid("short", libc::EINVAL), invalid("null", libc::EFAULT)]);
    assert_eq!(program.lines(), ["family 1".to_owned(), invalid("bad", libc::EBADF)]);
    assert_eq!(program.lines(), ["pipe", "listen", "shutdown"].map(|what| invalid(what, libc::ENOTSOCK)));
    program.wait();
    assert!(!is_readable_within(&primary.listener, Duration::ZERO));
}

#[test]
fn a_client_that_binds_to_any_port_is_not_asked_about() {
    let Some(probe) = probe() else { return };
    let primary = Primary::new();
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let program = Program::start(probe, "client", server.local_addr().unwrap().port(), &primary);
    assert_eq!(program.line(), "connect 0");
    program.wait();
    // Not even a connection came.
    assert!(!is_readable_within(&primary.listener, Duration::ZERO));
}

#[test]
fn ordinary_connections_are_shut_down_though_a_socket_is_shared() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, _) = listening();
    let program = Program::start(probe, "shut connections", 9, &primary);
    primary.serve_one(&shared);
    assert_eq!(program.lines(), ["connect 0", "client 0", "end 0", "server 0"]);
    assert_eq!(program.line(), format!("again errno {}", libc::ENOTCONN));
    program.wait();
    assert!(primary.next_within(Duration::ZERO).is_none());
}

#[test]
fn what_the_primary_does_not_want_is_bound_natively_and_not_asked_about_again() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    // Bound, so that nobody else gets the port, but open to sockets of the same user.
    let keeper = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None);
    let keeper = keeper.unwrap();
    rustix::net::sockopt::set_socket_reuseport(&keeper, true).unwrap();
    rustix::net::bind(&keeper, &std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let listen::LocalAddress::Ip(address) = listen::local_address(std::os::fd::AsFd::as_fd(&keeper)).unwrap()
    else {
        panic!("an address of another family");
    };
    let program = Program::start(probe, "shared with itself", address.port(), &primary);
    let asked = primary.next().expect_bind();
    assert_eq!(asked.request().reuse_port, ReusePort::Set);
    asked.answer(Answer::Pass);
    assert_eq!(program.lines(), ["bind 0", "listen 0", "shutdown 0"]);
    program.wait();
    assert!(primary.next_within(Duration::ZERO).is_none());
}

#[test]
fn without_a_primary_to_ask_the_library_does_nothing() {
    let Some(probe) = probe() else { return };
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let strange = ["", ":", "name", "name:short", &format!(":{}", "0".repeat(32))];
    let values = strange.into_iter().map(|value| Some(value.into())).chain([None]);
    for value in values {
        let words = ["calls".into(), port.clone().into()].into();
        let program = Program::run(probe.into(), words, value, None);
        assert_eq!(program.line(), format!("bind errno {}", libc::EADDRINUSE));
        program.wait();
    }
}
