//! Listening endpoints: who shares which, what a close means and what a death does not.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the few effects it is about")]

mod sim;

use oneport_core::{
    DropReason, Effect, Endpoint, EndpointKind, Errno, Event, Mode, Place, Policy, ReplyOutcome, Settings,
    Terms,
};
use sim::{Sim, ms, settings, tcp, worker};

fn online(settings: Settings, count: u32) -> Sim {
    let mut sim = Sim::new(settings);
    sim.event(Event::Scale(count));
    for id in 1..=count {
        sim.online(worker(id));
    }
    sim.take();
    sim
}

fn opened(sim: &Sim) -> usize {
    sim.count(|e| matches!(e, Effect::Open { .. }))
}

fn closed(sim: &Sim) -> usize {
    sim.count(|e| matches!(e, Effect::Close { .. }))
}

fn backlog(backlog: u32) -> Terms {
    Terms { backlog, ..Terms::default() }
}

#[test]
fn workers_that_ask_for_the_same_endpoint_share_it() {
    let mut sim = online(settings(), 3);
    for id in 1..=3 {
        sim.listen(worker(id), 80);
    }
    assert_eq!(opened(&sim), 1);
    let outcome = ReplyOutcome::RoundRobin(sim.port(80));
    assert_eq!(sim.replies(), [1, 2, 3].map(|id| (worker(id), outcome.clone())));
}

#[test]
fn who_asks_while_the_endpoint_opens_is_answered_once_it_is_open() {
    let mut sim = online(settings(), 2);
    sim.obeys.open = false;
    sim.query(worker(1), tcp(80), Terms::default());
    sim.query(worker(2), tcp(80), Terms::default());
    assert_eq!((opened(&sim), sim.replies()), (1, vec![]));
    sim.event(Event::PortOpened { port: sim.port(80), outcome: Ok(()) });
    assert_eq!(sim.replies().len(), 2);
}

#[test]
fn a_failure_to_open_is_answered_with_its_errno_and_forgotten() {
    let mut sim = online(settings(), 2);
    sim.open_fails.insert(80, Errno::ADDR_IN_USE);
    sim.query(worker(1), tcp(80), Terms::default());
    assert_eq!(sim.replies(), [(worker(1), ReplyOutcome::Failed(Errno::ADDR_IN_USE))]);
    sim.open_fails.clear();
    sim.query(worker(1), tcp(80), Terms::default());
    sim.query(worker(2), tcp(80), Terms::default());
    let outcome = ReplyOutcome::RoundRobin(sim.port(80));
    assert_eq!(sim.replies()[1..], [1, 2].map(|id| (worker(id), outcome.clone())));
}

#[test]
fn a_failure_to_open_is_not_told_to_who_is_gone() {
    let mut sim = online(settings(), 2);
    sim.obeys.open = false;
    sim.query(worker(1), tcp(80), Terms::default());
    sim.exit(worker(1), 1);
    sim.event(Event::PortOpened { port: sim.port(80), outcome: Err(Errno::ADDR_IN_USE) });
    assert_eq!(sim.replies(), []);
}

#[test]
fn the_second_server_of_one_worker_on_one_endpoint_gets_a_socket_of_its_own() {
    let mut sim = online(settings(), 1);
    sim.listen(worker(1), 80);
    sim.query(worker(1), tcp(80), Terms::default());
    let copy = Endpoint { copy: 1, ..tcp(80) };
    assert!(sim.log().iter().any(|e| matches!(e, Effect::Open { endpoint, .. } if *endpoint == copy)));
    assert_ne!(sim.replies()[0].1, sim.replies()[1].1);
}

#[test]
fn two_queries_before_the_first_answer_are_two_sockets_as_well() {
    let mut sim = online(settings(), 1);
    sim.obeys.open = false;
    sim.query(worker(1), tcp(80), Terms::default());
    sim.query(worker(1), tcp(80), Terms::default());
    assert_eq!(opened(&sim), 2);
}

#[test]
fn a_listener_index_counts_for_port_0_only() {
    let mut sim = online(settings(), 2);
    sim.query(worker(1), Endpoint { index: 0, ..tcp(80) }, Terms::default());
    sim.query(worker(2), Endpoint { index: 7, ..tcp(80) }, Terms::default());
    assert_eq!(opened(&sim), 1);
    for index in [0, 1] {
        for id in [1, 2] {
            sim.query(worker(id), Endpoint { index, ..tcp(0) }, Terms::default());
        }
    }
    assert_eq!(opened(&sim), 3);
    let path = |index| Endpoint {
        kind: EndpointKind::Pipe,
        place: Place::Path("/run/app.sock".into()),
        index,
        ..tcp(0)
    };
    sim.query(worker(1), path(0), Terms::default());
    sim.query(worker(2), path(3), Terms::default());
    assert_eq!(opened(&sim), 4, "a path is no port the kernel chooses");
}

#[test]
fn later_terms_widen_the_socket_and_never_narrow_it() {
    let mut sim = online(settings(), 4);
    sim.query(worker(1), tcp(80), backlog(600));
    sim.query(worker(2), tcp(80), backlog(0));
    sim.query(worker(3), tcp(80), backlog(100));
    assert_eq!(sim.count(|e| matches!(e, Effect::Widen { .. })), 0);
    sim.query(worker(4), tcp(80), Terms { backlog: 1000, readable_all: true, writable_all: false });
    let terms = Terms { backlog: 1000, readable_all: true, writable_all: false };
    assert!(sim.has(&Effect::Widen { port: sim.port(80), terms }));
}

#[test]
fn terms_asked_for_while_the_endpoint_opens_are_not_lost() {
    let mut sim = online(settings(), 2);
    sim.obeys.open = false;
    sim.query(worker(1), tcp(80), backlog(100));
    sim.query(worker(2), tcp(80), backlog(1000));
    let port = sim.port(80);
    sim.event(Event::PortOpened { port, outcome: Ok(()) });
    assert!(sim.has(&Effect::Widen { port, terms: backlog(1000) }));
}

#[test]
fn the_first_opaque_text_is_given_to_everybody_after() {
    let mut sim = online(settings(), 3);
    for (id, data) in [(1, None), (2, Some("keys")), (3, Some("others"))] {
        let query = oneport_core::QueryTerms {
            endpoint: tcp(443),
            terms: Terms::default(),
            data: data.map(Box::from),
            sharing: Default::default(),
        };
        let seq = oneport_core::QuerySeq(i64::from(id));
        sim.event(Event::Query { worker: worker(id), seq, query: Box::new(query) });
    }
    let texts = sim.log().iter().filter_map(|e| match e {
        Effect::Reply { data, .. } => Some(data.as_deref()),
        _ => None,
    });
    assert_eq!(texts.collect::<Vec<_>>(), [None, Some("keys"), Some("keys")]);
}

#[test]
fn the_last_close_ends_the_port_and_drops_what_waits() {
    let mut sim = Sim::serving(Settings { credits: 1, ..settings() }, 2);
    let port = sim.port(80);
    let conns = sim.connect_many(80, 5);
    sim.close(worker(1), 80);
    sim.pass(ms(1000));
    assert_eq!(closed(&sim), 0, "the other one still listens");
    sim.close(worker(2), 80);
    sim.pass(ms(1000));
    assert!(sim.has(&Effect::Close { port }));
    assert_eq!(sim.dropped(), conns[2..]);
    sim.refuse(worker(1));
    sim.accept(worker(2));
    assert!(conns.iter().all(|c| sim.check.is_done(*c)), "nothing hangs");
    let reasons = sim.count(|e| matches!(e, Effect::Drop { reason: DropReason::PortClosed, .. }));
    assert_eq!(reasons, 4);
}

#[test]
fn a_server_that_closes_and_listens_again_keeps_its_socket() {
    let mut sim = Sim::serving(settings(), 1);
    sim.close(worker(1), 80);
    let waiting = sim.connect(80);
    sim.listen(worker(1), 80);
    sim.pass(ms(1000));
    assert_eq!((opened(&sim), closed(&sim)), (0, 0));
    assert_eq!(sim.holder(waiting), Some(worker(1)));
}

#[test]
fn another_endpoint_does_not_meet_a_socket_that_is_about_to_close() {
    let mut sim = Sim::serving(settings(), 1);
    let port = sim.port(80);
    sim.close(worker(1), 80);
    sim.query(worker(1), Endpoint { place: Place::Host("127.0.0.1".into()), ..tcp(80) }, Terms::default());
    let open = sim.log().iter().position(|e| matches!(e, Effect::Open { .. })).unwrap();
    assert!(sim.position(&Effect::Close { port }) < open, "else the kernel would refuse the address");
}

#[test]
fn a_death_keeps_the_port_and_what_waits_on_it() {
    let mut sim = Sim::serving(settings(), 1);
    sim.exit(worker(1), 1);
    let conn = sim.connect(80);
    sim.pass(ms(100));
    sim.boot(worker(2), 80);
    assert_eq!(sim.holder(conn), Some(worker(2)));
    assert_eq!((opened(&sim), closed(&sim)), (0, 0));
}

#[test]
fn a_port_that_one_worker_alone_held_is_kept_for_its_successor() {
    let mut sim = Sim::serving(settings(), 2);
    sim.listen(worker(1), 81);
    sim.exit(worker(1), 1);
    let conn = sim.connect(81);
    sim.pass(ms(100));
    sim.boot(worker(3), 80);
    sim.listen(worker(3), 81);
    assert_eq!(sim.holder(conn), Some(worker(3)));
    assert_eq!((opened(&sim), closed(&sim)), (1, 0));
}

#[test]
fn a_close_by_somebody_who_does_not_hold_the_port_means_nothing() {
    let mut sim = Sim::serving(settings(), 2);
    sim.listen(worker(1), 81);
    sim.exit(worker(1), 1);
    sim.close(worker(2), 81);
    sim.pass(ms(500));
    assert_eq!(closed(&sim), 0, "it waits for the successor of its worker");
}

#[test]
fn the_close_of_a_leaving_worker_keeps_the_port_for_its_successor() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::Leave { worker: worker(1) });
    sim.close(worker(1), 80);
    sim.pass(ms(400));
    sim.exit(worker(1), 0);
    let conn = sim.connect(80);
    sim.boot(worker(2), 80);
    assert_eq!(sim.holder(conn), Some(worker(2)));
    assert_eq!(closed(&sim), 0);
}

#[test]
fn a_close_just_before_the_announcement_to_leave_keeps_the_port_too() {
    let mut sim = Sim::serving(settings(), 1);
    sim.close(worker(1), 80);
    sim.pass(ms(10));
    sim.event(Event::LeavesByItself { worker: worker(1), seq: oneport_core::QuerySeq(9) });
    assert!(sim.has(&Effect::Acknowledge { worker: worker(1), seq: oneport_core::QuerySeq(9) }));
    sim.pass(ms(400));
    sim.exit(worker(1), 0);
    assert_eq!(closed(&sim), 0);
    sim.boot(worker(2), 80);
    assert_eq!(opened(&sim), 0);
}

#[test]
fn the_close_of_a_worker_that_is_scaled_away_ends_the_port() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::Scale(0));
    sim.close(worker(1), 80);
    sim.pass(ms(50));
    assert_eq!(closed(&sim), 1);
}

#[test]
fn a_port_nobody_came_back_for_ends_once_everybody_had_the_time_to() {
    let mut sim = Sim::serving(settings(), 1);
    sim.listen(worker(1), 81);
    let port = sim.port(81);
    sim.exit(worker(1), 1);
    let conn = sim.connect(81);
    sim.pass(ms(100));
    sim.boot(worker(2), 80);
    sim.pass(ms(9_900));
    assert_eq!(closed(&sim), 0, "it may still listen there");
    sim.pass(ms(100));
    assert!(sim.has(&Effect::Close { port }));
    assert_eq!(sim.dropped(), [conn]);
    assert!(sim.check.port_exists(sim.port(80)));
}

#[test]
fn a_port_outlives_a_long_pause_before_a_restart() {
    let pause = ms(60_000);
    let mut sim = Sim::serving(Settings { restart_delay: Some(pause), ..settings() }, 1);
    sim.exit(worker(1), 1);
    let conn = sim.connect(80);
    sim.pass(pause);
    assert_eq!(closed(&sim), 0, "the successor is yet to come");
    sim.boot(worker(2), 80);
    assert_eq!(sim.holder(conn), Some(worker(2)));
}

#[test]
fn a_port_without_any_worker_left_ends_in_time() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::Scale(0));
    sim.exit(worker(1), 0);
    let conn = sim.connect(80);
    sim.pass(ms(10_000));
    assert_eq!((closed(&sim), sim.check.is_done(conn)), (1, true));
}

#[test]
fn an_app_opens_no_more_ports_than_its_bound() {
    let mut sim = online(Settings { ports: 3, ..settings() }, 1);
    for port in 1..=4 {
        sim.query(worker(1), tcp(port), Terms::default());
    }
    assert_eq!(opened(&sim), 3);
    assert_eq!(sim.replies()[3].1, ReplyOutcome::Failed(Errno::TOO_MANY_FILES));
    sim.close(worker(1), 1);
    sim.query(worker(1), tcp(4), Terms::default());
    assert_eq!(opened(&sim), 4);
}

#[test]
fn endless_queries_for_one_endpoint_end_at_the_bound_too() {
    let mut sim = online(Settings { ports: 5, ..settings() }, 1);
    for _ in 0..1000 {
        sim.query(worker(1), tcp(80), Terms::default());
    }
    assert_eq!(opened(&sim), 5);
}

#[test]
fn a_worker_told_to_leave_gets_no_answer() {
    let mut sim = Sim::serving(settings(), 1);
    sim.event(Event::Leave { worker: worker(1) });
    sim.query(worker(1), tcp(81), Terms::default());
    assert_eq!((opened(&sim), sim.replies()), (0, vec![]));
}

#[test]
fn under_shared_everybody_gets_the_socket() {
    let mut sim = online(Settings { policy: Policy::Shared, ..settings() }, 2);
    sim.listen(worker(1), 80);
    sim.listen(worker(2), 80);
    assert!(sim.log().iter().any(|e| matches!(e, Effect::Open { mode: Mode::Shared, .. })));
    assert_eq!(opened(&sim), 1);
    assert_eq!(sim.replies()[1].1, ReplyOutcome::Shared(sim.port(80)));
}

#[test]
fn datagrams_are_always_shared() {
    let mut sim = online(settings(), 1);
    let udp = Endpoint { kind: EndpointKind::Udp4, place: Place::Host("127.0.0.1".into()), ..tcp(53) };
    sim.query(worker(1), udp.clone(), Terms::default());
    assert!(matches!(sim.replies()[0].1, ReplyOutcome::Shared(_)));
    assert!(sim.port_of(&udp).is_some());
}

#[test]
fn a_connection_of_a_port_that_is_gone_is_closed() {
    let mut sim = Sim::serving(settings(), 1);
    let port = sim.port(80);
    sim.close(worker(1), 80);
    sim.pass(ms(50));
    let conn = sim.connect_to(port);
    assert!(sim.has(&Effect::Drop { conn, reason: DropReason::PortClosed }));
}

#[test]
fn an_answer_to_opening_that_nobody_waits_for_is_closed_again() {
    let mut sim = online(settings(), 1);
    sim.obeys.open = false;
    sim.query(worker(1), tcp(80), Terms::default());
    let port = sim.port(80);
    sim.event(Event::StopNow);
    sim.take();
    sim.event(Event::PortOpened { port, outcome: Ok(()) });
    assert_eq!(sim.take(), [Effect::Close { port }]);
}
