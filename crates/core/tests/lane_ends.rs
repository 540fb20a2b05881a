//! What becomes of the socket of a worker that ends: kept for a successor, emptied and closed, or retired.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the few effects it is about")]

mod sim;

use oneport_core::{Attach, Effect, Event, Exit, LaneId, Notice, Origin, Phase, Settings, Sharing};
use sim::programs::{lane, programs};
use sim::{Obeys, Sim, ms, tcp, worker};

const FRESH: Origin = Origin::Fresh;
const ADOPTED: Origin = Origin::Adopted;
const NONE: [u32; 0] = [];
const FORK: Event = Event::Fork { attach: Attach::Program };

/// The worker crashes and its successor is started.
fn crash(sim: &mut Sim, id: u32) {
    sim.exit(worker(id), 1);
    sim.pass(ms(100));
}

fn close(id: u32) -> Effect {
    Effect::CloseLane { lane: LaneId(id) }
}

#[test]
fn the_successor_of_a_crashed_worker_adopts_its_socket() {
    let mut sim = Sim::serving_programs(programs(), 2);
    crash(&mut sim, 1);
    assert_eq!((sim.retired(), sim.closed_lanes()), (vec![], vec![]));
    assert_eq!(sim.run_program(worker(3), 80), (lane(1), ADOPTED));
}

#[test]
fn the_successor_adopts_the_socket_of_the_port_that_it_asks_for() {
    let mut sim = Sim::new(programs());
    sim.event(Event::Scale(1));
    sim.run_program(worker(1), 80);
    sim.run_program(worker(1), 81);
    sim.prove();
    crash(&mut sim, 1);
    assert_eq!(sim.promised(worker(2), 81), (lane(2), ADOPTED));
    assert_eq!(sim.promised(worker(2), 80), (lane(1), ADOPTED));
}

#[test]
fn nobody_adopts_the_socket_of_another_slot() {
    let mut sim = Sim::serving_programs(programs(), 2);
    crash(&mut sim, 1);
    crash(&mut sim, 2);
    assert_eq!(sim.promised(worker(4), 80), (lane(2), ADOPTED));
    assert_eq!(sim.promised(worker(3), 80), (lane(1), ADOPTED));
}

#[test]
fn all_sockets_of_a_program_that_shares_with_itself_are_adopted() {
    let mut sim = Sim::new(programs());
    sim.event(Event::Scale(1));
    for id in 1..=2 {
        sim.bind(worker(1), tcp(80), Sharing::WithItself);
        sim.lane_listens(worker(1), lane(id));
    }
    sim.prove();
    crash(&mut sim, 1);
    for id in 1..=2 {
        sim.bind(worker(2), tcp(80), Sharing::WithItself);
        sim.lane_listens(worker(2), lane(id));
    }
    assert_eq!(sim.retired(), NONE);
    assert_eq!(sim.chosen(80), [1, 2]);
}

#[test]
fn one_that_dies_before_it_listens_leaves_what_it_adopted_to_the_next() {
    let mut sim = Sim::serving_programs(programs(), 1);
    crash(&mut sim, 1);
    sim.promised(worker(2), 80);
    sim.exit(worker(2), 1);
    sim.pass(ms(200));
    assert_eq!(sim.run_program(worker(3), 80), (lane(1), ADOPTED));
    assert_eq!((sim.retired(), sim.closed_lanes()), (vec![], vec![]));
}

#[test]
fn one_that_fails_to_adopt_leaves_it_to_the_next() {
    let mut sim = Sim::serving_programs(programs(), 1);
    crash(&mut sim, 1);
    sim.promised(worker(2), 80);
    sim.event(Event::LaneFailed { worker: worker(2), lane: lane(1) });
    assert_eq!(sim.chosen(80), [1], "it is kept on");
    assert_eq!(sim.promised(worker(2), 80), (lane(1), ADOPTED));
    sim.event(Event::LaneClosed { worker: worker(2), lane: lane(1) });
    assert_eq!(sim.promised(worker(2), 80), (lane(1), ADOPTED));
}

#[test]
fn a_socket_that_never_listened_is_closed() {
    let mut sim = Sim::new(programs());
    sim.event(Event::Scale(1));
    sim.promised(worker(1), 80);
    sim.exit(worker(1), 1);
    assert_eq!(sim.closed_lanes(), [1]);
}

#[test]
fn a_socket_that_the_proven_successor_did_not_adopt_is_retired() {
    let mut sim = Sim::serving_programs(programs(), 1);
    crash(&mut sim, 1);
    sim.run_program(worker(2), 81);
    assert_eq!(sim.retired(), NONE);
    sim.prove();
    assert_eq!(sim.retired(), [1]);
    let port = sim.port(80);
    assert!(sim.has(&Effect::Close { port }), "the port ends with its last socket");
}

#[test]
fn a_socket_that_nobody_adopts_in_time_is_retired() {
    let mut sim = Sim::serving_programs(programs(), 1);
    crash(&mut sim, 1);
    sim.pass(ms(9999));
    assert_eq!(sim.retired(), NONE);
    sim.pass(ms(1));
    assert_eq!(sim.retired(), [1]);
}

#[test]
fn more_time_for_the_successor_is_more_time_for_the_socket() {
    let mut sim = Sim::serving_programs(programs(), 1);
    crash(&mut sim, 1);
    sim.event(Event::Extend { worker: worker(2), by: ms(60_000) });
    sim.pass(ms(59_000));
    assert_eq!(sim.run_program(worker(2), 80), (lane(1), ADOPTED));
}

#[test]
fn the_sockets_of_a_slot_that_is_given_up_are_retired() {
    let mut sim = Sim::serving_programs(Settings { max_restarts: 1, ..programs() }, 2);
    crash(&mut sim, 1);
    sim.exit(worker(3), 1);
    assert_eq!(sim.retired(), [1]);
    assert_eq!(sim.chosen(80), [2]);
}

#[test]
fn a_worker_of_a_slot_that_is_scaled_away_empties_its_socket_before_it_goes() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.obeys = Obeys { empty: false, ..Obeys::ALL };
    sim.event(Event::Scale(1));
    sim.pass(ms(7999));
    assert!(sim.has(&Effect::EmptyLanes { worker: worker(2) }));
    assert_eq!(sim.cluster.phase(worker(2)), Some(Phase::Draining));
    sim.event(Event::LanesEmpty { worker: worker(2) });
    assert_eq!(sim.cluster.phase(worker(2)), Some(Phase::Leaving));
    sim.event(Event::Idle { worker: worker(2) });
    sim.exit(worker(2), 0);
    assert_eq!((sim.retired(), sim.closed_lanes()), (vec![], vec![2]));
}

#[test]
fn a_socket_that_is_not_emptied_in_time_is_retired() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.obeys = Obeys { empty: false, ..Obeys::ALL };
    sim.event(Event::Scale(1));
    sim.pass(ms(8000));
    assert!(sim.has(&Effect::SignalStop { worker: worker(2) }));
    sim.event(Event::LanesEmpty { worker: worker(2) });
    sim.exit(worker(2), 0);
    assert_eq!((sim.retired(), sim.closed_lanes()), (vec![2], vec![]));
}

#[test]
fn the_kept_socket_of_a_slot_that_is_scaled_away_is_retired() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.exit(worker(2), 1);
    sim.event(Event::Scale(1));
    assert_eq!(sim.retired(), [2]);
}

#[test]
fn the_last_socket_takes_its_port_with_it() {
    let mut sim = Sim::serving_programs(programs(), 1);
    let port = sim.port(80);
    sim.event(Event::Scale(0));
    sim.event(Event::Idle { worker: worker(1) });
    sim.exit(worker(1), 0);
    assert!(sim.position(&close(1)) < sim.position(&Effect::Close { port }));
}

#[test]
fn a_port_lives_as_long_as_its_last_socket_is_being_emptied() {
    let mut sim = Sim::new(programs());
    sim.event(FORK);
    sim.run_program(worker(1), 80);
    sim.prove();
    sim.obeys = Obeys { empty: false, ..Obeys::ALL };
    sim.event(Event::Leave { worker: worker(1) });
    sim.pass(ms(7000));
    assert_eq!(sim.count(|e| matches!(e, Effect::Close { .. } | Effect::CloseLane { .. })), 0);
}

#[test]
fn words_about_a_whole_port_do_not_end_one_of_lanes() {
    let mut sim = Sim::serving_programs(programs(), 1);
    let port = sim.port(80);
    let before = sim.cluster.clone();
    sim.event(Event::Closed { worker: worker(1), port });
    sim.event(Event::PortShut { port });
    assert!(sim.cluster == before);
}

#[test]
fn a_reload_empties_the_old_socket_and_closes_it() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.event(Event::Reload);
    assert_eq!(sim.run_program(worker(2), 80), (lane(2), FRESH));
    sim.prove();
    assert!(sim.has(&Effect::EmptyLanes { worker: worker(1) }));
    sim.event(Event::Idle { worker: worker(1) });
    sim.exit(worker(1), 0);
    assert_eq!((sim.retired(), sim.closed_lanes()), (vec![], vec![1]));
    assert_eq!(sim.chosen(80), [2]);
}

#[test]
fn what_the_old_one_of_a_reload_leaves_in_a_crash_is_retired_where_the_new_one_has_bound() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.event(Event::Reload);
    sim.promised(worker(3), 80);
    sim.exit(worker(1), 1);
    assert_eq!(sim.retired(), [1]);
}

#[test]
fn what_the_old_one_of_a_reload_leaves_in_a_crash_is_adopted_where_the_new_one_has_not_bound() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.event(Event::Reload);
    sim.exit(worker(1), 1);
    assert_eq!(sim.run_program(worker(3), 80), (lane(1), ADOPTED));
    assert_eq!(sim.retired(), NONE);
}

#[test]
fn what_waits_where_the_program_closed_by_itself_goes_to_its_successor() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.event(Event::LaneClosed { worker: worker(1), lane: lane(1) });
    crash(&mut sim, 1);
    assert_eq!(sim.promised(worker(2), 80), (lane(1), ADOPTED));
}

#[test]
fn a_draining_worker_that_closes_its_socket_is_not_waited_for() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.obeys = Obeys { empty: false, ..Obeys::ALL };
    sim.event(Event::Scale(1));
    sim.event(Event::LaneClosed { worker: worker(2), lane: lane(2) });
    assert_eq!(sim.cluster.phase(worker(2)), Some(Phase::Leaving));
    sim.event(Event::Idle { worker: worker(2) });
    sim.exit(worker(2), 0);
    assert_eq!((sim.retired(), sim.closed_lanes()), (vec![2], vec![]), "something may wait in it");
}

#[test]
fn a_worker_without_sockets_has_nothing_to_empty() {
    let mut sim = Sim::new(programs());
    sim.event(Event::Scale(1));
    sim.event(Event::Leave { worker: worker(1) });
    assert_eq!(sim.count(|e| matches!(e, Effect::EmptyLanes { .. })), 0);
    assert_eq!(sim.cluster.phase(worker(1)), Some(Phase::Leaving));
}

#[test]
fn a_socket_that_came_to_listen_after_the_others_were_empty_is_retired() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.promised(worker(2), 81);
    sim.event(Event::Scale(1));
    sim.lane_listens(worker(2), lane(3));
    sim.event(Event::Idle { worker: worker(2) });
    sim.exit(worker(2), 0);
    assert_eq!((sim.retired(), sim.closed_lanes()), (vec![2, 3], vec![]));
}

#[test]
fn at_a_stop_all_empty_their_sockets_at_once_and_these_are_closed_before_their_port() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.obeys = Obeys { empty: false, ..Obeys::ALL };
    sim.event(Event::Stop);
    for id in 1..=2 {
        assert!(sim.has(&Effect::EmptyLanes { worker: worker(id) }));
        assert_eq!(sim.cluster.phase(worker(id)), Some(Phase::Draining));
    }
    for id in 1..=2 {
        sim.event(Event::LanesEmpty { worker: worker(id) });
        assert!(sim.count(|e| matches!(e, Effect::WatchIdle { .. })) == id as usize);
        sim.event(Event::Idle { worker: worker(id) });
        sim.exit(worker(id), 0);
    }
    let port = sim.port(80);
    let ended = sim.position(&Effect::Close { port });
    assert!(sim.position(&close(1)) < ended && sim.position(&close(2)) < ended);
    assert!(sim.told(&Notice::Stopped));
}

#[test]
fn at_a_stop_nothing_is_kept_or_retired() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.exit(worker(1), 1);
    sim.event(Event::Stop);
    assert_eq!((sim.retired(), sim.closed_lanes()), (vec![], vec![1]));
    sim.exit(worker(2), 1);
    assert_eq!((sim.retired(), sim.closed_lanes()), (vec![], vec![1, 2]));
}

#[test]
fn an_answer_that_comes_after_the_end_means_nothing() {
    let mut sim = Sim::serving_programs(Settings { max_restarts: 0, ..programs() }, 2);
    sim.obeys = Obeys { retire: false, ..Obeys::ALL };
    sim.event(Event::LaneClosed { worker: worker(1), lane: lane(1) });
    sim.pass(ms(10_000));
    assert_eq!(sim.retired(), [1]);
    sim.event(Event::StopNow);
    assert_eq!(sim.closed_lanes(), [1, 2]);
    sim.take();
    sim.event(Event::LaneRetired { lane: lane(1) });
    assert_eq!(sim.log(), []);
}

#[test]
fn a_socket_that_cannot_be_emptied_for_want_of_descriptors_is_tried_again_and_not_closed() {
    let mut sim = Sim::serving_programs(Settings { max_restarts: 0, ..programs() }, 2);
    sim.obeys = Obeys { retire: false, ..Obeys::ALL };
    let port = sim.port(80);
    sim.event(Event::LaneClosed { worker: worker(1), lane: lane(1) });
    sim.pass(ms(10_000));
    assert_eq!(sim.retired(), [1]);
    for tries in 2..=4 {
        sim.event(Event::LaneExhausted { lane: lane(1) });
        assert_eq!(sim.retired().len(), tries - 1);
        sim.pass(ms(100));
        assert_eq!((sim.retired(), sim.closed_lanes()), (vec![1; tries], vec![]));
    }
    let told = Effect::Tell(Notice::AcceptExhausted { port });
    assert_eq!(sim.log().iter().filter(|effect| **effect == told).count(), 1, "one shortage is told once");
    sim.event(Event::LaneRetired { lane: lane(1) });
    sim.pass(ms(10_000));
    assert_eq!((sim.retired().len(), sim.closed_lanes()), (4, vec![]));
}

#[test]
fn an_immediate_end_closes_the_sockets_first() {
    let mut sim = Sim::serving_programs(programs(), 1);
    let port = sim.port(80);
    sim.event(Event::StopNow);
    let end = Effect::EndTree { worker: worker(1), grace: ms(0) };
    assert!(sim.position(&close(1)) < sim.position(&Effect::Close { port }));
    assert!(sim.position(&Effect::Close { port }) < sim.position(&end));
}

#[test]
fn names_go_on_counting_after_a_disconnect() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.event(Event::Disconnect);
    sim.event(Event::Idle { worker: worker(1) });
    sim.exit(worker(1), 0);
    assert!(sim.told(&Notice::Disconnected));
    sim.event(Event::Scale(1));
    assert_eq!(sim.promised(worker(2), 80), (lane(2), FRESH));
}

#[test]
fn the_socket_of_a_fork_that_died_is_adopted_by_the_next_one() {
    let mut sim = Sim::new(programs());
    sim.event(FORK);
    sim.run_program(worker(1), 80);
    sim.prove();
    sim.event(Event::Exited { worker: worker(1), exit: Exit::Signal(11) });
    sim.pass(ms(9000));
    sim.event(FORK);
    assert_eq!(sim.run_program(worker(2), 80), (lane(1), ADOPTED));
    sim.pass(ms(60_000));
    assert_eq!(sim.retired(), NONE);
}

#[test]
fn the_socket_of_a_fork_that_nobody_follows_is_retired() {
    let mut sim = Sim::new(programs());
    sim.event(FORK);
    sim.run_program(worker(1), 80);
    sim.prove();
    sim.event(Event::Exited { worker: worker(1), exit: Exit::Signal(11) });
    sim.pass(ms(9999));
    assert_eq!(sim.retired(), NONE);
    sim.pass(ms(1));
    assert_eq!(sim.retired(), [1]);
}

#[test]
fn a_fork_that_was_asked_to_leave_leaves_no_socket() {
    let mut sim = Sim::new(programs());
    sim.event(FORK);
    sim.run_program(worker(1), 80);
    sim.event(Event::Leave { worker: worker(1) });
    sim.event(Event::Idle { worker: worker(1) });
    sim.exit(worker(1), 0);
    assert_eq!((sim.retired(), sim.closed_lanes()), (vec![], vec![1]));
}
