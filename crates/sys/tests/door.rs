//! A shut door keeps new clients waiting outside, turns nobody away, and keeps nobody in the queue.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use oneport_sys::accept::{Accepted, accept};
use oneport_sys::listen::door::{listen_shut, open_door, shut_door};
use oneport_sys::listen::{Reuse, V6, bind_tcp, bind_udp, bound_to, start_listening, waiting};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with};

use common::wait_readable;

fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

fn listen_on(address: &str) -> Option<(OwnedFd, SocketAddr)> {
    let socket = bind_tcp(address.parse().expect("address"), V6::Dual).ok()?;
    start_listening(socket.as_fd(), 64).expect("listen");
    let address = bound_to(socket.as_fd()).expect("address").expect("bound");
    Some((socket, address))
}

/// A connection that is begun and not waited for.
fn begin(address: SocketAddr) -> OwnedFd {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None).expect("socket");
    assert_eq!(connect(&socket, &address), Err(rustix::io::Errno::INPROGRESS));
    socket
}

/// On loopback the handshake is over when `connect` returns, unless its first packet was dropped.
fn is_connected(client: &OwnedFd) -> bool {
    rustix::net::getpeername(client).is_ok()
}

fn take(socket: &OwnedFd) -> TcpStream {
    let Accepted::Connection(connection) = accept(socket.as_fd()) else { panic!("nothing to accept") };
    connection.into()
}

#[test]
fn a_client_that_comes_to_a_shut_door_is_served_after_it_opens() {
    for here in ["127.0.0.1:0", "[::1]:0"] {
        let Some((socket, address)) = listen_on(here) else {
            eprintln!("skipped: no IPv6");
            continue;
        };
        shut_door(socket.as_fd()).unwrap();
        shut_door(socket.as_fd()).unwrap();
        let client = begin(address);
        assert!(!is_connected(&client), "nobody answered");
        assert!(!waiting(socket.as_fd()));
        open_door(socket.as_fd()).unwrap();
        // Its own second try, after a second.
        wait_readable(&socket);
        assert!(waiting(socket.as_fd()));
        take(&socket);
        assert!(is_connected(&client));
    }
}

#[test]
fn nobody_gets_in_where_the_queue_is_full_from_the_first_moment() {
    for here in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
        let Ok(socket) = bind_tcp(here.parse().unwrap(), V6::Dual) else {
            eprintln!("skipped: no IPv6");
            continue;
        };
        let port = bound_to(socket.as_fd()).unwrap().unwrap().port();
        listen_shut(socket.as_fd()).unwrap();
        let mut clients = vec![SocketAddr::from(([127, 0, 0, 1], port))];
        if here.starts_with('[') {
            clients = vec![SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port))];
        }
        if here == "[::]:0" {
            clients.push(([127, 0, 0, 1], port).into());
        }
        for client in clients.iter().cycle().take(8) {
            assert!(!is_connected(&begin(*client)), "{here}: somebody got in");
        }
        // It is the queue that keeps them out.
        drop((take(&socket), take(&socket)));
        TcpStream::connect_timeout(&clients[0], std::time::Duration::from_secs(20)).unwrap();
    }
}

#[test]
fn what_waits_behind_a_shut_door_can_be_accepted_and_goes_on() {
    let (socket, address) = listen_on("127.0.0.1:0").unwrap();
    let mut early = TcpStream::connect(address).unwrap();
    shut_door(socket.as_fd()).unwrap();
    let late = begin(address);
    let mut served = take(&socket);
    assert!(matches!(accept(socket.as_fd()), Accepted::Empty), "the late one did not come in");
    early.write_all(b"still here").unwrap();
    wait_readable(&served);
    let mut heard = [0; 10];
    served.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"still here");
    drop(late);
}

#[test]
fn an_open_door_opens_again_without_error_and_lets_everybody_in_at_once() {
    let (socket, address) = listen_on("127.0.0.1:0").unwrap();
    open_door(socket.as_fd()).unwrap();
    shut_door(socket.as_fd()).unwrap();
    open_door(socket.as_fd()).unwrap();
    open_door(socket.as_fd()).unwrap();
    assert!(is_connected(&begin(address)));
}

#[test]
fn only_tcp_has_a_door() {
    let udp = bind_udp("127.0.0.1:0".parse().unwrap(), V6::Dual, Reuse::Exclusive).unwrap();
    let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    let (unix, _) = oneport_sys::fdpass::channel_pair().unwrap();
    for other in [udp, file, unix] {
        assert_eq!(errno(shut_door(other.as_fd())), Some(libc::EPROTOTYPE));
        assert_eq!(errno(open_door(other.as_fd())), Some(libc::EPROTOTYPE));
    }
}

#[test]
fn multipath_tcp_has_no_door_and_says_so() {
    let flags = SocketFlags::CLOEXEC;
    let Ok(several) = socket_with(AddressFamily::INET, SocketType::STREAM, flags, Some(ipproto::MPTCP))
    else {
        eprintln!("skipped: no MPTCP");
        return;
    };
    assert_eq!(errno(shut_door(several.as_fd())), Some(libc::EOPNOTSUPP));
}
