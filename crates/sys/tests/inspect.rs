//! What can be learnt of a socket that somebody else made: how it shares, whom it serves, whether anybody waits in it.

mod common;

use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use oneport_sys::accept::{Accepted, accept};
use oneport_sys::listen::{
    Reuse, V6, bind_tcp, bind_udp, bound_to, inode, only_v6, reuses_port, set_reuse_port, start_listening,
    waiting,
};

use common::wait_readable;

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("address")
}

fn address_of(socket: &OwnedFd) -> SocketAddr {
    bound_to(socket.as_fd()).expect("address").expect("bound")
}

#[test]
fn a_socket_that_shares_its_port_says_so_to_every_holder() {
    let socket = bind_tcp(loopback(), V6::Dual).unwrap();
    let duplicate = socket.try_clone().unwrap();
    assert!(!reuses_port(duplicate.as_fd()));
    set_reuse_port(socket.as_fd()).unwrap();
    assert!(reuses_port(duplicate.as_fd()));
    assert!(!reuses_port(std::fs::File::open("/dev/null").unwrap().as_fd()));
}

#[test]
fn only_a_socket_of_ipv6_alone_is_that() {
    assert!(!only_v6(bind_tcp(loopback(), V6::Only).unwrap().as_fd()));
    assert!(!only_v6(std::fs::File::open("/dev/null").unwrap().as_fd()));
    let six: SocketAddr = "[::]:0".parse().unwrap();
    let (Ok(alone), Ok(dual)) = (bind_tcp(six, V6::Only), bind_tcp(six, V6::Dual)) else {
        eprintln!("skipped: no IPv6");
        return;
    };
    assert_eq!((only_v6(alone.as_fd()), only_v6(dual.as_fd())), (true, false));
}

#[test]
fn a_connection_waits_until_it_is_accepted() {
    let socket = bind_tcp(loopback(), V6::Dual).unwrap();
    assert!(!waiting(socket.as_fd()), "bound and no more");
    start_listening(socket.as_fd(), 16).unwrap();
    assert!(!waiting(socket.as_fd()));
    let client = TcpStream::connect(address_of(&socket)).unwrap();
    wait_readable(&socket);
    assert!(waiting(socket.as_fd()));
    assert!(matches!(accept(socket.as_fd()), Accepted::Connection(_)));
    assert!(!waiting(socket.as_fd()));
    drop(client);
    let gone = TcpStream::connect(address_of(&socket)).unwrap();
    gone.shutdown(Shutdown::Both).unwrap();
    assert!(waiting(socket.as_fd()), "one whose client left waits too");
}

#[test]
fn a_datagram_waits_until_it_is_received() {
    let socket = bind_udp(loopback(), V6::Dual, Reuse::Exclusive).unwrap();
    assert!(!waiting(socket.as_fd()));
    let client = UdpSocket::bind(loopback()).unwrap();
    client.send_to(b"x", address_of(&socket)).unwrap();
    assert!(waiting(socket.as_fd()));
    UdpSocket::from(socket.try_clone().unwrap()).recv(&mut [0; 1]).unwrap();
    assert!(!waiting(socket.as_fd()));
}

#[test]
fn a_socket_that_was_shut_has_nothing_waiting_for_ever() {
    let listener = bind_tcp(loopback(), V6::Dual).unwrap();
    start_listening(listener.as_fd(), 16).unwrap();
    rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
    assert!(!waiting(listener.as_fd()));
    let udp = UdpSocket::bind(loopback()).unwrap();
    udp.connect(udp.local_addr().unwrap()).unwrap();
    rustix::net::shutdown(&udp, rustix::net::Shutdown::Read).unwrap();
    wait_readable(&udp); // as poll sees it
    assert!(!waiting(udp.as_fd()));
}

#[test]
fn the_inode_belongs_to_the_socket_and_not_to_the_descriptor() {
    let socket = bind_tcp(loopback(), V6::Dual).unwrap();
    let number = inode(socket.as_fd()).unwrap();
    assert_eq!(inode(socket.try_clone().unwrap().as_fd()).unwrap(), number);
    assert_ne!(inode(bind_tcp(loopback(), V6::Dual).unwrap().as_fd()).unwrap(), number);
    start_listening(socket.as_fd(), 16).unwrap();
    let queues = oneport_sys::diag::listen_queue(&[address_of(&socket).port()]);
    match queues {
        Ok(queues) => assert!(queues.iter().any(|queue| queue.inode == number), "{queues:?}"),
        Err(error) => eprintln!("skipped: no socket diagnostics: {error}"),
    }
}
