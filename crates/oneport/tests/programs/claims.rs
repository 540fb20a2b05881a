//! Which binds are the app's, and which addresses a program cannot have.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;

use oneport::{Event, LowPorts, Oddity, ProgramWay, Settings, WorkerId};
use oneport_sys::listen::{set_reuse_port, start_listening};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, socket};

use crate::harness::{
    Test, ask, ask_often, call_often, eventually, free_port, hear_all, in_both_ways, queues, skipped,
};

in_both_ways! {
    a_published_port_is_bound_in_place_of_the_one_asked_for,
    an_excluded_port_is_left_to_the_first_copy,
    a_port_that_is_not_listed_is_left_alone,
    a_second_listener_on_one_address_in_one_copy_is_refused,
    a_listener_that_was_closed_can_be_opened_again,
    an_address_that_another_process_has_is_refused,
    an_address_that_a_stranger_would_share_is_refused,
    a_wildcard_address_is_refused_where_a_stranger_has_one_of_its_addresses,
    an_address_of_another_machine_is_refused_as_the_kernel_does,
}

const TAKEN: i32 = 98;

fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn start(copies: u32, way: ProgramWay, script: &str, change: impl FnOnce(&mut Settings)) -> Test {
    Test::start_with(copies, script, |settings| {
        settings.program.way = way;
        change(settings);
    })
}

fn a_published_port_is_bound_in_place_of_the_one_asked_for(way: ProgramWay) {
    let (outside, inside) = (free_port(), free_port());
    let mut test = start(2, way, &format!("std 127.0.0.1:{inside}"), |settings| {
        settings.program.claims.published = vec![format!("{outside}:{inside}").parse().unwrap()];
    });
    assert_eq!(test.proven(2), loopback(outside));
    assert_eq!(ask_often(loopback(outside), 80).len(), 2);
    // Nobody has the other one.
    drop(TcpListener::bind(loopback(inside)).unwrap());
    test.stop();
}

fn an_excluded_port_is_left_to_the_first_copy(way: ProgramWay) {
    let (port, excluded) = (free_port(), free_port());
    let script = format!("try server a 127.0.0.1:{excluded}; server b 127.0.0.1:{port}");
    let mut test = start(2, way, &script, |settings| {
        settings.program.claims.excluded = vec![excluded.to_string().parse().unwrap()];
    });
    test.proven(2);
    let mut facts = [test.fact(1), test.fact(2)];
    facts.sort();
    assert_eq!(facts, [format!("errno {TAKEN}"), format!("ok 127.0.0.1:{excluded}")]);
    assert_eq!(ask_often(loopback(excluded), 20).len(), 1);
    assert_eq!(ask_often(loopback(port), 80).len(), 2);
    test.stop();
}

fn a_port_that_is_not_listed_is_left_alone(way: ProgramWay) {
    let (listed, other) = (free_port(), free_port());
    let script = format!("server a 127.0.0.1:{other}; server b 127.0.0.1:{listed}");
    // Without a duplicate its address is not to be known.
    let known = if way == ProgramWay::Own { loopback(other).to_string() } else { "0.0.0.0:0".into() };
    let mut test = start(1, way, &script, |settings| {
        settings.program.claims.ports = Some(vec![listed.to_string().parse().unwrap()]);
    });
    assert_eq!(test.proven(1), loopback(listed));
    let text = test.oddity("it is said that one is left alone", |_, oddity| match oddity {
        Oddity::LeftAlone { address } => Some(address.clone()),
        _ => None,
    });
    assert_eq!(text, known);
    assert_eq!(ask(loopback(other)), test.pid(1));
    test.stop();
}

fn a_second_listener_on_one_address_in_one_copy_is_refused(way: ProgramWay) {
    let port = free_port();
    let script = format!("server a 127.0.0.1:{port}; try server b 127.0.0.1:{port}");
    let mut test = Test::start(1, way, &script);
    test.proven(1);
    assert_eq!(test.played(1)[1], format!("errno {TAKEN}"));
    assert_eq!(test.refusal(), (WorkerId(1), TAKEN));
    assert_eq!(ask(loopback(port)), test.pid(1));
    test.stop();
}

#[test]
fn a_program_that_shares_its_address_with_itself_listens_there_twice() {
    let port = free_port();
    let listener = |name| {
        format!(
            "socket {name} 4 tcp; option {name} reuse_port; bind {name} 127.0.0.1:{port}; listen {name}; serve {name}"
        )
    };
    let mut test = Test::start(2, ProgramWay::Own, &["a", "b"].map(listener).join("; "));
    test.until("both listen twice", |test| (test.listening().count() == 4).then_some(()));
    test.proven(2);
    for worker in [1, 2] {
        assert_eq!([test.order(worker, "pause a"), test.order(worker, "pause b")], ["ok", "ok"]);
    }
    let waiting = call_often(loopback(port), 200);
    assert_eq!(queues(loopback(port)).len(), 4);
    assert!(queues(loopback(port)).iter().all(|waiting| *waiting > 0));
    for worker in [1, 2] {
        assert_eq!([test.order(worker, "serve a"), test.order(worker, "serve b")], ["ok", "ok"]);
    }
    assert_eq!(hear_all(waiting).len(), 2);
    assert_eq!(test.count(|event| matches!(event, Event::ListenFailed { .. })), 0);
    test.stop();
}

fn a_listener_that_was_closed_can_be_opened_again(way: ProgramWay) {
    let port = free_port();
    let mut test = Test::start(1, way, &format!("server a 127.0.0.1:{port}"));
    test.proven(1);
    for _ in 0..3 {
        assert_eq!(test.order(1, "close a"), "ok");
        assert_eq!(test.order(1, &format!("server a 127.0.0.1:{port}")), format!("ok 127.0.0.1:{port}"));
        assert_eq!(ask(loopback(port)), test.pid(1));
    }
    test.stop();
}

fn an_address_that_another_process_has_is_refused(way: ProgramWay) {
    let taken = TcpListener::bind(loopback(free_port())).unwrap();
    let address = taken.local_addr().unwrap();
    let mut test = Test::start(1, way, &format!("try server a {address}"));
    assert_eq!(test.fact(1), format!("errno {TAKEN}"));
    assert_eq!(test.refusal(), (WorkerId(1), TAKEN));
    // It is looked at anew as soon as somebody asks again.
    drop(taken);
    // A sibling test may hold a duplicate for a moment, between fork and exec.
    eventually("it is free", || test.order(1, &format!("server a {address}")) == format!("ok {address}"));
    assert_eq!(ask(address), test.pid(1));
    test.stop();
}

fn an_address_that_a_stranger_would_share_is_refused(way: ProgramWay) {
    let address = loopback(free_port());
    let stranger = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    set_reuse_port(stranger.as_fd()).unwrap();
    bind(&stranger, &address).unwrap();
    start_listening(stranger.as_fd(), 8).unwrap();
    let mut test = Test::start(1, way, &format!("try server a {address}"));
    assert_eq!(test.fact(1), format!("errno {TAKEN}"));
    assert_eq!(test.refusal(), (WorkerId(1), TAKEN));
    test.stop();
}

fn a_wildcard_address_is_refused_where_a_stranger_has_one_of_its_addresses(way: ProgramWay) {
    let taken = TcpListener::bind(loopback(free_port())).unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut test = Test::start(1, way, &format!("try server a 0.0.0.0:{port}; try server b [::]:{port}"));
    assert_eq!(test.fact(1), format!("errno {TAKEN}"));
    assert_eq!(test.fact(1), format!("errno {TAKEN}"));
    test.stop();
}

fn an_address_of_another_machine_is_refused_as_the_kernel_does(way: ProgramWay) {
    // Documentation's addresses are nobody's.
    let mut test = Test::start(1, way, &format!("try server a 192.0.2.1:{}", free_port()));
    let nowhere = Errno::ADDRNOTAVAIL.raw_os_error();
    assert_eq!(test.fact(1), format!("errno {nowhere}"));
    assert_eq!(test.refusal(), (WorkerId(1), nowhere));
    test.stop();
}

/// A port that only the privileged may have; `None` where we are none of them, or nothing is free.
fn low_port() -> Option<u16> {
    (600..1000).rev().find(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok())
}

fn as_nobody(settings: &mut Settings) {
    (settings.uid, settings.gid) = (Some(65534), Some(65534));
}

#[test]
fn a_low_port_is_refused_to_a_worker_that_could_not_bind_it_alone() {
    let Some(port) = low_port().filter(|_| rustix::process::geteuid().is_root()) else {
        return skipped("a_low_port_is_refused", "needs privileges");
    };
    for way in [ProgramWay::Own, ProgramWay::Slot] {
        let mut test = start(1, way, &format!("try server a 127.0.0.1:{port}"), as_nobody);
        let denied = Errno::ACCESS.raw_os_error();
        assert_eq!(test.fact(1), format!("errno {denied}"));
        assert_eq!(test.refusal(), (WorkerId(1), denied));
        test.stop();
    }
}

#[test]
fn a_low_port_is_given_to_every_worker_where_that_is_granted() {
    let Some(port) = low_port().filter(|_| rustix::process::geteuid().is_root()) else {
        return skipped("a_low_port_is_given", "needs privileges");
    };
    for way in [ProgramWay::Own, ProgramWay::Slot] {
        let mut test = start(2, way, &format!("server a 127.0.0.1:{port}"), |settings| {
            as_nobody(settings);
            settings.program.claims.low_ports = LowPorts::Granted;
        });
        test.proven(2);
        assert_eq!(ask_often(loopback(port), 80).len(), 2);
        test.stop();
    }
}
