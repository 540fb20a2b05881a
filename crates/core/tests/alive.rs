//! What a worker says about itself: that it is alive, needs more time, leaves of its own accord.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the few effects it is about")]

mod sim;

use std::time::Duration;

use oneport_core::{Effect, EndCause, Event, Notice, Phase, ReloadFailure, Settings, Slot};
use sim::programs::{lane, programs};
use sim::{Obeys, Sim, ms, settings, worker};

fn watched() -> Settings {
    Settings { watchdog: Some(ms(3000)), ..programs() }
}

fn hung(id: u32) -> Notice {
    Notice::Condemned { worker: worker(id), cause: EndCause::Hung }
}

#[test]
fn a_worker_that_says_nothing_after_it_was_ready_is_ended_as_hung() {
    let mut sim = Sim::new(watched());
    sim.event(Event::Scale(1));
    sim.pass(ms(5000));
    sim.run_program(worker(1), 80);
    sim.pass(ms(2999));
    assert!(!sim.told(&hung(1)));
    sim.pass(ms(1));
    assert!(sim.told(&hung(1)));
    assert_eq!(sim.chosen(80), [1], "its socket waits for its successor");
}

#[test]
fn a_worker_that_says_that_it_is_alive_goes_on() {
    let mut sim = Sim::new(watched());
    sim.event(Event::Scale(1));
    sim.run_program(worker(1), 80);
    for _ in 0..10 {
        sim.pass(ms(2999));
        sim.event(Event::Alive { worker: worker(1) });
    }
    assert!(!sim.told(&hung(1)));
    sim.pass(ms(3000));
    assert!(sim.told(&hung(1)));
}

#[test]
fn saying_so_before_being_ready_starts_nothing() {
    let mut sim = Sim::new(watched());
    sim.event(Event::Scale(1));
    sim.event(Event::Alive { worker: worker(1) });
    sim.pass(ms(9000));
    assert!(!sim.told(&hung(1)));
}

#[test]
fn a_worker_that_never_listens_is_watched_from_its_first_word_on() {
    let mut sim = Sim::new(watched());
    sim.event(Event::Scale(1));
    sim.pass(ms(20_000));
    assert!(sim.told(&Notice::Ready { worker: worker(1) }) && !sim.told(&hung(1)));
    sim.event(Event::Alive { worker: worker(1) });
    sim.pass(ms(3000));
    assert!(sim.told(&hung(1)));
}

#[test]
fn listening_once_more_is_no_sign_of_life() {
    let mut sim = Sim::new(watched());
    sim.event(Event::Scale(1));
    sim.run_program(worker(1), 80);
    sim.pass(ms(2000));
    sim.run_program(worker(1), 81);
    sim.pass(ms(1000));
    assert!(sim.told(&hung(1)));
}

#[test]
fn nobody_is_watched_without_a_wish_for_it() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.event(Event::Alive { worker: worker(1) });
    sim.pass(Duration::from_secs(3600));
    assert_eq!(sim.log(), []);
}

#[test]
fn a_worker_on_its_way_out_is_not_watched() {
    let mut sim = Sim::new(watched());
    sim.event(Event::Scale(1));
    sim.run_program(worker(1), 80);
    sim.obeys = Obeys { empty: false, ..Obeys::ALL };
    sim.event(Event::Leave { worker: worker(1) });
    sim.pass(ms(7999));
    assert_eq!(sim.cluster.phase(worker(1)), Some(Phase::Draining));
}

#[test]
fn channel_workers_are_watched_all_the_same() {
    let mut sim = Sim::new(Settings { watchdog: Some(ms(3000)), ..settings() });
    sim.event(Event::Scale(1));
    sim.boot(worker(1), 80);
    sim.pass(ms(3000));
    assert!(sim.told(&hung(1)));
}

#[test]
fn a_successor_that_hangs_ends_the_reload() {
    let mut sim = Sim::new(Settings { min_uptime: ms(5000), ..watched() });
    sim.event(Event::Scale(1));
    sim.run_program(worker(1), 80);
    for _ in 0..5 {
        sim.pass(ms(1000));
        sim.event(Event::Alive { worker: worker(1) });
    }
    sim.event(Event::Reload);
    sim.run_program(worker(2), 80);
    for _ in 0..3 {
        sim.event(Event::Alive { worker: worker(1) });
        sim.pass(ms(1000));
    }
    let failure = ReloadFailure::Condemned(EndCause::Hung);
    assert!(sim.told(&Notice::ReloadAborted { slot: Slot(0), worker: worker(2), failure, replaced: 0 }));
    assert_eq!(sim.check.live(), [worker(1)]);
}

#[test]
fn more_time_moves_the_deadline_of_readiness() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.event(Event::Reload);
    sim.pass(ms(9000));
    sim.event(Event::Extend { worker: worker(2), by: ms(5000) });
    sim.pass(ms(4999));
    assert_eq!(sim.cluster.phase(worker(2)), Some(Phase::Online));
    sim.pass(ms(1));
    assert_eq!(sim.cluster.phase(worker(2)), Some(Phase::Leaving), "it was not ready in time");
}

#[test]
fn less_time_than_there_is_moves_nothing() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.event(Event::Reload);
    sim.event(Event::Extend { worker: worker(2), by: ms(1) });
    sim.pass(ms(9999));
    assert_eq!(sim.cluster.phase(worker(2)), Some(Phase::Online));
}

#[test]
fn no_more_than_ten_minutes_are_granted_at_once() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.event(Event::Reload);
    sim.event(Event::Extend { worker: worker(2), by: Duration::MAX });
    sim.pass(Duration::from_millis(599_999));
    assert_eq!(sim.cluster.phase(worker(2)), Some(Phase::Online));
    sim.pass(ms(1));
    assert_eq!(sim.cluster.phase(worker(2)), Some(Phase::Leaving));
}

/// Asks for ten minutes whenever five have passed; after how many minutes it is not in that phase any more.
fn minutes_in(phase: Phase, sim: &mut Sim, asking: u32) -> u32 {
    for minute in 0..200 {
        if sim.cluster.phase(worker(asking)) != Some(phase) {
            return minute;
        }
        if minute % 5 == 0 {
            sim.event(Event::Extend { worker: worker(asking), by: Duration::from_secs(600) });
        }
        sim.pass(Duration::from_secs(60));
    }
    panic!("{asking} has time for ever");
}

#[test]
fn a_worker_that_asks_again_and_again_gets_an_hour_to_begin() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.event(Event::Reload);
    assert_eq!(minutes_in(Phase::Online, &mut sim, 2), 61);
}

#[test]
fn a_worker_that_asks_again_and_again_gets_ten_minutes_to_leave() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.obeys = Obeys { empty: false, ..Obeys::ALL };
    sim.event(Event::Leave { worker: worker(1) });
    assert_eq!(minutes_in(Phase::Draining, &mut sim, 1), 11);
}

#[test]
fn more_time_moves_the_deadline_of_a_leaving_worker_and_not_that_of_its_stop_signal() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.obeys = Obeys { empty: false, ..Obeys::ALL };
    sim.event(Event::Leave { worker: worker(1) });
    sim.event(Event::Extend { worker: worker(1), by: ms(20_000) });
    sim.pass(ms(19_999));
    assert_eq!(sim.cluster.phase(worker(1)), Some(Phase::Draining));
    sim.pass(ms(1));
    assert_eq!(sim.cluster.phase(worker(1)), Some(Phase::Stopping));
    let due = sim.cluster.next_deadline();
    sim.event(Event::Extend { worker: worker(1), by: ms(20_000) });
    assert_eq!(sim.cluster.next_deadline(), due);
}

#[test]
fn a_worker_that_is_up_has_no_deadline_to_move() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.event(Event::Extend { worker: worker(1), by: ms(1000) });
    assert_eq!(sim.cluster.next_deadline(), None);
}

#[test]
fn a_worker_that_leaves_of_its_own_accord_is_replaced_and_not_acknowledged() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.event(Event::Stopping { worker: worker(1) });
    assert_eq!(sim.cluster.phase(worker(1)), Some(Phase::Leaving));
    assert_eq!(sim.cluster.asked_to_leave(worker(1)), Some(true));
    assert_eq!(sim.count(|e| matches!(e, Effect::Acknowledge { .. } | Effect::EmptyLanes { .. })), 0);
    sim.exit(worker(1), 0);
    assert_eq!(sim.spawned(), [worker(3)]);
    let (got, _) = sim.run_program(worker(3), 80);
    assert_eq!(got, lane(1), "with what waited in its socket");
}

#[test]
fn one_that_does_not_go_gets_the_stop_signal_when_its_drain_time_is_over() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.event(Event::Stopping { worker: worker(1) });
    sim.pass(ms(7999));
    assert!(!sim.has(&Effect::SignalStop { worker: worker(1) }));
    sim.pass(ms(1));
    assert!(sim.has(&Effect::SignalStop { worker: worker(1) }));
}

#[test]
fn saying_so_after_being_asked_does_not_change_why_it_leaves() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.event(Event::Scale(1));
    sim.event(Event::Stopping { worker: worker(2) });
    sim.event(Event::Idle { worker: worker(2) });
    sim.exit(worker(2), 0);
    let died = sim.log().iter().find_map(|e| match e {
        Effect::Tell(Notice::Died { cause, .. }) => Some(*cause),
        _ => None,
    });
    assert_eq!(died, Some(EndCause::Asked));
}

#[test]
fn a_word_of_nobody_known_means_nothing() {
    let mut sim = Sim::serving_programs(watched(), 1);
    let before = sim.cluster.clone();
    for event in [
        Event::Stopping { worker: worker(9) },
        Event::Alive { worker: worker(9) },
        Event::Extend { worker: worker(9), by: ms(1) },
    ] {
        sim.event(event);
    }
    assert!(sim.cluster == before);
}
