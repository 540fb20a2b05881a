//! Who gets new connections where every worker has a socket of its own.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the few effects it is about")]

mod sim;

use oneport_core::{Attach, Effect, Event, Exit, LaneId, Notice, Phase, Readiness, Settings};
use sim::programs::{lane, programs};
use sim::{Obeys, Sim, ms, worker};

fn started(settings: Settings, count: u32) -> Sim {
    let mut sim = Sim::new(settings);
    sim.event(Event::Scale(count));
    sim
}

fn programs_beside_channels() -> Settings {
    Settings { attach: Attach::Channel, ..programs() }
}

fn choose(sim: &Sim, port: u16, lanes: &[u32]) -> Effect {
    Effect::Choose { port: sim.port(port), lanes: lanes.iter().copied().map(LaneId).collect() }
}

/// Every choice that was told, in order.
fn told(sim: &Sim) -> Vec<Vec<u32>> {
    let choice = |e: &Effect| match e {
        Effect::Choose { lanes, .. } => Some(lanes.iter().map(|lane| lane.0).collect()),
        _ => None,
    };
    sim.log().iter().filter_map(choice).collect()
}

#[test]
fn workers_that_start_together_are_chosen_as_they_come() {
    let mut sim = started(programs(), 3);
    for id in 1..=3 {
        sim.promised(worker(id), 80);
    }
    assert_eq!(told(&sim), [[0; 0]; 0], "nobody listens");
    for id in [2, 1, 3] {
        sim.lane_listens(worker(id), lane(id));
    }
    assert_eq!(told(&sim), [vec![2], vec![1, 2], vec![1, 2, 3]]);
    sim.prove();
    assert_eq!(told(&sim).len(), 3, "being proven changes nothing");
}

#[test]
fn a_newcomer_is_not_chosen_until_it_is_proven() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.event(Event::Scale(3));
    sim.run_program(worker(3), 80);
    sim.pass(ms(999));
    assert_eq!(sim.chosen(80), [1, 2]);
    sim.pass(ms(1));
    assert_eq!(sim.chosen(80), [1, 2, 3]);
    assert_eq!(told(&sim), [[1, 2, 3]]);
}

#[test]
fn a_newcomer_is_chosen_at_once_where_nobody_serves() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.event(Event::Scale(2));
    sim.run_program(worker(2), 80);
    assert_eq!(sim.chosen(80), [1]);
    sim.event(Event::LaneClosed { worker: worker(1), lane: lane(1) });
    assert_eq!(sim.chosen(80), [2]);
}

#[test]
fn whoever_listens_is_chosen_where_nobody_is_ready() {
    let mut sim = Sim::new(programs());
    sim.event(Event::Scale(1));
    sim.run_program(worker(1), 80);
    sim.run_program(worker(1), 81);
    sim.prove();
    sim.event(Event::Reload);
    sim.run_program(worker(2), 80);
    assert_eq!(sim.chosen(80), [1], "it does not listen everywhere yet");
    sim.event(Event::LaneClosed { worker: worker(1), lane: lane(1) });
    assert_eq!(sim.chosen(80), [3]);
}

#[test]
fn nobody_is_chosen_before_it_says_that_it_is_ready_where_it_is_to_say_so() {
    let mut sim = started(Settings { readiness: Readiness::Message, ..programs() }, 1);
    sim.run_program(worker(1), 80);
    assert_eq!(sim.chosen(80), [0; 0]);
    sim.event(Event::Ready { worker: worker(1) });
    assert_eq!(sim.chosen(80), [1]);
}

#[test]
fn a_worker_leaves_the_choice_before_anything_is_asked_of_it() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.obeys = Obeys { empty: false, ..Obeys::ALL };
    sim.event(Event::Leave { worker: worker(1) });
    let out = sim.position(&choose(&sim, 80, &[2]));
    assert!(out < sim.position(&Effect::EmptyLanes { worker: worker(1) }));
    sim.take();
    sim.event(Event::Kill { worker: worker(2) });
    let out = sim.position(&choose(&sim, 80, &[]));
    let end =
        sim.log().iter().position(|e| matches!(e, Effect::EndTree { worker: w, .. } if *w == worker(2)));
    assert!(Some(out) < end);
}

#[test]
fn a_worker_that_leaves_of_its_own_accord_is_out_at_once() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.event(Event::Stopping { worker: worker(2) });
    assert_eq!(sim.chosen(80), [1]);
}

#[test]
fn a_dead_worker_is_out_at_once_and_its_socket_waits_for_its_successor() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.obeys = Obeys { end_tree: false, ..Obeys::ALL };
    sim.exit(worker(1), 1);
    assert_eq!(sim.chosen(80), [0; 0], "what is left of its tree might take connections to its grave");
    sim.gone(worker(1));
    assert_eq!(sim.chosen(80), [1], "they wait for whoever comes");
    sim.pass(ms(100));
    sim.take();
    sim.run_program(worker(2), 80);
    sim.prove();
    assert_eq!(sim.chosen(80), [1]);
    assert_eq!(told(&sim), [[0; 0]; 0], "nothing changed for clients");
}

#[test]
fn what_is_kept_gets_nothing_new_beside_somebody_who_serves() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.exit(worker(1), 1);
    assert_eq!(sim.chosen(80), [2]);
    sim.pass(ms(100));
    sim.run_program(worker(3), 80);
    assert_eq!(sim.chosen(80), [2]);
    sim.prove();
    assert_eq!(sim.chosen(80), [1, 2]);
}

#[test]
fn a_reload_adds_the_new_one_when_it_is_proven_and_takes_the_old_one_out() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.event(Event::Reload);
    sim.run_program(worker(3), 80);
    assert_eq!(sim.chosen(80), [1, 2]);
    sim.prove();
    assert_eq!(sim.chosen(80), [2, 3]);
    assert_eq!(told(&sim), [[2, 3]], "in one step");
}

#[test]
fn a_reload_that_fails_changes_no_choice() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.event(Event::Reload);
    sim.run_program(worker(3), 80);
    sim.exit(worker(3), 1);
    assert_eq!(told(&sim), [[0; 0]; 0]);
    assert_eq!(sim.retired(), [3], "nobody adopts what the failed one leaves");
}

#[test]
fn ports_are_chosen_for_one_by_one() {
    let mut sim = started(programs(), 2);
    sim.run_program(worker(1), 80);
    sim.run_program(worker(2), 81);
    sim.prove();
    assert_eq!((sim.chosen(80), sim.chosen(81)), (vec![1], vec![2]));
    sim.exit(worker(2), 1);
    assert_eq!((sim.chosen(80), sim.chosen(81)), (vec![1], vec![2]));
    assert!(sim.has(&choose(&sim, 81, &[])));
    assert!(!sim.has(&choose(&sim, 80, &[])));
}

#[test]
fn all_sockets_of_one_worker_are_chosen_alike() {
    let mut sim = started(programs(), 1);
    for id in 1..=2 {
        sim.bind(worker(1), sim::tcp(80), oneport_core::Sharing::WithItself);
        sim.lane_listens(worker(1), lane(id));
    }
    assert_eq!(sim.chosen(80), [1, 2]);
    sim.event(Event::LaneClosed { worker: worker(1), lane: lane(2) });
    assert_eq!(sim.chosen(80), [1]);
}

#[test]
fn nobody_is_chosen_once_the_app_ends() {
    for end in [Event::Stop, Event::Disconnect] {
        let mut sim = Sim::serving_programs(programs(), 2);
        sim.obeys = Obeys { empty: false, ..Obeys::ALL };
        sim.exit(worker(1), 1);
        sim.event(end);
        assert_eq!(sim.chosen(80), [0; 0]);
        assert!(sim.position(&choose(&sim, 80, &[])) < sim.position(&Effect::CloseLane { lane: lane(1) }));
    }
}

#[test]
fn nobody_is_chosen_while_workers_still_serve_what_was_accepted() {
    let mut sim = Sim::serving(programs_beside_channels(), 1);
    sim.event(Event::Fork { attach: Attach::Program });
    sim.run_program(worker(2), 81);
    sim.connect_many(80, 3);
    sim.event(Event::Stop);
    assert_eq!(sim.cluster.phase(worker(2)), Some(Phase::Listening), "the queue is being served");
    assert_eq!(sim.chosen(81), [0; 0]);
}

#[test]
fn what_a_copy_is_to_take_over_is_chosen_where_nobody_else_is() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.stuck.insert(lane(1));
    sim.event(Event::Reload);
    sim.run_program(worker(2), 80);
    sim.exit(worker(1), 1);
    sim.prove();
    assert_eq!(sim.chosen(80), [2]);
    sim.event(Event::LaneClosed { worker: worker(2), lane: lane(2) });
    assert_eq!(sim.chosen(80), [1], "its slot has somebody");
    sim.event(Event::Scale(0));
    assert_eq!(sim.chosen(80), [0; 0]);
}

#[test]
fn a_successor_is_not_ready_before_it_listens_wherever_its_predecessor_does() {
    let mut sim = started(programs(), 1);
    sim.run_program(worker(1), 80);
    sim.run_program(worker(1), 81);
    sim.prove();
    sim.event(Event::Reload);
    let (first, _) = sim.promised(worker(2), 80);
    let (late, _) = sim.promised(worker(2), 81);
    sim.lane_listens(worker(2), first);
    sim.prove();
    assert!(!sim.told(&Notice::Ready { worker: worker(2) }), "it has only bound the second port");
    sim.lane_listens(worker(2), late);
    assert!(sim.told(&Notice::Ready { worker: worker(2) }));
}

#[test]
fn a_lane_that_listens_while_its_worker_leaves_is_not_chosen() {
    let mut sim = started(programs(), 1);
    sim.promised(worker(1), 80);
    sim.event(Event::Leave { worker: worker(1) });
    sim.lane_listens(worker(1), lane(1));
    assert_eq!(sim.chosen(80), [0; 0]);
}

#[test]
fn forks_are_chosen_like_everybody_else() {
    let mut sim = Sim::new(programs());
    sim.event(Event::Fork { attach: Attach::Program });
    sim.run_program(worker(1), 80);
    assert_eq!(sim.chosen(80), [1]);
    sim.event(Event::Exited { worker: worker(1), exit: Exit::Signal(9) });
    assert!(sim.told(&Notice::Ready { worker: worker(1) }));
    assert_eq!(sim.chosen(80), [1], "kept for a fork that may follow");
}
