//! The kernel's view of connections: idle, busy, waiting.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use oneport_sys::diag::{Connection, connection_inodes, is_idle, listen_queue, tcp_connections};

fn inode_of(socket: &impl AsFd) -> u64 {
    let duplicate: std::fs::File = socket.as_fd().try_clone_to_owned().expect("dup").into();
    duplicate.metadata().expect("metadata").ino()
}

fn look_at(server: &TcpStream) -> Option<Connection> {
    let port = server.local_addr().expect("address").port();
    let inode = inode_of(server);
    tcp_connections(&[port]).expect("diag").into_iter().find(|connection| connection.inode == inode)
}

fn connect(address: &str) -> (TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).expect("bind");
    let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    (listener, client, server)
}

#[test]
fn a_connection_is_idle_before_its_request_busy_until_its_answer_and_idle_after() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (_listener, mut client, mut server) = connect(address);
        let fresh = look_at(&server).unwrap();
        assert_eq!((fresh.local, fresh.remote), (server.local_addr().unwrap(), client.local_addr().unwrap()));
        assert_eq!((fresh.state, fresh.since_last_sent_ms, fresh.since_last_received_ms), (1, None, None));
        assert!(is_idle(&fresh));

        client.write_all(b"request").unwrap();
        common::eventually("the request waits", || look_at(&server).unwrap().receive_queue == 7);
        assert!(!is_idle(&look_at(&server).unwrap()), "not read yet");

        server.read_exact(&mut [0; 7]).unwrap();
        let busy = look_at(&server).unwrap();
        assert_eq!((busy.receive_queue, busy.since_last_sent_ms), (0, None));
        assert!(!is_idle(&busy), "read and not answered");

        server.write_all(b"answer").unwrap();
        client.read_exact(&mut [0; 6]).unwrap();
        common::eventually("the answer is acknowledged", || is_idle(&look_at(&server).unwrap()));
        let idle = look_at(&server).unwrap();
        assert!(idle.since_last_sent_ms.is_some() && idle.since_last_received_ms.is_some());
    }
}

#[test]
fn a_second_request_makes_an_idle_connection_busy_again() {
    let (_listener, mut client, mut server) = connect("127.0.0.1:0");
    client.write_all(b"1").unwrap();
    server.read_exact(&mut [0; 1]).unwrap();
    server.write_all(b"1").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    // Two events in one tick of the kernel's clock cannot be told apart: wait until the tick is over.
    common::eventually("a tick", || look_at(&server).unwrap().since_last_sent_ms.is_some_and(|age| age > 20));
    client.write_all(b"2").unwrap();
    server.read_exact(&mut [0; 1]).unwrap();
    assert!(!is_idle(&look_at(&server).unwrap()));
}

#[test]
fn an_answer_the_client_does_not_take_is_busy() {
    let (_listener, _client, server) = connect("127.0.0.1:0");
    server.set_nonblocking(true).unwrap();
    let chunk = vec![0; 1 << 20];
    while (&server).write(&chunk).is_ok() {}
    let stuck = look_at(&server).unwrap();
    assert!(stuck.send_queue > 0);
    assert!(!is_idle(&stuck));
}

#[test]
fn a_client_that_closed_is_in_close_wait() {
    let (_listener, client, server) = connect("127.0.0.1:0");
    drop(client);
    common::eventually("close-wait", || look_at(&server).is_some_and(|connection| connection.state == 8));
}

#[test]
fn only_the_asked_ports_are_answered() {
    let (_one, _client1, server1) = connect("127.0.0.1:0");
    let (_two, _client2, server2) = connect("127.0.0.1:0");
    let (_three, _client3, server3) = connect("127.0.0.1:0");
    let port = |stream: &TcpStream| stream.local_addr().unwrap().port();
    let found = tcp_connections(&[port(&server1), port(&server2)]).unwrap();
    let has = |stream: &TcpStream| found.iter().any(|connection| connection.inode == inode_of(stream));
    assert!(has(&server1) && has(&server2) && !has(&server3));
    assert_eq!(tcp_connections(&[]).unwrap(), []);
}

#[test]
fn a_connection_of_a_dual_stack_listener_has_an_ipv4_address() {
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (server, _) = listener.accept().unwrap();
    let connection = look_at(&server).unwrap();
    assert_eq!(connection.local, client.peer_addr().unwrap());
    assert_eq!(connection.remote, client.local_addr().unwrap());
}

#[test]
fn the_accept_queue_counts_who_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    oneport_sys::listen::start_listening(listener.as_fd(), 5).unwrap();
    let address = listener.local_addr().unwrap();
    let queue = || {
        let found = listen_queue(&[address.port()]).unwrap();
        found.into_iter().find(|queue| queue.inode == inode_of(&listener)).unwrap()
    };
    assert_eq!((queue().waiting, queue().limit, queue().local), (0, 5, address));
    let _clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    common::eventually("three wait", || queue().waiting == 3);
    listener.accept().unwrap();
    assert_eq!(queue().waiting, 2);
}

#[test]
fn inodes_alone_are_those_of_the_connections_and_are_not_asked_for_without_end() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (listener, _client, server) = connect(address);
        let port = server.local_addr().unwrap().port();
        assert_eq!(connection_inodes(&[port], 10).unwrap(), Some(vec![inode_of(&server)]));
        assert_eq!(connection_inodes(&[port, 1], 1).unwrap(), Some(vec![inode_of(&server)]));
        let _second = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _accepted = listener.accept().unwrap();
        assert_eq!(connection_inodes(&[port], 1).unwrap(), None);
        assert_eq!(connection_inodes(&[], 1).unwrap(), Some(vec![]));
    }
}
