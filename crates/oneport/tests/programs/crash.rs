//! Copies that die: whoever waited for them is served by somebody else, or counted.

use std::collections::BTreeSet;
use std::time::Duration;

use oneport::{EndCause, Event, Exit, ProgramWay, Signal, Worker};

use crate::acts::Scratch;
use crate::harness::{
    Load, Test, Watched, ask_often, call_often, eventually, fill_a_queue, free_port, hear, hear_all,
    in_both_ways, queues,
};

in_both_ways! {
    connections_of_a_stopped_and_killed_copy_are_served_by_its_successor,
    connections_wait_while_the_only_copy_is_replaced,
    a_successor_that_dies_before_it_listens_leaves_the_queue_to_the_next,
    what_waits_for_a_slot_that_is_given_up_is_served_by_a_temporary_copy,
    what_waits_when_every_slot_is_given_up_is_counted,
    a_socket_that_is_polled_before_it_listens_is_taken_over,
    a_child_that_holds_the_socket_is_ended_before_the_successor_comes,
    kills_under_load_cost_only_what_the_dead_had_accepted,
}

fn server() -> String {
    format!("server a 127.0.0.1:{}", free_port())
}

/// Who came for connections that nobody else would take.
fn temporary(test: &mut Test) -> Worker {
    test.until("a temporary copy", |test| {
        test.told.iter().find_map(|event| match event {
            Event::Temporary { worker } => Some(worker.clone()),
            _ => None,
        })
    })
}

/// How many connections were lost.
fn lost(test: &mut Test) -> u32 {
    test.until("connections are counted as lost", |test| {
        test.told.iter().find_map(|event| match event {
            Event::ConnectionsLost { connections, .. } => Some(*connections),
            _ => None,
        })
    })
}

fn connections_of_a_stopped_and_killed_copy_are_served_by_its_successor(way: ProgramWay) {
    let mut test = Test::start(2, way, &server());
    let address = test.proven(2);
    test.freeze(1);
    let waiting = fill_a_queue(address, 40);
    test.signal(1, Signal::KILL);
    let answers = hear_all(waiting);
    assert_eq!(test.exit(1), (Exit::Signal(9), EndCause::ByItself));
    assert_eq!(answers.keys().copied().collect::<BTreeSet<_>>(), [test.pid(2), test.pid(3)].into());
    assert!(answers[&test.pid(3)] >= 40, "{answers:?}");
    test.stop();
}

fn connections_wait_while_the_only_copy_is_replaced(way: ProgramWay) {
    let mut test = Test::start(1, way, &server());
    let address = test.proven(1);
    test.freeze(1);
    let waiting = fill_a_queue(address, 40);
    test.signal(1, Signal::KILL);
    let late = call_often(address, 10);
    assert_eq!(hear_all(waiting), [(test.pid(2), 40)].into());
    assert_eq!(hear_all(late), [(test.pid(2), 10)].into());
    test.stop();
}

fn a_successor_that_dies_before_it_listens_leaves_the_queue_to_the_next(way: ProgramWay) {
    let broken = Scratch::new();
    let script = format!(
        "socket a 4 tcp; option a reuse_address; bind a 127.0.0.1:{}; exit-if {broken}; listen a; serve a",
        free_port()
    );
    let mut test = Test::start(1, way, &script);
    let address = test.proven(1);
    test.freeze(1);
    let waiting = fill_a_queue(address, 10);
    broken.write("0");
    test.signal(1, Signal::KILL);
    assert_eq!(test.exit(2), (Exit::Code(1), EndCause::ByItself));
    broken.write("");
    let answers = hear_all(waiting);
    assert_eq!(answers.len(), 1);
    assert_ne!(answers.into_keys().next(), Some(test.pid(2)));
    test.stop();
}

/// Two copies of which the second will be given up as soon as it dies, with connections waiting in its socket.
fn what_waits_for_a_slot_that_is_given_up_is_served_by_a_temporary_copy(way: ProgramWay) {
    let broken = Scratch::new();
    let mut test = Test::start_with(2, &format!("exit-if {broken}; {}", server()), |settings| {
        settings.program.way = way;
        settings.conduct.max_restarts = 3;
        settings.conduct.min_uptime = Duration::from_secs(3);
    });
    let address = test.proven(2);
    let slot = test.workers[&oneport::WorkerId(2)].slot().unwrap();
    broken.write(&slot.to_string());
    test.freeze(2);
    let waiting = fill_a_queue(address, 10);
    test.signal(2, Signal::KILL);
    test.until("the slot is given up", |test| {
        (test.count(|event| matches!(event, Event::Errored { .. })) == 1).then_some(())
    });
    let heir = temporary(&mut test);
    let answers = hear_all(waiting);
    assert_eq!(answers.keys().copied().collect::<BTreeSet<_>>(), [test.pid(1), heir.pid()].into());
    assert_eq!(answers[&heir.pid()], 10);
    // It leaves as soon as it has done that, and was never chosen.
    assert_eq!(test.exit(heir.id().0), (Exit::Signal(15), EndCause::Asked));
    assert_eq!(ask_often(address, 20).into_keys().collect::<Vec<_>>(), [test.pid(1)]);
    assert_eq!(test.count(|event| matches!(event, Event::ConnectionsLost { .. })), 0);
    test.stop();
}

fn what_waits_when_every_slot_is_given_up_is_counted(way: ProgramWay) {
    let broken = Scratch::new();
    let mut test = Test::start_with(1, &format!("exit-if {broken}; {}", server()), |settings| {
        settings.program.way = way;
        settings.conduct.max_restarts = 2;
        settings.conduct.min_uptime = Duration::from_secs(3);
    });
    let address = test.proven(1);
    broken.write("0");
    test.freeze(1);
    let waiting = fill_a_queue(address, 10);
    test.signal(1, Signal::KILL);
    test.until("everything is given up", |test| {
        (test.count(|event| matches!(event, Event::AllErrored)) == 1).then_some(())
    });
    assert_eq!(lost(&mut test), 10);
    // They are told, and do not hang.
    assert!(waiting.into_iter().all(|connection| hear(connection).is_err()));
    assert!(std::net::TcpStream::connect(address).is_err());
    test.stop();
}

fn a_socket_that_is_polled_before_it_listens_is_taken_over(way: ProgramWay) {
    let script = format!(
        "socket a 4 tcp; option a reuse_address; bind a 127.0.0.1:{}; poll a; listen a; serve a",
        free_port()
    );
    let mut test = Test::start(1, way, &script);
    let address = test.proven(1);
    test.freeze(1);
    let waiting = fill_a_queue(address, 10);
    test.signal(1, Signal::KILL);
    assert_eq!(hear_all(waiting), [(test.pid(2), 10)].into());
    assert_eq!(test.count(|event| matches!(event, Event::Oddity { .. })), 0);
    test.stop();
}

fn a_child_that_holds_the_socket_is_ended_before_the_successor_comes(way: ProgramWay) {
    let mut test = Test::start(1, way, &format!("{}; child a", server()));
    let address = test.proven(1);
    let child = test.played(1)[1].strip_prefix("ok ").unwrap().parse().unwrap();
    let child = Watched::new(child);
    test.freeze(1);
    let waiting = fill_a_queue(address, 10);
    // The process alone, not its group.
    let pid = rustix::process::Pid::from_raw(test.pid(1)).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(hear_all(waiting), [(test.pid(2), 10)].into());
    child.ended();
    test.stop();
}

fn kills_under_load_cost_only_what_the_dead_had_accepted(way: ProgramWay) {
    let mut test = Test::start(2, way, &server());
    let address = test.proven(2);
    for victim in 1..=4 {
        // One that takes nothing has nothing in its hands when it is killed.
        test.proven(victim as usize + 1);
        assert_eq!(test.order(victim, "pause a"), "ok");
        let load = Load::start(address, b'?', 4);
        eventually("somebody waits for it", || queues(address).iter().any(|waiting| *waiting > 0));
        test.signal(victim, Signal::KILL);
        test.exit(victim);
        test.proven(victim as usize + 2);
        load.stop();
    }
    test.stop();
}

#[test]
fn a_copy_killed_while_it_boots_is_replaced() {
    let mut test = Test::start_with(2, &server(), |settings| {
        settings.conduct.restart_delay = Some(Duration::from_millis(10));
    });
    test.signal(1, Signal::KILL);
    test.exit(1);
    let address = test.proven(2);
    assert_eq!(ask_often(address, 80).keys().copied().collect::<BTreeSet<_>>(), test.pids());
    test.stop();
}
