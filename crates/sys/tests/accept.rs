//! One accept, sorted by what to do next. Descriptor exhaustion is in `limits`.

mod common;

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use oneport_sys::accept::{Accepted, accept, lingers};
use oneport_sys::listen::{V6, bind_tcp};
use rustix::net::sockopt::set_socket_linger;

#[test]
fn a_connection_is_non_blocking_and_close_on_exec_and_then_there_is_none() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    assert!(matches!(accept(listener.as_fd()), Accepted::Empty));
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    common::wait_readable(&listener);
    let Accepted::Connection(connection) = accept(listener.as_fd()) else { panic!("no connection") };
    assert!(rustix::fs::fcntl_getfl(&connection).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
    assert!(rustix::io::fcntl_getfd(&connection).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    assert!(matches!(accept(listener.as_fd()), Accepted::Empty));
}

#[test]
fn a_socket_that_does_not_listen_has_failed() {
    let socket = bind_tcp("127.0.0.1:0".parse().unwrap(), V6::Dual).unwrap();
    let accepted = accept(socket.as_fd());
    let Accepted::Failed(error) = accepted else { panic!("{accepted:?}") };
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(matches!(accept(datagrams.as_fd()), Accepted::Failed(_)));
}

#[test]
fn lingering_is_seen_through_any_duplicate() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let duplicate = client.try_clone().unwrap();
    assert!(!lingers(client.as_fd()));
    set_socket_linger(&duplicate, Some(Duration::from_secs(1))).unwrap();
    assert!(lingers(client.as_fd()));
    // Time zero resets the connection at close, which does not wait.
    set_socket_linger(&duplicate, Some(Duration::ZERO)).unwrap();
    assert!(!lingers(client.as_fd()));
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(!lingers(file.as_fd()));
}
