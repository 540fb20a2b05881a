//! Port 0: whether a socket is a listener or a client is known only when it listens.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use oneport::{Event, Oddity, ProgramWay};

use crate::harness::{Test, ask_often, free_port, in_both_ways};

in_both_ways! {
    the_nth_listener_of_every_copy_has_the_same_port,
    a_successor_gets_the_ports_of_its_predecessor,
    a_client_that_binds_before_it_connects_keeps_its_address,
    a_loopback_listener_is_left_alone,
    a_loopback_listener_is_shared_where_port_0_is_listed,
}

fn loopback(address: &str) -> SocketAddr {
    ([127, 0, 0, 1], address.parse::<SocketAddr>().unwrap().port()).into()
}

/// The addresses that a copy got in its script, as clients reach them.
fn played(test: &mut Test, worker: u32) -> Vec<SocketAddr> {
    let got = |fact: &String| loopback(fact.strip_prefix("ok ").unwrap_or_else(|| panic!("{fact}")));
    test.played(worker).iter().map(got).collect()
}

fn the_nth_listener_of_every_copy_has_the_same_port(way: ProgramWay) {
    let mut test = Test::start(3, way, "server a 0.0.0.0:0; server b 0.0.0.0:0; server c [::]:0");
    test.until("all listen", |test| (test.listening().count() == 9).then_some(()));
    test.proven(3);
    let first = played(&mut test, 1);
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3, "three ports");
    for worker in [2, 3] {
        assert_eq!(played(&mut test, worker), first);
    }
    for address in first {
        assert_eq!(ask_often(address, 80).len(), 3);
    }
    test.stop();
}

fn a_successor_gets_the_ports_of_its_predecessor(way: ProgramWay) {
    let mut test = Test::start_with(1, "server a 0.0.0.0:0; server b 0.0.0.0:0", |settings| {
        settings.program.way = way;
        // Whatever one has not opened by then is not kept for it.
        settings.conduct.min_uptime = Duration::from_secs(1);
    });
    test.proven(1);
    let first = played(&mut test, 1);
    test.cluster.reload().unwrap();
    test.until("the reload", |test| {
        (test.count(|event| matches!(event, Event::ReloadDone { .. })) == 1).then_some(())
    });
    assert_eq!(played(&mut test, 2), first);
    test.exit(1);
    for address in &first {
        assert_eq!(ask_often(*address, 4).into_keys().collect::<Vec<_>>(), [test.pid(2)]);
    }
    test.signal(2, oneport::Signal::KILL);
    assert_eq!(played(&mut test, 3), first);
    test.stop();
}

fn a_client_that_binds_before_it_connects_keeps_its_address(way: ProgramWay) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let mut test = Test::start(3, way, &format!("client {address}; server a 127.0.0.1:{}", free_port()));
    test.proven(3);
    let mut seen = BTreeSet::new();
    let mut said = BTreeSet::new();
    for worker in 1..=3 {
        said.insert(test.fact(worker));
        seen.insert(format!("ok {}", server.accept().unwrap().1));
    }
    assert_eq!(said, seen);
    assert_eq!(said.len(), 3, "each has a port of its own");
    assert_eq!(test.count(|event| matches!(event, Event::Oddity { .. })), 0, "{}", test.history());
    test.stop();
}

fn a_loopback_listener_is_left_alone(way: ProgramWay) {
    let script = format!("server helper 127.0.0.1:0; server a 127.0.0.1:{}", free_port());
    let mut test = Test::start(2, way, &script);
    test.proven(2);
    let helpers = [1, 2].map(|worker| played(&mut test, worker)[0]);
    assert_ne!(helpers[0], helpers[1]);
    for (worker, helper) in (1..).zip(helpers) {
        assert_eq!(ask_often(helper, 4).into_keys().collect::<Vec<_>>(), [test.pid(worker)]);
    }
    let told = test.count(|event| matches!(event, Event::Oddity { oddity: Oddity::LeftAlone { .. }, .. }));
    assert_eq!(told, 2);
    test.stop();
}

fn a_loopback_listener_is_shared_where_port_0_is_listed(way: ProgramWay) {
    let mut test = Test::start_with(2, "server a 127.0.0.1:0", |settings| {
        settings.program.way = way;
        settings.program.claims.ports = Some(vec!["0".parse().unwrap()]);
    });
    let address = test.proven(2);
    assert_eq!(played(&mut test, 1), [address]);
    assert_eq!(played(&mut test, 2), [address]);
    assert_eq!(ask_often(address, 80).len(), 2);
    test.stop();
}

#[test]
fn a_socket_that_listens_without_a_bind_is_shared() {
    let mut test = Test::start(2, ProgramWay::Own, "socket a 4 tcp; listen a; serve a; where a");
    let address = test.proven(2);
    let [first, second] = [1, 2].map(|worker| test.played(worker));
    assert_eq!(first, second);
    assert_eq!(ask_often(([127, 0, 0, 1], address.port()).into(), 80).len(), 2);
    test.stop();
}
