//! Replacing every worker without losing a connection: start-new-first, proof, order, and what a failure leaves.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the few effects it is about")]

mod sim;

use oneport_core::{
    Attach, Effect, EndCause, Event, Exit, Notice, Phase, QuerySeq, Readiness, ReloadFailure, Settings, Slot,
};
use sim::{Sim, ms, settings, worker};

fn reloading(settings: Settings, count: u32) -> Sim {
    let mut sim = Sim::serving(settings, count);
    sim.event(Event::Reload);
    sim
}

/// The successor boots, is proven, and its predecessor leaves when asked.
fn replace(sim: &mut Sim, old: u32, new: u32) {
    sim.boot(worker(new), 80);
    sim.prove();
    assert!(sim.has(&Effect::TellDisconnect { worker: worker(old) }), "{old} is asked to leave");
    sim.close(worker(old), 80);
    sim.exit(worker(old), 0);
}

fn aborted(sim: &Sim) -> Option<(u32, ReloadFailure, usize)> {
    sim.log().iter().find_map(|e| match e {
        Effect::Tell(Notice::ReloadAborted { worker, failure, replaced, .. }) => {
            Some((worker.0, *failure, *replaced))
        }
        _ => None,
    })
}

fn done(sim: &Sim) -> Option<usize> {
    sim.log().iter().find_map(|e| match e {
        Effect::Tell(Notice::ReloadDone { replaced, .. }) => Some(*replaced),
        _ => None,
    })
}

fn serves(sim: &Sim, id: u32) -> bool {
    sim.cluster.phase(worker(id)) == Some(Phase::Listening)
}

#[test]
fn the_new_worker_starts_first_and_the_old_one_serves_until_it_is_proven() {
    let mut sim = reloading(settings(), 1);
    assert!(sim.told(&Notice::ReloadStarted { workers: 1 }));
    let spawn = Effect::Spawn { worker: worker(2), slot: Some(Slot(0)), attach: Attach::Channel };
    assert!(sim.has(&spawn));
    sim.boot(worker(2), 80);
    sim.pass(ms(999));
    assert!(serves(&sim, 1));
    let conn = sim.connect(80);
    assert_eq!(sim.holder(conn), Some(worker(1)));
    sim.pass(ms(1));
    assert!(sim.told(&Notice::Replaced { slot: Slot(0), new: worker(2) }));
    let conn = sim.connect(80);
    assert_eq!(sim.holder(conn), Some(worker(2)));
    assert_eq!(done(&sim), None, "the old one is not gone yet");
    sim.accept_all();
    sim.exit(worker(1), 0);
    assert_eq!(done(&sim), Some(1));
    assert_eq!(sim.dropped(), []);
}

#[test]
fn slots_are_replaced_one_after_another_in_order() {
    let mut sim = reloading(settings(), 3);
    for id in 1..=3 {
        assert_eq!(sim.spawned().len(), id as usize, "one at a time");
        replace(&mut sim, id, id + 3);
    }
    assert_eq!(done(&sim), Some(3));
    assert_eq!(sim.check.live(), [4, 5, 6].map(worker));
}

#[test]
fn the_old_worker_is_told_nothing_before_its_hand_offs_are_settled() {
    let mut sim = reloading(Settings { credits: 1, ..settings() }, 1);
    let conn = sim.connect(80);
    sim.boot(worker(2), 80);
    sim.prove();
    assert_eq!(sim.cluster.phase(worker(1)), Some(Phase::Draining));
    assert!(!sim.has(&Effect::TellDisconnect { worker: worker(1) }));
    sim.accept(worker(1));
    assert!(
        sim.position(&Effect::Settle { conn }) < sim.position(&Effect::TellDisconnect { worker: worker(1) })
    );
}

#[test]
fn the_port_stays_open_all_the_time() {
    let mut sim = reloading(settings(), 2);
    replace(&mut sim, 1, 3);
    replace(&mut sim, 2, 4);
    sim.pass(ms(60_000));
    assert_eq!(sim.count(|e| matches!(e, Effect::Close { .. } | Effect::Open { .. })), 0);
}

#[test]
fn several_may_be_replaced_at_a_time() {
    let mut sim = reloading(Settings { parallel: 2, ..settings() }, 3);
    assert_eq!(sim.spawned(), [4, 5].map(worker));
    replace(&mut sim, 2, 5);
    assert_eq!(sim.spawned(), [4, 5, 6].map(worker));
    replace(&mut sim, 1, 4);
    replace(&mut sim, 3, 6);
    assert_eq!(done(&sim), Some(3));
}

#[test]
fn a_successor_that_dies_leaves_the_old_ones_serving() {
    let mut sim = reloading(settings(), 2);
    sim.exit(worker(3), 1);
    assert_eq!(aborted(&sim), Some((3, ReloadFailure::Died(Exit::Code(1)), 0)));
    sim.pass(ms(60_000));
    assert!(serves(&sim, 1) && serves(&sim, 2));
    assert_eq!(sim.spawned(), [worker(3)], "no further attempt");
    assert_eq!(done(&sim), None);
}

#[test]
fn a_successor_that_listens_and_dies_before_it_is_proven_counts_as_failed() {
    let mut sim = reloading(settings(), 1);
    sim.boot(worker(2), 80);
    sim.pass(ms(999));
    sim.exit(worker(2), 0);
    assert_eq!(aborted(&sim), Some((2, ReloadFailure::Died(Exit::Code(0)), 0)));
    assert!(serves(&sim, 1));
}

#[test]
fn a_successor_that_never_listens_is_ended_in_time() {
    let mut sim = reloading(settings(), 1);
    sim.online(worker(2));
    sim.pass(ms(9999));
    assert!(!sim.has(&Effect::TellDisconnect { worker: worker(2) }));
    sim.pass(ms(1));
    assert!(sim.has(&Effect::TellDisconnect { worker: worker(2) }), "it may clean up");
    sim.exit(worker(2), 0);
    assert_eq!(aborted(&sim), Some((2, ReloadFailure::NotReady(ms(10_000)), 0)));
    assert!(serves(&sim, 1));
}

#[test]
fn a_successor_that_has_to_say_ready_and_does_not_is_ended_in_time() {
    let mut sim = Sim::new(Settings { readiness: Readiness::Message, ..settings() });
    sim.event(Event::Scale(1));
    sim.boot(worker(1), 80);
    sim.event(Event::Ready { worker: worker(1) });
    sim.prove();
    sim.event(Event::Reload);
    sim.boot(worker(2), 80);
    sim.pass(ms(10_000));
    sim.exit(worker(2), 0);
    assert_eq!(aborted(&sim), Some((2, ReloadFailure::NotReady(ms(10_000)), 0)));
}

#[test]
fn a_successor_is_ready_only_where_its_predecessor_listens_too() {
    let mut sim = Sim::serving(settings(), 1);
    sim.listen(worker(1), 81);
    sim.event(Event::Reload);
    sim.boot(worker(2), 80);
    sim.pass(ms(3000));
    assert!(!sim.told(&Notice::Proven { worker: worker(2) }), "it has still to listen on 81");
    let conn = sim.connect(81);
    assert_eq!(sim.holder(conn), Some(worker(1)));
    sim.listen(worker(2), 81);
    sim.prove();
    assert!(sim.told(&Notice::Proven { worker: worker(2) }));
}

#[test]
fn a_successor_that_gave_a_port_up_is_ready_in_the_end() {
    let mut sim = Sim::serving(settings(), 1);
    sim.listen(worker(1), 81);
    sim.event(Event::Reload);
    sim.boot(worker(2), 80);
    sim.pass(ms(10_000));
    sim.prove();
    assert!(sim.told(&Notice::Proven { worker: worker(2) }));
}

#[test]
fn a_successor_that_breaks_the_rules_fails_for_that_reason() {
    let mut sim = reloading(settings(), 1);
    sim.event(Event::Condemned { worker: worker(2), cause: EndCause::Violation });
    assert_eq!(aborted(&sim), Some((2, ReloadFailure::Condemned(EndCause::Violation), 0)));
}

#[test]
fn a_successor_that_cannot_be_started_fails() {
    let mut sim = Sim::serving(settings(), 1);
    sim.obeys.spawn = false;
    sim.event(Event::Reload);
    sim.event(Event::SpawnFailed { worker: worker(2), cause: EndCause::ByItself });
    assert_eq!(aborted(&sim), Some((2, ReloadFailure::Died(Exit::NotSpawned), 0)));
    assert!(serves(&sim, 1));
}

#[test]
fn a_successor_that_the_owner_asks_to_leave_interrupts() {
    let mut sim = reloading(settings(), 1);
    sim.online(worker(2));
    sim.event(Event::Leave { worker: worker(2) });
    sim.exit(worker(2), 0);
    assert_eq!(aborted(&sim), Some((2, ReloadFailure::Interrupted, 0)));
}

#[test]
fn a_failure_in_the_middle_leaves_new_and_old_side_by_side() {
    let mut sim = reloading(settings(), 3);
    replace(&mut sim, 1, 4);
    sim.exit(worker(5), 1);
    assert_eq!(aborted(&sim), Some((5, ReloadFailure::Died(Exit::Code(1)), 1)));
    assert_eq!(sim.check.live(), [2, 3, 4].map(worker));
    assert!([2, 3, 4].iter().all(|id| serves(&sim, *id)));
}

#[test]
fn a_failure_ends_the_other_successors_too() {
    let mut sim = reloading(Settings { parallel: 2, ..settings() }, 2);
    sim.boot(worker(4), 80);
    sim.exit(worker(3), 1);
    assert!(sim.has(&Effect::TellDisconnect { worker: worker(4) }));
    sim.exit(worker(4), 0);
    assert_eq!(sim.check.live(), [1, 2].map(worker));
    assert_eq!(sim.count(|e| matches!(e, Effect::Tell(Notice::ReloadAborted { .. }))), 1);
    sim.pass(ms(60_000));
    assert_eq!(sim.spawned().len(), 2);
}

#[test]
fn a_second_reload_follows_the_first() {
    let mut sim = reloading(settings(), 1);
    sim.event(Event::Reload);
    sim.event(Event::Reload);
    assert_eq!(sim.count(|e| *e == Effect::Tell(Notice::ReloadQueued)), 2);
    replace(&mut sim, 1, 2);
    assert_eq!(done(&sim), Some(1));
    sim.take();
    replace(&mut sim, 2, 3);
    assert_eq!(done(&sim), Some(1));
    assert_eq!(sim.spawned(), [], "two more wishes are one more reload");
}

#[test]
fn a_second_reload_follows_a_failed_first_one_too() {
    let mut sim = reloading(Settings { parallel: 2, ..settings() }, 2);
    sim.event(Event::Reload);
    sim.exit(worker(3), 1);
    assert_eq!(aborted(&sim).map(|a| a.0), Some(3));
    assert_eq!(
        sim.spawned(),
        [3, 4, 5, 6].map(worker),
        "what was asked for meanwhile may be the mended build"
    );
    sim.exit(worker(4), 0);
    assert_eq!(done(&sim), None);
    replace(&mut sim, 1, 5);
    replace(&mut sim, 2, 6);
    assert_eq!(done(&sim), Some(2));
    assert_eq!(sim.check.live(), [5, 6].map(worker));
}

#[test]
fn a_reload_may_begin_while_successors_of_a_failed_one_still_leave() {
    let mut sim = reloading(Settings { parallel: 2, ..settings() }, 2);
    sim.boot(worker(4), 80);
    sim.exit(worker(3), 1);
    sim.event(Event::Reload);
    let (first, second) = (5, 6);
    replace(&mut sim, 1, first);
    replace(&mut sim, 2, second);
    assert_eq!(done(&sim), Some(2));
    sim.exit(worker(4), 0);
    assert_eq!(sim.check.live(), [first, second].map(worker));
    sim.pass(ms(60_000));
    assert_eq!(sim.check.live(), [first, second].map(worker), "everybody has a place");
}

#[test]
fn a_reload_may_begin_while_a_replaced_worker_of_a_failed_one_still_leaves() {
    let mut sim = reloading(Settings { parallel: 2, ..settings() }, 2);
    sim.boot(worker(3), 80);
    sim.prove();
    assert!(sim.has(&Effect::TellDisconnect { worker: worker(1) }));
    sim.exit(worker(4), 1);
    sim.event(Event::Reload);
    replace(&mut sim, 3, 5);
    replace(&mut sim, 2, 6);
    assert_eq!(done(&sim), Some(2));
    sim.exit(worker(1), 0);
    assert_eq!(sim.check.live(), [5, 6].map(worker));
}

#[test]
fn an_old_worker_that_dies_while_its_successor_proves_itself_is_no_failure() {
    let mut sim = reloading(settings(), 1);
    sim.boot(worker(2), 80);
    sim.exit(worker(1), 1);
    let conn = sim.connect(80);
    assert_eq!(sim.holder(conn), Some(worker(2)), "nobody else serves");
    sim.prove();
    assert_eq!(done(&sim), Some(1));
    sim.pass(ms(60_000));
    assert_eq!(sim.spawned(), [worker(2)]);
}

#[test]
fn when_old_and_new_die_the_slot_is_filled_again() {
    let mut sim = reloading(settings(), 1);
    sim.exit(worker(1), 1);
    sim.exit(worker(2), 1);
    assert_eq!(aborted(&sim), Some((2, ReloadFailure::Died(Exit::Code(1)), 0)));
    sim.pass(ms(100));
    assert_eq!(sim.spawned(), [2, 3].map(worker));
}

#[test]
fn a_proven_successor_that_dies_while_the_old_one_leaves_is_replaced() {
    let mut sim = reloading(settings(), 2);
    sim.boot(worker(3), 80);
    sim.prove();
    sim.exit(worker(3), 1);
    assert_eq!(aborted(&sim), Some((3, ReloadFailure::Died(Exit::Code(1)), 1)));
    sim.exit(worker(1), 0);
    assert_eq!(sim.spawned(), [3, 4].map(worker));
}

#[test]
fn slots_that_wait_or_were_given_up_get_a_new_worker_as_well() {
    let pause = Some(ms(60_000));
    let mut sim = Sim::serving(Settings { max_restarts: 1, restart_delay: pause, ..settings() }, 2);
    sim.event(Event::Scale(3));
    sim.exit(worker(3), 1);
    sim.exit(worker(2), 1);
    assert!(sim.told(&Notice::Errored { slot: Slot(2), restarts: 1 }));
    sim.take();
    sim.event(Event::Reload);
    replace(&mut sim, 1, 4);
    sim.boot(worker(5), 80);
    sim.prove();
    sim.boot(worker(6), 80);
    sim.prove();
    assert_eq!(done(&sim), Some(3));
    assert_eq!(sim.check.live(), [4, 5, 6].map(worker));
    sim.pass(ms(60_000));
    assert_eq!(sim.spawned().len(), 3);
}

#[test]
fn an_app_that_never_listens_is_reloaded_by_staying_up() {
    let mut sim = Sim::new(settings());
    sim.event(Event::Scale(1));
    sim.online(worker(1));
    sim.prove();
    sim.event(Event::Reload);
    sim.online(worker(2));
    sim.prove();
    sim.exit(worker(1), 0);
    assert_eq!(done(&sim), Some(1));
}

#[test]
fn scaling_down_takes_slots_out_of_the_reload() {
    let mut sim = reloading(settings(), 3);
    sim.event(Event::Scale(1));
    replace(&mut sim, 1, 4);
    assert_eq!(done(&sim), Some(1));
    sim.exit(worker(2), 0);
    sim.exit(worker(3), 0);
    assert_eq!(sim.check.live(), [worker(4)]);
}

#[test]
fn scaling_away_the_slot_at_work_goes_on_without_it() {
    let mut sim = reloading(settings(), 2);
    replace(&mut sim, 1, 3);
    sim.boot(worker(4), 80);
    sim.event(Event::Scale(1));
    assert_eq!(done(&sim), Some(1));
    assert_eq!(aborted(&sim), None);
    assert!(sim.has(&Effect::TellDisconnect { worker: worker(4) }));
}

#[test]
fn scaling_up_during_a_reload_starts_workers_that_need_no_replacing() {
    let mut sim = reloading(settings(), 1);
    sim.event(Event::Scale(2));
    sim.boot(worker(3), 80);
    replace(&mut sim, 1, 2);
    assert_eq!(done(&sim), Some(1));
    assert_eq!(sim.check.live(), [2, 3].map(worker));
}

#[test]
fn a_straggler_of_a_slot_scaled_away_does_not_end_the_wait_for_the_old_worker() {
    let mut sim = Sim::serving(settings(), 2);
    sim.event(Event::Scale(1));
    sim.event(Event::Scale(2));
    sim.boot(worker(3), 80);
    sim.prove();
    sim.event(Event::Reload);
    replace(&mut sim, 1, 4);
    sim.boot(worker(5), 80);
    sim.prove();
    assert!(sim.cluster.phase(worker(3)).is_some_and(Phase::is_leaving));
    sim.exit(worker(2), 0);
    assert_eq!(done(&sim), None, "3 has still to leave");
    sim.exit(worker(3), 0);
    assert_eq!(done(&sim), Some(2));
}

#[test]
fn a_successor_that_announces_to_leave_fails_once_it_is_gone() {
    let mut sim = reloading(settings(), 1);
    sim.boot(worker(2), 80);
    sim.event(Event::LeavesByItself { worker: worker(2), seq: QuerySeq(1) });
    sim.exit(worker(2), 0);
    assert_eq!(aborted(&sim), Some((2, ReloadFailure::Died(Exit::Code(0)), 0)));
    assert!(serves(&sim, 1));
}

#[test]
fn a_stop_interrupts_the_reload_and_says_so() {
    for stop in [Event::Stop, Event::StopNow] {
        let mut sim = reloading(settings(), 2);
        replace(&mut sim, 1, 3);
        sim.event(Event::Reload);
        sim.event(stop);
        assert_eq!(aborted(&sim), Some((4, ReloadFailure::Interrupted, 1)));
        sim.pass(ms(60_000));
        assert!(sim.told(&Notice::Stopped));
        assert_eq!(sim.spawned().len(), 2);
    }
}

#[test]
fn without_slots_there_is_nothing_to_reload() {
    let mut sim = Sim::new(settings());
    sim.event(Event::Reload);
    assert_eq!(sim.take(), []);
}

#[test]
fn the_successor_of_a_worker_that_never_listened_need_not_listen() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::Scale(2));
    sim.online(worker(2));
    sim.pass(ms(100));
    sim.event(Event::Reload);
    sim.boot(worker(3), 80);
    sim.prove();
    sim.exit(worker(1), 0);
    sim.online(worker(4));
    sim.prove();
    sim.exit(worker(2), 0);
    assert_eq!(sim.count(|e| matches!(e, Effect::Tell(Notice::ReloadDone { replaced: 2, .. }))), 1);
}
