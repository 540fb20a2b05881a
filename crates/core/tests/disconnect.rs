//! Everybody leaves and the app lives on: told once, when the last one is gone, and what comes then starts afresh.

mod sim;

use oneport_core::{
    Attach, DropReason, Effect, EndCause, Event, Notice, Policy, ReloadFailure, ReplyOutcome, Settings, Slot,
    Terms,
};
use sim::{Sim, ms, settings, tcp, worker};

fn disconnected(sim: &Sim) -> usize {
    sim.count(|e| *e == Effect::Tell(Notice::Disconnected))
}

fn asked(sim: &Sim) -> usize {
    sim.count(|e| matches!(e, Effect::TellDisconnect { .. }))
}

/// Two workers have served port 80 and left.
fn afresh() -> Sim {
    let mut sim = Sim::serving(settings(), 2);
    sim.event(Event::Disconnect);
    sim.exit(worker(1), 0);
    sim.exit(worker(2), 0);
    assert_eq!(disconnected(&sim), 1);
    sim.take();
    sim
}

#[test]
fn the_notice_comes_with_the_last_worker_and_not_with_the_first() {
    let mut sim = Sim::serving(settings(), 2);
    let port = sim.port(80);
    sim.event(Event::Disconnect);
    assert!(
        sim.position(&Effect::Shut { port }) < sim.position(&Effect::TellDisconnect { worker: worker(1) })
    );
    assert_eq!(asked(&sim), 2);
    sim.exit(worker(1), 0);
    assert_eq!(disconnected(&sim), 0);
    sim.exit(worker(2), 0);
    assert!(sim.position(&Effect::Close { port }) < sim.position(&Effect::Tell(Notice::Disconnected)));
    assert!(!sim.told(&Notice::Stopped));
    assert_eq!(sim.cluster.next_deadline(), None);
}

#[test]
fn what_was_accepted_is_served_before_anybody_is_asked() {
    let mut sim = Sim::serving(Settings { credits: 1, ..settings() }, 2);
    sim.connect_many(80, 4);
    sim.kernel_queue = 3;
    sim.event(Event::Disconnect);
    assert_eq!((sim.cluster.queued(), asked(&sim)), (5, 0));
    sim.accept_all();
    assert_eq!((asked(&sim), sim.dropped()), (2, vec![]));
}

#[test]
fn workers_that_ignore_it_are_gone_within_one_drain_time_and_one_kill_time() {
    let mut sim = Sim::serving(Settings { credits: 1, ..settings() }, 1);
    sim.connect_many(80, 3);
    sim.event(Event::Disconnect);
    sim.pass(ms(8000 + 2000) - ms(1));
    assert_eq!(disconnected(&sim), 0);
    sim.pass(ms(1));
    assert_eq!(disconnected(&sim), 1);
    assert_eq!(sim.count(|e| matches!(e, Effect::Drop { reason: DropReason::Stopping, .. })), 3);
}

#[test]
fn without_workers_it_is_done_at_once_every_time() {
    let mut sim = Sim::new(settings());
    sim.event(Event::Disconnect);
    assert_eq!(disconnected(&sim), 1);
    sim.event(Event::Disconnect);
    assert_eq!(disconnected(&sim), 2);
}

#[test]
fn a_port_that_waits_for_a_successor_is_closed_and_the_successor_never_comes() {
    let mut sim = Sim::serving(Settings { restart_delay: Some(ms(60_000)), ..settings() }, 1);
    let port = sim.port(80);
    sim.exit(worker(1), 1);
    let conn = sim.connect(80);
    sim.event(Event::Disconnect);
    assert_eq!(disconnected(&sim), 1);
    assert!(sim.has(&Effect::Close { port }));
    assert!(sim.has(&Effect::Drop { conn, reason: DropReason::Stopping }));
    sim.pass(ms(3_600_000));
    assert_eq!(sim.spawned(), []);
}

#[test]
fn a_shared_socket_is_closed_with_the_last_worker() {
    let mut sim = Sim::serving(Settings { policy: Policy::Shared, ..settings() }, 1);
    let port = sim.port(80);
    sim.event(Event::Disconnect);
    sim.pass(ms(1000));
    assert!(!sim.has(&Effect::Close { port }));
    sim.exit(worker(1), 0);
    assert!(sim.has(&Effect::Close { port }));
    assert_eq!(disconnected(&sim), 1);
}

#[test]
fn wishes_for_workers_are_ignored_while_everybody_leaves() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::Disconnect);
    sim.event(Event::Scale(3));
    sim.event(Event::Fork { attach: Attach::Channel });
    sim.event(Event::Reload);
    sim.event(Event::Disconnect);
    sim.exit(worker(1), 1);
    sim.pass(ms(60_000));
    assert_eq!((sim.spawned(), disconnected(&sim), asked(&sim)), (vec![], 1, 1));
}

#[test]
fn forks_and_supervised_workers_leave_alike() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::Fork { attach: Attach::Channel });
    sim.boot(worker(2), 80);
    sim.event(Event::Disconnect);
    assert_eq!(asked(&sim), 2);
    sim.exit(worker(1), 0);
    sim.exit(worker(2), 0);
    assert_eq!(disconnected(&sim), 1);
}

#[test]
fn it_interrupts_a_reload_and_says_so() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::Reload);
    sim.event(Event::Reload);
    sim.event(Event::Disconnect);
    let failure = ReloadFailure::Interrupted;
    assert!(sim.told(&Notice::ReloadAborted { slot: Slot(0), worker: worker(2), failure, replaced: 0 }));
    sim.pass(ms(60_000));
    assert_eq!((sim.spawned(), disconnected(&sim)), (vec![worker(2)], 1));
}

#[test]
fn a_stop_meanwhile_turns_it_into_a_stop() {
    for settled in [false, true] {
        let mut sim = Sim::serving(settings(), 1);
        sim.connect(80);
        sim.event(Event::Disconnect);
        if settled {
            sim.accept(worker(1));
        }
        sim.event(Event::Stop);
        sim.accept_all();
        assert_eq!(asked(&sim), 1);
        sim.exit(worker(1), 0);
        assert_eq!((sim.told(&Notice::Stopped), disconnected(&sim)), (true, 0));
        sim.event(Event::Scale(1));
        assert_eq!(sim.spawned(), []);
    }
}

#[test]
fn a_stop_meanwhile_gets_no_time_of_its_own() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::Disconnect);
    sim.pass(ms(7000));
    sim.event(Event::Stop);
    sim.pass(ms(3000));
    assert!(sim.told(&Notice::Stopped));
}

#[test]
fn an_immediate_stop_meanwhile_is_one() {
    let mut sim = Sim::serving(settings(), 2);
    sim.event(Event::Disconnect);
    sim.event(Event::StopNow);
    assert_eq!((sim.told(&Notice::Stopped), disconnected(&sim)), (true, 0));
}

#[test]
fn once_stopped_there_is_nothing_to_disconnect() {
    let mut sim = Sim::new(settings());
    sim.event(Event::Stop);
    sim.take();
    sim.event(Event::Disconnect);
    assert_eq!(sim.take(), []);
}

#[test]
fn afterwards_workers_get_new_names_and_new_ports() {
    let mut sim = afresh();
    sim.event(Event::Scale(1));
    let slot = Some(Slot(0));
    assert!(sim.has(&Effect::Spawn { worker: worker(3), slot, attach: Attach::Channel }));
    let before = sim.port(80);
    sim.boot(worker(3), 80);
    assert_ne!(sim.port(80), before);
    let conn = sim.connect(80);
    assert_eq!(sim.holder(conn), Some(worker(3)));
    sim.event(Event::Fork { attach: Attach::Channel });
    assert_eq!(sim.spawned(), [3, 4].map(worker));
}

#[test]
fn afterwards_the_first_to_be_ready_does_not_get_everything() {
    let mut sim = afresh();
    sim.event(Event::Scale(2));
    sim.boot(worker(3), 80);
    sim.pass(ms(500));
    sim.boot(worker(4), 80);
    sim.pass(ms(500));
    assert!(sim.told(&Notice::Proven { worker: worker(3) }));
    let mut served = [sim.connect(80), sim.connect(80)].map(|conn| sim.holder(conn));
    served.sort();
    assert_eq!(served, [Some(worker(3)), Some(worker(4))]);
}

#[test]
fn afterwards_a_program_that_never_listens_is_ready_by_being_there() {
    let mut sim = afresh();
    sim.event(Event::Scale(1));
    sim.online(worker(3));
    sim.prove();
    assert!(sim.told(&Notice::Proven { worker: worker(3) }));
}

#[test]
fn afterwards_earlier_ends_of_a_slot_are_forgotten() {
    let mut sim = Sim::new(Settings { max_restarts: 2, ..settings() });
    sim.event(Event::Scale(1));
    sim.exit(worker(1), 1);
    sim.event(Event::Disconnect);
    sim.event(Event::Scale(1));
    sim.take();
    sim.exit(worker(2), 1);
    assert!(sim.told(&Notice::Restarting { slot: Slot(0), delay: ms(100) }));
    sim.pass(ms(100));
    sim.exit(worker(3), 1);
    assert!(sim.told(&Notice::Errored { slot: Slot(0), restarts: 2 }));
}

#[test]
fn afterwards_accepting_is_neither_paused_nor_unwatched() {
    let mut sim = Sim::serving(Settings { credits: 1, queue: 20, ..settings() }, 1);
    sim.connect_many(80, 21);
    assert!(sim.has(&Effect::Unwatch { port: sim.port(80) }));
    assert!(sim.check.is_paused(sim.port(80)));
    sim.event(Event::AcceptExhausted { port: sim.port(80) });
    sim.event(Event::Disconnect);
    sim.pass(ms(10_000));
    assert_eq!(disconnected(&sim), 1);
    sim.event(Event::Scale(1));
    sim.boot(worker(2), 80);
    sim.take();
    sim.connect_many(80, 16);
    assert_eq!(sim.count(|e| matches!(e, Effect::PauseAccept { .. })), 0);
    sim.connect(80);
    assert!(sim.has(&Effect::Unwatch { port: sim.port(80) }), "told anew");
}

#[test]
fn a_socket_that_opens_afterwards_is_closed_again() {
    let mut sim = Sim::serving(Settings { policy: Policy::Shared, ..settings() }, 1);
    sim.obeys.open = false;
    sim.query(worker(1), tcp(81), Terms::default());
    sim.event(Event::Disconnect);
    sim.exit(worker(1), 0);
    assert_eq!(disconnected(&sim), 1);
    sim.take();
    let port = sim.port(81);
    sim.event(Event::PortOpened { port, outcome: Ok(()) });
    assert_eq!(sim.take(), [Effect::Close { port }]);
}

#[test]
fn a_connection_that_was_still_being_accepted_is_closed() {
    let mut sim = Sim::serving(settings(), 1);
    sim.obeys.shut = false;
    let port = sim.port(80);
    sim.event(Event::Disconnect);
    sim.exit(worker(1), 0);
    assert_eq!(disconnected(&sim), 1);
    let conn = sim.connect_to(port);
    sim.event(Event::PortShut { port });
    assert!(sim.has(&Effect::Drop { conn, reason: DropReason::PortClosed }));
}

#[test]
fn a_worker_that_could_not_be_started_counts_as_gone() {
    let mut sim = Sim::new(settings());
    sim.obeys.spawn = false;
    sim.event(Event::Fork { attach: Attach::Channel });
    sim.event(Event::Disconnect);
    assert_eq!(disconnected(&sim), 0);
    sim.event(Event::SpawnFailed { worker: worker(1), cause: EndCause::ByItself });
    assert_eq!(disconnected(&sim), 1);
}

#[test]
fn in_the_middle_of_it_the_state_can_be_written_out_and_read_back() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::Disconnect);
    sim.cluster = oneport_core::Cluster::restore(sim.cluster.snapshot());
    sim.exit(worker(1), 0);
    assert_eq!(disconnected(&sim), 1);
    sim.event(Event::Fork { attach: Attach::Channel });
    sim.boot(worker(2), 80);
    assert_eq!(sim.replies(), [(worker(2), ReplyOutcome::RoundRobin(sim.port(80)))]);
}
