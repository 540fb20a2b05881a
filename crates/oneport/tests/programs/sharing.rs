//! Several copies behind one port: every address that a program can bind by number.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use oneport::{Event, ProgramWay};

use crate::harness::{Answers, Test, ask, ask_often, free_port, in_both_ways};

in_both_ways! {
    all_copies_serve_one_port_evenly,
    all_copies_serve_an_ipv6_address,
    a_dual_stack_listener_serves_both_families_with_all_copies,
    a_wildcard_listener_serves_every_address_with_all_copies,
    listeners_of_several_addresses_on_one_port_are_apart,
    all_copies_serve_each_of_two_ports,
    a_copy_that_joins_later_gets_its_share,
}

/// All of these, and nobody else; each with about its share.
fn assert_even(answers: &Answers, pids: &BTreeSet<i32>) {
    assert_eq!(&answers.keys().copied().collect::<BTreeSet<_>>(), pids);
    let share = answers.values().sum::<usize>() / pids.len();
    assert!(answers.values().all(|count| (share / 2..=share * 3 / 2).contains(count)), "{answers:?}");
}

fn all_copies_serve_one_port_evenly(way: ProgramWay) {
    let port = free_port();
    let mut test = Test::start(3, way, &format!("std 127.0.0.1:{port}"));
    let address = test.proven(3);
    assert_eq!(address, SocketAddr::from(([127, 0, 0, 1], port)));
    assert_even(&ask_often(address, 240), &test.pids());
    assert_eq!(test.fact(1), format!("ok 127.0.0.1:{port}"));
    test.stop();
}

fn all_copies_serve_an_ipv6_address(way: ProgramWay) {
    let mut test = Test::start(2, way, &format!("std [::1]:{}", free_port()));
    let address = test.proven(2);
    assert!(address.is_ipv6());
    assert_even(&ask_often(address, 160), &test.pids());
    test.stop();
}

fn a_dual_stack_listener_serves_both_families_with_all_copies(way: ProgramWay) {
    let port = free_port();
    let mut test = Test::start(2, way, &format!("std [::]:{port}"));
    test.proven(2);
    for client in ["127.0.0.1", "[::1]"] {
        let address = format!("{client}:{port}").parse().unwrap();
        assert_even(&ask_often(address, 160), &test.pids());
    }
    test.stop();
}

fn a_wildcard_listener_serves_every_address_with_all_copies(way: ProgramWay) {
    let port = free_port();
    let mut test = Test::start(2, way, &format!("std 0.0.0.0:{port}"));
    test.proven(2);
    for last in [1, 7] {
        assert_even(&ask_often(([127, 0, 0, last], port).into(), 160), &test.pids());
    }
    test.stop();
}

fn listeners_of_several_addresses_on_one_port_are_apart(way: ProgramWay) {
    let port = free_port();
    let script = format!("std 127.0.0.2:{port}; std 127.0.0.3:{port}");
    let mut test = Test::start(2, way, &script);
    test.until("both listen twice", |test| (test.listening().count() == 4).then_some(()));
    test.proven(2);
    for last in [2, 3] {
        assert_even(&ask_often(([127, 0, 0, last], port).into(), 160), &test.pids());
    }
    test.stop();
}

fn all_copies_serve_each_of_two_ports(way: ProgramWay) {
    let ports = [free_port(), free_port()];
    let script = ports.map(|port| format!("server a{port} 127.0.0.1:{port}")).join("; ");
    let mut test = Test::start(2, way, &script);
    test.until("both listen twice", |test| (test.listening().count() == 4).then_some(()));
    test.proven(2);
    for port in ports {
        assert_even(&ask_often(([127, 0, 0, 1], port).into(), 160), &test.pids());
    }
    test.stop();
}

fn a_copy_that_joins_later_gets_its_share(way: ProgramWay) {
    let mut test = Test::start(1, way, &format!("server a 127.0.0.1:{}", free_port()));
    let address = test.proven(1);
    assert_eq!(ask(address), test.pid(1));
    test.cluster.scale(3).unwrap();
    test.proven(3);
    assert_even(&ask_often(address, 240), &test.pids());
    assert_eq!(test.count(|event| matches!(event, Event::Oddity { .. })), 0, "{}", test.history());
    test.stop();
}

#[test]
fn a_listener_for_ipv6_only_leaves_the_port_to_one_for_ipv4() {
    let port = free_port();
    let script = format!(
        "socket six 6 tcp; option six only_v6; bind six [::]:{port}; listen six; serve six; server four 0.0.0.0:{port}"
    );
    let mut test = Test::start(2, ProgramWay::Own, &script);
    test.until("both listen twice", |test| (test.listening().count() == 4).then_some(()));
    test.proven(2);
    for client in ["127.0.0.1", "[::1]"] {
        let address = format!("{client}:{port}").parse().unwrap();
        assert_even(&ask_often(address, 160), &test.pids());
    }
    test.stop();
}
