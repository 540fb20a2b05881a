//! Which socket a program gets: one of its own, one that was kept, or none.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the few effects it is about")]

mod sim;

use oneport_core::{
    Attach, Effect, Errno, Event, Mode, Origin, Phase, Policy, ReplyOutcome, Settings, Sharing,
};
use sim::programs::{lane, programs, udp, unix};
use sim::{Obeys, Sim, ms, settings, tcp, worker};

const FRESH: Origin = Origin::Fresh;
const ADOPTED: Origin = Origin::Adopted;

fn started(settings: Settings, count: u32) -> Sim {
    let mut sim = Sim::new(settings);
    sim.event(Event::Scale(count));
    sim
}

fn modes(sim: &Sim) -> Vec<Mode> {
    let open = |e: &Effect| match e {
        Effect::Open { mode, .. } => Some(*mode),
        _ => None,
    };
    sim.log().iter().filter_map(open).collect()
}

#[test]
fn a_program_is_online_as_soon_as_it_exists() {
    let sim = started(programs(), 1);
    assert_eq!(sim.cluster.phase(worker(1)), Some(Phase::Online));
}

#[test]
fn every_program_gets_a_socket_of_its_own() {
    let mut sim = started(programs(), 3);
    let promised: Vec<_> = (1..=3).map(|id| sim.promised(worker(id), 80)).collect();
    assert_eq!(promised, [(lane(1), FRESH), (lane(2), FRESH), (lane(3), FRESH)]);
    assert_eq!(modes(&sim), [Mode::Lanes], "the port is looked at once");
}

#[test]
fn programs_that_ask_meanwhile_are_answered_when_the_port_was_found_free() {
    let mut sim = started(programs(), 2);
    sim.obeys.open = false;
    sim.bind_later(worker(1), tcp(80), Sharing::Alone);
    sim.bind_later(worker(2), tcp(80), Sharing::Alone);
    assert_eq!(sim.replies(), []);
    let port = sim.port(80);
    sim.event(Event::PortOpened { port, outcome: Ok(()) });
    let fresh = |id| (worker(id), ReplyOutcome::Lane { port, lane: lane(id), origin: FRESH });
    assert_eq!(sim.replies(), [fresh(1), fresh(2)]);
}

#[test]
fn a_port_that_somebody_else_has_is_refused_to_all_who_wait() {
    let mut sim = started(programs(), 2);
    sim.open_fails.insert(80, Errno::ADDR_IN_USE);
    assert_eq!(sim.bind(worker(1), tcp(80), Sharing::Alone), ReplyOutcome::Failed(Errno::ADDR_IN_USE));
}

#[test]
fn a_port_that_opens_for_nobody_is_closed() {
    let mut sim = started(programs(), 1);
    sim.obeys.open = false;
    sim.bind_later(worker(1), tcp(80), Sharing::Alone);
    sim.event(Event::Kill { worker: worker(1) });
    let port = sim.port(80);
    sim.event(Event::PortOpened { port, outcome: Ok(()) });
    assert!(sim.has(&Effect::Close { port }));
}

#[test]
fn datagrams_have_lanes_too_and_unix_paths_one_socket() {
    let mut sim = started(programs(), 1);
    assert!(matches!(sim.bind(worker(1), udp(53), Sharing::Alone), ReplyOutcome::Lane { .. }));
    assert!(matches!(sim.bind(worker(1), unix("/s"), Sharing::Alone), ReplyOutcome::Shared(_)));
    assert_eq!(modes(&sim), [Mode::Lanes, Mode::Shared]);
}

#[test]
fn under_the_shared_policy_programs_share() {
    let mut sim = started(Settings { policy: Policy::Shared, ..programs() }, 2);
    let port = ReplyOutcome::Shared(oneport_core::PortId(1));
    assert_eq!(sim.bind(worker(1), tcp(80), Sharing::Alone), port);
    assert_eq!(sim.bind(worker(2), tcp(80), Sharing::Alone), port);
}

#[test]
fn a_second_bind_of_one_program_to_one_address_fails() {
    let mut sim = started(programs(), 1);
    sim.promised(worker(1), 80);
    let taken = ReplyOutcome::Failed(Errno::ADDR_IN_USE);
    assert_eq!(sim.bind(worker(1), tcp(80), Sharing::Alone), taken);
    sim.lane_listens(worker(1), lane(1));
    assert_eq!(sim.bind(worker(1), tcp(80), Sharing::Alone), taken);
}

#[test]
fn a_second_bind_fails_while_the_first_is_looked_into() {
    let mut sim = started(programs(), 1);
    sim.obeys.open = false;
    sim.bind_later(worker(1), tcp(80), Sharing::Alone);
    let taken = ReplyOutcome::Failed(Errno::ADDR_IN_USE);
    assert_eq!(sim.bind(worker(1), tcp(80), Sharing::Alone), taken);
}

#[test]
fn a_program_that_shares_with_itself_has_several_sockets_up_to_a_bound() {
    let mut sim = started(programs(), 2);
    for id in 1..=64 {
        let answer = sim.bind(worker(1), tcp(80), Sharing::WithItself);
        assert!(matches!(answer, ReplyOutcome::Lane { lane: got, .. } if got == lane(id)), "{answer:?}");
    }
    let full = ReplyOutcome::Failed(Errno::TOO_MANY_FILES);
    assert_eq!(sim.bind(worker(1), tcp(80), Sharing::WithItself), full);
    assert_eq!(sim.promised(worker(2), 80), (lane(65), FRESH), "the bound is each worker's own");
}

#[test]
fn the_bound_holds_while_the_port_is_looked_at() {
    let mut sim = started(programs(), 1);
    sim.obeys.open = false;
    for _ in 0..64 {
        sim.bind_later(worker(1), tcp(80), Sharing::WithItself);
    }
    let full = ReplyOutcome::Failed(Errno::TOO_MANY_FILES);
    assert_eq!(sim.bind(worker(1), tcp(80), Sharing::WithItself), full);
}

#[test]
fn channel_workers_and_programs_cannot_have_one_port() {
    let taken = ReplyOutcome::Failed(Errno::ADDR_IN_USE);
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::Fork { attach: Attach::Program });
    assert_eq!(sim.bind(worker(2), tcp(80), Sharing::Alone), taken);
    sim.promised(worker(2), 81);
    assert_eq!(sim.bind(worker(1), tcp(81), Sharing::Alone), taken);
}

#[test]
fn a_bind_that_failed_leaves_nothing_and_the_port_is_looked_at_anew() {
    let mut sim = started(programs(), 1);
    sim.promised(worker(1), 80);
    let port = sim.port(80);
    sim.event(Event::LaneFailed { worker: worker(1), lane: lane(1) });
    assert!(sim.has(&Effect::Close { port }));
    assert_eq!(sim.closed_lanes(), [], "the shell has dropped it by itself");
    assert_eq!(sim.promised(worker(1), 80), (lane(2), FRESH));
    assert_eq!(modes(&sim), [Mode::Lanes, Mode::Lanes]);
}

#[test]
fn one_that_fails_beside_another_leaves_the_other() {
    let mut sim = started(programs(), 2);
    sim.promised(worker(1), 80);
    sim.run_program(worker(2), 80);
    sim.event(Event::LaneFailed { worker: worker(1), lane: lane(1) });
    assert_eq!(sim.count(|e| matches!(e, Effect::Close { .. })), 0);
    assert_eq!(sim.promised(worker(1), 80), (lane(3), FRESH));
}

#[test]
fn a_socket_that_is_closed_before_it_listens_is_forgotten() {
    let mut sim = started(programs(), 1);
    sim.promised(worker(1), 80);
    sim.event(Event::LaneClosed { worker: worker(1), lane: lane(1) });
    assert_eq!(sim.closed_lanes(), [1]);
    assert_eq!(sim.promised(worker(1), 80), (lane(2), FRESH));
}

#[test]
fn a_program_that_listens_again_after_closing_gets_its_socket_back() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.event(Event::LaneClosed { worker: worker(1), lane: lane(1) });
    assert_eq!(sim.chosen(80), [0_u32; 0]);
    assert_eq!(sim.run_program(worker(1), 80), (lane(1), ADOPTED));
    assert_eq!(sim.chosen(80), [1]);
    sim.pass(ms(60_000));
    assert_eq!(sim.retired(), [0_u32; 0]);
}

#[test]
fn a_program_that_listens_again_on_the_socket_that_it_shut_is_chosen_again() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.event(Event::LaneClosed { worker: worker(1), lane: lane(1) });
    assert_eq!(sim.chosen(80), [0_u32; 0]);
    sim.lane_listens(worker(1), lane(1));
    assert_eq!(sim.chosen(80), [1]);
    sim.pass(ms(60_000));
    assert_eq!(sim.retired(), [0_u32; 0]);
}

#[test]
fn a_late_word_about_a_predecessor_does_not_close_what_its_successor_took_over() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.exit(worker(1), 1);
    sim.pass(ms(100));
    assert_eq!(sim.promised(worker(2), 80), (lane(1), ADOPTED));
    sim.event(Event::LaneClosed { worker: worker(1), lane: lane(1) });
    sim.lane_listens(worker(2), lane(1));
    sim.event(Event::LaneClosed { worker: worker(1), lane: lane(1) });
    assert_eq!(sim.chosen(80), [1]);
}

#[test]
fn a_program_that_closed_for_good_has_its_socket_retired_in_time() {
    let mut sim = Sim::serving_programs(programs(), 2);
    sim.event(Event::LaneClosed { worker: worker(1), lane: lane(1) });
    sim.pass(ms(9999));
    assert_eq!(sim.retired(), [0_u32; 0]);
    sim.pass(ms(1));
    assert_eq!(sim.retired(), [1]);
    assert_eq!(sim.promised(worker(1), 80), (lane(3), FRESH));
}

#[test]
fn a_lane_that_is_being_retired_is_not_given_out() {
    let mut sim = Sim::serving_programs(programs(), 1);
    sim.obeys = Obeys { retire: false, ..Obeys::ALL };
    sim.event(Event::LaneClosed { worker: worker(1), lane: lane(1) });
    sim.pass(ms(10_000));
    assert_eq!(sim.retired(), [1]);
    assert_eq!(sim.promised(worker(1), 80), (lane(2), FRESH));
}

#[test]
fn another_workers_word_about_a_lane_is_not_heard() {
    let mut sim = started(programs(), 2);
    sim.promised(worker(1), 80);
    let mut loose = sim.cluster.clone();
    let mut fx = Vec::new();
    loose.step(sim.now, Event::LaneListens { worker: worker(2), lane: lane(1) }, &mut fx);
    loose.step(sim.now, Event::LaneFailed { worker: worker(2), lane: lane(1) }, &mut fx);
    loose.step(sim.now, Event::LaneClosed { worker: worker(2), lane: lane(1) }, &mut fx);
    assert_eq!(fx, []);
    assert!(loose == sim.cluster);
}

#[test]
fn a_worker_is_ready_when_it_listens_not_when_it_binds() {
    let mut sim = started(programs(), 1);
    sim.promised(worker(1), 80);
    assert_eq!(sim.cluster.phase(worker(1)), Some(Phase::Online));
    sim.lane_listens(worker(1), lane(1));
    assert_eq!(sim.cluster.phase(worker(1)), Some(Phase::Listening));
    assert!(sim.told(&oneport_core::Notice::Ready { worker: worker(1) }));
}
