//! `Cluster::disconnect`: everybody leaves, the primary lives on.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use oneport::{EndCause, Event, Exit, Policy, Signal};

use crate::harness::{Test, eventually, programs, who};

programs! { serve_two }

/// Two listeners until it is to leave.
async fn serve_two() {
    let first = oneport::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second = oneport::TcpListener::bind("127.0.0.1:0").await.unwrap();
    tokio::join!(crate::puppet::answer(first), crate::puppet::answer(second));
}

#[test]
fn without_workers_a_disconnect_is_done_at_once() {
    let mut test = Test::new("serve", |_| {});
    let done = test.cluster.disconnect().unwrap();
    test.finish("the disconnect", done);
    test.until("its event", |test| (test.count("disconnected") == 1).then_some(()));
    test.stop();
}

#[test]
fn eight_workers_with_two_ports_each_all_leave() {
    let mut test = Test::forked(8, "serve_two", |_| {});
    test.until("everybody listens twice", |test| (test.count("listening") == 16).then_some(()));
    let mut ports: Vec<SocketAddr> = test.worker(1).addresses().iter().filter_map(|a| a.socket).collect();
    ports.sort();
    assert_eq!(ports.len(), 2);
    for address in &ports {
        let mut answers: Vec<u32> = (0..8).map(|_| who(*address).0).collect();
        answers.sort();
        assert_eq!(answers, [1, 2, 3, 4, 5, 6, 7, 8]);
    }
    let done = test.cluster.disconnect().unwrap();
    test.finish("the disconnect", done);
    test.until("its event", |test| (test.count("disconnected") == 1).then_some(()));
    for worker in 1..=8 {
        assert_eq!(test.exit(worker), (Exit::Code(0), EndCause::Asked));
        let life = test.life(worker);
        assert_eq!(life, ["fork", "online", "listening", "listening", "disconnect", "exit"]);
    }
    assert!(test.cluster.workers().is_empty());
    for address in ports {
        eventually("the port is free", || std::net::TcpListener::bind(address).is_ok());
    }
    test.stop();
}

#[test]
fn a_disconnect_is_done_when_the_last_worker_is_gone() {
    let mut test = Test::forked(2, "puppet", |_| {});
    for worker in [1, 2] {
        test.ask(worker, "listen 127.0.0.1:0");
        test.ask(worker, "mind");
    }
    let mut done = pin!(test.cluster.disconnect().unwrap());
    for worker in [1, 2] {
        assert_eq!(test.fact(worker), "to leave");
    }
    test.tell(1, "exit 0");
    test.exit(1);
    let now = async { tokio::time::timeout(Duration::ZERO, done.as_mut()).await };
    assert!(test.finish("a look", now).is_err(), "it was done while a worker lived");
    assert_eq!(test.count("disconnected"), 0);
    let living: Vec<u32> = test.cluster.workers().iter().map(|worker| worker.id().0).collect();
    assert_eq!(living, [2]);
    test.tell(2, "exit 0");
    test.finish("the disconnect", done);
    test.exit(2);
    test.stop();
}

#[test]
fn nobody_is_forked_while_everybody_leaves_and_afterwards_all_begins_anew() {
    let mut test = Test::forked(1, "puppet", |_| {});
    test.ask(1, "listen 127.0.0.1:0");
    test.ask(1, "mind");
    let done = test.cluster.disconnect().unwrap();
    assert_eq!(test.fact(1), "to leave");
    let refused = test.cluster.fork(&[("A", "b")]).unwrap_err();
    assert_eq!(refused.to_string(), "cannot start worker: everything is being ended");
    test.cluster.scale(3).unwrap();
    test.tell(1, "exit 0");
    test.finish("the disconnect", done);
    assert_eq!(test.cluster.workers().len(), 0);

    let worker = test.fork();
    assert_eq!(worker.id().0, 2);
    let address = test.ask(2, "listen 127.0.0.1:0").parse().unwrap();
    assert_eq!(who(address), (2, -1));
    assert_eq!(test.count("fork"), 2);
    test.stop();
}

#[test]
fn supervised_workers_are_not_replaced_once_everybody_leaves() {
    let mut test = Test::supervised(2, "serve", |_| {});
    test.listening(2);
    let done = test.cluster.disconnect().unwrap();
    test.finish("the disconnect", done);
    test.until("its event", |test| (test.count("disconnected") == 1).then_some(()));
    assert_eq!(test.count("fork"), 2);
    test.cluster.scale(1).unwrap();
    let successor = test.event(3, "listening");
    assert_eq!(who(successor.address.unwrap().socket.unwrap()), (3, 0));
    test.stop();
}

#[test]
fn idle_workers_leave_too() {
    let mut test = Test::forked(2, "puppet", |_| {});
    test.ask(1, "online");
    test.event(1, "online");
    let done = test.cluster.disconnect().unwrap();
    // The second was never heard of.
    test.finish("the disconnect", done);
    assert!(test.cluster.workers().is_empty());
    assert_eq!(test.exit(1), (Exit::Signal(15), EndCause::Asked));
    assert_eq!(test.exit(2), (Exit::Signal(15), EndCause::Asked));
    test.stop();
}

#[test]
fn a_disconnect_right_after_a_fork_leaves_nothing_behind() {
    for policy in [Policy::RoundRobin, Policy::Shared] {
        let test = Test::new("serve", |settings| settings.conduct.policy = policy);
        let worker = test.cluster.fork(&[("A", "b")]).unwrap();
        let done = test.cluster.disconnect().unwrap();
        test.finish("the disconnect", done);
        assert!(worker.is_dead() && test.cluster.workers().is_empty());
        assert_eq!(worker.exited_after_disconnect(), Some(true));
        test.stop();
    }
}

#[test]
fn a_disconnect_may_be_asked_for_when_a_worker_disconnects() {
    let mut test = Test::forked(2, "serve", |_| {});
    test.until("both listen", |test| (test.count("listening") == 2).then_some(()));
    test.worker(1).disconnect().unwrap();
    let cluster = test.cluster.clone();
    let done = test.wait("a disconnect", |event| match event {
        Event::Disconnect { .. } => Some(cluster.disconnect().unwrap()),
        _ => None,
    });
    test.finish("the disconnect", done);
    for worker in [1, 2] {
        assert_eq!(test.exit(worker), (Exit::Code(0), EndCause::Asked));
    }
    test.stop();
}

#[test]
fn many_workers_leave_and_are_ended_all_at_once() {
    let mut test = Test::forked(12, "serve", |_| {});
    test.until("some listen", |test| (test.count("listening") >= 6).then_some(()));
    for worker in test.workers.values() {
        match worker.id().0 % 4 {
            0 => worker.disconnect().unwrap(),
            1 => worker.end_now().unwrap(),
            2 => worker.kill(Signal::TERM).unwrap(),
            _ => {
                worker.disconnect().unwrap();
                worker.end_now().unwrap();
            }
        }
        // Too late for some of them.
        let _ = worker.send(&"farewell");
    }
    let (done, again) = (test.cluster.disconnect().unwrap(), test.cluster.disconnect().unwrap());
    test.finish("the disconnect", done);
    test.finish("the other disconnect", again);
    test.until("its event", |test| (test.count("disconnected") == 1).then_some(()));
    for worker in 1..=12 {
        let life = test.life(worker);
        assert_eq!(life.iter().filter(|name| **name == "disconnect").count(), 1, "{life:?}");
        assert_eq!(life.iter().filter(|name| **name == "exit").count(), 1, "{life:?}");
        assert_eq!(life.last(), Some(&"exit"), "{life:?}");
    }
    test.stop();
}

#[test]
fn workers_that_are_replaced_scaled_away_or_stopped_have_left_after_a_disconnect() {
    let mut test = Test::supervised(2, "serve", |_| {});
    test.listening(2);
    test.cluster.reload().unwrap();
    test.until("the reload", |test| (test.count("reload-done") == 1).then_some(()));
    test.cluster.scale(1).unwrap();
    for worker in [1, 2, 4] {
        assert_eq!(test.exit(worker), (Exit::Code(0), EndCause::Asked));
    }
    test.cluster.stop().unwrap();
    assert_eq!(test.exit(3), (Exit::Code(0), EndCause::Asked));
    for worker in test.workers.values() {
        assert_eq!(worker.exited_after_disconnect(), Some(true), "{worker:?}");
    }
}

#[test]
fn a_stop_during_a_disconnect_ends_the_primary_too() {
    let mut test = Test::forked(1, "puppet", |_| {});
    test.ask(1, "listen 127.0.0.1:0");
    test.ask(1, "mind");
    let done = test.cluster.disconnect().unwrap();
    assert_eq!(test.fact(1), "to leave");
    test.cluster.stop().unwrap();
    test.tell(1, "exit 0");
    test.finish("the disconnect", done);
    test.until("the stop", |test| (test.count("stopped") == 1).then_some(()));
    assert_eq!(test.count("disconnected"), 0);
}
