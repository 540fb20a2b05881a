//! Workers with a channel that have sockets of their own: what waits in one that nobody accepts from is handed to others.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the few effects it is about")]

mod sim;

use oneport_core::{Effect, Event, Mode, Origin, Policy, PortId, Settings, Sharing};
use sim::programs::{lane, unix};
use sim::{Obeys, Sim, ms, settings, tcp, worker};

fn least() -> Settings {
    Settings { policy: Policy::Least, ..settings() }
}

/// `count` workers that serve port 80, each in the lane of its own number, and are proven.
fn serving(count: u32) -> Sim {
    let mut sim = Sim::new(least());
    sim.event(Event::Scale(count));
    for id in 1..=count {
        sim.online(worker(id));
        sim.run_program(worker(id), 80);
    }
    sim.prove();
    sim.take();
    sim
}

fn taken_over(sim: &Sim) -> Vec<u32> {
    let taken = |e: &Effect| match e {
        Effect::TakeOver { lane } => Some(lane.0),
        _ => None,
    };
    sim.log().iter().filter_map(taken).collect()
}

fn modes(policy: Policy) -> Vec<Mode> {
    let mut sim = Sim::new(Settings { policy, ..settings() });
    sim.event(Event::Scale(1));
    sim.online(worker(1));
    for endpoint in [tcp(80), sim::programs::udp(53), unix("/s")] {
        sim.bind(worker(1), endpoint, Sharing::Alone);
    }
    let open = |e: &Effect| match e {
        Effect::Open { mode, .. } => Some(*mode),
        _ => None,
    };
    sim.log().iter().filter_map(open).collect()
}

#[test]
fn the_policy_says_what_is_shared_how() {
    use Mode::{Lanes, RoundRobin, Shared};
    assert_eq!(modes(Policy::RoundRobin), [RoundRobin, Shared, RoundRobin]);
    assert_eq!(modes(Policy::Shared), [Shared, Shared, Shared]);
    assert_eq!(modes(Policy::Hash), [Lanes, Lanes, RoundRobin]);
    assert_eq!(modes(Policy::Least), [Lanes, Shared, RoundRobin]);
    assert_eq!(modes(Policy::Sticky), [Lanes, Shared, RoundRobin]);
}

#[test]
fn datagrams_that_others_may_want_as_well_are_shared() {
    let mut sim = Sim::new(Settings { policy: Policy::Hash, ..settings() });
    sim.event(Event::Scale(1));
    sim.online(worker(1));
    let group = oneport_core::Endpoint { reuse_address: true, ..sim::programs::udp(53) };
    sim.bind(worker(1), group, Sharing::Alone);
    sim.bind(worker(1), sim::programs::udp(0), Sharing::Alone);
    let lanes = sim.count(|e| matches!(e, Effect::Open { mode: Mode::Lanes, .. }));
    assert_eq!(lanes, 0);
}

#[test]
fn the_socket_of_the_first_worker_gets_connections_before_it_says_that_it_listens() {
    let mut sim = Sim::new(least());
    sim.event(Event::Scale(2));
    sim.online(worker(1));
    sim.promised(worker(1), 80);
    assert_eq!(sim.chosen(80), [1], "they wait there instead of coming again");
    sim.lane_listens(worker(1), lane(1));
    sim.online(worker(2));
    sim.promised(worker(2), 80);
    assert_eq!(sim.chosen(80), [1], "somebody serves");
}

#[test]
fn a_worker_that_closes_its_server_leaves_what_waits_to_the_others() {
    let mut sim = serving(2);
    sim.close(worker(1), 80);
    assert_eq!((taken_over(&sim), sim.chosen(80)), (vec![1], vec![2]));
    let conn = sim.connect(80);
    assert_eq!(sim.holder(conn), Some(worker(2)));
    // It lives on: its socket goes soon, and nothing waits for it.
    sim.pass(ms(50));
    assert_eq!(sim.retired(), [1]);
}

#[test]
fn the_socket_of_one_that_leaves_by_itself_waits_for_its_successor() {
    let mut sim = serving(1);
    sim.obeys = Obeys { end_tree: false, ..Obeys::ALL };
    sim.close(worker(1), 80);
    sim.event(Event::LeavesByItself { worker: worker(1), seq: oneport_core::QuerySeq(9) });
    sim.pass(ms(200));
    assert_eq!(sim.retired(), [0; 0]);
    let conn = sim.connect(80);
    sim.exit(worker(1), 0);
    sim.gone(worker(1));
    sim.online(worker(2));
    assert_eq!(sim.run_program(worker(2), 80), (lane(1), Origin::Adopted));
    assert_eq!(sim.holder(conn), Some(worker(2)));
}

#[test]
fn what_waits_for_a_dead_worker_goes_to_who_serves_and_its_socket_to_its_successor() {
    let mut sim = serving(2);
    sim.event(Event::Kill { worker: worker(1) });
    assert_eq!(taken_over(&sim), [1]);
    let conn = sim.connect(80);
    assert_eq!(sim.holder(conn), Some(worker(2)));
    sim.pass(ms(200));
    let next = *sim.spawned().last().expect("a successor");
    sim.online(next);
    assert_eq!(sim.promised(next, 80), (lane(1), Origin::Adopted));
}

#[test]
fn what_waits_for_the_only_worker_waits_for_its_successor() {
    let mut sim = serving(1);
    sim.event(Event::Kill { worker: worker(1) });
    assert_eq!((taken_over(&sim), sim.chosen(80)), (vec![], vec![1]));
}

#[test]
fn what_waits_for_a_worker_without_progress_goes_to_others_for_a_while() {
    let mut sim = serving(2);
    let port = sim.port(80);
    sim.event(stalls(port, &[2]));
    assert_eq!(taken_over(&sim), [1]);
    let first: Vec<_> = sim.connect_many(80, 2);
    assert!(first.iter().all(|conn| sim.holder(*conn) == Some(worker(2))));
    // It has no credit left, and the other one rests.
    let waits = sim.connect(80);
    assert_eq!(sim.holder(waits), None);
    sim.pass(ms(250));
    assert_eq!(sim.holder(waits), Some(worker(1)), "in the end it is asked as well");
}

fn stalls(port: PortId, at_rest: &[u32]) -> Event {
    let at_rest = at_rest.iter().map(|id| worker(*id)).collect();
    Event::Stalls { worker: worker(1), port, lane: lane(1), at_rest }
}

#[test]
fn what_waits_for_a_worker_without_progress_goes_to_nobody_who_may_hang_as_well() {
    let mut sim = serving(3);
    let port = sim.port(80);
    sim.event(stalls(port, &[]));
    assert_eq!(taken_over(&sim), [0; 0], "nobody rests");
    sim.event(stalls(port, &[3]));
    assert_eq!(taken_over(&sim), [1]);
    let first: Vec<_> = sim.connect_many(80, 2);
    assert!(first.iter().all(|conn| sim.holder(*conn) == Some(worker(3))));
    let waits = sim.connect(80);
    assert_eq!(sim.holder(waits), None);
    sim.pass(ms(10));
    assert_eq!(sim.holder(waits), Some(worker(2)), "it is asked when the one who rests has no credit");
}

#[test]
fn nothing_is_taken_from_a_worker_that_has_no_sibling() {
    let mut sim = serving(1);
    let port = sim.port(80);
    sim.event(stalls(port, &[2]));
    assert_eq!(taken_over(&sim), [0; 0]);
}

#[test]
fn who_accepts_for_itself_alone_is_handed_nothing() {
    let mut sim = serving(2);
    let port = sim.port(80);
    sim.event(Event::TakesNothing { worker: worker(2), port });
    sim.event(stalls(port, &[2]));
    assert_eq!(taken_over(&sim), [0; 0], "nobody could take it");
    let conn = sim.connect(80);
    assert_eq!(sim.holder(conn), Some(worker(1)));
    sim.event(Event::TakesNothing { worker: worker(1), port });
    let nobodys = sim.connect(80);
    assert!(sim.dropped().contains(&nobodys), "it is closed rather than to wait for ever");
}

#[test]
fn a_reload_empties_the_old_socket_and_hands_on_what_came_last() {
    let mut sim = serving(1);
    sim.event(Event::Reload);
    sim.online(worker(2));
    assert_eq!(sim.run_program(worker(2), 80), (lane(2), Origin::Fresh));
    assert_eq!(sim.chosen(80), [1]);
    sim.prove();
    assert_eq!(sim.chosen(80), [2]);
    assert!(sim.has(&Effect::TellDisconnect { worker: worker(1) }), "its socket is empty");
    sim.close(worker(1), 80);
    assert_eq!(taken_over(&sim), [1]);
    sim.exit(worker(1), 0);
    sim.gone(worker(1));
    assert_eq!((sim.retired(), sim.closed_lanes()), (vec![1], vec![]));
}

#[test]
fn a_stop_asks_nobody_to_leave_before_the_last_socket_is_emptied() {
    let mut sim = serving(2);
    sim.obeys = Obeys { retire: false, ..Obeys::ALL };
    sim.event(Event::Scale(1));
    sim.exit(worker(2), 0);
    assert_eq!(sim.retired(), [2]);
    sim.event(Event::LaneExhausted { lane: lane(2) });
    sim.take();
    sim.event(Event::Stop);
    let asked = |sim: &Sim| sim.log().iter().any(|effect| matches!(effect, Effect::TellDisconnect { .. }));
    assert!(!asked(&sim), "{:?}", sim.log());
    sim.pass(ms(100));
    assert_eq!(sim.retired(), [2]);
    sim.event(Event::LaneRetired { lane: lane(2) });
    assert!(asked(&sim), "{:?}", sim.log());
}

#[test]
fn a_socket_whose_connections_nobody_would_take_is_closed_and_that_is_told() {
    let mut sim = serving(2);
    let port = sim.port(80);
    for id in 1..=2 {
        sim.event(Event::TakesNothing { worker: worker(id), port });
    }
    sim.event(Event::Scale(1));
    sim.exit(worker(2), 0);
    assert_eq!((sim.retired(), sim.closed_lanes()), (vec![], vec![2]));
}

#[test]
fn nothing_is_taken_from_a_closed_server_where_nobody_would_get_it() {
    let mut sim = serving(2);
    let port = sim.port(80);
    for id in 1..=2 {
        sim.event(Event::TakesNothing { worker: worker(id), port });
    }
    sim.event(Event::Closed { worker: worker(1), port });
    sim.pass(ms(1000));
    assert_eq!((taken_over(&sim), sim.closed_lanes()), (vec![], vec![1]));
}
