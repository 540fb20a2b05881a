//! `graceful_shutdown`: what has begun is finished, whoever says that it is time.

use std::collections::BTreeSet;

use oneport_e2e::http::Client;
use oneport_e2e::wait::eventually;
use oneport_e2e::{Run, Signal, http, procfs};

use crate::started::{Started, refused, start, start_with};

const PROGRAM: &str = env!("CARGO_BIN_EXE_graceful_shutdown");
const SLOW: &str = "/slow/700";

fn begin_something_slow(address: std::net::SocketAddr) -> Client {
    let mut client = Client::connect(address).unwrap();
    client.send(SLOW, "").unwrap();
    client
}

fn own_primary(workers: usize) -> (Started, std::net::SocketAddr, BTreeSet<u32>) {
    let example = start_with(PROGRAM, &["0"], &[("WORKERS", &workers.to_string())]);
    example.wait_times(" listens on ", workers);
    let (address, children) = (example.address(), example.children());
    assert_eq!(children.len(), workers);
    (example, address, children)
}

#[test]
fn alone_ctrl_c_lets_a_slow_request_finish() {
    for signal in [Signal::INT, Signal::TERM] {
        let example = start(PROGRAM);
        let address = example.address();
        let mut client = begin_something_slow(address);
        example.wait_times("begins something slow", 1);
        example.signal(signal);
        eventually("no further connection", || refused(address).then_some(()));
        assert_eq!(client.receive().unwrap().pid(), example.pid());
        let (said, status) = example.ended();
        assert!(status.success(), "{status}");
        assert!(said.ends_with("leaves\n"), "{said}");
    }
}

#[test]
fn under_oneport_a_stop_lets_a_slow_request_finish() {
    let app = Run::target([PROGRAM]).instances(2).start();
    let mut client = begin_something_slow(app.serving(2));
    app.wait_out("begins something slow");
    app.signal(Signal::TERM);
    app.wait_out_times("finishes what it has", 2);
    assert_eq!(client.receive().unwrap().status, 200);
    let left = app.ended();
    assert_eq!((left.code(), left.out().matches("leaves\n").count()), (0, 2), "{}", left.out());
}

#[test]
fn under_oneport_a_reload_lets_a_slow_request_finish_while_others_serve() {
    let app = Run::target([PROGRAM]).instances(1).start();
    let address = app.serving(1);
    let old = app.worker(0);
    let mut client = begin_something_slow(address);
    app.wait_out("begins something slow");
    app.signal(Signal::HUP);
    app.wait_out("finishes what it has");
    assert_ne!(http::get(address, "/").pid(), old);
    assert_eq!(client.receive().unwrap().pid(), old);
    app.wait_for("the old one to leave", |event| event.is("died") && event.of(old));
    app.stop();
}

#[test]
fn as_its_own_primary_it_stops_in_order() {
    for signal in [Signal::INT, Signal::TERM] {
        let (example, address, workers) = own_primary(2);
        let mut client = begin_something_slow(address);
        example.wait_times("begins something slow", 1);
        example.signal(signal);
        assert!(workers.contains(&client.receive().unwrap().pid()));
        let (said, status) = example.ended();
        assert!(status.success(), "{status}\n{said}");
        assert_eq!(said.matches("leaves\n").count(), 2, "{said}");
        assert!(refused(address));
    }
}

#[test]
fn as_its_own_primary_it_replaces_its_workers_and_those_that_crash() {
    let (example, address, old) = own_primary(2);
    // A reload asks for workers that have proven themselves, which those that replace them do in a second each.
    example.signal(Signal::HUP);
    example.wait_times("2 workers replaced", 1);
    let new = eventually("the old ones to leave", || {
        let new = example.children();
        (new.len() == 2).then_some(new)
    });
    assert!(new.is_disjoint(&old), "{new:?} {old:?}");
    let victim = *new.first().unwrap();
    procfs::signal(victim, Signal::KILL);
    example.wait_times(" listens on ", 5);
    assert_ne!(http::get(address, "/").pid(), victim);
    example.signal(Signal::TERM);
    assert!(example.ended().1.success());
}
