//! The end of the app: nothing accepted is lost, nobody is asked to leave before that, and it always comes.

mod sim;

use std::time::Duration;

use oneport_core::{
    Attach, DropReason, Effect, EndCause, Event, Notice, Phase, Policy, QuerySeq, Settings, StopWith, Terms,
};
use sim::{Sim, ms, settings, tcp, worker};

fn told(sim: &Sim) -> usize {
    sim.count(|e| {
        matches!(e, Effect::TellDisconnect { .. } | Effect::SignalStop { .. } | Effect::WatchIdle { .. })
    })
}

fn stopped(sim: &Sim) -> bool {
    sim.told(&Notice::Stopped)
}

/// How long after now the app is over, asked every ten milliseconds.
fn time_to_end(sim: &mut Sim) -> Duration {
    let start = sim.now;
    while !stopped(sim) {
        sim.pass(ms(10));
        assert!(sim.now.since(start) < ms(600_000), "never ends: {:#?}", sim.cluster);
    }
    sim.now.since(start)
}

#[test]
fn everybody_is_asked_once_and_the_end_is_told_when_all_are_gone() {
    let mut sim = Sim::serving(settings(), 2);
    let port = sim.port(80);
    sim.event(Event::Stop);
    assert!(
        sim.position(&Effect::Shut { port }) < sim.position(&Effect::TellDisconnect { worker: worker(1) })
    );
    assert_eq!(told(&sim), 2);
    sim.close(worker(1), 80);
    sim.exit(worker(1), 0);
    assert!(!stopped(&sim));
    sim.event(Event::Stop);
    assert_eq!(told(&sim), 2);
    sim.exit(worker(2), 3);
    assert!(stopped(&sim));
    assert!(sim.has(&Effect::Close { port }));
    assert_eq!(sim.spawned(), []);
}

#[test]
fn what_waited_in_the_kernel_and_in_the_queue_is_served_before_anybody_is_asked() {
    let mut sim = Sim::serving(Settings { credits: 1, ..settings() }, 2);
    let conns = sim.connect_many(80, 6);
    sim.kernel_queue = 5;
    sim.event(Event::Stop);
    assert_eq!((sim.cluster.queued(), told(&sim)), (9, 0));
    while sim.cluster.queued() > 0 {
        sim.accept(worker(1));
        assert_eq!(told(&sim), 0);
    }
    sim.accept_all();
    assert_eq!(told(&sim), 2);
    assert!(conns.iter().all(|c| sim.check.is_done(*c)));
    assert_eq!((sim.count(|e| matches!(e, Effect::Settle { .. })), sim.dropped()), (11, vec![]));
}

#[test]
fn nobody_is_asked_before_the_socket_is_emptied() {
    let mut sim = Sim::serving(settings(), 1);
    sim.obeys.shut = false;
    sim.event(Event::Stop);
    assert_eq!(told(&sim), 0);
    let conn = sim.connect(80);
    sim.event(Event::PortShut { port: sim.port(80) });
    assert_eq!(told(&sim), 0);
    sim.accept(worker(1));
    assert!(sim.check.is_done(conn));
    assert_eq!(told(&sim), 1);
}

#[test]
fn a_refusal_during_the_stop_finds_another_worker() {
    let mut sim = Sim::serving(Settings { credits: 1, ..settings() }, 2);
    let conn = sim.connect(80);
    let first = sim.holder(conn).unwrap();
    sim.event(Event::Stop);
    assert_eq!(told(&sim), 0, "a hand-off under way may come back");
    sim.refuse(first);
    let second = sim.holder(conn).unwrap();
    assert_ne!(first, second);
    sim.accept(second);
    assert_eq!((told(&sim), sim.dropped()), (2, vec![]));
}

#[test]
fn a_death_during_the_stop_loses_nothing_while_somebody_serves() {
    let mut sim = Sim::serving(Settings { credits: 1, ..settings() }, 2);
    let conns = sim.connect_many(80, 2);
    sim.event(Event::Stop);
    sim.exit(worker(1), 1);
    sim.accept(worker(2));
    sim.accept(worker(2));
    assert!(conns.iter().all(|c| sim.check.is_done(*c)));
    assert_eq!(sim.dropped(), []);
    sim.exit(worker(2), 0);
    assert!(stopped(&sim));
}

#[test]
fn a_worker_that_never_answers_delays_the_stop_by_its_drain_time_at_most() {
    let mut sim = Sim::serving(Settings { credits: 1, ..settings() }, 1);
    sim.connect_many(80, 3);
    sim.event(Event::Stop);
    let took = time_to_end(&mut sim);
    assert_eq!(took, ms(8000 + 2000), "drain timeout, stop signal, kill timeout");
    assert_eq!(sim.dropped().len(), 3, "what nobody could serve is closed");
    assert_eq!(sim.count(|e| matches!(e, Effect::Drop { reason: DropReason::Stopping, .. })), 3);
    assert!(sim.has(&Effect::SignalStop { worker: worker(1) }));
}

#[test]
fn half_of_the_drain_time_is_left_for_leaving() {
    let mut sim = Sim::serving(Settings { credits: 1, ..settings() }, 2);
    sim.connect(80);
    sim.event(Event::Stop);
    sim.pass(ms(3999));
    assert_eq!(told(&sim), 0);
    sim.pass(ms(1));
    let idle = if sim.cluster.in_flight(worker(1)) == 0 { worker(1) } else { worker(2) };
    assert!(sim.has(&Effect::TellDisconnect { worker: idle }));
    assert_eq!(told(&sim), 1);
    sim.pass(ms(3999));
    assert_eq!(told(&sim), 1);
    sim.pass(ms(1));
    assert_eq!(told(&sim), 3, "now both get the signal");
}

#[test]
fn a_worker_that_ignores_everything_is_killed() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::Stop);
    sim.pass(ms(8000));
    assert!(sim.has(&Effect::SignalStop { worker: worker(1) }));
    sim.pass(ms(1999));
    assert_eq!(sim.count(|e| matches!(e, Effect::EndTree { .. })), 0);
    sim.pass(ms(1));
    assert!(sim.has(&Effect::EndTree { worker: worker(1), grace: ms(0) }));
    assert!(stopped(&sim));
}

#[test]
fn an_orderly_exit_leaves_the_rest_of_the_tree_its_time() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::Stop);
    sim.exit(worker(1), 0);
    assert!(sim.has(&Effect::EndTree { worker: worker(1), grace: ms(2000) }));
}

#[test]
fn a_closed_channel_is_followed_by_the_exit_or_by_the_signal() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::Stop);
    sim.event(Event::ChannelClosed { worker: worker(1) });
    // It may serve connections of a socket of its own, of which the channel says nothing.
    assert!(sim.has(&Effect::WatchIdle { worker: worker(1), linger: ms(500) }));
    sim.pass(ms(499));
    assert!(!sim.has(&Effect::SignalStop { worker: worker(1) }));
    sim.event(Event::Idle { worker: worker(1) });
    assert!(sim.has(&Effect::SignalStop { worker: worker(1) }));
}

#[test]
fn with_signal_a_worker_is_signalled_once_idle_and_never_told_to_disconnect() {
    let mut sim = Sim::serving(Settings { stop_with: StopWith::Signal, ..settings() }, 1);
    sim.event(Event::Stop);
    assert!(sim.has(&Effect::WatchIdle { worker: worker(1), linger: Duration::ZERO }));
    assert!(!sim.has(&Effect::SignalStop { worker: worker(1) }));
    sim.event(Event::Idle { worker: worker(1) });
    assert!(sim.has(&Effect::SignalStop { worker: worker(1) }));
    assert!(!sim.has(&Effect::TellDisconnect { worker: worker(1) }));
}

#[test]
fn with_signal_a_busy_worker_has_its_drain_time() {
    let mut sim = Sim::serving(Settings { stop_with: StopWith::Signal, ..settings() }, 1);
    sim.event(Event::Stop);
    sim.pass(ms(7999));
    assert!(!sim.has(&Effect::SignalStop { worker: worker(1) }));
    sim.pass(ms(1));
    assert!(sim.has(&Effect::SignalStop { worker: worker(1) }));
}

#[test]
fn a_worker_without_a_channel_is_signalled_once_idle_whatever_was_wished() {
    let mut sim = Sim::new(Settings { attach: Attach::Nothing, ..settings() });
    sim.event(Event::Scale(1));
    sim.event(Event::Stop);
    assert!(sim.has(&Effect::WatchIdle { worker: worker(1), linger: Duration::ZERO }));
    assert!(!sim.has(&Effect::TellDisconnect { worker: worker(1) }));
}

#[test]
fn a_stop_while_workers_start_signals_them() {
    let mut sim = Sim::new(settings());
    sim.event(Event::Scale(2));
    sim.event(Event::Stop);
    assert_eq!(sim.cluster.phase(worker(1)), Some(Phase::Stopping));
    assert!(sim.has(&Effect::SignalStop { worker: worker(2) }));
    sim.exit(worker(1), 0);
    sim.pass(ms(2000));
    assert!(stopped(&sim));
}

#[test]
fn a_stop_before_a_process_exists_waits_for_its_fate() {
    let mut sim = Sim::new(settings());
    sim.obeys.spawn = false;
    sim.event(Event::Scale(1));
    sim.event(Event::Stop);
    assert!(!stopped(&sim));
    sim.event(Event::SpawnFailed { worker: worker(1), cause: EndCause::ByItself });
    assert!(stopped(&sim));
}

#[test]
fn workers_that_never_listen_are_asked_at_once() {
    let mut sim = Sim::new(settings());
    sim.event(Event::Scale(1));
    sim.online(worker(1));
    sim.event(Event::Stop);
    assert!(sim.has(&Effect::TellDisconnect { worker: worker(1) }));
}

#[test]
fn without_workers_the_end_comes_at_once() {
    let mut sim = Sim::new(settings());
    sim.event(Event::Stop);
    assert!(stopped(&sim));
    sim.event(Event::Stop);
    sim.event(Event::StopNow);
    sim.event(Event::Scale(3));
    sim.event(Event::Fork { attach: Attach::Channel });
    sim.event(Event::Reload);
    assert_eq!(sim.count(|e| *e == Effect::Tell(Notice::Stopped)), 1);
    assert_eq!(sim.spawned(), []);
}

#[test]
fn connections_nobody_can_serve_do_not_delay_the_stop() {
    let mut sim = Sim::serving(settings(), 1);
    sim.exit(worker(1), 1);
    let conn = sim.connect(80);
    sim.pass(ms(100));
    sim.online(worker(2));
    sim.query(worker(2), tcp(80), Terms::default());
    sim.event(Event::Stop);
    assert!(sim.has(&Effect::TellDisconnect { worker: worker(2) }));
    assert!(sim.has(&Effect::Drop { conn, reason: DropReason::Stopping }));
}

#[test]
fn nothing_is_restarted_once_the_end_began() {
    let mut sim = Sim::serving(settings(), 2);
    sim.exit(worker(1), 1);
    sim.event(Event::Stop);
    sim.pass(ms(60_000));
    assert_eq!(sim.spawned(), []);
    assert!(stopped(&sim));
}

#[test]
fn stop_now_kills_and_closes_everything() {
    let mut sim = Sim::serving(Settings { credits: 1, ..settings() }, 2);
    let conns = sim.connect_many(80, 5);
    sim.obeys.end_tree = false;
    sim.event(Event::StopNow);
    for id in [1, 2] {
        assert!(sim.has(&Effect::EndTree { worker: worker(id), grace: ms(0) }));
        assert!(sim.told(&Notice::Condemned { worker: worker(id), cause: EndCause::Asked }));
    }
    assert_eq!(sim.dropped().len(), 3);
    sim.gone(worker(1));
    sim.gone(worker(2));
    assert!(stopped(&sim));
    assert!(conns.iter().all(|c| sim.check.is_done(*c)));
}

#[test]
fn a_second_wish_for_the_end_makes_it_immediate() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::Stop);
    sim.exit(worker(1), 0);
    let mut sim = Sim::serving(settings(), 1);
    sim.obeys.end_tree = false;
    sim.event(Event::Stop);
    sim.exit(worker(1), 0);
    assert!(sim.has(&Effect::EndTree { worker: worker(1), grace: ms(2000) }));
    sim.event(Event::StopNow);
    assert!(sim.has(&Effect::EndTree { worker: worker(1), grace: ms(0) }), "asking twice shortens the grace");
}

#[test]
fn once_everybody_is_asked_a_late_connection_is_closed_at_once() {
    let mut sim = Sim::serving(settings(), 1);
    sim.obeys.shut = false;
    sim.event(Event::Stop);
    sim.pass(ms(4000));
    let conn = sim.connect(80);
    assert!(sim.has(&Effect::Drop { conn, reason: DropReason::Stopping }), "nobody will serve it");
}

#[test]
fn once_everybody_is_asked_what_comes_back_is_closed_at_once() {
    let mut sim = Sim::serving(Settings { credits: 1, ..settings() }, 2);
    let conns = sim.connect_many(80, 2);
    sim.event(Event::Stop);
    sim.pass(ms(4000));
    sim.refuse(worker(1));
    sim.exit(worker(2), 1);
    assert!(conns.iter().all(|c| sim.check.is_done(*c)));
    assert!(!stopped(&sim));
}

#[test]
fn a_shared_socket_is_closed_with_the_last_worker() {
    let mut sim = Sim::serving(Settings { policy: Policy::Shared, ..settings() }, 1);
    let port = sim.port(80);
    sim.event(Event::Stop);
    assert!(!sim.has(&Effect::Shut { port }), "its queue is the workers'");
    assert!(sim.has(&Effect::TellDisconnect { worker: worker(1) }));
    sim.exit(worker(1), 0);
    assert!(sim.has(&Effect::Close { port }));
    assert!(stopped(&sim));
}

#[test]
fn a_shared_socket_that_opens_during_the_stop_is_not_emptied_by_us() {
    let mut sim = Sim::serving(Settings { policy: Policy::Shared, ..settings() }, 1);
    sim.obeys.open = false;
    sim.query(worker(1), tcp(81), Terms::default());
    sim.event(Event::Stop);
    sim.event(Event::PortOpened { port: sim.port(81), outcome: Ok(()) });
    assert_eq!(sim.count(|e| matches!(e, Effect::Shut { .. })), 0);
    sim.exit(worker(1), 0);
    assert!(stopped(&sim));
}

#[test]
fn a_port_that_fails_to_open_during_the_stop_does_not_delay_it() {
    let mut sim = Sim::serving(settings(), 1);
    sim.obeys.open = false;
    sim.query(worker(1), tcp(81), Terms::default());
    sim.event(Event::Stop);
    assert_eq!(told(&sim), 0, "its outcome is awaited");
    sim.event(Event::PortOpened { port: sim.port(81), outcome: Err(oneport_core::Errno::ADDR_IN_USE) });
    assert_eq!(told(&sim), 1);
}

#[test]
fn workers_already_leaving_are_not_asked_again() {
    let mut sim = Sim::serving(settings(), 2);
    sim.event(Event::LeavesByItself { worker: worker(1), seq: QuerySeq(1) });
    sim.event(Event::Leave { worker: worker(2) });
    assert_eq!(told(&sim), 1);
    sim.event(Event::Stop);
    assert_eq!(told(&sim), 1);
}

#[test]
fn a_worker_that_never_said_ready_does_not_hold_up_the_stop() {
    let mut sim = Sim::new(Settings { readiness: oneport_core::Readiness::Message, ..settings() });
    sim.event(Event::Scale(1));
    sim.boot(worker(1), 80);
    sim.connect(80);
    let before = sim.now;
    sim.event(Event::Stop);
    assert!(sim.cluster.phase(worker(1)).is_none_or(Phase::is_leaving), "it was asked at once");
    assert_eq!(sim.now, before);
}
