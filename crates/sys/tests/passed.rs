//! What a passed descriptor is, asked of the kernel.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use oneport_sys::fdpass::{channel_pair, receive, send};
use oneport_sys::listen::{
    Passed, Reuse, UnixMode, V6, bind_tcp, bind_udp, bind_unix, passed_kind, start_listening,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

fn kind(fd: impl AsFd) -> Passed {
    passed_kind(fd.as_fd())
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("address")
}

fn fresh(family: AddressFamily, kind: SocketType) -> OwnedFd {
    socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None).expect("socket")
}

/// A client's end and the server's.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(loopback()).expect("bind");
    let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    (client, server)
}

#[test]
fn a_tcp_socket_is_bound_and_then_listening() {
    for address in [loopback(), "[::]:0".parse().unwrap()] {
        let socket = bind_tcp(address, V6::Dual).unwrap();
        assert_eq!(kind(&socket), Passed::TcpBound);
        start_listening(socket.as_fd(), 16).unwrap();
        assert_eq!(kind(&socket), Passed::TcpListener);
    }
}

#[test]
fn a_listener_that_was_shut_down_is_only_bound() {
    let socket = bind_tcp(loopback(), V6::Dual).unwrap();
    start_listening(socket.as_fd(), 16).unwrap();
    rustix::net::shutdown(&socket, rustix::net::Shutdown::Both).unwrap();
    assert_eq!(kind(&socket), Passed::TcpBound);
    start_listening(socket.as_fd(), 16).unwrap();
    assert_eq!(kind(&socket), Passed::TcpListener);
}

#[test]
fn both_ends_of_a_tcp_connection_are_streams() {
    let (client, server) = connection();
    assert_eq!(kind(&client), Passed::TcpStream);
    assert_eq!(kind(&server), Passed::TcpStream);
    for how in [Shutdown::Read, Shutdown::Write] {
        server.shutdown(how).unwrap();
        assert_eq!(kind(&server), Passed::TcpStream);
    }
}

#[test]
fn a_connection_whose_client_left_is_still_a_stream() {
    let (client, mut server) = connection();
    drop(client);
    common::wait_readable(&server);
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(kind(&server), Passed::TcpStream);
}

#[test]
fn a_connection_that_was_reset_is_still_a_stream_and_its_error_is_still_there() {
    let (client, mut server) = connection();
    sockopt::set_socket_linger(&client, Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    common::wait_readable(&server);
    assert_eq!(server.peer_addr().unwrap_err().raw_os_error(), Some(libc::ENOTCONN));
    assert_eq!(kind(&server), Passed::TcpStream);
    let error = server.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
    assert_eq!(kind(&server), Passed::TcpStream);
}

#[test]
fn a_connection_still_being_made_is_a_stream() {
    // A queue that is full answers no further request.
    let listener = bind_tcp(loopback(), V6::Dual).unwrap();
    start_listening(listener.as_fd(), 0).unwrap();
    let address = TcpListener::from(listener.try_clone().unwrap()).local_addr().unwrap();
    let clients: Vec<OwnedFd> = (0..4).map(|_| fresh(AddressFamily::INET, SocketType::STREAM)).collect();
    for client in &clients {
        let _ = rustix::net::connect(client, &address);
    }
    assert!(clients.iter().any(|client| rustix::net::getpeername(client).is_err()), "all were answered");
    for client in &clients {
        assert_eq!(kind(client), Passed::TcpStream);
    }
}

#[test]
fn a_unix_stream_socket_is_a_listener_a_stream_or_nothing_yet() {
    let scratch = common::Scratch::new();
    let path = scratch.join("s");
    let (bound, _) = bind_unix(&path, UnixMode::default()).unwrap();
    assert_eq!(kind(&bound), Passed::Other);
    start_listening(bound.as_fd(), 16).unwrap();
    assert_eq!(kind(&bound), Passed::UnixListener);
    let mut client = UnixStream::connect(&path).unwrap();
    let (server, _) = UnixListener::from(bound).accept().unwrap();
    client.write_all(b"unread").unwrap();
    assert_eq!((kind(&client), kind(&server)), (Passed::UnixStream, Passed::UnixStream));
    drop(client);
    common::wait_readable(&server);
    assert_eq!(kind(&server), Passed::UnixStream);
    let (ours, theirs) = channel_pair().unwrap();
    assert_eq!((kind(&ours), kind(&theirs)), (Passed::UnixStream, Passed::UnixStream));
}

#[test]
fn datagrams_are_told_by_family() {
    let four = bind_udp(loopback(), V6::Dual, Reuse::Exclusive).unwrap();
    assert_eq!(kind(&four), Passed::Udp4);
    let six = bind_udp("[::1]:0".parse().unwrap(), V6::Only, Reuse::Exclusive).unwrap();
    assert_eq!(kind(&six), Passed::Udp6);
    let connected = UdpSocket::from(four);
    connected.connect(connected.local_addr().unwrap()).unwrap();
    assert_eq!(kind(&connected), Passed::Udp4);
}

#[test]
fn whatever_else_is_other() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let (datagram, _peer) = UnixDatagram::pair().unwrap();
    assert_eq!(kind(&reader), Passed::Other);
    assert_eq!(kind(&writer), Passed::Other);
    assert_eq!(kind(&datagram), Passed::Other);
    assert_eq!(kind(File::open("/dev/null").unwrap()), Passed::Other);
    assert_eq!(kind(fresh(AddressFamily::UNIX, SocketType::SEQPACKET)), Passed::Other);
    // Neither bound nor connected: of no use to anybody.
    assert_eq!(kind(fresh(AddressFamily::INET, SocketType::STREAM)), Passed::Other);
    assert_eq!(kind(fresh(AddressFamily::UNIX, SocketType::STREAM)), Passed::Other);
}

#[test]
fn a_descriptor_is_after_its_journey_what_it_was_before() {
    let (ours, theirs) = channel_pair().unwrap();
    let bound = bind_tcp(loopback(), V6::Dual).unwrap();
    send(ours.as_fd(), b"x", Some(bound.as_fd())).unwrap();
    drop(bound);
    let arrived = receive(theirs.as_fd(), &mut [0; 8]).unwrap().fd.unwrap();
    assert_eq!(kind(&arrived), Passed::TcpBound);
}
