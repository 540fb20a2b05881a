//! What follows when a worker ends: a new one now, after a pause, or never; for its slot alone.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the few effects it is about")]

mod sim;

use oneport_core::{
    Attach, Effect, EndCause, Event, Exit, Notice, Phase, QuerySeq, Readiness, Settings, Slot,
};
use sim::{Sim, ms, settings, worker};

fn restarting(sim: &mut Sim) -> Option<u128> {
    sim.take().into_iter().find_map(|e| match e {
        Effect::Tell(Notice::Restarting { delay, .. }) => Some(delay.as_millis()),
        _ => None,
    })
}

/// The newest worker ends at once.
fn crash_newest(sim: &mut Sim) {
    let newest = *sim.check.live().last().expect("somebody lives");
    sim.exit(newest, 1);
}

#[test]
fn each_slot_gets_its_worker_and_names_are_never_used_again() {
    let mut sim = Sim::new(settings());
    sim.event(Event::Scale(2));
    let spawn =
        |id, slot| Effect::Spawn { worker: worker(id), slot: Some(Slot(slot)), attach: Attach::Channel };
    assert!(sim.has(&spawn(1, 0)) && sim.has(&spawn(2, 1)));
    sim.exit(worker(1), 1);
    sim.pass(ms(100));
    assert!(sim.has(&spawn(3, 0)));
}

#[test]
fn a_crash_is_followed_by_a_new_worker_after_growing_pauses() {
    let mut sim = Sim::serving(settings(), 1);
    for pause in [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000] {
        crash_newest(&mut sim);
        assert_eq!(restarting(&mut sim), Some(pause));
        sim.pass(ms(u64::try_from(pause).unwrap() - 1));
        assert_eq!(sim.spawned(), []);
        sim.pass(ms(1));
        assert_eq!(sim.spawned().len(), 1);
    }
}

#[test]
fn half_a_minute_up_forgives() {
    let mut sim = Sim::serving(settings(), 1);
    crash_newest(&mut sim);
    sim.pass(ms(100));
    crash_newest(&mut sim);
    sim.pass(ms(200));
    sim.pass(ms(30_000));
    sim.take();
    crash_newest(&mut sim);
    assert_eq!(restarting(&mut sim), Some(100));
}

#[test]
fn a_fixed_pause_is_kept_to() {
    let mut sim = Sim::serving(Settings { restart_delay: Some(ms(70)), ..settings() }, 1);
    for _ in 0..3 {
        crash_newest(&mut sim);
        assert_eq!(restarting(&mut sim), Some(70));
        sim.pass(ms(70));
    }
}

#[test]
fn a_crash_loop_gives_up_its_slot_and_no_other() {
    let mut sim = Sim::serving(Settings { max_restarts: 3, ..settings() }, 2);
    sim.exit(worker(1), 1);
    for _ in 0..3 {
        sim.pass(ms(20_000));
        crash_newest(&mut sim);
    }
    assert!(!sim.told(&Notice::Errored { slot: Slot(0), restarts: 3 }), "each was up for some time");
    for _ in 0..3 {
        while sim.check.live().len() < 2 {
            sim.pass(ms(100));
        }
        crash_newest(&mut sim);
    }
    assert!(sim.told(&Notice::Errored { slot: Slot(0), restarts: 3 }));
    assert!(!sim.told(&Notice::AllErrored));
    sim.take();
    sim.pass(ms(3_600_000));
    assert_eq!(sim.spawned(), []);
    assert_eq!(sim.cluster.phase(worker(2)), Some(Phase::Listening));
    let conn = sim.connect(80);
    assert_eq!(sim.holder(conn), Some(worker(2)));
}

#[test]
fn when_every_slot_is_given_up_that_is_told() {
    let mut sim = Sim::new(Settings { max_restarts: 2, ..settings() });
    sim.event(Event::Scale(2));
    for _ in 0..4 {
        crash_newest(&mut sim);
        while sim.check.live().is_empty() && sim.cluster.next_deadline().is_some() {
            sim.pass(ms(100));
        }
    }
    assert_eq!(sim.count(|e| *e == Effect::Tell(Notice::AllErrored)), 1);
}

#[test]
fn scaling_the_last_good_slot_away_is_every_slot_given_up_too() {
    let mut sim = Sim::new(Settings { max_restarts: 1, ..settings() });
    sim.event(Event::Scale(2));
    sim.exit(worker(1), 1);
    assert!(sim.told(&Notice::Errored { slot: Slot(0), restarts: 1 }));
    assert!(!sim.told(&Notice::AllErrored));
    sim.event(Event::Scale(1));
    assert!(sim.told(&Notice::AllErrored));
}

#[test]
fn a_program_that_cannot_be_started_backs_off_and_is_given_up() {
    let mut sim = Sim::new(Settings { max_restarts: 3, ..settings() });
    sim.obeys.spawn = false;
    sim.event(Event::Scale(1));
    for id in 1..=3 {
        sim.event(Event::SpawnFailed { worker: worker(id), cause: EndCause::ByItself });
        sim.pass(ms(1000));
    }
    let died = Notice::Died {
        worker: worker(1),
        slot: Some(Slot(0)),
        exit: Exit::NotSpawned,
        cause: EndCause::ByItself,
    };
    assert!(sim.told(&died));
    assert!(sim.told(&Notice::AllErrored));
    assert_eq!(sim.spawned().len(), 3);
}

#[test]
fn a_worker_that_left_of_its_own_accord_is_followed_at_once() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::LeavesByItself { worker: worker(1), seq: QuerySeq(1) });
    sim.exit(worker(1), 0);
    assert_eq!(sim.spawned(), [worker(2)]);
}

#[test]
fn workers_that_leave_of_their_own_accord_at_once_are_not_restarted_without_end() {
    let mut sim = Sim::new(settings());
    sim.event(Event::Scale(1));
    for _ in 0..1000 {
        if let Some(newest) = sim.check.live().last().copied() {
            sim.online(newest);
            sim.event(Event::LeavesByItself { worker: newest, seq: QuerySeq(1) });
            sim.exit(newest, 0);
        }
        sim.pass(ms(10));
    }
    assert!(sim.spawned().len() <= 16, "{} in ten seconds", sim.spawned().len());
}

#[test]
fn a_worker_asked_to_leave_is_followed_at_once() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::Leave { worker: worker(1) });
    assert_eq!(sim.spawned(), []);
    sim.exit(worker(1), 1);
    assert_eq!(sim.spawned(), [worker(2)]);
    let died =
        Notice::Died { worker: worker(1), slot: Some(Slot(0)), exit: Exit::Code(1), cause: EndCause::Asked };
    assert!(sim.told(&died), "any exit after our request is a stop, whatever its code");
}

#[test]
fn the_tree_is_ended_before_the_slot_is_filled_again() {
    let mut sim = Sim::serving(settings(), 1);
    sim.obeys.end_tree = false;
    sim.exit(worker(1), 1);
    assert!(sim.has(&Effect::EndTree { worker: worker(1), grace: ms(0) }));
    sim.pass(ms(60_000));
    assert_eq!(sim.spawned(), []);
    sim.gone(worker(1));
    sim.pass(ms(100));
    assert_eq!(sim.spawned(), [worker(2)]);
}

#[test]
fn scaling_down_takes_the_highest_slots_in_order_and_up_fills_them_again() {
    let mut sim = Sim::serving(settings(), 4);
    sim.event(Event::Scale(2));
    assert_eq!(
        [1, 2, 3, 4].map(|id| sim.cluster.phase(worker(id)).unwrap().is_leaving()),
        [false, false, true, true]
    );
    assert!(sim.has(&Effect::TellDisconnect { worker: worker(4) }));
    sim.event(Event::Scale(3));
    let again = Effect::Spawn { worker: worker(5), slot: Some(Slot(2)), attach: Attach::Channel };
    assert!(sim.has(&again));
    sim.take();
    sim.exit(worker(3), 0);
    sim.exit(worker(4), 0);
    sim.pass(ms(60_000));
    assert_eq!(sim.spawned(), [], "their places are taken or gone");
}

#[test]
fn a_slot_scaled_away_while_it_pauses_stays_empty() {
    let mut sim = Sim::serving(settings(), 2);
    sim.exit(worker(2), 1);
    sim.event(Event::Scale(1));
    sim.pass(ms(60_000));
    assert_eq!(sim.spawned(), []);
}

#[test]
fn a_worker_outside_the_slots_is_not_replaced() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::Fork { attach: Attach::Channel });
    sim.boot(worker(2), 80);
    sim.exit(worker(2), 1);
    sim.pass(ms(60_000));
    assert_eq!(sim.spawned(), [worker(2)]);
}

#[test]
fn a_worker_whose_channel_closed_unasked_leaves_or_is_made_to() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::ChannelClosed { worker: worker(1) });
    assert_eq!(sim.cluster.phase(worker(1)), Some(Phase::Leaving));
    sim.pass(ms(500));
    assert!(sim.has(&Effect::SignalStop { worker: worker(1) }));
    sim.pass(ms(2000));
    assert!(sim.has(&Effect::EndTree { worker: worker(1), grace: ms(0) }));
}

#[test]
fn an_app_that_never_listens_is_proven_by_staying_up() {
    let mut sim = Sim::new(settings());
    sim.event(Event::Scale(1));
    sim.online(worker(1));
    sim.pass(ms(999));
    assert!(!sim.told(&Notice::Proven { worker: worker(1) }));
    assert!(!sim.told(&Notice::Ready { worker: worker(1) }), "it may be about to listen");
    sim.pass(ms(1));
    assert!(sim.told(&Notice::Ready { worker: worker(1) }));
    assert!(sim.told(&Notice::Proven { worker: worker(1) }));
}

#[test]
fn a_worker_that_must_say_ready_and_does_not_is_told_once() {
    let mut sim = Sim::new(Settings { readiness: Readiness::Message, ..settings() });
    sim.event(Event::Scale(1));
    sim.boot(worker(1), 80);
    let notice = Notice::NotReadyYet { worker: worker(1), after: settings().listen_timeout };
    sim.pass(settings().listen_timeout - ms(1));
    assert!(!sim.told(&notice));
    sim.pass(ms(1));
    assert!(sim.told(&notice));
}

#[test]
fn a_program_without_a_channel_is_up_once_it_is_spawned() {
    let mut sim = Sim::new(Settings { attach: Attach::Nothing, ..settings() });
    sim.event(Event::Scale(1));
    assert_eq!(sim.cluster.phase(worker(1)), Some(Phase::Online));
    sim.prove();
    assert!(sim.told(&Notice::Proven { worker: worker(1) }));
}
