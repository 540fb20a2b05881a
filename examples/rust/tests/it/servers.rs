//! `axum` and `hyper`: alone, several behind one port, and replaced under load.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use oneport_e2e::http::Client;
use oneport_e2e::load::{Load, Style};
use oneport_e2e::wait::{eventually, throughout};
use oneport_e2e::{Run, Signal, http, tcp};

use crate::started::{connections, refused, start};

const AXUM: &str = env!("CARGO_BIN_EXE_axum");
const HYPER: &str = env!("CARGO_BIN_EXE_hyper");

/// Alone: an ordinary server.
pub(crate) fn serves_alone(program: &str) {
    let example = start(program);
    let address = example.address();
    for _ in 0..3 {
        assert_eq!(http::get(address, "/").pid(), example.pid());
    }
    assert!(example.children().is_empty());
    example.signal(Signal::INT);
    example.ended();
    eventually("nobody to listen there", || refused(address).then_some(()));
}

/// Two workers of it both answer.
pub(crate) fn both_serve(program: &str, policy: &str) {
    let app = Run::target([program]).instances(2).policy(policy).start();
    let address = app.serving(2);
    let workers: BTreeSet<u32> = app.workers().into_values().collect();
    // Where the kernel chooses, a worker that is busy accepting may get several in a row.
    let load = Load::start(address, "/", 4, Style::Close);
    for _ in 0..20 {
        load.wait_more(50);
    }
    let tally = load.stop();
    assert_eq!(tally.lost, [""; 0]);
    assert_eq!(tally.answered.keys().copied().collect::<BTreeSet<u32>>(), workers);
    app.stop();
}

/// Every worker is replaced while clients ask, and none of them notices.
pub(crate) fn reload_loses_nothing(program: &str, policy: &str, style: Style) {
    let app = Run::target([program]).instances(2).policy(policy).start();
    let address = app.serving(2);
    let before: BTreeSet<u32> = app.workers().into_values().collect();
    let load = Load::start(address, "/", 4, style);
    load.wait_more(100);
    app.signal(Signal::HUP);
    app.wait_for("the reload", |event| event.is("reloaded"));
    load.wait_more(100);
    let tally = load.stop();
    let after: BTreeSet<u32> = app.workers().into_values().collect();
    assert!(before.is_disjoint(&after), "{before:?} {after:?}");
    assert_eq!(tally.lost, [""; 0]);
    let answered: BTreeSet<u32> = tally.answered.keys().copied().collect();
    assert!(!answered.is_disjoint(&before) && !answered.is_disjoint(&after), "{answered:?}");
    app.stop();
}

/// A request of which the worker has the first half when it is told to leave is answered, and by that worker.
pub(crate) fn finishes_what_it_has_begun(program: &str) {
    let app = Run::target([program]).instances(1).start();
    let address = app.serving(1);
    let old = app.worker(0);
    let mut wire = tcp::connect(address).unwrap();
    let (first, second) = ("GET / HTTP/1.1\r\nHo", "st: test\r\n\r\n");
    wire.write_all(first.as_bytes()).unwrap();
    eventually("the first half to be read", || (connections(old, address.port()) == [0]).then_some(()));
    app.signal(Signal::HUP);
    app.wait_for("the old one to be told", |event| event.is("leaving") && event.of(old));
    assert_ne!(http::get(address, "/").pid(), old);
    // One that leaves in haste would not have it for so long.
    let holds = || connections(old, address.port()) == [0];
    throughout(Duration::from_millis(200), "the old one holds the connection", holds);
    wire.write_all(second.as_bytes()).unwrap();
    assert_eq!(Client::over(wire).receive().unwrap().pid(), old);
    app.wait_for("the old one to leave", |event| event.is("died") && event.of(old));
    app.stop();
}

#[test]
fn axum_serves_alone() {
    serves_alone(AXUM);
}

#[test]
fn hyper_serves_alone() {
    serves_alone(HYPER);
}

#[test]
fn both_axum_workers_serve_under_rr() {
    both_serve(AXUM, "rr");
}

#[test]
fn both_axum_workers_serve_under_shared() {
    both_serve(AXUM, "shared");
}

#[test]
fn both_hyper_workers_serve_under_rr() {
    both_serve(HYPER, "rr");
}

#[test]
fn both_hyper_workers_serve_under_shared() {
    both_serve(HYPER, "shared");
}

#[test]
fn axum_workers_are_replaced_under_load_without_a_loss() {
    reload_loses_nothing(AXUM, "rr", Style::Close);
}

#[test]
fn axum_workers_are_replaced_under_load_on_kept_connections_without_a_loss() {
    reload_loses_nothing(AXUM, "rr", Style::KeepAlive);
}

#[test]
fn hyper_workers_are_replaced_under_load_without_a_loss() {
    reload_loses_nothing(HYPER, "rr", Style::Close);
}

#[test]
fn hyper_workers_are_replaced_under_load_on_kept_connections_without_a_loss() {
    reload_loses_nothing(HYPER, "rr", Style::KeepAlive);
}

#[test]
fn axum_finishes_a_request_that_has_begun() {
    finishes_what_it_has_begun(AXUM);
}

#[test]
fn hyper_finishes_a_request_that_has_begun() {
    finishes_what_it_has_begun(HYPER);
}
