//! What arrives is what the kernel says it is, whatever its envelope says.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use oneport_wire::node::message::{DgramType, HandleKind};

use super::Handle;

fn loopback() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port")
}

fn is_nonblocking(fd: &impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(fd).expect("flags").contains(rustix::fs::OFlags::NONBLOCK)
}

/// Its envelope's kind and what comes of it at the other end.
fn passed_on(handle: Handle) -> Handle {
    let kind = handle.kind();
    Handle::received(&kind, handle.into_fd()).expect("what its envelope says")
}

#[test]
fn each_socket_arrives_as_what_it_was_sent_as_and_non_blocking() {
    let listener = loopback();
    let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("a connection");
    let (unix, _other) = UnixStream::pair().expect("a pair");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let bound = oneport_sys::listen::bind_tcp(([127, 0, 0, 1], 0).into(), oneport_sys::listen::V6::Dual)
        .expect("a port");
    for (handle, name) in [
        (passed_on(listener.into()), "TcpListener"),
        (passed_on(stream.into()), "TcpStream"),
        (passed_on(unix.into()), "UnixStream"),
        (passed_on(udp.into()), "UdpSocket"),
        (passed_on(Handle::try_from(bound).expect("bound")), "TcpSocket"),
    ] {
        assert!(format!("{handle:?}").starts_with(name), "{handle:?}");
        assert!(is_nonblocking(&handle), "{handle:?}");
    }
}

#[test]
fn a_descriptor_that_is_not_what_its_envelope_says_is_refused() {
    let (unix, _other) = UnixStream::pair().expect("a pair");
    let null = std::fs::File::open("/dev/null").expect("there");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let wrong: [(HandleKind<'_>, OwnedFd); 6] = [
        (HandleKind::NetServer, unix.into()),
        (HandleKind::NetSocket, null.into()),
        (HandleKind::NetSocket, loopback().into()),
        (HandleKind::DgramSocket(DgramType::Udp6), udp.into()),
        (HandleKind::NetBoundSocket, loopback().into()),
        (HandleKind::Other("net.Future".into()), loopback().into()),
    ];
    for (kind, fd) in wrong {
        let error = Handle::received(&kind, fd).expect_err("something else");
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{kind:?}");
        assert!(error.to_string().starts_with("cannot receive handle: "), "{error}");
    }
}

#[test]
fn a_connection_that_was_reset_on_its_way_is_still_a_connection() {
    let listener = loopback();
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("a connection");
    let (stream, _) = listener.accept().expect("the connection");
    rustix::net::sockopt::set_socket_linger(&client, Some(std::time::Duration::ZERO)).expect("an option");
    drop(client);
    // The end of the connection is an event of the socket: waited for, not slept for.
    let gone = std::io::Read::read(&mut &stream, &mut [0]).expect_err("reset");
    assert_eq!(gone.kind(), ErrorKind::ConnectionReset);
    let handle = Handle::received(&HandleKind::NetSocket, stream.into()).expect("a connection");
    assert!(matches!(handle, Handle::TcpStream(_)));
}

#[test]
fn what_is_no_socket_cannot_be_passed() {
    let null = std::fs::File::open("/dev/null").expect("there");
    let error = Handle::try_from(OwnedFd::from(null)).expect_err("no socket");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_clone_keeps_the_socket() {
    let listener = loopback();
    let addr = listener.local_addr().expect("bound");
    let handle = Handle::from(listener);
    let kept = handle.try_clone().expect("a descriptor");
    drop(handle);
    TcpStream::connect(addr).expect("still listening");
    drop(kept);
}
