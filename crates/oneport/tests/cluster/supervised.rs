//! Supervised workers through the library: sharing, restarts, reload, scaling, and the end of everything.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use oneport::{EndCause, Event, Exit, Policy, Slot, WorkerId};
use oneport_sys::process::{Pid, Signal, signal_group};

use crate::harness::{PATIENCE, Test, Watched, programs, runtime, who};
use crate::puppet::answer;

programs! { bind_twice }

/// Listens, and is refused the same address once more.
async fn bind_twice() {
    let listener = oneport::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let second = oneport::TcpListener::bind(("127.0.0.1", port)).await;
    assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    answer(listener).await;
}

#[test]
fn library_workers_share_a_port_in_strict_rotation() {
    let mut test = Test::supervised(3, "serve", |_| {});
    let address = test.listening(3);
    let answers: Vec<u32> = (0..9).map(|_| who(address).0).collect();
    for turn in answers.chunks(3) {
        let mut turn = turn.to_vec();
        turn.sort();
        assert_eq!(turn, [1, 2, 3]);
    }
    test.stop();
}

#[test]
fn library_workers_share_a_socket_under_the_shared_policy() {
    let mut test = Test::supervised(2, "serve", |settings| settings.conduct.policy = Policy::Shared);
    let address = test.listening(2);
    for _ in 0..20 {
        assert!((1..=2).contains(&who(address).0));
    }
    test.stop();
}

#[test]
fn a_second_bind_of_one_address_in_one_worker_is_refused() {
    let mut test = Test::supervised(1, "bind_twice", |_| {});
    let address = test.listening(1);
    assert_eq!(who(address), (1, 0));
    test.stop();
}

#[test]
fn a_killed_worker_is_replaced_in_its_slot_and_the_port_stays() {
    let mut test = Test::supervised(1, "serve", |_| {});
    let address = test.listening(1);
    signal_group(Pid::new(test.worker(1).pid()).unwrap(), Signal::KILL).unwrap();
    assert_eq!(test.exit(1), (Exit::Signal(9), EndCause::ByItself));
    // Nobody listens right now; the connection waits for the successor.
    assert_eq!(who(address), (2, 0));
    test.stop();
}

#[test]
fn a_reload_replaces_every_worker_and_loses_nothing() {
    let mut test = Test::supervised(2, "serve", |_| {});
    let address = test.listening(2);
    test.cluster.reload().unwrap();
    let asking = std::thread::spawn(move || (0..200).map(|_| who(address).0).collect::<Vec<_>>());
    let replaced = test.wait("the reload", |event| match event {
        Event::ReloadDone { replaced, .. } => Some(*replaced),
        _ => None,
    });
    assert_eq!(replaced, 2);
    assert_eq!(asking.join().unwrap().len(), 200);
    let living: Vec<WorkerId> = test.cluster.workers().iter().map(oneport::Worker::id).collect();
    assert_eq!(living, [WorkerId(3), WorkerId(4)]);
    test.stop();
}

#[test]
fn scaling_up_and_down_keeps_the_lowest_slots() {
    let mut test = Test::supervised(1, "serve", |_| {});
    test.listening(1);
    test.cluster.scale(3).unwrap();
    test.listening(3);
    test.cluster.scale(1).unwrap();
    for _ in 0..2 {
        let slot = test.wait("a worker leaves", |event| match event {
            Event::Exit { worker, cause: EndCause::Asked, .. } => worker.slot(),
            _ => None,
        });
        assert_ne!(slot, Slot(0));
    }
    assert_eq!(test.cluster.workers().len(), 1);
    test.stop();
}

#[test]
fn one_slot_is_stopped_and_started_while_its_sibling_serves() {
    let mut test = Test::supervised(2, "serve", |_| {});
    let address = test.listening(2);
    test.cluster.stop_slots(&[Slot(0)]).unwrap();
    assert_eq!(test.exit(1).1, EndCause::Asked);
    assert_eq!((who(address).0, who(address).0), (2, 2));
    test.cluster.start_slots(&[Slot(0)]).unwrap();
    test.event(3, "listening");
    assert_eq!(test.worker(3).slot(), Some(Slot(0)));
    test.stop();
}

#[test]
fn slots_have_variables_of_their_own_and_their_number_where_it_is_wanted() {
    let mut test = Test::supervised(2, "serve", |settings| {
        settings.exec = "/bin/sh".into();
        settings.args = ["-c", "echo $MINE $NUMBER ${NODE_APP_INSTANCE-none}"].map(Into::into).to_vec();
        settings.instance_var = "NUMBER".into();
        settings.slot_env.insert(1, vec![("MINE".into(), "own".into())]);
        settings.env.push(("MINE".into(), "common".into()));
        settings.stdout = oneport::Stdio::Pipe;
        settings.conduct.restarts = oneport::Restarts::Never;
    });
    test.until("both are left empty", |test| (test.count("finished") == 2).then_some(()));
    let said: Vec<String> = std::mem::take(&mut test.outputs)
        .into_values()
        .map(|output| {
            let pipe = output.stdout.unwrap();
            let flags = rustix::fs::fcntl_getfl(&pipe).unwrap();
            rustix::fs::fcntl_setfl(&pipe, flags - rustix::fs::OFlags::NONBLOCK).unwrap();
            std::io::read_to_string(std::fs::File::from(pipe)).unwrap()
        })
        .collect();
    assert_eq!(said, ["common 0 none\n", "own 1 none\n"]);
    test.stop();
}

#[test]
fn a_program_that_cannot_be_started_is_given_up_and_says_why() {
    let mut test = Test::supervised(1, "serve", |settings| {
        settings.exec = "/nonexistent/program".into();
        settings.conduct.max_restarts = 2;
        settings.conduct.restart_delay = Some(Duration::from_millis(1));
    });
    let kind = test.wait("the failure", |event| match event {
        Event::Error { error, .. } => Some(error.kind()),
        _ => None,
    });
    assert_eq!(kind, std::io::ErrorKind::NotFound);
    test.until("giving up", |test| (test.count("all-errored") == 1).then_some(()));
    test.stop();
}

#[test]
fn a_worker_that_talks_to_an_owner_who_does_not_listen_is_held_back() {
    let mut test = Test::supervised(1, "serve", |settings| {
        settings.exec = "/bin/sh".into();
        settings.args = ["-c", "while :; do echo 1 >&3; done"].map(Into::into).to_vec();
    });
    test.event(1, "fork");
    let pid = Pid::new(test.worker(1).pid()).unwrap();
    // It is held back once it uses no more CPU time: its writes wait.
    let deadline = Instant::now() + PATIENCE;
    let used = || oneport_sys::proc::cpu_ns(pid).unwrap();
    let mut before = 0;
    while used() != before || before == 0 {
        assert!(Instant::now() < deadline, "it talks on");
        before = used();
        std::thread::park_timeout(Duration::from_millis(100));
    }
    // What waited is all there, and once it was taken the worker goes on: far more than ever waited.
    for _ in 0..50_000 {
        test.wait("a message", |event| matches!(event, Event::Message { .. }).then_some(()));
    }
    assert!(used() > before);
    test.worker(1).end_now().unwrap();
}

#[test]
fn dropping_every_handle_ends_the_workers() {
    let mut test = Test::supervised(1, "serve", |_| {});
    test.listening(1);
    let worker = Watched::new(test.worker(1).pid());
    drop(test);
    worker.ended();
}

#[test]
fn the_death_of_a_worker_leaves_another_clusters_worker_of_the_same_number_alone() {
    let mut first = Test::supervised(1, "serve", |_| {});
    let mut second = Test::supervised(1, "serve", |_| {});
    first.listening(1);
    let address = second.listening(1);
    first.worker(1).end_now().unwrap();
    first.exit(1);
    assert_eq!(who(address), (1, 0));
    first.stop();
    second.stop();
}

#[test]
fn alone_a_listener_binds_for_itself() {
    runtime().block_on(async {
        assert!(oneport::is_primary() && oneport::worker().is_none());
        let listener = oneport::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::thread::spawn(move || {
            TcpStream::connect(address).unwrap().write_all(b"x").unwrap();
        });
        let (_, peer) = listener.accept().await.unwrap();
        assert!(peer.ip().is_loopback());
        client.join().unwrap();
        let taken = oneport::TcpListener::bind(address).await.unwrap_err();
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    });
}
