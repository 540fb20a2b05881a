//! Connections whose worker died, hung or answered oddly: they come back once, and only when nobody can answer
//! them any more.

mod sim;

use oneport_core::{ConnId, Effect, EndCause, Event, Exit, Notice, Settings};
use sim::{Sim, ms, settings, worker};

fn two_workers(credits: u32) -> Sim {
    Sim::serving(Settings { credits, ..settings() }, 2)
}

#[test]
fn a_death_gives_back_what_was_not_acknowledged() {
    let mut sim = two_workers(2);
    let conns = sim.connect_many(80, 4);
    let of_first = sim.check.flights(worker(1));
    assert_eq!(of_first.len(), 2);
    sim.exit(worker(1), 1);
    assert_eq!(sim.cluster.queued(), 2);
    sim.accept(worker(2));
    sim.accept(worker(2));
    assert_eq!(sim.check.flights(worker(2)), of_first, "oldest first");
    sim.accept_all();
    assert!(conns.iter().all(|c| sim.check.is_done(*c)));
    assert_eq!(sim.dropped(), []);
}

#[test]
fn what_is_given_back_comes_before_what_waited() {
    let mut sim = Sim::serving(Settings { credits: 2, ..settings() }, 1);
    let conns = sim.connect_many(80, 4);
    sim.exit(worker(1), 1);
    sim.pass(ms(100));
    sim.take();
    sim.boot(worker(2), 80);
    sim.accept_all();
    let order: Vec<ConnId> = sim.hand_offs().iter().map(|(_, conn)| *conn).collect();
    assert_eq!(order, conns);
}

#[test]
fn nothing_is_given_back_before_the_worker_is_gone_with_its_tree() {
    let mut sim = two_workers(1);
    let conn = sim.connect(80);
    let holder = sim.holder(conn).unwrap();
    sim.obeys.end_tree = false;
    sim.event(Event::Kill { worker: holder });
    assert_eq!(sim.holder(conn), Some(holder));
    sim.event(Event::Exited { worker: holder, exit: Exit::Signal(9) });
    sim.pass(ms(60_000));
    assert_eq!(sim.holder(conn), Some(holder), "an acknowledgement may still lie unread");
    sim.gone(holder);
    assert!(sim.holder(conn).is_some_and(|w| w != holder));
}

#[test]
fn an_acknowledgement_read_after_the_death_counts() {
    let mut sim = two_workers(1);
    let conn = sim.connect(80);
    let holder = sim.holder(conn).unwrap();
    sim.obeys.end_tree = false;
    sim.exit(holder, 1);
    sim.accept(holder);
    sim.gone(holder);
    assert!(sim.check.is_done(conn));
    assert_eq!(sim.hand_offs().len(), 1);
}

#[test]
fn a_worker_that_lives_keeps_what_it_holds_however_long() {
    let mut sim = two_workers(1);
    let conn = sim.connect(80);
    let holder = sim.holder(conn).unwrap();
    sim.pass(ms(3_600_000));
    assert_eq!(sim.holder(conn), Some(holder));
}

#[test]
fn second_and_foreign_answers_are_ignored() {
    let mut sim = two_workers(2);
    let conn = sim.connect(80);
    let holder = sim.holder(conn).unwrap();
    let other = if holder == worker(1) { worker(2) } else { worker(1) };
    sim.event(Event::Answered { worker: other, conn, accepted: true });
    sim.event(Event::NotReceived { worker: other, conn });
    assert_eq!(sim.holder(conn), Some(holder));
    sim.accept(holder);
    for accepted in [true, false] {
        sim.event(Event::Answered { worker: holder, conn, accepted });
    }
    assert_eq!(sim.count(|e| matches!(e, Effect::Settle { .. })), 1);
    assert_eq!(sim.hand_offs().len(), 1);
    sim.event(Event::Answered { worker: holder, conn: ConnId(999), accepted: false });
    sim.event(Event::Answered { worker: worker(999), conn, accepted: false });
    assert_eq!(sim.cluster.queued(), 0);
}

#[test]
fn without_hang_timeout_a_frozen_worker_is_left_alone() {
    let mut sim = two_workers(1);
    sim.connect(80);
    sim.pass(ms(600_000));
    assert_eq!(sim.count(|e| matches!(e, Effect::EndTree { .. })), 0);
}

#[test]
fn a_worker_that_holds_a_hand_off_too_long_is_ended_first_and_gives_it_back_then() {
    let mut sim = Sim::serving(Settings { hang_timeout: Some(ms(500)), credits: 1, ..settings() }, 2);
    let conn = sim.connect(80);
    let frozen = sim.holder(conn).unwrap();
    sim.pass(ms(499));
    assert!(!sim.told(&Notice::Condemned { worker: frozen, cause: EndCause::Hung }));
    sim.obeys.end_tree = false;
    sim.pass(ms(1));
    assert!(sim.told(&Notice::Condemned { worker: frozen, cause: EndCause::Hung }));
    assert!(sim.has(&Effect::EndTree { worker: frozen, grace: ms(0) }));
    assert_eq!(sim.holder(conn), Some(frozen), "never to a second one while the first lives");
    sim.gone(frozen);
    assert!(sim.holder(conn).is_some_and(|w| w != frozen));
}

#[test]
fn the_time_to_hang_runs_for_each_hand_off() {
    let mut sim = Sim::serving(Settings { hang_timeout: Some(ms(500)), credits: 2, ..settings() }, 1);
    sim.connect(80);
    for _ in 0..20 {
        sim.pass(ms(400));
        sim.connect(80);
        sim.accept(worker(1));
    }
    assert_eq!(sim.count(|e| matches!(e, Effect::EndTree { .. })), 0, "a slow worker is not a frozen one");
    sim.pass(ms(500));
    assert_eq!(sim.count(|e| matches!(e, Effect::EndTree { .. })), 1);
}

#[test]
fn a_protocol_breaker_is_ended_and_replaced_and_its_connection_served() {
    let mut sim = Sim::serving(Settings { credits: 1, ..settings() }, 1);
    let conn = sim.connect(80);
    sim.event(Event::Condemned { worker: worker(1), cause: EndCause::Violation });
    assert_eq!(sim.cluster.phase(worker(1)), None);
    sim.pass(ms(100));
    sim.boot(worker(2), 80);
    assert_eq!(sim.holder(conn), Some(worker(2)));
}
