//! Connections of workers that do not get on with them: served by others, and never left hanging.

use std::net::SocketAddr;

use oneport::{Exit, Signal};

use crate::harness::{Test, connect, eventually, who, who_answers};

/// Stops a worker and waits until the kernel says so.
fn freeze(test: &Test, worker: u32) {
    test.worker(worker).kill(Signal::STOP).unwrap();
    let stat = format!("/proc/{}/stat", test.worker(worker).pid());
    eventually("the worker is stopped", || {
        let text = std::fs::read_to_string(&stat).unwrap();
        text.rsplit(") ").next().unwrap().starts_with('T')
    });
}

#[test]
fn clients_of_a_worker_that_was_stopped_and_then_killed_are_served_by_another() {
    let mut test = Test::forked(2, "puppet", |_| {});
    let address: SocketAddr = test.ask(1, "listen 127.0.0.1:0").parse().unwrap();
    test.ask(2, "listen 127.0.0.1:0");
    test.until("both are proven", |test| (test.count("proven") == 2).then_some(()));
    freeze(&test, 1);
    let clients: Vec<_> = (0..8).map(|_| connect(address)).collect();
    // Its share is what its credits allow; the others go round it.
    for _ in 0..8 {
        assert_eq!(who(address).0, 2);
    }
    test.worker(1).kill(Signal::KILL).unwrap();
    for client in clients {
        assert_eq!(who_answers(client).unwrap().0, 2);
    }
    assert_eq!(test.exit(1).0, Exit::Signal(9));
    assert_eq!(test.life(1), ["fork", "online", "listening", "disconnect", "exit"]);
    test.stop();
}

#[test]
fn clients_of_the_only_worker_wait_for_the_one_that_is_forked_in_its_place() {
    let mut test = Test::forked(1, "puppet", |_| {});
    let address: SocketAddr = test.ask(1, "listen 127.0.0.1:0").parse().unwrap();
    test.event(1, "listening");
    freeze(&test, 1);
    let clients: Vec<_> = (0..8).map(|_| connect(address)).collect();
    test.worker(1).kill(Signal::KILL).unwrap();
    test.exit(1);
    test.fork();
    assert_eq!(test.ask(2, "listen 127.0.0.1:0"), address.to_string());
    for client in clients {
        assert_eq!(who_answers(client).unwrap().0, 2);
    }
    test.stop();
}
