//! `fork_echo`: one process per connection, every way a connection can end.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use oneport_e2e::wait::eventually;
use oneport_e2e::{Signal, procfs, tcp};

use crate::started::{Started, start};

fn started() -> (Started, SocketAddr) {
    let example = start(env!("CARGO_BIN_EXE_fork_echo"));
    let address = example.address();
    (example, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    tcp::connect(address).unwrap()
}

fn echoed(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), text);
}

/// Everything until the server closes.
fn rest(stream: &mut TcpStream) -> String {
    String::from_utf8(tcp::rest(stream).unwrap()).unwrap()
}

fn wait_no_children(example: &Started) {
    eventually("no child to be left", || example.children().is_empty().then_some(()));
}

#[test]
fn each_of_several_connections_has_a_process_of_its_own() {
    let (example, address) = started();
    let mut connections: Vec<TcpStream> = (0..5).map(|_| connect(address)).collect();
    for round in 0..2 {
        for (number, connection) in connections.iter_mut().enumerate() {
            echoed(connection, &format!("round {round} of connection {number}\n"));
        }
    }
    assert_eq!(example.children().len(), 5);
    connections.drain(..2);
    eventually("two children to go", || (example.children().len() == 3).then_some(()));
    for connection in &mut connections {
        echoed(connection, "still here\n");
    }
    drop(connections);
    wait_no_children(&example);
}

#[test]
fn a_line_that_says_exit_ends_the_connection_and_the_process() {
    let (example, address) = started();
    for end in [":exit\n", ":exit\r\n"] {
        let mut connection = connect(address);
        // Only as a whole line, at its beginning.
        echoed(&mut connection, "not :exit\n:exit not\n");
        connection.write_all(end.as_bytes()).unwrap();
        assert_eq!(rest(&mut connection), "");
        wait_no_children(&example);
    }
}

#[test]
fn an_end_without_a_newline_loses_nothing() {
    let (example, address) = started();
    let mut connection = connect(address);
    connection.write_all(b"one\ntwo").unwrap();
    connection.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut connection), "one\ntwo");
    wait_no_children(&example);
}

#[test]
fn a_client_that_only_stopped_sending_gets_everything_back() {
    let (example, address) = started();
    let mut connection = connect(address);
    // More than the buffers of both sockets hold: the child is in the middle of it when the sending ends.
    let text: String = (0..100_000).map(|number| format!("line {number}\n")).collect();
    let mut sender = connection.try_clone().unwrap();
    let sent = text.clone();
    let sending = std::thread::spawn(move || {
        sender.write_all(sent.as_bytes()).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    assert!(rest(&mut connection) == text, "every byte, in order");
    sending.join().unwrap();
    wait_no_children(&example);
}

#[test]
fn a_line_longer_than_any_buffer_is_echoed_and_holds_no_exit() {
    let (example, address) = started();
    let mut connection = connect(address);
    // The second piece of this line begins with `:exit`.
    let text = format!("{}:exit\n", "x".repeat(64 * 1024));
    connection.write_all(text.as_bytes()).unwrap();
    connection.shutdown(Shutdown::Write).unwrap();
    assert!(rest(&mut connection) == text);
    wait_no_children(&example);
}

#[test]
fn a_client_that_vanishes_takes_only_its_own_process_with_it() {
    let (example, address) = started();
    let mut other = connect(address);
    echoed(&mut other, "hello\n");
    let mut vanishing = connect(address);
    echoed(&mut vanishing, "hello\n");
    // What comes back is never read: the kernel answers with a reset when the socket is closed.
    vanishing.write_all(b"more\n").unwrap();
    let mut one = [0];
    vanishing.read_exact(&mut one).unwrap();
    drop(vanishing);
    eventually("its child to go", || (example.children().len() == 1).then_some(()));
    echoed(&mut other, "still here\n");
    // Some never send a byte.
    (0..3).for_each(|_| drop(connect(address)));
    example.wait_times(" is gone\n", 4);
    echoed(&mut other, "and here\n");
}

#[test]
fn a_child_that_is_killed_takes_only_its_own_connection_with_it() {
    let (example, address) = started();
    let mut other = connect(address);
    echoed(&mut other, "hello\n");
    let survivor = example.children();
    let mut connection = connect(address);
    echoed(&mut connection, "hello\n");
    let victim = *example.children().difference(&survivor).next().unwrap();
    procfs::signal(victim, Signal::KILL);
    assert_eq!(rest(&mut connection), "");
    example.wait_times(&format!("child {victim} is gone\n"), 1);
    echoed(&mut other, "still here\n");
}

#[test]
fn a_hundred_connections_leave_no_process_and_no_descriptor_behind() {
    let (example, address) = started();
    let serve = || {
        let mut connection = connect(address);
        echoed(&mut connection, "hello\n");
        connection.write_all(b":exit\n").unwrap();
        assert_eq!(rest(&mut connection), "");
    };
    serve();
    example.wait_times(" is gone\n", 1);
    let before = procfs::descriptors(example.pid());
    (0..100).for_each(|_| serve());
    example.wait_times(" is gone\n", 101);
    wait_no_children(&example);
    assert_eq!(example.said().matches(" started\n").count(), 101);
    eventually("the descriptors to be closed", || {
        (procfs::descriptors(example.pid()) <= before).then_some(())
    });
}
