//! What the primary refuses, and says so: programs that cannot be started, orders that come too late, more messages
//! and handles than a worker takes.

use std::collections::BTreeMap;
use std::net::UdpSocket;

use oneport::{EndCause, Exit, Signal, State};

use crate::harness::{Test, eventually};

#[test]
fn a_program_that_cannot_be_started_is_a_worker_that_fails_and_exits() {
    let mut test = Test::new("puppet", |_| {});
    let right = test.cluster.settings();
    let mut wrong = right.clone();
    wrong.exec = "/nonexistent/program".into();
    test.cluster.setup_primary(wrong).unwrap();
    let worker = test.cluster.fork(&[("A", "b")]).unwrap();
    assert_eq!(test.exit(1), (Exit::NotSpawned, EndCause::ByItself));
    assert_eq!(test.life(1), ["fork", "error", "exit"]);
    assert_eq!((worker.pid(), worker.state()), (0, State::Dead));
    assert!(worker.is_dead() && !worker.is_connected());
    assert_eq!(worker.exited_after_disconnect(), Some(false));
    worker.send(&1).unwrap_err();
    worker.kill(Signal::TERM).unwrap();

    // Its number is spent.
    test.cluster.setup_primary(right).unwrap();
    assert_eq!(test.fork().id().0, 2);
    test.ask(2, "online");
    assert_eq!(test.cluster.worker(oneport::WorkerId(1)), None);
    test.stop();
}

#[test]
fn numbers_of_workers_are_never_used_again() {
    let mut test = Test::new("puppet", |_| {});
    for number in 1..=4 {
        assert_eq!(test.fork().id().0, number);
        test.tell(number, "exit 1");
        test.exit(number);
    }
    let done = test.cluster.disconnect().unwrap();
    test.finish("the disconnect", done);
    assert_eq!(test.fork().id().0, 5);
    test.stop();
}

#[test]
fn once_the_primary_has_ended_every_order_is_refused() {
    let mut test = Test::forked(1, "puppet", |_| {});
    let (cluster, worker) = (test.cluster.clone(), test.worker(1).clone());
    cluster.stop().unwrap();
    test.until("the stop", |test| (test.count("stopped") == 1).then_some(()));
    // Nothing follows.
    assert!(test.next("the end", std::time::Instant::now() + crate::harness::PATIENCE).is_none());
    let refused = [
        cluster.setup_primary(cluster.settings()).unwrap_err(),
        cluster.fork(&[("A", "b")]).unwrap_err(),
        cluster.disconnect().map(drop).unwrap_err(),
        cluster.scale(1).unwrap_err(),
        cluster.reload().unwrap_err(),
        cluster.stop().unwrap_err(),
        cluster.stop_now().unwrap_err(),
        worker.disconnect().unwrap_err(),
        worker.kill(Signal::TERM).unwrap_err(),
        worker.end_now().unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.to_string(), "cannot reach primary: it has ended");
        assert!(error.io_error().is_none());
    }
    let error = worker.send(&1).unwrap_err();
    assert_eq!(error.to_string(), "cannot send to worker 1: its channel is closed");
}

#[test]
fn nothing_is_sent_to_a_worker_whose_channel_is_closed() {
    let mut test = Test::forked(1, "puppet", |_| {});
    test.ask(1, "disconnect");
    test.event(1, "disconnect");
    let worker = test.worker(1);
    let error = worker.send(&"too late").unwrap_err();
    assert_eq!(error.to_string(), "cannot send to worker 1: its channel is closed");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    worker.send_handle(&"too late", socket).unwrap_err();
    assert_eq!((worker.waiting(), test.count("error")), (0, 0));
    test.stop();
}

#[test]
fn what_is_no_json_is_refused_at_once() {
    let mut test = Test::forked(1, "puppet", |_| {});
    let worker = test.worker(1).clone();
    let error = worker.send(&BTreeMap::from([((1, 2), 3)])).unwrap_err();
    assert!(error.to_string().starts_with("cannot spell message: "), "{error}");
    assert_eq!(error.io_error().unwrap().kind(), std::io::ErrorKind::InvalidInput);
    for text in ["", "{", "nonsense", "1 2", "{}\n{}"] {
        let error = worker.send_json(text).unwrap_err();
        assert_eq!(error.to_string(), "cannot send to worker 1: it is not JSON");
    }
    let long = format!("\"{}\"", "x".repeat(16 << 20));
    let error = worker.send_json(long).unwrap_err();
    assert_eq!(error.to_string(), "cannot send to worker 1: it is longer than 16 MiB");
    assert_eq!(worker.waiting(), 0);
    worker.send_json("[1,\n2]").unwrap();
    let message = test.ask(1, "receive");
    assert_eq!(message.split_whitespace().collect::<String>(), "[1,2]");
    test.stop();
}

#[test]
fn sixteen_mebibytes_wait_for_a_worker_that_does_not_read_and_no_more() {
    let mut test = Test::forked(1, "puppet", |_| {});
    let worker = test.worker(1).clone();
    let mebibyte = "x".repeat(1 << 20);
    let refused = (0..40).find_map(|_| worker.send(&mebibyte).err()).expect("a bound");
    assert_eq!(refused.to_string(), "cannot send to worker 1: 16 MiB wait already, and it does not read");
    assert!((16 << 20..18 << 20).contains(&worker.waiting()), "{}", worker.waiting());
    // It reads, and everything goes on.
    test.ask(1, "online");
    eventually("everything is read", || worker.waiting() == 0);
    worker.send(&"more").unwrap();
    assert_eq!(test.ask(1, "receive").len(), mebibyte.len() + 2);
    assert_eq!(test.count("error"), 0);
    test.stop();
}

#[test]
fn what_waits_for_a_worker_that_dies_is_told_as_lost() {
    let mut test = Test::forked(1, "puppet", |_| {});
    let worker = test.worker(1).clone();
    let mebibyte = "x".repeat(1 << 20);
    for _ in 0..8 {
        worker.send(&mebibyte).unwrap();
    }
    worker.kill(Signal::KILL).unwrap();
    test.exit(1);
    assert_eq!(test.life(1), ["fork", "disconnect", "error", "exit"]);
    worker.send(&1).unwrap_err();
    test.stop();
}

#[test]
fn two_hundred_and_fifty_six_handles_may_be_on_their_way_and_no_more() {
    let mut test = Test::forked(1, "puppet", |_| {});
    let worker = test.worker(1).clone();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = || worker.send_handle(&"a handle", socket.try_clone().unwrap());
    for _ in 0..256 {
        send().unwrap();
    }
    assert_eq!(
        send().unwrap_err().to_string(),
        "cannot send to worker 1: 256 handles wait for its confirmation already"
    );
    // Messages have a bound of their own.
    worker.send(&"a message").unwrap();
    // It reads, confirms, and there is room again.
    test.ask(1, "online");
    eventually("there is room", || send().is_ok());
    assert_eq!(test.ask(1, "receive"), "\"a handle\"");
    test.stop();
}
