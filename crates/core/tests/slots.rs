//! Single slots: stopped, started and replaced by the owner's wish; and workers that end for good.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the few effects it is about")]

mod sim;

use oneport_core::{
    Canary, Effect, Event, Notice, Phase, ReloadFailure, ReloadTerms, Restarts, Settings, Slot,
};
use sim::{Sim, ms, settings, worker};

fn serves(sim: &Sim, id: u32) -> bool {
    sim.cluster.phase(worker(id)) == Some(Phase::Listening)
}

/// Which ends when asked.
fn leaves(sim: &mut Sim, id: u32) {
    assert!(sim.has(&Effect::TellDisconnect { worker: worker(id) }), "{id} is asked to leave");
    sim.close(worker(id), 80);
    sim.exit(worker(id), 0);
}

#[test]
fn a_stopped_slot_stays_empty_and_its_siblings_serve_on() {
    let mut sim = Sim::serving(settings(), 2);
    sim.event(Event::StopSlots(vec![Slot(0)]));
    leaves(&mut sim, 1);
    sim.pass(ms(60_000));
    assert_eq!(sim.spawned(), []);
    let conn = sim.connect(80);
    assert_eq!(sim.holder(conn), Some(worker(2)));
}

#[test]
fn with_its_last_slot_stopped_an_app_has_no_port() {
    let mut sim = Sim::serving(settings(), 1);
    let port = sim.port(80);
    sim.event(Event::StopSlots(vec![Slot(0)]));
    leaves(&mut sim, 1);
    sim.pass(ms(60_000));
    assert!(!sim.check.port_exists(port));
}

#[test]
fn a_stopped_slot_is_filled_when_it_is_started() {
    let mut sim = Sim::serving(settings(), 2);
    sim.event(Event::StopSlots(vec![Slot(1)]));
    leaves(&mut sim, 2);
    sim.event(Event::StartSlots(vec![Slot(0), Slot(1)]));
    assert_eq!(sim.spawned(), [worker(3)], "who is there already stays");
    sim.boot(worker(3), 80);
    assert!(serves(&sim, 1) && serves(&sim, 3));
}

#[test]
fn slots_may_be_there_before_anybody_is_in_them() {
    let mut sim = Sim::new(settings());
    sim.event(Event::Reserve(3));
    sim.event(Event::StartSlots(vec![Slot(2)]));
    let spawn =
        Effect::Spawn { worker: worker(1), slot: Some(Slot(2)), attach: oneport_core::Attach::Channel };
    assert!(sim.has(&spawn));
    assert_eq!(sim.spawned(), [worker(1)]);
    sim.event(Event::Reserve(1));
    assert_eq!(sim.check.live(), [worker(1)], "fewer are no matter");
}

#[test]
fn a_slot_that_was_given_up_begins_anew_when_it_is_started() {
    let mut sim = Sim::serving(Settings { max_restarts: 1, ..settings() }, 1);
    sim.exit(worker(1), 1);
    sim.pass(ms(100));
    sim.exit(worker(2), 1);
    assert!(sim.told(&Notice::Errored { slot: Slot(0), restarts: 1 }));
    sim.event(Event::StartSlots(vec![Slot(0)]));
    assert_eq!(sim.spawned(), [worker(2), worker(3)]);
}

#[test]
fn starting_a_slot_that_waits_for_its_pause_cuts_the_pause_short() {
    let mut sim = Sim::serving(Settings { restart_delay: Some(ms(5000)), ..settings() }, 1);
    sim.exit(worker(1), 1);
    assert_eq!(sim.spawned(), []);
    sim.event(Event::StartSlots(vec![Slot(0)]));
    assert_eq!(sim.spawned(), [worker(2)]);
    sim.boot(worker(2), 80);
    sim.pass(ms(10_000));
    assert_eq!(sim.spawned(), [worker(2)], "the pause is forgotten");
}

#[test]
fn without_restarts_a_slot_whose_worker_ends_stays_empty() {
    let mut sim = Sim::serving(Settings { restarts: Restarts::Never, ..settings() }, 2);
    sim.exit(worker(1), 0);
    assert!(sim.told(&Notice::Finished { slot: Slot(0) }));
    sim.pass(ms(60_000));
    assert_eq!(sim.spawned(), []);
    assert!(serves(&sim, 2));
}

#[test]
fn an_exit_code_may_be_the_last_word_and_others_are_not() {
    let mut sim = Sim::serving(Settings { stop_exit_codes: vec![0, 7], ..settings() }, 2);
    sim.exit(worker(1), 7);
    sim.exit(worker(2), 1);
    sim.pass(ms(60_000));
    assert!(sim.told(&Notice::Finished { slot: Slot(0) }));
    assert_eq!(sim.spawned(), [worker(3)]);
}

#[test]
fn a_worker_that_was_asked_to_leave_is_replaced_whatever_its_code() {
    let mut sim = Sim::serving(Settings { restarts: Restarts::Never, ..settings() }, 1);
    sim.event(Event::Leave { worker: worker(1) });
    leaves(&mut sim, 1);
    assert_eq!(sim.spawned(), [worker(2)]);
}

#[test]
fn only_the_named_slots_are_reloaded() {
    let mut sim = Sim::serving(settings(), 3);
    sim.event(Event::ReloadSome(ReloadTerms { slots: vec![Slot(1)], ..ReloadTerms::default() }));
    assert_eq!(sim.spawned(), [worker(4)]);
    sim.boot(worker(4), 80);
    sim.prove();
    leaves(&mut sim, 2);
    assert_eq!(sim.check.live(), [1, 3, 4].map(worker));
    assert!(sim.log().iter().any(|e| matches!(e, Effect::Tell(Notice::ReloadDone { replaced: 1, .. }))));
}

#[test]
fn a_reload_may_replace_more_at_a_time_than_the_settings_say() {
    let mut sim = Sim::serving(settings(), 3);
    sim.event(Event::ReloadSome(ReloadTerms { parallel: Some(3), ..ReloadTerms::default() }));
    assert_eq!(sim.spawned().len(), 3);
}

fn with_canary(workers: usize) -> ReloadTerms {
    ReloadTerms { canary: Some(Canary { workers, watch: ms(30_000) }), ..ReloadTerms::default() }
}

#[test]
fn a_canary_serves_beside_those_it_is_to_replace_until_it_was_watched_long_enough() {
    let mut sim = Sim::serving(settings(), 2);
    sim.event(Event::ReloadSome(with_canary(1)));
    sim.boot(worker(3), 80);
    sim.take();
    sim.connect_many(80, 3);
    let mut served = sim.served();
    served.sort_unstable();
    assert_eq!(served, [1, 2, 3], "it gets its share at once");
    sim.accept_all();
    sim.pass(ms(29_999));
    assert!(serves(&sim, 1) && serves(&sim, 2));
    sim.pass(ms(1));
    assert!(sim.told(&Notice::Replaced { slot: Slot(0), new: worker(3) }));
    leaves(&mut sim, 1);
    sim.boot(worker(4), 80);
    sim.pass(ms(1000));
    assert!(
        sim.told(&Notice::Replaced { slot: Slot(1), new: worker(4) }),
        "the others prove themselves as ever"
    );
}

#[test]
fn nobody_follows_before_all_canaries_were_watched() {
    let mut sim = Sim::serving(settings(), 4);
    sim.event(Event::ReloadSome(with_canary(2)));
    assert_eq!(sim.spawned(), [5, 6].map(worker), "both at once");
    sim.boot(worker(5), 80);
    sim.pass(ms(5000));
    sim.boot(worker(6), 80);
    sim.pass(ms(25_000));
    leaves(&mut sim, 1);
    assert_eq!(sim.spawned(), [5, 6].map(worker), "one of two is through");
    sim.pass(ms(5000));
    leaves(&mut sim, 2);
    assert_eq!(sim.spawned(), [5, 6, 7].map(worker));
}

#[test]
fn a_canary_that_dies_ends_the_reload_and_everybody_else_serves_on() {
    let mut sim = Sim::serving(settings(), 2);
    sim.event(Event::ReloadSome(with_canary(1)));
    sim.boot(worker(3), 80);
    sim.pass(ms(20_000));
    sim.exit(worker(3), 1);
    let aborted = sim.log().iter().find_map(|e| match e {
        Effect::Tell(Notice::ReloadAborted { failure, replaced, .. }) => Some((*failure, *replaced)),
        _ => None,
    });
    assert!(matches!(aborted, Some((ReloadFailure::Died(_), 0))));
    assert_eq!(sim.check.live(), [1, 2].map(worker));
}

#[test]
fn time_limits_may_change_while_the_app_runs_and_its_policy_may_not() {
    let mut sim = Sim::serving(settings(), 1);
    let other = Settings { policy: oneport_core::Policy::Shared, min_uptime: ms(5000), ..settings() };
    sim.event(Event::Treat(Box::new(other)));
    sim.event(Event::Reload);
    sim.boot(worker(2), 80);
    sim.pass(ms(4999));
    assert!(serves(&sim, 1));
    let conn = sim.connect(80);
    assert_eq!(sim.holder(conn), Some(worker(1)), "still handed off");
    sim.pass(ms(1));
    assert!(sim.told(&Notice::Replaced { slot: Slot(0), new: worker(2) }));
}
