//! A Rust primary, the library's own API, over Node and Rust workers: side by side on one port, and talking with Node of
//! everything that a channel carries.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "helpers of tests are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use oneport::{Exit, Handle, InspectPort, Policy};
use oneport_e2e::cluster::Rust;
use oneport_e2e::run::client_patience;
use oneport_e2e::wait::eventually;
use oneport_e2e::{place, procfs, tcp};
use serde_json::{Value, json};

fn local(port: &Value) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], u16::try_from(port.as_u64().unwrap()).unwrap()))
}

/// The server's end of a connection, and the client's.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = tcp::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, client)
}

#[test]
fn node_and_rust_workers_serve_side_by_side_on_one_port() {
    for policy in [Policy::RoundRobin, Policy::Shared] {
        let port = place::free_port();
        let mut rust = Rust::primary(policy);
        let mut pids = BTreeMap::new();
        for _ in 0..2 {
            let node = rust.fork_node();
            assert_eq!(rust.ask(&node, json!(["listen", port])), json!(["listen", port]));
            pids.insert(node.pid(), 0);
            let worker = rust.fork_rust();
            let address = format!("127.0.0.1:{port}");
            assert_eq!(rust.ask(&worker, json!(["listen", address])), json!(["listen", address]));
            pids.insert(worker.pid(), 0);
        }
        for worker in rust.cluster.workers() {
            rust.serves(&worker);
        }
        for _ in 0..20 {
            let by = oneport_e2e::cluster::who(SocketAddr::from(([127, 0, 0, 1], port)));
            *pids.get_mut(&i32::try_from(by).unwrap()).expect("one of the workers") += 1;
        }
        if policy == Policy::RoundRobin {
            assert!(pids.values().all(|served| *served == 5), "in turn: {pids:?}");
        }
        rust.disconnect();
        for worker in 1..=4 {
            assert_eq!(rust.exit(worker), Exit::Code(0));
        }
        // A process that another test starts has the socket, too, for the moment between fork and exec.
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("the port to be closed", || tcp::connect(address).is_err().then_some(()));
    }
}

#[test]
fn every_value_goes_from_a_rust_primary_to_a_node_worker_and_back() {
    let mut rust = Rust::primary(Policy::RoundRobin);
    let node = rust.fork_node();
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-0.5),
        json!(9_007_199_254_740_991_i64),
        json!(""),
        json!("\u{e9}\u{20ac}\u{1F980} \"\\ \n\r\u{2028}\u{0}"),
        json!([[], {}, [null]]),
        json!({"cmd": "NODE_", "\u{e9}": {"": 1}}),
        json!("\u{e9}x".repeat(270_000)),
    ];
    for value in values {
        let told = rust.ask(&node, json!(["echo", value]));
        assert!(told == json!(["echo", value]), "{:.200}", value.to_string());
    }
    let expected = json!({"\u{e9}\n\u{2028}": [1, null, true, "xxxxxxxxxx", {"deep": [[]]}],
        "big": 9_007_199_254_740_992_i64, "small": -1e-7});
    assert_eq!(rust.ask(&node, json!(["make"])), json!(["made", expected]));
}

#[test]
fn sockets_of_a_rust_primary_are_served_by_a_node_worker() {
    let mut rust = Rust::primary(Policy::RoundRobin);
    let node = rust.fork_node();
    let pid = u32::try_from(node.pid()).unwrap();

    // A cluster worker of Node 18 asks its primary for the server that it was given; Node's own primary throws then.
    if place::node_major() >= 20 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        node.send_handle(&["a server"], listener).unwrap();
        assert_eq!(rust.message(&node).0, json!(["got", "server", "a server"]));
        for _ in 0..3 {
            assert_eq!(tcp::greet(address).unwrap().1, pid);
        }
    }

    let (server, mut client) = connection();
    node.send_handle(&["a connection"], server).unwrap();
    assert_eq!(rust.message(&node).0, json!(["got", "socket", "a connection"]));
    assert_eq!(tcp::pid_in(&tcp::line(&client).unwrap()), pid);
    assert_eq!(tcp::ask(&mut client, "ping\n").unwrap(), format!("ping from {pid}"));

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    node.send_handle(&["udp"], socket).unwrap();
    assert_eq!(rust.message(&node).0, json!(["got", "udp", "udp"]));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(client_patience())).unwrap();
    client.send_to(b"ping", address).unwrap();
    let mut bytes = [0; 100];
    let (length, from) = client.recv_from(&mut bytes).unwrap();
    assert_eq!((&bytes[..length], from), (format!("ping from {pid}").as_bytes(), address));
}

#[test]
fn a_connection_kept_as_a_clone_is_used_by_the_rust_primary_and_the_node_worker() {
    let mut rust = Rust::primary(Policy::RoundRobin);
    let node = rust.fork_node();
    let (server, mut client) = connection();
    node.send_handle(&["kept"], server.try_clone().unwrap()).unwrap();
    assert_eq!(rust.message(&node).0, json!(["got", "socket", "kept"]));
    assert_eq!(tcp::pid_in(&tcp::line(&client).unwrap()), u32::try_from(node.pid()).unwrap());
    std::io::Write::write_all(&mut &server, b"from the primary\n").unwrap();
    assert_eq!(tcp::line(&client).unwrap(), "from the primary");
    node.kill(oneport::Signal::KILL).unwrap();
    rust.exit(1);
    std::io::Write::write_all(&mut &server, b"still\n").unwrap();
    drop(server);
    assert_eq!(tcp::rest(&mut client).unwrap(), b"still\n");
}

#[test]
fn sockets_of_a_node_worker_are_used_by_its_rust_primary() {
    let mut rust = Rust::primary(Policy::RoundRobin);
    let node = rust.fork_node();

    node.send(&json!(["give", "server"])).unwrap();
    let (told, Some(Handle::TcpListener(listener))) = rust.message(&node) else { panic!("no server") };
    assert_eq!(listener.local_addr().unwrap(), local(&told[1]));
    // Node keeps it and accepts too; here it is enough that this is the same socket.
    assert_eq!(rust.message(&node).0, json!(["gave", null]));

    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    node.send(&json!(["give", "socket", own.local_addr().unwrap().port()])).unwrap();
    let (peer, from) = own.accept().unwrap();
    let (told, Some(Handle::TcpStream(stream))) = rust.message(&node) else { panic!("no connection") };
    assert_eq!((told[1].as_u64(), stream.local_addr().unwrap()), (Some(u64::from(from.port())), from));
    std::io::Write::write_all(&mut &stream, b"hello\n").unwrap();
    assert_eq!(tcp::line(&peer).unwrap(), "hello");
    assert_eq!(rust.message(&node).0, json!(["gave", null]));

    node.send(&json!(["give", "udp"])).unwrap();
    let (told, Some(Handle::UdpSocket(socket))) = rust.message(&node) else { panic!("no UDP socket") };
    assert_eq!(rust.message(&node).0, json!(["gave", null]));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"ping", local(&told[1])).unwrap();
    let mut bytes = [0; 100];
    let length = eventually("the datagram", || socket.recv_from(&mut bytes).ok()).0;
    assert_eq!(&bytes[..length], b"ping");
}

#[test]
fn handles_between_a_rust_primary_and_a_node_worker_cross_without_waiting_for_each_other() {
    let mut rust = Rust::primary(Policy::RoundRobin);
    let node = rust.fork_node();
    let mut clients = Vec::new();
    for n in 0..20 {
        let (server, client) = connection();
        node.send(&json!(["give", "udp"])).unwrap();
        node.send_handle(&[n], server).unwrap();
        clients.push(client);
    }
    let (mut given, mut gave, mut got) = (0, 0, 0);
    while given + gave + got < 60 {
        let (told, handle) = rust.message(&node);
        match (told[0].as_str().unwrap(), handle) {
            ("udp", Some(Handle::UdpSocket(_))) => given += 1,
            ("gave", None) => gave += 1,
            ("got", None) => {
                assert_eq!(told, json!(["got", "socket", got]));
                got += 1;
            }
            (_, other) => panic!("{told} {other:?}"),
        }
    }
    assert_eq!((given, gave, got), (20, 20, 20));
    for client in clients {
        assert_eq!(tcp::pid_in(&tcp::line(&client).unwrap()), u32::try_from(node.pid()).unwrap());
    }
}

/// The port on which the debugger of a new worker listens, and nobody else's.
fn debugger_port(rust: &mut Rust) -> u16 {
    let worker = rust.fork();
    let told = rust.ask(&worker, json!(["debugger"]));
    let url = told[1].as_str().unwrap_or_else(|| panic!("no debugger: {told}"));
    let port = url.strip_prefix("ws://127.0.0.1:").and_then(|rest| rest.split('/').next()).unwrap();
    let port = port.parse().unwrap();
    assert_eq!(procfs::listens_on(u32::try_from(worker.pid()).unwrap()), BTreeSet::from([port]));
    port
}

#[test]
fn node_workers_get_debugger_ports_of_their_own() {
    // Three ports in a row that are free now.
    let base = eventually("three ports", || {
        let base = place::free_port();
        let all = (base..base + 3).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
        all.then_some(base)
    });
    let mut rust = Rust::primary(Policy::RoundRobin);
    let change = |rust: &Rust, arg: String, port: InspectPort| {
        let mut settings = rust.node_settings();
        (settings.exec_args, settings.inspect_port) = (vec![arg.into()], port);
        settings.stderr = oneport::Stdio::Null; // Node says there where the debugger listens
        rust.cluster.setup_primary(settings).unwrap();
    };
    change(&rust, format!("--inspect=127.0.0.1:{base}"), InspectPort::Increment);
    for n in 0..3 {
        assert_eq!(debugger_port(&mut rust), base + n);
    }
    change(&rust, "--inspect=127.0.0.1:0".into(), InspectPort::Fixed(0));
    let random: BTreeSet<u16> = (0..3).map(|_| debugger_port(&mut rust)).collect();
    assert_eq!(random.len(), 3, "{random:?}");
}
