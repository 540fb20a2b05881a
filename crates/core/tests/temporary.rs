//! The copy that is started only to serve what waits in a socket that nobody else takes over.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the few effects it is about")]

mod sim;

use oneport_core::{Attach, Effect, Event, Notice, Origin, Phase, ReplyOutcome, Settings, Sharing};
use sim::programs::{lane, programs};
use sim::{Obeys, Sim, ms, tcp, worker};

const ADOPTED: Origin = Origin::Adopted;
const NONE: [u32; 0] = [];

/// Two or more programs serve, and the slots from `left` on are scaled away by force, with something waiting in each.
fn stuck(count: u32, left: u32) -> Sim {
    let mut sim = Sim::serving_programs(programs(), count);
    sim.stuck.extend((1..=count).map(lane));
    for id in left + 1..=count {
        sim.exit(worker(id), 1);
    }
    sim.event(Event::Scale(left));
    sim
}

fn spawn_temporary(id: u32) -> Effect {
    Effect::Spawn { worker: worker(id), slot: None, attach: Attach::Program }
}

#[test]
fn a_copy_is_started_for_what_waits_adopts_it_empties_it_and_leaves() {
    let mut sim = stuck(2, 1);
    assert!(
        sim.position(&spawn_temporary(3))
            < sim.position(&Effect::Tell(Notice::Temporary { worker: worker(3) }))
    );
    assert_eq!(sim.run_program(worker(3), 80), (lane(2), ADOPTED));
    assert!(sim.has(&Effect::EmptyLanes { worker: worker(3) }));
    sim.event(Event::Idle { worker: worker(3) });
    sim.exit(worker(3), 0);
    assert_eq!((sim.retired(), sim.closed_lanes()), (vec![2], vec![2]));
    sim.pass(ms(60_000));
    assert_eq!(sim.check.live(), [worker(1)]);
}

#[test]
fn the_copy_is_never_chosen() {
    let mut sim = stuck(2, 1);
    sim.obeys = Obeys { empty: false, ..Obeys::ALL };
    sim.run_program(worker(3), 80);
    assert_eq!(sim.chosen(80), [1]);
    sim.event(Event::LaneClosed { worker: worker(1), lane: lane(1) });
    assert_eq!(sim.chosen(80), NONE);
}

#[test]
fn the_copy_is_not_told_ready_and_not_watched() {
    let mut sim = Sim::serving_programs(Settings { watchdog: Some(ms(20_000)), ..programs() }, 2);
    sim.stuck.insert(lane(2));
    sim.exit(worker(2), 1);
    sim.event(Event::Scale(1));
    sim.obeys = Obeys { empty: false, ..Obeys::ALL };
    sim.run_program(worker(3), 80);
    assert!(!sim.told(&Notice::Ready { worker: worker(3) }));
}

#[test]
fn several_stuck_sockets_wait_for_the_same_copy() {
    let mut sim = Sim::serving_programs(programs(), 3);
    sim.obeys = Obeys { retire: false, ..Obeys::ALL };
    for id in 2..=3 {
        sim.exit(worker(id), 1);
    }
    sim.pass(ms(100));
    sim.run_program(worker(4), 81);
    sim.run_program(worker(5), 82);
    sim.event(Event::LaneClosed { worker: worker(4), lane: lane(4) });
    sim.event(Event::Scale(1));
    sim.event(Event::Idle { worker: worker(4) });
    sim.exit(worker(4), 0);
    sim.take();
    for id in [4, 2] {
        sim.event(Event::LaneStuck { lane: lane(id) });
    }
    assert_eq!(sim.spawned(), [worker(6)], "one copy");
    assert_eq!(sim.run_program(worker(6), 81), (lane(4), ADOPTED));
    assert_eq!(sim.cluster.phase(worker(6)), Some(Phase::Listening));
    assert_eq!(sim.run_program(worker(6), 80), (lane(2), ADOPTED));
    assert_eq!(sim.cluster.phase(worker(6)), Some(Phase::Leaving));
}

#[test]
fn what_gets_stuck_while_a_copy_is_there_waits_for_the_next_one() {
    let mut sim = stuck(3, 2);
    assert_eq!(sim.spawned(), [worker(4)]);
    sim.exit(worker(2), 1);
    sim.event(Event::Scale(1));
    assert_eq!(sim.spawned(), [worker(4)], "one at a time");
    assert_eq!(sim.run_program(worker(4), 80), (lane(3), ADOPTED));
    sim.event(Event::Idle { worker: worker(4) });
    sim.exit(worker(4), 0);
    assert_eq!(sim.spawned(), [worker(4), worker(5)]);
    assert_eq!(sim.run_program(worker(5), 80), (lane(2), ADOPTED));
}

#[test]
fn a_copy_that_shares_with_itself_takes_all_that_is_stuck_on_one_port() {
    let mut sim = Sim::serving_programs(programs(), 3);
    sim.stuck.extend([lane(2), lane(3)]);
    sim.event(Event::LaneClosed { worker: worker(2), lane: lane(2) });
    sim.event(Event::LaneClosed { worker: worker(3), lane: lane(3) });
    sim.pass(ms(10_000));
    for (id, stuck) in [(1, 2), (2, 3)] {
        let answer = sim.bind(worker(4), tcp(80), Sharing::WithItself);
        assert!(
            matches!(answer, ReplyOutcome::Lane { lane: got, origin: ADOPTED, .. } if got == lane(stuck)),
            "{id}"
        );
    }
    for stuck in 2..=3 {
        sim.lane_listens(worker(4), lane(stuck));
    }
    assert_eq!(sim.cluster.phase(worker(4)), Some(Phase::Leaving));
}

#[test]
fn what_is_stuck_outlasts_a_slow_copy() {
    let mut sim = stuck(3, 2);
    sim.exit(worker(2), 1);
    sim.event(Event::Scale(1));
    sim.run_program(worker(4), 80);
    sim.event(Event::Extend { worker: worker(4), by: ms(30_000) });
    sim.pass(ms(29_000));
    sim.exit(worker(4), 0);
    assert_eq!(sim.run_program(worker(5), 80), (lane(2), ADOPTED));
}

#[test]
fn a_copy_that_does_not_listen_in_time_is_asked_to_leave_and_its_socket_closed() {
    let mut sim = stuck(2, 1);
    sim.pass(ms(9999));
    assert_eq!(sim.cluster.phase(worker(3)), Some(Phase::Online));
    sim.pass(ms(1));
    assert_eq!(sim.cluster.phase(worker(3)), Some(Phase::Leaving));
    assert_eq!(sim.closed_lanes(), [2]);
}

#[test]
fn a_copy_that_dies_is_not_followed_by_another() {
    let mut sim = stuck(2, 1);
    sim.run_program(worker(3), 80);
    sim.exit(worker(3), 1);
    assert_eq!(sim.closed_lanes(), [2]);
    sim.pass(ms(60_000));
    assert_eq!(sim.spawned(), [worker(3)]);
}

#[test]
fn a_copy_that_dies_before_it_listens_is_not_followed_by_another() {
    let mut sim = stuck(2, 1);
    sim.promised(worker(3), 80);
    sim.exit(worker(3), 1);
    assert_eq!(sim.closed_lanes(), [2]);
    assert_eq!(sim.spawned(), [worker(3)]);
}

#[test]
fn a_copy_that_fails_to_adopt_may_try_again() {
    let mut sim = stuck(2, 1);
    sim.promised(worker(3), 80);
    sim.event(Event::LaneFailed { worker: worker(3), lane: lane(2) });
    assert_eq!(sim.run_program(worker(3), 80), (lane(2), ADOPTED));
}

#[test]
fn a_copy_does_not_adopt_what_a_fork_may_follow_for() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.event(Event::Fork { attach: Attach::Program });
    sim.run_program(worker(3), 80);
    sim.exit(worker(3), 1);
    sim.stuck.insert(lane(2));
    sim.exit(worker(2), 1);
    sim.event(Event::Scale(1));
    assert_eq!(sim.promised(worker(4), 80), (lane(2), ADOPTED));
    sim.event(Event::Fork { attach: Attach::Program });
    assert_eq!(sim.promised(worker(5), 80), (lane(3), ADOPTED));
}

#[test]
fn nothing_is_started_where_nobody_works() {
    let mut sim = Sim::serving_programs(Settings { max_restarts: 1, ..programs() }, 1);
    sim.stuck.insert(lane(1));
    sim.exit(worker(1), 1);
    sim.pass(ms(100));
    sim.take();
    sim.exit(worker(2), 1);
    assert!(sim.told(&Notice::AllErrored));
    assert_eq!(sim.spawned(), []);
    assert_eq!((sim.retired(), sim.closed_lanes()), (vec![1], vec![1]));
}

#[test]
fn what_is_stuck_waits_until_somebody_is_proven() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.stuck.insert(lane(1));
    sim.event(Event::Reload);
    sim.promised(worker(2), 80);
    sim.exit(worker(1), 1);
    assert_eq!((sim.retired(), sim.closed_lanes()), (vec![1], vec![]));
    sim.lane_listens(worker(2), lane(2));
    sim.take();
    sim.prove();
    assert_eq!(sim.spawned(), [worker(3)]);
    assert_eq!(sim.run_program(worker(3), 80), (lane(1), ADOPTED));
}

#[test]
fn what_is_stuck_does_not_wait_for_ever() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.stuck.insert(lane(1));
    sim.event(Event::Reload);
    sim.promised(worker(2), 80);
    sim.exit(worker(1), 1);
    sim.pass(ms(10_000));
    assert_eq!((sim.spawned(), sim.closed_lanes()), (vec![worker(2)], vec![1]));
}

#[test]
fn at_the_end_what_is_stuck_is_closed() {
    for end in [Event::Stop, Event::Disconnect] {
        let mut sim = stuck(2, 1);
        sim.event(end);
        assert_eq!(sim.closed_lanes(), [2]);
    }
}
