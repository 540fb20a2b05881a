//! `hello_cluster`: Node's lines, Node's answers, and a worker that dies.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::available_parallelism;

use oneport_e2e::wait::eventually;
use oneport_e2e::{Run, Signal, procfs};

use crate::started::{Started, get, start_with};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hello_cluster");

fn workers_said(text: &str) -> BTreeSet<u32> {
    let numbers = text.lines().filter_map(|line| line.strip_prefix("Worker ")?.strip_suffix(" started"));
    numbers.map(|number| number.parse().unwrap()).collect()
}

/// Started, with all of its workers listening.
fn started() -> (Started, SocketAddr, BTreeSet<u32>) {
    let count = available_parallelism().unwrap().get();
    let example = start_with(PROGRAM, &["0"], &[]);
    let workers = example.wait("a line of each worker", |text| {
        let workers = workers_said(text);
        (workers.len() == count).then_some(workers)
    });
    let ports = procfs::listens_on(example.pid());
    assert_eq!(ports.len(), 1, "the primary holds one socket, whatever the number of workers");
    (example, (Ipv4Addr::LOCALHOST, *ports.first().unwrap()).into(), workers)
}

#[test]
fn says_what_nodes_example_says_and_a_killed_worker_leaves_the_others_serving() {
    let (example, address, workers) = started();
    assert_eq!(workers, example.children());
    for _ in 0..2 * workers.len() {
        assert_eq!(get(address, "/"), "hello world\n");
    }

    let victim = *workers.first().unwrap();
    procfs::signal(victim, Signal::KILL);
    example.wait_times(&format!("worker {victim} died\n"), 1);
    if workers.len() > 1 {
        for _ in 0..2 * workers.len() {
            assert_eq!(get(address, "/"), "hello world\n");
        }
    }

    // With the last of them the primary has nothing left to do.
    let primary = example.pid();
    for worker in workers.iter().filter(|worker| **worker != victim) {
        procfs::signal(*worker, Signal::TERM);
    }
    let (said, status) = example.ended();
    assert!(status.success(), "{status}");
    let mut lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.remove(0), format!("Primary {primary} is running"));
    let mut expected: Vec<String> = workers.iter().map(|worker| format!("Worker {worker} started")).collect();
    expected.extend(workers.iter().map(|worker| format!("worker {worker} died")));
    expected.sort();
    lines.sort();
    assert_eq!(lines, expected);
}

#[test]
fn workers_do_not_outlive_a_primary_that_crashes() {
    let (mut example, address, _) = started();
    assert_eq!(get(address, "/"), "hello world\n");
    example.crash();
    eventually("the port to be free", || std::net::TcpListener::bind(address).ok());
}

#[test]
fn under_oneport_it_runs_as_a_worker_only() {
    let app = Run::target([PROGRAM]).instances(2).start();
    let address = app.serving(2);
    app.wait_out_times(" started\n", 2);
    assert_eq!(workers_said(&app.out()), app.workers().into_values().collect());
    for _ in 0..4 {
        assert_eq!(get(address, "/"), "hello world\n");
    }
    assert!(!app.stop().out().contains("Primary"));
}
