//! Who gets a connection, and what becomes of one that its worker does not take, in every way in which they come.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use oneport::{EndCause, Exit, Signal, TcpListener};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::io::AsyncWriteExt;

use crate::harness::{Test, connect, programs, who};
use crate::listening_ways::{Crowd, Way, greet, in_every_way, in_ways, open_port, until_seen};

programs! { wants_nothing, waits_for_one_client, takes_its_socket_out }

/// Has its channel, and comes to its end.
async fn wants_nothing() {
    oneport::worker().unwrap();
}

/// Comes to its end when it has served one client, with nothing else to wait for.
async fn waits_for_one_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(b"1 0\n").await.unwrap();
}

/// Accepts on a thread, from the socket itself.
async fn takes_its_socket_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = listener.into_std().unwrap();
    let number = oneport::worker().unwrap().id().0;
    std::thread::spawn(move || {
        while poll(&mut [PollFd::new(&socket, PollFlags::IN)], None).is_ok() {
            if let Ok((mut stream, _)) = socket.accept() {
                std::io::Write::write_all(&mut stream, format!("{number} 0\n").as_bytes()).unwrap();
            }
        }
    });
    oneport::disconnected().await;
}

in_ways! { Lanes;
    /// Nothing can be handed to who accepts for itself, so nothing is taken from one that stands still.
    fn who_waits_for_a_worker_that_took_its_socket_out_is_served_when_that_goes_on(way: Way) {
        let mut test = way.cluster_of("takes_its_socket_out", 2, |_| {});
        let address = [1, 2].map(|worker| test.event(worker, "listening").address.unwrap().socket.unwrap())[0];
        test.worker(1).kill(Signal::STOP).unwrap();
        let mut crowd = Crowd::connect(address, 24);
        crowd.until_answered(1);
        let began = Instant::now();
        until_seen("that a moment has passed", || began.elapsed() > Duration::from_millis(100));
        test.worker(1).kill(Signal::CONT).unwrap();
        crowd.until_answered(24);
        test.stop();
    }
}

/// Connections that one worker may have and not have taken (`Conduct::credits`).
pub(crate) const CREDITS: usize = 2;

in_ways! { Stream, Channel;
    fn workers_are_served_in_strict_rotation(way: Way) {
        let mut test = way.cluster(3);
        let address = [1, 2, 3].map(|worker| open_port(&mut test, worker, "tcp a 127.0.0.1:0"))[0];
        let round = [(); 3].map(|()| who(address).0);
        assert_eq!(BTreeSet::from(round), BTreeSet::from([1, 2, 3]));
        for _ in 0..10 {
            assert_eq!([(); 3].map(|()| who(address).0), round);
        }
        test.stop();
    }
}

in_every_way! {
    fn several_tasks_accept_on_one_listener_and_none_is_forgotten(way: Way) {
        let mut test = way.cluster(1);
        let address = open_port(&mut test, 1, "tcp a 127.0.0.1:0 tasks=4 hold");
        let mut held: VecDeque<_> = (0..4).map(|_| greet(connect(address))).collect();
        let tasks: BTreeSet<i64> = held.iter().map(|((_, task), _)| *task).collect();
        assert_eq!(tasks, BTreeSet::from([0, 1, 2, 3]));
        // All are busy; the one that is free first takes the next, which waits for it already.
        for _ in 0..20 {
            let next = connect(address);
            let ((_, free), client) = held.pop_front().unwrap();
            drop(client);
            let next = greet(next);
            assert_eq!(next.0, (1, free));
            held.push_back(next);
        }
        drop(held);
        test.stop();
    }
}

in_every_way! {
    fn a_worker_that_only_waits_for_a_client_lives_until_one_comes(way: Way) {
        let mut test = way.cluster_of("waits_for_one_client", 1, |_| {});
        let address = test.event(1, "listening").address.unwrap().socket.unwrap();
        // As long as three that wait for nothing, one after the other.
        for idle in 2..=4 {
            test.fork_with(&[(way.program(), "wants_nothing")]);
            assert_eq!(test.exit(idle), (Exit::Code(0), EndCause::ByItself));
        }
        assert!(!test.worker(1).is_dead());
        assert_eq!(who(address), (1, 0));
        assert_eq!(test.exit(1), (Exit::Code(0), EndCause::ByItself));
        test.stop();
    }
}

in_ways! { Stream, Channel;
    fn a_burst_is_spread_over_free_workers(way: Way) {
        let mut test = way.cluster(2);
        let address = [1, 2].map(|worker| open_port(&mut test, worker, "tcp a 127.0.0.1:0"))[0];
        for worker in 1..=2 {
            test.worker(worker).kill(Signal::STOP).unwrap();
        }
        let mut crowd = Crowd::connect(address, 2 * CREDITS);
        for worker in 1..=2 {
            test.worker(worker).kill(Signal::CONT).unwrap();
        }
        crowd.until_answered(2 * CREDITS);
        assert_eq!((crowd.by(1), crowd.by(2)), (CREDITS, CREDITS));
        test.stop();
    }
}

/// A worker that takes no connection, one that does, and a crowd of which the first holds what it may hold.
fn deaf_and_hearing(way: Way) -> (Test, Crowd) {
    let mut test = way.cluster(2);
    let address = open_port(&mut test, 1, "tcp a 127.0.0.1:0 deaf");
    assert_eq!(open_port(&mut test, 2, "tcp a 127.0.0.1:0"), address);
    let mut crowd = Crowd::connect(address, CROWD);
    crowd.until_answered(CROWD - held(way));
    assert_eq!(crowd.by(1), 0);
    (test, crowd)
}

const CROWD: usize = 40;

/// How many of a crowd lie with a worker that does not take them.
fn held(way: Way) -> usize {
    match way {
        Way::Stream | Way::Channel => CREDITS,
        // What lies in a socket of its own is taken from there by its primary.
        Way::Shared | Way::Lanes => 0,
    }
}

in_every_way! {
    fn a_worker_that_does_not_accept_leaves_connections_to_its_sibling(way: Way) {
        let (mut test, mut crowd) = deaf_and_hearing(way);
        // What it was given meanwhile is still there when it does.
        assert_eq!(test.ask(1, "hear a 1"), "hearing");
        crowd.until_answered(CROWD);
        assert_eq!(crowd.by(1), held(way));
        test.stop();
    }
}

in_every_way! {
    fn a_listener_that_is_dropped_leaves_what_was_on_its_way_to_its_sibling(way: Way) {
        let (mut test, mut crowd) = deaf_and_hearing(way);
        assert_eq!(test.ask(1, "close a"), "closed");
        crowd.until_answered(CROWD);
        assert_eq!(crowd.by(2), CROWD);
        test.stop();
    }
}

in_every_way! {
    fn a_worker_that_dies_leaves_what_it_did_not_take_to_its_sibling(way: Way) {
        let (test, mut crowd) = deaf_and_hearing(way);
        test.worker(1).kill(Signal::KILL).unwrap();
        crowd.until_answered(CROWD);
        assert_eq!(crowd.by(2), CROWD);
        test.stop();
    }
}

in_every_way! {
    fn listeners_that_come_and_go_under_load_lose_nobody(way: Way) {
        let mut test = way.cluster(2);
        let address = open_port(&mut test, 2, "tcp a 127.0.0.1:0");
        let mut crowd = Crowd::connect(address, 0);
        for turn in 1..=20 {
            assert_eq!(open_port(&mut test, 1, "tcp a 127.0.0.1:0"), address);
            crowd.join(10);
            assert_eq!(test.ask(1, "close a"), "closed");
            crowd.until_answered(10 * turn);
        }
        assert!(crowd.by(2) > 0);
        test.stop();
    }
}
