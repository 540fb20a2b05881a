//! Programs that watch their socket before they bind it: where another takes its place, the watch has to follow.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use oneport::{EndCause, Event, Exit, Oddity, Policy, Ports, ProgramWay, Signal};
use oneport_sys::poll::{Interest, Poller, Readiness};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::{Test, ask, ask_often, fill_a_queue, free_port, hear, hear_all};

/// The number that a copy has to have its socket under.
const NUMBER: &str = "TEST_NUMBER";

/// Runs in copies of one test: a server that has its socket under a number which its primary may not use.
#[test]
fn entry_of_the_program_with_a_high_number() {
    let Ok(number) = std::env::var(NUMBER) else { return };
    let (number, port) = number.split_once(' ').unwrap();
    let (number, port): (RawFd, u16) = (number.parse().unwrap(), port.parse().unwrap());
    allow_numbers_up_to(number).unwrap();
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    let socket = rustix::io::fcntl_dupfd_cloexec(socket, number).unwrap();
    assert_eq!(socket.as_raw_fd(), number);
    let poller = Poller::new().unwrap();
    // It hangs up when the test ends.
    poller.add(std::io::stdin().as_fd(), 0, Interest::NONE).unwrap();
    poller.add(socket.as_fd(), 1, Interest::READ).unwrap();
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    rustix::net::listen(&socket, 64).unwrap();
    let listener = TcpListener::from(socket);
    let mut readiness = Readiness::new();
    loop {
        poller.wait(&mut readiness, None).unwrap();
        for ready in readiness.iter() {
            if ready.token == 0 {
                std::process::exit(0);
            }
            let (mut connection, _) = listener.accept().unwrap();
            let _ = connection.write_all(&std::process::id().to_ne_bytes());
        }
    }
}

fn allow_numbers_up_to(number: RawFd) -> rustix::io::Result<()> {
    let wanted = u64::from(number.cast_unsigned());
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted + 1), ..getrlimit(Resource::Nofile) })
}

fn early(port: u16) -> String {
    format!("socket a 4 tcp; option a reuse_address; poll a; bind a 127.0.0.1:{port}; listen a; serve a")
}

/// Waits until it is told that a worker polls early; where.
fn told_early(test: &mut Test, worker: u32) -> SocketAddr {
    test.oddity("it is told that it polls early", |of, oddity| match oddity {
        Oddity::PolledEarly { address } if of.id().0 == worker => address.socket,
        _ => None,
    })
}

fn oddities(test: &Test) -> usize {
    test.count(|event| matches!(event, Event::Oddity { .. } | Event::ConnectionsLost { .. }))
}

#[test]
fn connections_of_a_killed_copy_are_served_by_its_successor_and_by_the_next() {
    let mut test = Test::start(2, ProgramWay::Own, &early(free_port()));
    let address = test.proven(2);
    let mut victim = 1;
    for successor in 3..=4 {
        test.freeze(victim);
        let waiting = fill_a_queue(address, 40);
        test.signal(victim, Signal::KILL);
        let answers = hear_all(waiting);
        assert_eq!(test.exit(victim), (Exit::Signal(9), EndCause::ByItself));
        let expected = BTreeSet::from([test.pid(2), test.pid(successor)]);
        assert_eq!(answers.keys().copied().collect::<BTreeSet<_>>(), expected);
        assert!(answers[&test.pid(successor)] >= 40, "{answers:?}");
        test.proven(successor as usize);
        victim = successor;
    }
    assert_eq!(oddities(&test), 0);
    test.stop();
}

#[test]
fn a_socket_on_a_port_of_the_kernels_choice_is_taken_over_with_its_watch() {
    let script = "socket a 4 tcp; poll a; bind a 0.0.0.0:0; listen a; serve a";
    let mut test = Test::start(1, ProgramWay::Own, script);
    let address = test.proven(1);
    test.freeze(1);
    let waiting = fill_a_queue(address, 40);
    test.signal(1, Signal::KILL);
    assert_eq!(hear_all(waiting), [(test.pid(2), 40)].into());
    assert_eq!(ask(address), test.pid(2));
    assert_eq!(oddities(&test), 0);
    test.stop();
}

#[test]
fn a_socket_that_all_copies_share_is_heard() {
    let mut test = Test::start_with(1, &early(free_port()), |settings| {
        settings.conduct.policy = Policy::Shared;
    });
    let address = test.proven(1);
    assert_eq!(ask(address), test.pid(1));
    assert_eq!(oddities(&test), 0);
    test.stop();
}

/// What it watches cannot follow: it keeps its own socket, and what waited for the first copy is counted.
fn stays(mut test: Test) {
    let address = test.proven(1);
    assert_eq!(ask(address), test.pid(1));
    test.signal(1, Signal::STOP);
    let waiting = fill_a_queue(address, 10);
    test.signal(1, Signal::KILL);
    assert_eq!(told_early(&mut test, 2), address);
    let lost = test.until("connections are counted as lost", |test| {
        test.told.iter().find_map(|event| match event {
            Event::ConnectionsLost { connections, .. } => Some(*connections),
            _ => None,
        })
    });
    // A thread of the stopped one may have had the first in its hands.
    assert!((10..=waiting.len()).contains(&(lost as usize)), "{lost}");
    assert!(waiting.into_iter().all(|connection| hear(connection).is_err()));
    test.proven(2);
    assert_eq!(ask(address), test.pid(2));
    assert_eq!(oddities(&test), 2);
    test.stop();
}

#[test]
fn a_copy_with_more_sets_than_are_looked_at_keeps_its_own_socket() {
    let sets: String = (0..64).map(|set| format!("socket s{set} 4 tcp; poll s{set}; ")).collect();
    stays(Test::start(1, ProgramWay::Own, &(sets + &early(free_port()))));
}

#[test]
fn a_copy_whose_number_is_above_the_primarys_limit_keeps_its_own_socket() {
    // Each test has a process of its own, so this limit is nobody else's.
    let number = 512;
    setrlimit(Resource::Nofile, Rlimit { current: Some(512), ..getrlimit(Resource::Nofile) }).unwrap();
    let port = free_port();
    stays(Test::start_with(1, "", |settings| {
        settings.args[0] = "polled::entry_of_the_program_with_a_high_number".into();
        settings.env.push((NUMBER.into(), format!("{number} {port}").into()));
    }));
}

#[test]
fn a_copy_whose_socket_is_replaced_and_does_not_hear_of_it_is_told_at_once() {
    let mut test = Test::start(1, ProgramWay::Slot, &early(free_port()));
    let address = test.proven(1);
    assert_eq!(told_early(&mut test, 1), address);
    test.stop();
}

#[test]
fn a_copy_that_is_tried_out_is_told_and_serves_beside_who_has_its_port() {
    let port = free_port();
    let beside = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut test = Test::start_with(1, &early(port), |settings| settings.program.ports = Ports::Scratch);
    test.proven(1);
    assert_eq!(told_early(&mut test, 1).port(), port);
    let there = test.order(1, "where a").strip_prefix("ok ").unwrap().parse().unwrap();
    assert_ne!(there, beside.local_addr().unwrap());
    // Should it be mixed up with who listens there, the kernel's hash decides whom each reaches.
    assert_eq!(ask_often(there, 16), [(test.pid(1), 16)].into());
    assert_eq!(test.count(|event| matches!(event, Event::ListenFailed { .. })), 0);
    test.stop();
}
