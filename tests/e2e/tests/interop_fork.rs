//! Rust programs as children of `child_process.fork`: messages, sockets passed both ways, the ends of a channel.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::net::{SocketAddr, TcpListener, UdpSocket};

use oneport_e2e::peer::Peer;
use oneport_e2e::run::client_patience;
use oneport_e2e::tcp;
use oneport_e2e::wait::eventually;
use serde_json::{Value, json};

/// A Node process with one Rust child named `c`, and the child's pid.
fn parent() -> (Peer, u32) {
    let mut node = Peer::start(&[]);
    node.tell(json!(["child", "c", {"ROLE": "puppet"}]));
    let pid = node.of("c", "fork")[2].as_u64().unwrap();
    (node, u32::try_from(pid).unwrap())
}

fn local(port: &Value) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], u16::try_from(port.as_u64().unwrap()).unwrap()))
}

/// The next message of the child: what it says, and what Node made of its handle.
fn message(node: &mut Peer) -> (Value, Value) {
    let mut fact = node.of("c", "message");
    (fact[2].take(), fact[3].take())
}

/// Datagrams until one is answered; the kernel may have dropped one at first.
fn udp_answer(address: SocketAddr) -> u32 {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(client_patience())).unwrap();
    client.send_to(b"ping", address).unwrap();
    let mut bytes = [0; 1000];
    let (length, from) = client.recv_from(&mut bytes).unwrap();
    assert_eq!(from, address);
    let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
    assert!(text.starts_with("ping from "), "{text}");
    tcp::pid_in(&text)
}

#[test]
fn every_value_goes_from_node_to_its_rust_child_and_back() {
    let (mut node, _) = parent();
    assert_eq!(node.ask("c", json!(["role"])), json!(["role", null, ["no-script", "an", "argument"]]));
    let values = [
        json!(null),
        json!(false),
        json!(-0.5),
        json!(9_007_199_254_740_991_i64),
        json!(""),
        json!("\u{e9}\u{20ac}\u{1F980} \"\\ \n\r\u{2028}\u{0}"),
        json!([[], {}, [null]]),
        json!({"cmd": "NODE_", "\u{e9}": {"": 1}}),
    ];
    for value in values {
        assert_eq!(node.ask("c", json!(["echo", value])), json!(["echo", value]));
    }
    let long = "\u{e9}x".repeat(270_000);
    assert!(node.ask("c", json!(["echo", long])) == json!(["echo", long]), "810 kB");
}

#[test]
fn a_child_ends_in_order_when_node_disconnects() {
    let (mut node, _) = parent();
    node.ask("c", json!(["role"]));
    node.tell(json!(["disconnect", "c"]));
    node.of("c", "disconnect");
    assert_eq!(node.of("c", "exit"), json!(["exit", "c", 0, null]));
    assert_eq!(node.of("c", "sent")[2], Value::Null);
    node.tell(json!(["send", "c", ["role"]]));
    assert_eq!(node.of("c", "sent")[2], "ERR_IPC_CHANNEL_CLOSED");
}

#[test]
fn what_a_child_said_before_it_disconnected_reaches_node() {
    let (mut node, _) = parent();
    assert_eq!(node.ask("c", json!(["hang-up"])), json!(["last words"]));
    node.of("c", "disconnect");
    assert_eq!(node.of("c", "exit"), json!(["exit", "c", 0, null]));
}

#[test]
fn a_child_leaves_when_its_node_parent_is_killed() {
    let (mut node, pid) = parent();
    let address = node.ask("c", json!(["listen", "127.0.0.1:0"]))[1].take();
    let address = address.as_str().unwrap().parse().unwrap();
    assert_eq!(tcp::greet(address).unwrap().1, pid, "a child that is no worker listens for itself");
    node.kill();
    eventually("the child to leave", || (!oneport_e2e::procfs::runs(pid)).then_some(()));
}

#[test]
fn a_server_of_nodes_is_accepted_from_by_its_rust_child_too() {
    let (mut node, pid) = parent();
    node.tell(json!(["give", "c", "server"]));
    let mut gave = node.of("c", "gave");
    assert_eq!(gave[3], Value::Null, "{gave}");
    let port = gave[2].take();
    assert_eq!(message(&mut node).0, json!(["got", "server", ["server", port]]));
    // Both accept; who is first gets it.
    eventually("the child to be first", || {
        let by = tcp::greet(local(&port)).unwrap().1;
        (by == pid).then_some(())
    });
}

#[test]
fn a_server_that_node_gave_away_and_closed_lives_on_in_its_rust_child() {
    let (mut node, pid) = parent();
    node.tell(json!(["give", "c", "server"]));
    let port = node.of("c", "gave")[2].take();
    assert_eq!(message(&mut node).0, json!(["got", "server", ["server", port]]));
    node.tell(json!(["shut"]));
    node.fact("shut");
    for _ in 0..5 {
        assert_eq!(tcp::greet(local(&port)).unwrap().1, pid);
    }
    node.tell(json!(["disconnect", "c"]));
    node.of("c", "exit");
    eventually("the port to be closed", || tcp::connect(local(&port)).is_err().then_some(()));
}

#[test]
fn connections_that_node_passes_on_are_the_childs_alone() {
    let (mut node, pid) = parent();
    node.tell(json!(["pass", "c", false]));
    let port = node.fact("passing")[1].take();
    for n in 1..=3 {
        let (mut stream, by) = tcp::greet(local(&port)).unwrap();
        assert_eq!(by, pid);
        assert_eq!(message(&mut node).0, json!(["got", "socket", ["passed", n]]));
        assert_eq!(tcp::ask(&mut stream, "ping\n").unwrap(), format!("ping from {pid}"));
    }
}

#[test]
fn a_connection_that_node_keeps_open_is_used_by_both() {
    let (mut node, pid) = parent();
    node.tell(json!(["pass", "c", true]));
    let port = node.fact("passing")[1].take();
    let mut stream = tcp::connect(local(&port)).unwrap();
    let mut lines = [tcp::line(&stream).unwrap(), tcp::line(&stream).unwrap()];
    lines.sort();
    assert_eq!(lines[0], format!("hello from {pid}"));
    assert!(lines[1].starts_with("kept by "), "{lines:?}");
    assert_eq!(tcp::ask(&mut stream, "ping\n").unwrap(), format!("ping from {pid}"));
}

#[test]
fn a_udp_socket_of_nodes_is_answered_on_by_its_rust_child() {
    let (mut node, pid) = parent();
    node.tell(json!(["give", "c", "udp"]));
    let port = node.of("c", "gave")[2].take();
    assert_eq!(message(&mut node).0, json!(["got", "udp", ["udp", port]]));
    for _ in 0..3 {
        assert_eq!(udp_answer(local(&port)), pid);
    }
}

#[test]
fn servers_connections_and_udp_sockets_of_a_rust_child_are_served_by_node() {
    let (mut node, child) = parent();
    node.tell(json!(["send", "c", ["give", "server"]]));
    let (told, kind) = message(&mut node);
    assert_eq!((&told[0], kind), (&json!("server"), json!("server")));
    let (_, by) = tcp::greet(local(&told[1])).unwrap();
    assert_ne!(by, child);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    node.tell(json!(["send", "c", ["give", "socket", listener.local_addr().unwrap().port()]]));
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(client_patience())).unwrap();
    assert_eq!(tcp::pid_in(&tcp::line(&stream).unwrap()), by);
    assert_eq!(message(&mut node).1, "socket");
    assert_eq!(tcp::ask(&mut stream, "ping\n").unwrap(), format!("ping from {by}"));

    node.tell(json!(["send", "c", ["give", "udp"]]));
    let (told, kind) = message(&mut node);
    assert_eq!(kind, "udp");
    for _ in 0..3 {
        assert_eq!(udp_answer(local(&told[1])), by);
    }
}

#[test]
fn node_counts_the_connections_it_passed_to_a_rust_child_and_waits_for_them_to_close_its_server() {
    let (mut node, pid) = parent();
    node.tell(json!(["pass", "c", false]));
    let port = node.fact("passing")[1].take();
    let mut open: Vec<_> = (0..3)
        .map(|_| {
            let (stream, by) = tcp::greet(local(&port)).unwrap();
            assert_eq!(by, pid);
            message(&mut node);
            stream
        })
        .collect();
    let count = |node: &mut Peer| {
        node.tell(json!(["connections"]));
        node.fact("connections")[1].as_u64().unwrap()
    };
    assert_eq!(count(&mut node), 3);
    drop(open.pop());
    eventually("the child to close its end", || (count(&mut node) == 2).then_some(()));
    node.tell(json!(["close"]));
    node.fact("closing");
    // A server that is closed counts nothing any more, and is not closed while a child has one of its connections.
    drop(open.pop());
    assert_eq!(tcp::ask(&mut open[0], "still\n").unwrap(), format!("still from {pid}"));
    node.ask("c", json!(["role"]));
    assert!(node.facts.iter().all(|fact| fact[0] != "closed"), "{:?}", node.facts);
    drop(open);
    node.fact("closed");
}

#[test]
fn a_parent_that_insists_on_advanced_serialization_is_told_why_that_is_impossible() {
    let mut node = Peer::start(&[]);
    node.tell(json!(["child", "c", {"ROLE": "puppet"}, {"serialization": "advanced"}]));
    let said = node.fact("output")[1].take();
    assert_eq!(said, "cannot talk to primary: it insists on `advanced` serialization, not `json`");
    assert_eq!(node.of("c", "exit"), json!(["exit", "c", 1, null]));
}

#[test]
fn what_a_rust_child_starts_inherits_no_channel() {
    let (mut node, _) = parent();
    let told = node.ask("c", json!(["grandchild"]));
    let lines = told[1].as_array().unwrap();
    let names = ["NODE_CHANNEL_FD=", "NODE_CHANNEL_SERIALIZATION_MODE=", "NODE_UNIQUE_ID=", "ONEPORT_SLOT="];
    for name in names {
        assert!(!lines.iter().any(|line| line.as_str().unwrap().starts_with(name)), "{name} in {lines:?}");
    }
    assert!(lines.contains(&json!("ROLE=puppet")));
}
