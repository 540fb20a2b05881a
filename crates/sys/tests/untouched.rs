//! A connection that somebody read from or wrote to is told from one that nobody used.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use oneport_sys::untouched::is_untouched;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
    (client, listener.accept().expect("the other end").0)
}

/// Waits until the other side's bytes are here, without taking them.
fn arrived(server: &TcpStream, bytes: usize) {
    let mut seen = vec![0; bytes];
    while server.peek(&mut seen).expect("a look") < bytes {}
}

#[test]
fn a_fresh_connection_is_untouched_with_and_without_a_request() {
    let (mut client, server) = pair();
    assert!(is_untouched(server.as_fd()));
    client.write_all(b"GET / HTTP/1.1").unwrap();
    arrived(&server, 14);
    assert!(is_untouched(server.as_fd()));
}

#[test]
fn a_client_that_sent_and_closed_leaves_it_untouched() {
    let (mut client, server) = pair();
    client.write_all(b"request").unwrap();
    drop(client);
    arrived(&server, 7);
    assert!(is_untouched(server.as_fd()));
}

#[test]
fn reading_a_part_of_the_request_touches_it() {
    let (mut client, mut server) = pair();
    client.write_all(b"request").unwrap();
    arrived(&server, 7);
    server.read_exact(&mut [0; 3]).unwrap();
    assert!(!is_untouched(server.as_fd()));
}

#[test]
fn writing_touches_it_though_nothing_was_read() {
    let (mut client, mut server) = pair();
    server.write_all(b"220 ready").unwrap();
    client.read_exact(&mut [0; 9]).unwrap();
    assert!(!is_untouched(server.as_fd()));
}

#[test]
fn a_unix_connection_cannot_be_judged_and_passes() {
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(is_untouched(one.as_fd()));
}
