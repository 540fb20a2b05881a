//! Workers outside the slots (Node's `cluster.fork()`): nobody replaces them but their owner, and their ports go when
//! they do.

mod sim;

use oneport_core::{
    Attach, DropReason, Effect, EndCause, Event, Phase, QuerySeq, Readiness, Settings, StopWith,
};
use sim::{Sim, ms, settings, worker};

const FORK: Event = Event::Fork { attach: Attach::Channel };

/// `count` forks that serve port 80 and are proven, and no slot.
fn forks(settings: Settings, count: u32) -> Sim {
    let mut sim = Sim::new(settings);
    for id in 1..=count {
        sim.event(FORK);
        sim.boot(worker(id), 80);
    }
    sim.prove();
    sim.take();
    sim
}

fn closed(sim: &Sim) -> usize {
    sim.count(|e| matches!(e, Effect::Close { .. }))
}

fn opened(sim: &Sim) -> usize {
    sim.count(|e| matches!(e, Effect::Open { .. }))
}

#[test]
fn a_death_gives_the_connections_to_another_fork_and_nobody_is_started() {
    let mut sim = forks(Settings { credits: 1, ..settings() }, 2);
    let conns = sim.connect_many(80, 2);
    sim.exit(worker(1), 1);
    sim.accept_all();
    assert!(conns.iter().all(|c| sim.check.is_done(*c)));
    assert_eq!((sim.dropped(), sim.spawned()), (vec![], vec![]));
}

#[test]
fn after_the_death_of_the_only_fork_its_port_waits_for_the_next_one() {
    let mut sim = forks(settings(), 1);
    let conn = sim.connect(80);
    sim.exit(worker(1), 1);
    sim.pass(ms(9_000));
    sim.event(FORK);
    sim.pass(ms(9_000));
    sim.boot(worker(2), 80);
    assert_eq!(sim.holder(conn), Some(worker(2)));
    assert_eq!((opened(&sim), closed(&sim)), (0, 0));
}

#[test]
fn when_no_fork_follows_a_death_the_port_and_what_waits_end_in_time() {
    let mut sim = forks(settings(), 1);
    let given_back = sim.connect(80);
    sim.exit(worker(1), 1);
    let waiting = sim.connect(80);
    assert_eq!(sim.check.live(), []);
    sim.pass(ms(9_999));
    assert_eq!((closed(&sim), sim.cluster.queued()), (0, 2));
    sim.pass(ms(1));
    assert_eq!(closed(&sim), 1);
    for conn in [given_back, waiting] {
        assert!(sim.has(&Effect::Drop { conn, reason: DropReason::PortClosed }));
    }
    assert_eq!(sim.cluster.next_deadline(), None);
    sim.event(FORK);
    sim.boot(worker(2), 80);
    assert_eq!(opened(&sim), 1, "a later fork starts anew");
}

#[test]
fn a_fork_that_serves_elsewhere_does_not_keep_a_dead_ones_port_for_ever() {
    let mut sim = forks(settings(), 1);
    sim.event(FORK);
    sim.boot(worker(2), 81);
    sim.pass(ms(60_000));
    sim.exit(worker(1), 1);
    let conn = sim.connect(80);
    sim.pass(ms(10_000));
    assert_eq!((closed(&sim), sim.check.is_done(conn)), (1, true));
    assert!(sim.check.port_exists(sim.port(81)));
}

#[test]
fn a_port_has_its_whole_time_even_when_another_was_orphaned_before() {
    let mut sim = forks(settings(), 1);
    sim.event(FORK);
    sim.boot(worker(2), 81);
    sim.exit(worker(1), 1);
    sim.pass(ms(9_000));
    sim.exit(worker(2), 1);
    sim.pass(ms(1_000));
    assert!(!sim.check.port_exists(sim.port(80)));
    sim.pass(ms(8_999));
    assert!(sim.check.port_exists(sim.port(81)));
    sim.pass(ms(1));
    assert!(!sim.check.port_exists(sim.port(81)));
}

#[test]
fn leave_ends_the_port_of_the_last_fork_without_waiting_for_it() {
    for stop_with in [StopWith::Disconnect, StopWith::Signal] {
        let mut sim = forks(Settings { stop_with, ..settings() }, 1);
        let port = sim.port(80);
        let (held, taken) = (sim.connect(80), sim.connect(80));
        sim.event(Event::Leave { worker: worker(1) });
        let late = sim.connect(80);
        sim.pass(ms(49));
        assert_eq!(closed(&sim), 0);
        sim.pass(ms(1));
        assert!(sim.has(&Effect::Close { port }));
        assert_eq!(sim.dropped(), [late], "nobody would have taken it");
        sim.event(Event::Closed { worker: worker(1), port });
        sim.accept(worker(1));
        sim.refuse(worker(1));
        assert!(sim.check.is_done(held) && sim.check.is_done(taken));
        sim.exit(worker(1), 0);
        assert_eq!((sim.cluster.next_deadline(), sim.spawned()), (None, vec![]));
        sim.event(FORK);
        sim.boot(worker(2), 80);
        assert_eq!(opened(&sim), 1, "a later fork starts anew");
    }
}

#[test]
fn the_announcement_of_the_last_fork_ends_its_port_too() {
    let mut sim = forks(settings(), 1);
    sim.event(Event::LeavesByItself { worker: worker(1), seq: QuerySeq(1) });
    sim.pass(ms(50));
    assert_eq!(closed(&sim), 1);
}

#[test]
fn leave_ends_no_port_that_another_one_holds() {
    let mut sim = forks(settings(), 2);
    sim.event(Event::Leave { worker: worker(1) });
    sim.pass(ms(10_000));
    let conn = sim.connect(80);
    assert_eq!((closed(&sim), sim.holder(conn)), (0, Some(worker(2))));
    sim.event(Event::Leave { worker: worker(2) });
    sim.pass(ms(50));
    assert_eq!(closed(&sim), 1);
}

#[test]
fn a_fork_that_joins_a_port_about_to_end_keeps_it() {
    let mut sim = forks(settings(), 1);
    sim.event(FORK);
    sim.event(Event::Leave { worker: worker(1) });
    let conn = sim.connect(80);
    sim.boot(worker(2), 80);
    sim.pass(ms(10_000));
    assert_eq!((closed(&sim), opened(&sim), sim.holder(conn)), (0, 0, Some(worker(2))));
}

#[test]
fn a_port_kept_for_a_dead_ones_owner_outlives_one_that_leaves() {
    let mut sim = forks(settings(), 2);
    sim.event(Event::Leave { worker: worker(1) });
    sim.exit(worker(2), 1);
    sim.close(worker(1), 80);
    sim.exit(worker(1), 0);
    sim.pass(ms(9_999));
    assert_eq!(closed(&sim), 0);
    sim.pass(ms(1));
    assert_eq!(closed(&sim), 1);
}

#[test]
fn who_came_for_a_dead_one_and_leaves_ends_the_port_at_once() {
    let mut sim = forks(settings(), 1);
    sim.exit(worker(1), 1);
    sim.event(FORK);
    sim.boot(worker(2), 80);
    sim.event(Event::Leave { worker: worker(2) });
    sim.pass(ms(50));
    assert_eq!(closed(&sim), 1);
}

#[test]
fn a_fork_that_leaves_ends_no_port_for_which_a_slot_is_about_to_be_filled() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(FORK);
    sim.boot(worker(2), 80);
    sim.exit(worker(1), 1);
    sim.event(Event::Leave { worker: worker(2) });
    sim.close(worker(2), 80);
    sim.pass(ms(100));
    let conn = sim.connect(80);
    sim.boot(worker(3), 80);
    assert_eq!((closed(&sim), sim.holder(conn)), (0, Some(worker(3))));
}

#[test]
fn a_worker_scaled_away_ends_no_port_while_another_one_boots() {
    let mut sim = Sim::serving(settings(), 2);
    sim.exit(worker(1), 1);
    sim.pass(ms(100));
    sim.online(worker(3));
    sim.event(Event::Scale(1));
    sim.close(worker(2), 80);
    sim.pass(ms(1_000));
    let conn = sim.connect(80);
    sim.listen(worker(3), 80);
    assert_eq!((closed(&sim), sim.holder(conn)), (0, Some(worker(3))));
}

#[test]
fn killed_by_its_owner_a_fork_leaves_its_port_to_the_next_one() {
    let mut sim = forks(settings(), 1);
    sim.event(Event::Kill { worker: worker(1) });
    let conn = sim.connect(80);
    sim.event(FORK);
    sim.boot(worker(2), 80);
    assert_eq!((opened(&sim), sim.holder(conn)), (0, Some(worker(2))));
}

#[test]
fn whether_a_worker_was_asked_to_leave_is_unknown_until_then() {
    let mut sim = Sim::new(Settings { readiness: Readiness::Listening, ..settings() });
    sim.event(FORK);
    assert_eq!(sim.cluster.asked_to_leave(worker(1)), None);
    sim.boot(worker(1), 80);
    assert_eq!(sim.cluster.asked_to_leave(worker(1)), None);
    assert_eq!(sim.cluster.asked_to_leave(worker(7)), None, "nobody has that name");
}

#[test]
fn who_was_asked_to_leave_or_announced_it_ended_in_order_whatever_came_then() {
    for event in [
        Event::Leave { worker: worker(1) },
        Event::LeavesByItself { worker: worker(1), seq: QuerySeq(1) },
        Event::Disconnect,
        Event::Stop,
    ] {
        let mut sim = forks(settings(), 1);
        sim.obeys.end_tree = false;
        sim.event(event);
        assert_eq!(sim.cluster.asked_to_leave(worker(1)), Some(true));
        sim.event(Event::Kill { worker: worker(1) });
        sim.exit(worker(1), 3);
        assert_eq!(sim.cluster.asked_to_leave(worker(1)), Some(true));
        sim.gone(worker(1));
        assert_eq!(sim.cluster.asked_to_leave(worker(1)), None);
    }
}

#[test]
fn who_ended_unasked_did_not_leave_in_order() {
    let exited = Event::Exited { worker: worker(1), exit: oneport_core::Exit::Signal(15) };
    for event in [
        exited,
        Event::Kill { worker: worker(1) },
        Event::ChannelClosed { worker: worker(1) },
        Event::Condemned { worker: worker(1), cause: EndCause::Violation },
    ] {
        let mut sim = forks(settings(), 1);
        sim.obeys.end_tree = false;
        sim.event(event);
        assert!(sim.cluster.phase(worker(1)).is_some_and(Phase::is_leaving));
        assert_eq!(sim.cluster.asked_to_leave(worker(1)), Some(false));
    }
}
