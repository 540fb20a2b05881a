//! Programs that make trouble for whoever answers their calls: without end, begun anew, from elsewhere, after their end.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use oneport::{EndCause, Event, Exit, Oddity, Policy, ProgramWay, Settings};
use rustix::io::Errno;

use crate::acts::Scratch;
use crate::harness::{PATIENCE, Test, ask, ask_often, free_port, hear, in_both_ways, skipped};

in_both_ways! {
    one_that_binds_without_end_is_still_stopped_in_time,
    a_bind_that_is_begun_anew_succeeds_and_one_to_another_address_does_not,
    a_copy_in_another_network_has_its_address_there_for_itself,
    a_child_that_outlives_its_copy_is_not_left_without_an_answer,
}

fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Behind another program, which executes it.
fn behind(settings: &mut Settings, program: &str, before: &[&str]) {
    settings.exec = program.into();
    let own = std::env::current_exe().unwrap().into_os_string();
    let before = before.iter().map(Into::into).chain([own]);
    settings.args = before.chain(std::mem::take(&mut settings.args)).collect();
}

fn one_that_binds_without_end_is_still_stopped_in_time(way: ProgramWay) {
    let address = loopback(free_port());
    let mut test = Test::start_with(1, &format!("server a {address}; swarm 8 {address}"), |settings| {
        settings.program.way = way;
        settings.conduct.kill_timeout = Duration::from_millis(500);
        // What is ignored stays so.
        behind(settings, "/bin/sh", &["-c", "trap '' TERM; exec \"$0\" \"$@\""]);
    });
    test.proven(1);
    assert!(ask(address) > 0);
    test.cluster.stop().unwrap();
    assert_eq!(test.exit(1), (Exit::Signal(9), EndCause::Asked));
    test.stopped();
}

fn a_bind_that_is_begun_anew_succeeds_and_one_to_another_address_does_not(way: ProgramWay) {
    for policy in [Policy::RoundRobin, Policy::Shared] {
        let (address, other) = (loopback(free_port()), loopback(free_port()));
        let script = format!(
            "socket a 4 tcp; option a reuse_address; bind a {address}; bind a {address}; try bind a {other}; listen a; serve a"
        );
        let mut test = Test::start_with(2, &script, |settings| {
            settings.program.way = way.clone();
            settings.conduct.policy = policy;
        });
        assert_eq!(test.proven(2), address);
        for worker in [1, 2] {
            assert_eq!(test.played(worker)[4], format!("errno {}", Errno::INVAL.raw_os_error()));
        }
        assert_eq!(ask_often(address, 80).len(), 2);
        test.stop();
    }
}

fn a_copy_in_another_network_has_its_address_there_for_itself(way: ProgramWay) {
    if !rustix::process::geteuid().is_root() {
        return skipped("a_copy_in_another_network", "needs root");
    }
    let address = SocketAddr::from(([0, 0, 0, 0], free_port()));
    let mut test = Test::start_with(2, &format!("server a {address}"), |settings| {
        settings.program.way = way;
        behind(settings, "unshare", &["--net"]);
    });
    for worker in [1, 2] {
        let found = test.oddity("it is said that it is elsewhere", |who, oddity| match oddity {
            Oddity::ForeignNetwork { address } if who.id().0 == worker => Some(address.clone()),
            _ => None,
        });
        assert_eq!(found, address.to_string());
        assert_eq!(test.played(worker), [format!("ok {address}")]);
    }
    // Here nobody has it.
    drop(TcpListener::bind(address).unwrap());
    assert_eq!(test.listening().count(), 0);
    assert_eq!(test.count(|event| matches!(event, Event::Oddity { .. })), 2, "{}", test.history());
    test.stop();
}

fn a_child_that_outlives_its_copy_is_not_left_without_an_answer(way: ProgramWay) {
    let path = Scratch::new();
    let mut test = Test::start(1, way, &format!("server a 127.0.0.1:{}", free_port()));
    let address = test.proven(1);
    assert_eq!(test.order(1, "pause a"), "ok");
    let connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(test.order(1, &format!("heir a {path}")), "ok");
    let copy = rustix::process::Pid::from_raw(test.pid(1)).unwrap();
    rustix::process::kill_process(copy, rustix::process::Signal::KILL).unwrap();
    // When its successor is there, nothing is kept of it any more.
    test.proven(2);
    path.write("now");
    assert_ne!(hear(connection).unwrap(), test.pid(2));
    test.stop();
}
