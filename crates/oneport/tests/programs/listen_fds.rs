//! Copies that are started with their sockets: nothing of them is trapped.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use oneport::{EndCause, Event, Exit, ListenFd, Policy, ProgramWay, Readiness, ReadyOn, Signal};

use crate::harness::{
    Load, Test, ask, ask_often, call_often, eventually, fill_a_queue, free_port, hear_all, queues,
};

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// Started with these sockets, named `s0`, `s1` ...
fn way(addresses: &[SocketAddr]) -> ProgramWay {
    let name = |(nth, address): (usize, &SocketAddr)| ListenFd { address: *address, name: format!("s{nth}") };
    ProgramWay::ListenFds { sockets: addresses.iter().enumerate().map(name).collect() }
}

const ONE: &str = "given a 3; waits a; serve a";

/// Nobody listens there any more. A sibling test may hold a duplicate for a moment, between fork and exec.
fn is_free(address: SocketAddr) {
    eventually("the address is free", || TcpListener::bind(address).is_ok());
}

/// The errors of addresses that copies could not have.
fn refusals(test: &Test) -> Vec<i32> {
    let told = test.told.iter().filter_map(|event| match event {
        Event::ListenFailed { error, .. } => error.raw_os_error(),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_copy_finds_its_sockets_from_3_on_with_their_names_and_its_own_number() {
    for policy in [Policy::RoundRobin, Policy::Shared] {
        let addresses = [local(), local()];
        let script = "given a 3; waits a; serve a; given b 4; waits b; serve b";
        let mut test = Test::start_with(2, script, |settings| {
            settings.program.way = way(&addresses);
            settings.conduct.policy = policy;
        });
        for worker in [1, 2] {
            let facts = test.played(worker);
            if policy == Policy::RoundRobin {
                // As systemd hands them over: operations on them wait.
                assert_eq!([&facts[1], &facts[4]], ["ok true"; 2]);
            }
            let pid = test.pid(worker);
            assert_eq!(test.order(worker, "env LISTEN_FDS"), "ok 2");
            assert_eq!(test.order(worker, "env LISTEN_FDNAMES"), "ok s0:s1");
            assert_eq!(test.order(worker, "env LISTEN_PID"), format!("ok {pid}"));
        }
        test.proven(2);
        for address in addresses {
            let served: BTreeSet<i32> = ask_often(address, 60).into_keys().collect();
            match policy {
                Policy::RoundRobin | Policy::Hash | Policy::Least | Policy::Sticky => {
                    assert_eq!(served, test.pids());
                }
                // Whoever is faster.
                Policy::Shared => assert!(served.is_subset(&test.pids())),
            }
        }
        let order: Vec<&str> = test.told.iter().filter_map(name_of_first_steps).collect();
        assert_eq!(order[..2], ["fork", "online"]);
        assert_eq!(order.iter().filter(|name| **name == "listening").count(), 4);
        test.stop();
    }
}

/// The first steps of the first copy.
fn name_of_first_steps(event: &Event) -> Option<&'static str> {
    match event {
        Event::Fork { worker, .. } if worker.id().0 == 1 => Some("fork"),
        Event::Online { worker } if worker.id().0 == 1 => Some("online"),
        Event::Listening { .. } => Some("listening"),
        _ => None,
    }
}

#[test]
fn a_shared_socket_waits_until_a_copy_makes_it_otherwise_and_then_stays_so() {
    let mut test = Test::start_with(1, "given a 3; waits a; serve a; waits a", |settings| {
        settings.program.way = way(&[local()]);
        settings.conduct.policy = Policy::Shared;
    });
    assert_eq!(test.played(1)[1..], ["ok true", "ok", "ok false"]);
    // Its siblings must not make it wait in the middle of its work.
    test.cluster.scale(2).unwrap();
    assert_eq!(test.played(2)[1], "ok false");
    test.stop();
}

#[test]
fn all_copies_have_the_same_ports_of_the_kernels_choice() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let script = "given a 3; given b 4; where a; where b";
    let mut test = Test::start(3, way(&[any, any]), script);
    let ports: Vec<Vec<String>> = (1..=3).map(|worker| test.played(worker).split_off(2)).collect();
    assert_ne!(ports[0][0], ports[0][1]);
    assert!(ports.iter().all(|of_one| *of_one == ports[0]), "{ports:?}");
    test.stop();
}

#[test]
fn connections_of_a_killed_copy_are_served_by_its_successor_on_the_same_socket() {
    let address = local();
    let mut test = Test::start(2, way(&[address]), ONE);
    test.proven(2);
    test.freeze(1);
    let waiting = fill_a_queue(address, 40);
    test.signal(1, Signal::KILL);
    let answers = hear_all(waiting);
    assert_eq!(test.exit(1), (Exit::Signal(9), EndCause::ByItself));
    assert_eq!(answers.keys().copied().collect::<BTreeSet<_>>(), [test.pid(2), test.pid(3)].into());
    assert!(answers[&test.pid(3)] >= 40, "{answers:?}");
    // Blocking again, whatever its predecessor made of it.
    assert_eq!(test.played(3)[1], "ok true");
    test.stop();
}

#[test]
fn a_reload_loses_nobody() {
    let address = local();
    let mut test = Test::start(2, way(&[address]), ONE);
    test.proven(2);
    let load = Load::start(address, b's', 4);
    test.cluster.reload().unwrap();
    test.until("the reload", |test| {
        (test.count(|event| matches!(event, Event::ReloadDone { .. })) == 1).then_some(())
    });
    load.stop();
    assert_eq!(test.exit(1).1, EndCause::Asked);
    assert!(ask_often(address, 40).into_keys().all(|pid| test.pids().contains(&pid)));
    test.stop();
}

#[test]
fn a_copy_that_is_asked_or_notifies_gets_nothing_before() {
    let address = local();
    let mut test = Test::start_with(1, ONE, |settings| {
        settings.program.way = way(&[address]);
        settings.program.ready_on = ReadyOn::Notify;
        settings.conduct.readiness = Readiness::Message;
    });
    assert_eq!(test.order(1, "say READY=1"), "ok");
    test.proven(1);
    test.cluster.scale(2).unwrap();
    test.played(2);
    assert_eq!(ask_often(address, 40).into_keys().collect::<Vec<_>>(), [test.pid(1)]);
    assert_eq!(test.order(2, "say READY=1"), "ok");
    test.proven(2);
    assert_eq!(ask_often(address, 40).len(), 2);
    test.stop();
}

#[test]
fn an_address_that_somebody_else_has_is_told_and_the_slot_given_up() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (free, taken) = (local(), taken.local_addr().map(|address| (taken, address)).unwrap());
    for policy in [Policy::RoundRobin, Policy::Shared] {
        let mut test = Test::start_with(1, ONE, |settings| {
            settings.program.way = way(&[free, taken.1]);
            settings.conduct.policy = policy;
            settings.conduct.max_restarts = 2;
            settings.conduct.min_uptime = Duration::from_secs(60);
        });
        test.until("the slot is given up", |test| {
            (test.count(|event| matches!(event, Event::AllErrored)) == 1).then_some(())
        });
        let births = test.count(|event| matches!(event, Event::Fork { .. }));
        let ends = test.count(|event| matches!(event, Event::Exit { exit: Exit::NotSpawned, .. }));
        assert_eq!((births, ends), (2, 2));
        assert_eq!(refusals(&test), [rustix::io::Errno::ADDRINUSE.raw_os_error(); 2]);
        // The other socket is not left behind.
        is_free(free);
        test.stop();
    }
}

#[test]
fn a_program_that_is_not_there_leaves_no_socket_behind() {
    let address = local();
    let mut test = Test::start_with(1, ONE, |settings| {
        settings.program.way = way(&[address]);
        settings.exec = "/nonexistent/program".into();
        settings.conduct.max_restarts = 2;
        settings.conduct.min_uptime = Duration::from_secs(60);
    });
    test.until("the slot is given up", |test| {
        (test.count(|event| matches!(event, Event::AllErrored)) == 1).then_some(())
    });
    assert_eq!(test.count(|event| matches!(event, Event::Exit { exit: Exit::NotSpawned, .. })), 2);
    assert!(test.count(|event| matches!(event, Event::Error { .. })) > 0);
    is_free(address);
    test.stop();
}

#[test]
fn one_that_cannot_be_started_anew_leaves_the_queue_to_the_next() {
    let address = local();
    let mut test = Test::start_with(1, ONE, |settings| {
        settings.program.way = way(&[address]);
        settings.conduct.restart_delay = Some(Duration::from_millis(50));
    });
    test.proven(1);
    test.freeze(1);
    let waiting = call_often(address, 10);
    let (good, mut bad) = (test.cluster.settings(), test.cluster.settings());
    bad.exec = "/nonexistent/program".into();
    test.cluster.setup_primary(bad).unwrap();
    test.signal(1, Signal::KILL);
    test.until("its successor failed", |test| {
        (test.count(|event| matches!(event, Event::Error { .. })) == 1).then_some(())
    });
    // Beside the socket that keeps the door.
    assert!(queues(address).contains(&10));
    test.cluster.setup_primary(good).unwrap();
    assert_eq!(hear_all(waiting).len(), 1);
    assert!(test.pids().contains(&ask(address)));
    test.stop();
}

#[test]
fn a_fork_is_started_with_its_sockets_too() {
    let address = local();
    let mut test = Test::start(0, way(&[address]), ONE);
    let worker = test.cluster.fork(&[]).unwrap();
    test.played(worker.id().0);
    test.proven(1);
    assert_eq!(ask(address), worker.pid());
    test.stop();
}
