//! Deno beside Node and Rust under a Rust primary. Run by `cargo xtask compat --deno`.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use oneport::{Exit, Policy, Worker};
use oneport_e2e::cluster::{Rust, who};
use oneport_e2e::{TempDir, place};
use serde_json::json;

fn fork_deno(rust: &Rust, dir: &TempDir) -> Worker {
    let deno: PathBuf = std::env::var_os("ONEPORT_DENO").expect("ONEPORT_DENO names the deno binary").into();
    // Deno takes a .js file for a module; the scripts are CommonJS.
    for name in ["worker", "sockets"] {
        let text = std::fs::read_to_string(place::fixture(&format!("interop/{name}.js"))).unwrap();
        dir.write(&format!("{name}.cjs"), &text.replace("./sockets.js", "./sockets.cjs"));
    }
    rust.fork_deno(&deno, &dir.file("worker.cjs"))
}

#[test]
fn deno_node_and_rust_workers_serve_side_by_side_on_one_port() {
    let dir = TempDir::new();
    let port = place::free_port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut rust = Rust::primary(Policy::RoundRobin);
    let scripts = [fork_deno(&rust, &dir), rust.fork_node()];
    for worker in &scripts {
        assert_eq!(rust.ask(worker, json!(["listen", port])), json!(["listen", port]));
        rust.serves(worker);
    }
    let worker = rust.fork_rust();
    assert_eq!(rust.ask(&worker, json!(["listen", address])), json!(["listen", address]));
    rust.serves(&worker);
    let pids: BTreeSet<i32> = scripts.iter().chain([&worker]).map(Worker::pid).collect();
    let served: BTreeSet<i32> = (0..9).map(|_| i32::try_from(who(address)).unwrap()).collect();
    assert_eq!(served, pids);
    rust.disconnect();
    for worker in 1..=3 {
        assert_eq!(rust.exit(worker), Exit::Code(0));
    }
}

#[test]
fn every_value_goes_from_a_rust_primary_to_a_deno_worker_and_back() {
    let dir = TempDir::new();
    let mut rust = Rust::primary(Policy::RoundRobin);
    let deno = fork_deno(&rust, &dir);
    let values = [
        json!(null),
        json!(-0.5),
        json!("\u{e9}\u{20ac}\u{1F980} \"\\ \n\r\u{2028}\u{0}"),
        json!({"\u{e9}": [[], {}, [null, true]]}),
        json!("\u{e9}x".repeat(270_000)),
    ];
    for value in values {
        let told = rust.ask(&deno, json!(["echo", value]));
        assert!(told == json!(["echo", value]), "{:.200}", value.to_string());
    }
}
