//! Connections that wait in the primary: how many, and what happens to accepting meanwhile.

mod sim;

use oneport_core::{Effect, Event, Notice, PortId, Settings};
use sim::{Sim, ms, settings, worker};

fn bounded(queue: usize) -> Sim {
    Sim::serving(Settings { queue, credits: 1, ..settings() }, 1)
}

fn pauses(sim: &Sim) -> usize {
    sim.count(|e| matches!(e, Effect::PauseAccept { .. }))
}

fn resumes(sim: &Sim) -> usize {
    sim.count(|e| matches!(e, Effect::ResumeAccept { .. }))
}

fn exhaust(sim: &mut Sim, port: PortId) {
    sim.event(Event::AcceptExhausted { port });
}

fn warnings(sim: &Sim) -> usize {
    sim.count(|e| matches!(e, Effect::Tell(Notice::AcceptExhausted { .. })))
}

#[test]
fn at_its_bound_accepting_pauses_and_goes_on_at_half() {
    let mut sim = bounded(8);
    sim.connect_many(80, 8);
    assert_eq!((sim.cluster.queued(), pauses(&sim)), (7, 0));
    sim.connect(80);
    assert_eq!((sim.cluster.queued(), pauses(&sim)), (8, 1));
    for _ in 0..3 {
        sim.accept(worker(1));
    }
    assert_eq!((sim.cluster.queued(), resumes(&sim)), (5, 0));
    sim.accept(worker(1));
    assert_eq!((sim.cluster.queued(), resumes(&sim)), (4, 1));
}

#[test]
fn connections_accepted_before_the_pause_took_effect_are_kept() {
    let mut sim = bounded(4);
    let conns = sim.connect_many(80, 10);
    assert_eq!((sim.cluster.queued(), pauses(&sim)), (9, 1));
    sim.accept_all();
    assert!(conns.iter().all(|c| sim.check.is_done(*c)));
    assert_eq!(sim.dropped(), []);
}

#[test]
fn the_bound_is_for_all_ports_together() {
    let mut sim = bounded(4);
    sim.listen(worker(1), 81);
    sim.connect_many(80, 3);
    sim.connect_many(81, 2);
    assert_eq!(pauses(&sim), 2);
    assert!(sim.check.is_paused(sim.port(80)) && sim.check.is_paused(sim.port(81)));
}

#[test]
fn a_port_opened_while_the_queue_is_full_starts_paused() {
    let mut sim = bounded(2);
    sim.connect_many(80, 3);
    sim.listen(worker(1), 81);
    assert!(sim.check.is_paused(sim.port(81)));
    sim.accept_all();
    assert!(!sim.check.is_paused(sim.port(81)));
}

#[test]
fn the_end_of_a_port_makes_room_for_the_others() {
    let mut sim = bounded(4);
    sim.listen(worker(1), 81);
    sim.connect(80);
    sim.connect_many(81, 4);
    assert!(sim.check.is_paused(sim.port(80)));
    sim.close(worker(1), 81);
    sim.pass(ms(50));
    assert!(!sim.check.is_paused(sim.port(80)));
}

#[test]
fn a_port_that_almost_closed_while_the_queue_was_full_accepts_again() {
    let mut sim = bounded(4);
    sim.listen(worker(1), 81);
    sim.connect_many(80, 5);
    assert!(sim.check.is_paused(sim.port(81)));
    sim.close(worker(1), 81);
    sim.accept_all();
    sim.listen(worker(1), 81);
    sim.pass(ms(1000));
    assert!(!sim.check.is_paused(sim.port(81)));
}

#[test]
fn a_death_that_gives_back_above_the_bound_loses_nothing() {
    let mut sim = Sim::serving(Settings { queue: 4, credits: 3, ..settings() }, 1);
    let conns = sim.connect_many(80, 7);
    sim.exit(worker(1), 1);
    assert_eq!(sim.cluster.queued(), 7);
    sim.pass(ms(100));
    sim.boot(worker(2), 80);
    sim.accept_all();
    assert!(conns.iter().all(|c| sim.check.is_done(*c)));
    assert!(!sim.check.is_paused(sim.port(80)));
}

#[test]
fn a_bound_of_nothing_still_lets_one_through_at_a_time() {
    let mut sim = bounded(0);
    for _ in 0..5 {
        assert!(!sim.check.is_paused(sim.port(80)));
        sim.connect(80);
        sim.accept(worker(1));
    }
    assert_eq!(sim.count(|e| matches!(e, Effect::Settle { .. })), 5);
}

#[test]
fn out_of_descriptors_every_port_pauses_and_one_notice_is_told() {
    let mut sim = bounded(8);
    sim.listen(worker(1), 81);
    let port = sim.port(80);
    exhaust(&mut sim, port);
    assert_eq!((pauses(&sim), warnings(&sim)), (2, 1));
    sim.pass(ms(49));
    assert_eq!(resumes(&sim), 0);
    sim.pass(ms(1));
    assert_eq!(resumes(&sim), 2);
    exhaust(&mut sim, port);
    assert_eq!((pauses(&sim), warnings(&sim)), (4, 1));
}

#[test]
fn the_pause_grows_to_a_second_and_attempts_stay_few() {
    let mut sim = bounded(8);
    let port = sim.port(80);
    exhaust(&mut sim, port);
    let mut attempts = Vec::new();
    let start = sim.now;
    while sim.now.since(start) < ms(10_000) {
        sim.pass(ms(1));
        if !sim.check.is_paused(port) {
            attempts.push(sim.now.since(start).as_millis());
            exhaust(&mut sim, port);
        }
    }
    assert_eq!(attempts[..5], [50, 150, 350, 750, 1550]);
    assert!(attempts.windows(2).skip(5).all(|w| w[1] - w[0] == 1000), "{attempts:?}");
    assert_eq!(warnings(&sim), 1);
}

#[test]
fn several_ports_that_run_out_at_once_are_one_attempt() {
    let mut sim = bounded(8);
    sim.listen(worker(1), 81);
    let (first, second) = (sim.port(80), sim.port(81));
    for pause in [50, 100, 200] {
        exhaust(&mut sim, first);
        exhaust(&mut sim, second);
        sim.pass(ms(pause));
        assert!(!sim.check.is_paused(first));
    }
}

#[test]
fn accepting_again_ends_the_shortage() {
    let mut sim = bounded(8);
    let port = sim.port(80);
    exhaust(&mut sim, port);
    sim.pass(ms(50));
    sim.connect(80);
    assert!(!sim.check.is_paused(port));
    exhaust(&mut sim, port);
    assert_eq!(warnings(&sim), 1, "moments later it is the same shortage");
    sim.pass(ms(50));
    assert!(!sim.check.is_paused(port), "but its pause starts anew");
    sim.pass(ms(30_000));
    exhaust(&mut sim, port);
    assert_eq!(warnings(&sim), 2, "half a minute later it is a new one");
}

#[test]
fn a_connection_accepted_just_before_the_shortage_does_not_end_its_pause() {
    let mut sim = bounded(8);
    let port = sim.port(80);
    exhaust(&mut sim, port);
    sim.connect(80);
    assert!(sim.check.is_paused(port));
    sim.pass(ms(50));
    assert!(!sim.check.is_paused(port));
}

#[test]
fn the_end_of_the_pause_does_not_override_a_full_queue() {
    let mut sim = bounded(2);
    let port = sim.port(80);
    sim.connect_many(80, 3);
    exhaust(&mut sim, port);
    sim.pass(ms(5000));
    assert!(sim.check.is_paused(port));
    sim.accept_all();
    assert!(!sim.check.is_paused(port));
}

fn unwatched(sim: &Sim) -> (usize, usize) {
    let count = |wanted: fn(&Effect) -> bool| sim.count(wanted);
    (count(|e| matches!(e, Effect::Unwatch { .. })), count(|e| matches!(e, Effect::Watch { .. })))
}

#[test]
fn with_enough_waiting_arrivals_wake_nobody_until_half_of_them_are_served() {
    let mut sim = bounded(100);
    sim.connect_many(80, 16);
    assert_eq!(unwatched(&sim), (0, 0), "one is with the worker, fifteen wait");
    sim.connect(80);
    assert_eq!(unwatched(&sim), (1, 0));
    assert_eq!(pauses(&sim), 0, "accepting itself goes on");
    for _ in 0..7 {
        sim.accept(worker(1));
    }
    assert_eq!((sim.cluster.queued(), unwatched(&sim)), (9, (1, 0)));
    sim.accept(worker(1));
    assert_eq!((sim.cluster.queued(), unwatched(&sim)), (8, (1, 1)));
}

#[test]
fn what_arrives_meanwhile_waits_in_the_kernel_for_a_moment_only() {
    let mut sim = bounded(100);
    sim.connect_many(80, 17);
    sim.pass(ms(9));
    assert_eq!(unwatched(&sim), (1, 0));
    sim.pass(ms(1));
    assert_eq!(unwatched(&sim), (1, 1));
    sim.connect(80);
    assert_eq!(unwatched(&sim), (2, 1));
}
