//! The stream of events: taken in any way, or not at all, by an owner who holds both ends or one.

use std::pin::Pin;
use std::time::Instant;

use futures_core::Stream;
use oneport::{Cluster, Event, Exit, Worker};

use crate::harness::{Facts, PATIENCE, Test, Watched, eventually, finish, programs, runtime, settings, who};

programs! { chatter, chatter_without_line }

const CHATTER: u32 = 6_000;
/// What may wait in a worker, in bytes.
const FULL: usize = 16 << 20;

/// Sends numbers, and tells when that cannot go on, and when it is done.
async fn chatter() {
    let facts = Facts::open();
    talk(|| facts.tell("full")).await;
    facts.tell("done");
}

async fn chatter_without_line() {
    talk(|| {}).await;
}

/// Sends all numbers however long that takes; says so when there is no room for the first time.
async fn talk(full: impl FnOnce()) {
    let channel = oneport::channel().unwrap().unwrap();
    let mut full = Some(full);
    // All in all more than may wait in this process and on the way.
    let padding = "x".repeat(4000);
    for number in 0..CHATTER {
        while let Err(error) = channel.send(&(number, &padding)) {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            if let Some(full) = full.take() {
                full();
            }
            assert!(channel.waiting() >= FULL);
            channel.drained().await;
            assert_eq!(channel.waiting(), 0);
        }
    }
    channel.disconnect();
    channel.disconnected().await;
}

#[test]
fn events_not_taken_slow_the_worker_that_causes_them_and_none_is_lost() {
    let mut test = Test::forked(1, "chatter", |_| {});
    assert_eq!(test.fact(1), "full");
    // What is not kept for the owner waits where it came from.
    let deadline = Instant::now() + PATIENCE;
    let mut next = 0;
    while next < CHATTER {
        if let Some(Event::Message { message, .. }) = test.next("a message", deadline) {
            assert_eq!(message.parse::<(u32, String)>().unwrap().0, next);
            next += 1;
        }
    }
    assert_eq!(test.fact(1), "done");
    assert_eq!(test.exit(1).0, Exit::Code(0));
    test.stop();
}

#[test]
fn a_worker_that_talks_too_much_does_not_slow_another() {
    let mut test = Test::new("chatter", |_| {});
    test.fork();
    assert_eq!(test.fact(1), "full");
    let mut second = test.cluster.settings();
    second.env.push((crate::harness::PROGRAM.into(), "puppet".into()));
    test.cluster.setup_primary(second).unwrap();
    // The fork's event comes behind at most what is kept.
    test.fork();
    let address = test.ask(2, "listen 127.0.0.1:0").parse().unwrap();
    assert_eq!(who(address), (2, -1));
    assert_eq!(test.ask(2, "send 1"), "sent");
    test.event(2, "message");
    test.stop();
}

#[test]
fn without_its_events_a_cluster_goes_on_and_hears_nobody() {
    let (cluster, events) = Cluster::start(settings("chatter_without_line")).unwrap();
    drop(events);
    // Nobody takes its messages, and it comes to its end all the same.
    let worker = cluster.fork(&[("A", "b")]).unwrap();
    let process = Watched::new(worker.pid());
    process.ended();
    eventually("it is gone", || cluster.workers().is_empty());
    assert!(worker.is_dead());

    let mut puppets = cluster.settings();
    puppets.env.push((crate::harness::PROGRAM.into(), "serve".into()));
    cluster.setup_primary(puppets).unwrap();
    let worker = cluster.fork(&[("A", "b")]).unwrap();
    eventually("it listens", || !worker.addresses().is_empty());
    assert_eq!(who(worker.addresses()[0].socket.unwrap()), (2, -1));
    let process = Watched::new(worker.pid());
    finish(&runtime(), "the disconnect", cluster.disconnect().unwrap());
    process.ended();
    let worker = cluster.fork(&[("A", "b")]).unwrap();
    let process = Watched::new(worker.pid());
    drop(cluster);
    // A handle on a worker keeps nothing alive.
    process.ended();
    eventually("it is dead", || worker.is_dead());
}

#[test]
fn events_alone_keep_a_cluster_going() {
    let (cluster, mut events) = Cluster::start(settings("serve")).unwrap();
    let worker = cluster.fork(&[("A", "b")]).unwrap();
    drop(cluster);
    let runtime = runtime();
    let mut next = |what: &str, fits: &dyn Fn(&Event) -> bool| {
        finish(&runtime, what, async { while !fits(&events.recv().await.unwrap()) {} });
    };
    next("listening", &|event| matches!(event, Event::Listening { .. }));
    assert_eq!(who(worker.addresses()[0].socket.unwrap()), (1, -1));
    // The worker's handle is as good as before.
    worker.disconnect().unwrap();
    next("the exit", &|event| matches!(event, Event::Exit { exit: Exit::Code(0), .. }));
    assert!(worker.is_dead());
}

#[test]
fn with_both_dropped_workers_end_at_once() {
    let (cluster, events) = Cluster::start(settings("puppet")).unwrap();
    let workers: Vec<Worker> = (0..3).map(|_| cluster.fork(&[("A", "b")]).unwrap()).collect();
    let processes: Vec<Watched> = workers.iter().map(|worker| Watched::new(worker.pid())).collect();
    let other = cluster.clone();
    drop(cluster);
    drop(events);
    assert_eq!(other.workers(), workers);
    drop(other);
    for process in processes {
        process.ended();
    }
}

#[test]
fn events_can_be_taken_as_a_stream_blocking_or_not_at_all() {
    let (cluster, mut events) = Cluster::start(settings("nothing")).unwrap();
    // The first is there already.
    assert!(matches!(events.try_recv(), Ok(Event::Setup { .. })));
    assert_eq!(events.try_recv().unwrap_err(), oneport::TryRecvError::Empty);
    cluster.fork(&[("A", "b")]).unwrap();
    assert!(matches!(events.blocking_recv(), Some(Event::Fork { .. })));
    cluster.stop().unwrap();
    let mut rest = Vec::new();
    finish(&runtime(), "the end", async {
        while let Some(event) = std::future::poll_fn(|cx| Pin::new(&mut events).poll_next(cx)).await {
            rest.push(event);
        }
    });
    assert!(matches!(rest.last(), Some(Event::Stopped)), "{rest:?}");
    assert!(rest.iter().any(|event| matches!(event, Event::Exit { .. })), "{rest:?}");
}
