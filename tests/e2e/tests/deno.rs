//! Deno in the place of Node: it speaks the same protocol under `rr`. Run by `cargo xtask compat --deno`.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;

use oneport_e2e::http::Client;
use oneport_e2e::{App, Run, Signal, TempDir, http, place};

fn deno(dir: &TempDir) -> App {
    let deno = std::env::var_os("ONEPORT_DENO").expect("ONEPORT_DENO names the deno binary");
    // Deno takes a .js file for a module; the servers are CommonJS.
    let script = dir.write("app.cjs", &std::fs::read_to_string(place::fixture("app.js")).unwrap());
    let run = Run::path(script).instances(2).policy("rr");
    run.args(["--interpreter".into(), deno, "--node-args".into(), "run -A".into()]).start()
}

#[test]
fn deno_serves_in_rotation_and_stops() {
    let dir = TempDir::new();
    let app = deno(&dir);
    let address = app.serving(2);
    let order: Vec<u32> = (0..8).map(|_| http::get(address, "/").pid()).collect();
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 2, "{order:?}");
    app.stop();
}

#[test]
fn deno_answers_what_is_in_flight_when_it_stops() {
    let dir = TempDir::new();
    let app = deno(&dir);
    let address = app.serving(2);
    let mut slow = Client::connect(address).unwrap();
    slow.send("/slow?ms=400", "Connection: close\r\n").unwrap();
    http::get(address, "/");
    app.signal(Signal::TERM);
    assert_eq!(slow.receive().expect("answered").status, 200);
    assert_eq!(app.ended().code(), 0);
}

#[test]
fn deno_is_reloaded() {
    let dir = TempDir::new();
    let app = deno(&dir);
    let address = app.serving(2);
    let old: BTreeSet<u32> = app.workers().into_values().collect();
    app.signal(Signal::HUP);
    app.wait_for("the reload to be done", |event| event.is("reloaded"));
    let new: BTreeSet<u32> = app.workers().into_values().collect();
    assert!(old.is_disjoint(&new));
    assert!(new.contains(&http::get(address, "/").pid()));
    app.stop();
}
