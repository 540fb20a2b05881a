//! UDP: a client stays with one copy, whichever that is.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oneport::{EndCause, Event, Oddity, Policy, ProgramWay};

use crate::harness::{Datagrams, Test, free_port, in_both_ways};

in_both_ways! {
    clients_are_spread_over_all_copies_and_each_stays_with_one,
    a_copy_that_leaves_gets_nothing_new,
    the_successor_of_a_killed_copy_answers_its_clients,
    a_reload_answers_every_datagram,
    a_copy_that_closes_its_socket_leaves_its_clients_to_the_others,
    a_port_that_is_not_listed_for_udp_is_the_first_copys_alone,
    whoever_shares_a_datagram_socket_listens,
}

const CLIENTS: usize = 32;

fn script(port: u16) -> String {
    format!("socket a 4 udp; bind a 127.0.0.1:{port}; serve a")
}

fn start(copies: u32, way: ProgramWay) -> (Test, Vec<Datagrams>) {
    let port = free_port();
    let mut test = Test::start_with(copies, &script(port), |settings| {
        settings.program.way = way;
        settings.program.claims.ports = Some(vec![format!("{port}/udp").parse().unwrap()]);
    });
    let address = test.proven(copies as usize);
    for worker in 1..=copies {
        test.played(worker);
    }
    assert_eq!(address, SocketAddr::from(([127, 0, 0, 1], port)));
    (test, (0..CLIENTS).map(|_| Datagrams::new(address)).collect())
}

fn answers(clients: &[Datagrams]) -> Vec<i32> {
    clients.iter().map(Datagrams::ask).collect()
}

fn clients_are_spread_over_all_copies_and_each_stays_with_one(way: ProgramWay) {
    let (test, clients) = start(3, way);
    let first = answers(&clients);
    assert_eq!(first.iter().copied().collect::<BTreeSet<_>>(), test.pids());
    for _ in 0..5 {
        assert_eq!(answers(&clients), first);
    }
    test.stop();
}

fn a_copy_that_leaves_gets_nothing_new(way: ProgramWay) {
    let (mut test, clients) = start(2, way);
    assert!(answers(&clients).contains(&test.pid(2)));
    // It answers no more, and what it is sent now would be lost.
    test.order(2, "pause a");
    test.cluster.scale(1).unwrap();
    test.wait("its leaving", |event| match event {
        Event::Moved { worker, to, .. } if worker.id().0 == 2 && to.is_leaving() => Some(()),
        _ => None,
    });
    test.barrier(1);
    let stays = test.pid(1);
    assert!(answers(&clients).into_iter().all(|pid| pid == stays));
    assert_eq!(test.exit(2).1, EndCause::Asked);
    assert!(answers(&clients).into_iter().all(|pid| pid == stays));
    test.stop();
}

fn the_successor_of_a_killed_copy_answers_its_clients(way: ProgramWay) {
    let (mut test, clients) = start(2, way);
    let first = answers(&clients);
    let victim = test.pid(2);
    test.signal(2, oneport::Signal::KILL);
    test.played(3);
    test.proven(3);
    // It is told first, and chosen then.
    test.barrier(1);
    let successor = test.pid(3);
    let expected: Vec<i32> = first.iter().map(|pid| if *pid == victim { successor } else { *pid }).collect();
    assert_eq!(answers(&clients), expected);
    test.stop();
}

fn a_reload_answers_every_datagram(way: ProgramWay) {
    let (mut test, clients) = start(2, way);
    let over = Arc::new(AtomicBool::new(false));
    let told = over.clone();
    let asking = std::thread::spawn(move || {
        while !told.load(Ordering::Relaxed) {
            answers(&clients);
        }
        answers(&clients)
    });
    test.cluster.reload().unwrap();
    test.wait("the reload", |event| matches!(event, Event::ReloadDone { .. }).then_some(()));
    assert_eq!([test.exit(1).1, test.exit(2).1], [EndCause::Asked; 2]);
    over.store(true, Ordering::Relaxed);
    assert_eq!(asking.join().unwrap().into_iter().collect::<BTreeSet<_>>(), test.pids());
    test.stop();
}

fn a_copy_that_closes_its_socket_leaves_its_clients_to_the_others(way: ProgramWay) {
    let (mut test, clients) = start(2, way);
    let (closes, stays) = (test.pid(1), test.pid(2));
    assert!(answers(&clients).contains(&closes));
    assert_eq!(test.order(1, "close a"), "ok");
    // Those that nobody takes are what makes somebody look.
    clients.iter().for_each(Datagrams::send);
    test.oddity("it is said that it closed", |worker, oddity| match oddity {
        Oddity::Closed { .. } => (worker.id().0 == 1).then_some(()),
        _ => None,
    });
    test.barrier(2);
    assert!(answers(&clients).into_iter().all(|pid| pid == stays));
    test.stop();
}

fn a_port_that_is_not_listed_for_udp_is_the_first_copys_alone(way: ProgramWay) {
    let port = free_port();
    let script = format!("socket a 4 udp; try bind a 127.0.0.1:{port}; serve a");
    let mut test = Test::start(2, way, &script);
    let mut facts = [1, 2].map(|worker| {
        test.fact(worker);
        test.fact(worker)
    });
    facts.sort();
    assert_eq!(facts, ["errno 98", "ok"]);
    let text = test.oddity("it is said that it is left alone", |_, oddity| match oddity {
        Oddity::LeftAlone { address } => Some(address.clone()),
        _ => None,
    });
    assert_eq!(text, format!("127.0.0.1:{port}/udp"));
    test.stop();
}

fn whoever_shares_a_datagram_socket_listens(way: ProgramWay) {
    let port = free_port();
    let mut test = Test::start_with(2, &script(port), |settings| {
        settings.program.way = way;
        settings.conduct.policy = Policy::Shared;
        settings.program.claims.ports = Some(vec![format!("{port}/udp").parse().unwrap()]);
    });
    let address = test.proven(2);
    assert_eq!(address, SocketAddr::from(([127, 0, 0, 1], port)));
    assert!(test.pids().contains(&Datagrams::new(address).ask()));
    test.stop();
}
