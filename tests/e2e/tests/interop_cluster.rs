//! Rust workers under Node's own `cluster`: they listen, serve, talk and leave as Node's workers do.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;

use oneport_e2e::cluster::who;
use oneport_e2e::peer::Peer;
use oneport_e2e::run::{client_patience, reach};
use oneport_e2e::wait::eventually;
use oneport_e2e::{TempDir, place, procfs, tcp};
use serde_json::{Value, json};

/// Node's names of the policies, and how Node's primary is told.
const POLICIES: [&str; 2] = ["rr", "none"];

fn node(policy: &str) -> Peer {
    Peer::start(&[("NODE_CLUSTER_SCHED_POLICY", policy)])
}

/// Workers 1 to `count` that serve an address without a word; their pids.
fn serving(node: &mut Peer, count: usize, address: &str) -> Vec<u32> {
    let workers = 1..=count;
    workers
        .map(|id| {
            node.tell(json!(["fork", {"ROLE": "serve", "ADDRESS": address}]));
            pid(&node.of(id, "fork"))
        })
        .collect()
}

/// One that does what it is told.
fn puppet(node: &mut Peer) -> u32 {
    node.tell(json!(["fork", {"ROLE": "puppet"}]));
    let fork = node.fact("fork");
    node.of(fork[1].clone(), "online");
    pid(&fork)
}

fn pid(fork: &Value) -> u32 {
    u32::try_from(fork[2].as_u64().expect("a process")).unwrap()
}

/// Where a worker listens, by what Node's primary was told.
fn listens(node: &mut Peer, worker: u32) -> SocketAddr {
    let told = node.of(worker, "listening")[2].take();
    let host = told["address"].as_str().unwrap_or("127.0.0.1");
    reach(&format!("{host}:{}", told["port"]))
}

/// Exit code, signal and `exitedAfterDisconnect`.
fn end(node: &mut Peer, worker: u32) -> Value {
    let exit = node.of(worker, "exit");
    json!([exit[2], exit[3], exit[4]])
}

fn ask_udp(address: SocketAddr, text: &str) -> String {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(client_patience())).unwrap();
    client.send_to(text.as_bytes(), address).unwrap();
    let mut bytes = [0; 1000];
    let (length, from) = client.recv_from(&mut bytes).unwrap();
    assert_eq!(from, address);
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

#[test]
fn rust_workers_share_a_tcp_port_and_their_life_is_told_as_that_of_nodes_own() {
    for policy in POLICIES {
        let mut node = node(policy);
        let pids = serving(&mut node, 2, "127.0.0.1:0");
        let mut addresses = BTreeSet::new();
        for worker in [1, 2] {
            node.of(worker, "online");
            let mut told = node.of(worker, "listening")[2].take();
            let port = told["port"].take();
            assert!(port.as_u64().unwrap() > 0);
            assert_eq!(told, json!({"addressType": 4, "address": "127.0.0.1", "port": null}));
            addresses.insert(reach(&format!("127.0.0.1:{port}")));
        }
        assert_eq!(addresses.len(), 1, "one random port for both under {policy}");
        let address = *addresses.first().unwrap();
        let order: Vec<u32> = (0..10).map(|_| tcp::greet(address).unwrap().1).collect();
        assert!(order.iter().all(|pid| pids.contains(pid)));
        if policy == "rr" {
            // Who comes next after that depends on whose answer Node reads first.
            assert_ne!(order[0], order[1], "{order:?}");
        }
        node.tell(json!(["disconnect-all"]));
        for worker in [1, 2] {
            node.of(worker, "disconnect");
            assert_eq!(end(&mut node, worker), json!([0, null, true]), "under {policy}");
        }
        node.fact("disconnected");
        eventually("the port to be closed", || tcp::connect(address).is_err().then_some(()));
    }
}

#[test]
fn rust_workers_share_a_port_on_every_address() {
    for policy in POLICIES {
        let mut node = node(policy);
        let pids = serving(&mut node, 2, "0");
        let addresses = [listens(&mut node, 1), listens(&mut node, 2)];
        assert_eq!(addresses[0], addresses[1]);
        let served: BTreeSet<u32> = (0..4).map(|_| tcp::greet(addresses[0]).unwrap().1).collect();
        assert!(served.iter().all(|pid| pids.contains(pid)), "{served:?}");
        let v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, addresses[0].port()));
        assert!(pids.contains(&tcp::greet(v6).unwrap().1), "both families");
    }
}

#[test]
fn rust_workers_share_a_unix_socket() {
    for policy in POLICIES {
        let dir = TempDir::new();
        let path = dir.file("s.sock");
        let mut node = node(policy);
        let pids = serving(&mut node, 2, path.to_str().unwrap());
        for worker in [1, 2] {
            let told = node.of(worker, "listening")[2].take();
            let expected = json!({"addressType": -1, "address": path.to_str().unwrap(), "port": -1});
            assert_eq!(told, expected);
        }
        let served: BTreeSet<u32> = (0..6)
            .map(|_| {
                let stream = UnixStream::connect(&path).unwrap();
                stream.set_read_timeout(Some(client_patience())).unwrap();
                let mut line = String::new();
                BufReader::new(stream).read_line(&mut line).unwrap();
                tcp::pid_in(&line)
            })
            .collect();
        assert!(served.iter().all(|pid| pids.contains(pid)), "{served:?}");
        assert!(policy != "rr" || served.len() == 2, "{served:?}");
        node.tell(json!(["disconnect-all"]));
        node.of(1, "exit");
        node.of(2, "exit");
        eventually("the path to be gone", || (!path.exists()).then_some(()));
    }
}

#[test]
fn rust_workers_share_a_udp_port() {
    for policy in POLICIES {
        let mut node = node(policy);
        let pids = serving(&mut node, 2, "udp:127.0.0.1:0");
        let addresses = [listens(&mut node, 1), listens(&mut node, 2)];
        assert_eq!(addresses[0], addresses[1]);
        for n in 0..10 {
            let answer = ask_udp(addresses[0], &format!("ping {n}"));
            assert!(answer.starts_with(&format!("ping {n} from ")), "{answer}");
            assert!(pids.contains(&tcp::pid_in(&answer)));
        }
    }
}

#[test]
fn the_nth_random_port_is_the_same_in_rust_workers_and_in_no_others() {
    for policy in POLICIES {
        let mut node = node(policy);
        let mut ports = Vec::new();
        for worker in [1, 2] {
            puppet(&mut node);
            for _ in 0..2 {
                ports.push(node.ask(worker, json!(["listen", "127.0.0.1:0"]))[1].take());
            }
        }
        assert_eq!((&ports[0], &ports[1]), (&ports[2], &ports[3]), "under {policy}");
        assert_ne!(ports[0], ports[1]);
    }
}

#[test]
fn an_address_that_is_taken_is_refused_to_a_rust_worker_and_another_one_is_not() {
    for policy in POLICIES {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let stranger = taken.local_addr().unwrap().to_string();
        let own = format!("127.0.0.1:{}", place::free_port());
        let mut node = node(policy);
        puppet(&mut node);
        let in_use = json!(["listen", {"error": "AddrInUse"}]);
        assert_eq!(node.ask(1, json!(["listen", stranger])), in_use, "a stranger's, under {policy}");
        assert_eq!(node.ask(1, json!(["listen", own])), json!(["listen", own]));
        assert_eq!(node.ask(1, json!(["listen", own])), in_use, "its own, under {policy}");
        tcp::greet(own.parse().unwrap()).unwrap();
        drop(taken);
        assert_eq!(node.ask(1, json!(["listen", stranger])), json!(["listen", stranger]));
        tcp::greet(stranger.parse().unwrap()).unwrap();
    }
}

#[test]
fn messages_go_both_ways_between_node_and_a_rust_worker() {
    let mut node = node("rr");
    puppet(&mut node);
    let role = node.ask(1, json!(["role"]));
    assert_eq!(role, json!(["role", 1, ["no-script"]]), "the script's name is its first argument");
    for value in [json!(null), json!([1, "\u{e9}\n\u{2028}"]), json!({"a": {"b": []}}), json!(1e300)] {
        assert_eq!(node.ask(1, json!(["echo", value])), json!(["echo", value]));
    }
    node.tell(json!(["disconnect-all"]));
    assert_eq!(end(&mut node, 1), json!([0, null, true]));
}

/// A worker with a connection that it serves.
fn one_connection(node: &mut Peer) -> std::net::TcpStream {
    let pid = puppet(node);
    let address = node.ask(1, json!(["listen", "127.0.0.1:0"]))[1].take();
    let (stream, by) = tcp::greet(address.as_str().unwrap().parse().unwrap()).unwrap();
    assert_eq!(by, pid);
    stream
}

/// It is told to leave, and serves the connection to its end.
fn check_leaving(node: &mut Peer, mut stream: std::net::TcpStream) {
    let address = stream.peer_addr().unwrap();
    eventually("the port to be closed", || tcp::connect(address).is_err().then_some(()));
    assert!(tcp::ask(&mut stream, "still\n").unwrap().starts_with("still from "));
    assert!(node.facts.iter().all(|fact| fact[0] != "exit"), "{:?}", node.facts);
    drop(stream);
    node.of(1, "disconnect");
    assert_eq!(end(node, 1), json!([0, null, true]));
}

#[test]
fn told_to_leave_by_node_a_rust_worker_finishes_its_connections() {
    for policy in POLICIES {
        let mut node = node(policy);
        let stream = one_connection(&mut node);
        node.tell(json!(["disconnect", 1]));
        check_leaving(&mut node, stream);
    }
}

#[test]
fn a_rust_worker_that_leaves_by_itself_is_acknowledged_and_finishes_its_connections() {
    for policy in POLICIES {
        let mut node = node(policy);
        let stream = one_connection(&mut node);
        node.tell(json!(["send", 1, ["leave"]]));
        check_leaving(&mut node, stream);
    }
}

#[test]
fn a_rust_worker_that_closes_its_channel_is_gone_for_node() {
    let mut node = node("rr");
    puppet(&mut node);
    assert_eq!(node.ask(1, json!(["hang-up"])), json!(["last words"]));
    node.of(1, "disconnect");
    assert_eq!(end(&mut node, 1), json!([0, null, false]));
}

#[test]
fn rust_workers_leave_when_their_node_primary_is_killed() {
    for policy in POLICIES {
        let mut node = node(policy);
        let mut pids = serving(&mut node, 2, "127.0.0.1:0");
        listens(&mut node, 1);
        listens(&mut node, 2);
        pids.push(puppet(&mut node));
        let address = node.ask(3, json!(["listen", "127.0.0.1:0"]))[1].take();
        node.kill();
        for pid in pids {
            eventually("the worker to leave", || (!procfs::runs(pid)).then_some(()));
        }
        tcp::connect(address.as_str().unwrap().parse().unwrap()).expect_err("nobody listens");
    }
}

#[test]
fn rust_and_node_workers_share_one_port_under_node() {
    for policy in POLICIES {
        let port = place::free_port();
        let mut node = node(policy);
        let mut pids: BTreeSet<u32> =
            serving(&mut node, 2, &format!("127.0.0.1:{port}")).into_iter().collect();
        let script = place::fixture("interop/worker.js");
        for worker in [3, 4] {
            node.tell(json!(["fork", {}, script.to_str().unwrap()]));
            pids.insert(pid(&node.of(worker, "fork")));
            assert_eq!(node.ask(worker, json!(["listen", port])), json!(["listen", port]));
        }
        for worker in 1..=4 {
            assert_eq!(listens(&mut node, worker), SocketAddr::from(([127, 0, 0, 1], port)));
        }
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let served: BTreeSet<u32> = (0..8).map(|_| who(address)).collect();
        if policy == "rr" {
            assert_eq!(served, pids, "each serves");
        } else {
            assert!(served.is_subset(&pids));
        }
        node.tell(json!(["disconnect-all"]));
        for worker in 1..=4 {
            assert_eq!(end(&mut node, worker), json!([0, null, true]));
        }
    }
}

#[test]
fn a_rust_worker_under_advanced_serialization_says_why_it_cannot_work() {
    let mut node = node("rr");
    let env = json!({"ROLE": "serve", "ADDRESS": "127.0.0.1:0", "SETUP": r#"{"serialization":"advanced"}"#});
    node.tell(json!(["fork", env]));
    let said = node.fact("output")[1].take();
    assert_eq!(said, "cannot talk to primary: it insists on `advanced` serialization, not `json`");
    assert_eq!(end(&mut node, 1), json!([1, null, false]));
}

#[test]
fn what_a_rust_worker_starts_inherits_nothing_of_its_membership() {
    let mut node = node("rr");
    puppet(&mut node);
    let told = node.ask(1, json!(["grandchild"]));
    let of_the_channel: Vec<&str> = told[1]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .filter(|line| {
            line.starts_with("NODE_CHANNEL_")
                || line.starts_with("NODE_UNIQUE_ID")
                || line.starts_with("ONEPORT_SLOT")
        })
        .collect();
    assert!(of_the_channel.is_empty(), "{of_the_channel:?}");
    assert!(told[1].as_array().unwrap().contains(&json!("ROLE=puppet")));
}
