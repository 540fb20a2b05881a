//! Who gets the next connection under round robin.

mod sim;

use oneport_core::{Event, Phase, Readiness, Settings};
use sim::{Sim, ms, settings, worker};

fn with_credits(credits: u32) -> Settings {
    Settings { credits, ..settings() }
}

#[test]
fn connections_go_round_in_strict_rotation() {
    let mut sim = Sim::serving(with_credits(1), 4);
    for _ in 0..16 {
        sim.connect(80);
        sim.accept_all();
    }
    let served = sim.served();
    let first: Vec<u32> = served[..4].to_vec();
    let mut everybody = first.clone();
    everybody.sort_unstable();
    assert_eq!(everybody, [1, 2, 3, 4]);
    assert!(served.chunks(4).all(|round| round == first), "{served:?}");
}

#[test]
fn sixty_four_long_connections_are_sixteen_each() {
    let mut sim = Sim::serving(settings(), 4);
    for _ in 0..64 {
        sim.connect(80);
        sim.accept_all();
    }
    for id in 1..=4 {
        assert_eq!(sim.served().iter().filter(|w| **w == id).count(), 16);
    }
}

#[test]
fn a_worker_holds_no_more_than_its_credits() {
    let mut sim = Sim::serving(with_credits(2), 1);
    sim.connect_many(80, 5);
    assert_eq!((sim.cluster.in_flight(worker(1)), sim.cluster.queued()), (2, 3));
    sim.accept(worker(1));
    assert_eq!((sim.cluster.in_flight(worker(1)), sim.cluster.queued()), (2, 2));
}

#[test]
fn a_worker_with_a_limit_of_its_own_holds_no_more_than_that() {
    let mut sim = Sim::serving(with_credits(8), 2);
    sim.event(Event::CreditsLimited { worker: worker(1), most: 4 });
    sim.connect_many(80, 20);
    assert_eq!((sim.cluster.in_flight(worker(1)), sim.cluster.in_flight(worker(2))), (4, 8));
    assert_eq!(sim.cluster.queued(), 8);
}

#[test]
fn a_limit_that_is_raised_is_used_at_once() {
    let mut sim = Sim::serving(with_credits(8), 1);
    sim.event(Event::CreditsLimited { worker: worker(1), most: 1 });
    sim.connect_many(80, 5);
    assert_eq!((sim.cluster.in_flight(worker(1)), sim.cluster.queued()), (1, 4));
    sim.event(Event::CreditsLimited { worker: worker(1), most: 3 });
    assert_eq!((sim.cluster.in_flight(worker(1)), sim.cluster.queued()), (3, 2));
}

#[test]
fn credits_count_over_all_ports() {
    let mut sim = Sim::serving(with_credits(2), 1);
    sim.listen(worker(1), 81);
    sim.connect_many(80, 2);
    let waiting = sim.connect(81);
    assert_eq!(sim.holder(waiting), None);
    sim.accept(worker(1));
    assert_eq!(sim.holder(waiting), Some(worker(1)));
}

#[test]
fn a_busy_port_does_not_starve_a_quiet_one() {
    for (busy, quiet) in [(80, 81), (81, 80)] {
        let mut sim = Sim::serving(with_credits(1), 1);
        sim.listen(worker(1), 81);
        sim.connect_many(busy, 10);
        let quiet = sim.connect(quiet);
        sim.accept(worker(1));
        assert_eq!(sim.holder(quiet), Some(worker(1)), "the port served longest ago has its turn");
    }
}

#[test]
fn in_a_burst_nobody_is_served_twice_while_another_with_a_credit_waits() {
    // The check in the driver compares at every hand-off; here the world is made uneven: worker 1 answers three
    // times as fast as the others.
    let mut sim = Sim::serving(with_credits(2), 3);
    sim.connect_many(80, 300);
    while sim.cluster.queued() > 0 {
        for _ in 0..3 {
            sim.accept(worker(1));
        }
        sim.accept(worker(2));
        sim.accept(worker(3));
    }
    let served = sim.served();
    assert_eq!(served[..6], [3, 2, 1, 3, 2, 1], "the first credits go round");
    assert!(served.iter().filter(|w| **w == 1).count() > 150, "a fast worker gets more");
}

#[test]
fn a_stuck_worker_delays_no_more_than_its_credits() {
    let mut sim = Sim::serving(with_credits(2), 2);
    for _ in 0..20 {
        sim.connect(80);
        while sim.cluster.in_flight(worker(2)) > 0 {
            sim.accept(worker(2));
        }
    }
    assert_eq!(sim.cluster.in_flight(worker(1)), 2);
    assert_eq!(sim.cluster.queued(), 0);
    assert_eq!(sim.served().iter().filter(|w| **w == 2).count(), 18);
}

#[test]
fn a_refused_connection_goes_to_the_next_worker() {
    let mut sim = Sim::serving(settings(), 2);
    let conn = sim.connect(80);
    let first = sim.holder(conn).unwrap();
    sim.refuse(first);
    let second = sim.holder(conn).unwrap();
    assert_ne!(first, second);
}

#[test]
fn a_refused_connection_is_served_before_later_ones() {
    let mut sim = Sim::serving(with_credits(1), 2);
    let conns = sim.connect_many(80, 4);
    let refuser = sim.holder(conns[0]).unwrap();
    let other = sim.holder(conns[1]).unwrap();
    sim.refuse(refuser);
    assert_eq!(sim.holder(conns[0]), None);
    sim.accept(other);
    assert_eq!(sim.holder(conns[0]), Some(other));
}

#[test]
fn who_refused_rests_and_is_asked_again() {
    let mut sim = Sim::serving(with_credits(1), 1);
    let conn = sim.connect(80);
    sim.refuse(worker(1));
    assert_eq!(sim.holder(conn), None);
    sim.pass(ms(9));
    assert_eq!(sim.holder(conn), None);
    sim.pass(ms(1));
    assert_eq!(sim.holder(conn), Some(worker(1)));
    sim.refuse(worker(1));
    sim.pass(ms(19));
    assert_eq!(sim.holder(conn), None, "the second rest is longer");
    sim.pass(ms(1));
    assert_eq!(sim.holder(conn), Some(worker(1)));
    sim.accept(worker(1));
    sim.connect(80);
    sim.refuse(worker(1));
    sim.pass(ms(10));
    assert_eq!(sim.cluster.in_flight(worker(1)), 1, "having taken one, it starts anew");
}

#[test]
fn when_all_refuse_connections_wait_and_the_hand_offs_stay_few() {
    let mut sim = Sim::serving(with_credits(2), 4);
    let conns = sim.connect_many(80, 20);
    let mut per_second = Vec::new();
    for _ in 0..10 {
        sim.take();
        for _ in 0..1000 {
            for id in 1..=4 {
                while sim.cluster.in_flight(worker(id)) > 0 {
                    sim.refuse(worker(id));
                }
            }
            sim.pass(ms(1));
        }
        per_second.push(sim.hand_offs().len());
    }
    assert!(per_second[0] < 120, "{per_second:?}");
    assert!(per_second[1..].iter().all(|n| (1..=4 * 2 * 5).contains(n)), "{per_second:?}");
    assert_eq!(sim.cluster.queued(), conns.len());
}

#[test]
fn a_worker_that_refuses_on_one_port_serves_another() {
    let mut sim = Sim::serving(with_credits(1), 1);
    sim.listen(worker(1), 81);
    sim.connect(80);
    sim.refuse(worker(1));
    let conn = sim.connect(81);
    assert_eq!(sim.holder(conn), Some(worker(1)));
}

#[test]
fn the_unproven_get_nothing_while_a_proven_one_serves() {
    let mut sim = Sim::serving(with_credits(1), 1);
    sim.event(Event::Scale(2));
    sim.boot(worker(2), 80);
    sim.connect_many(80, 5);
    assert_eq!(sim.served(), [1]);
    assert_eq!(sim.cluster.queued(), 4, "not even while the proven one is busy");
    sim.prove();
    assert_eq!(sim.served(), [1, 2]);
}

#[test]
fn siblings_of_one_start_share_from_the_first_proof_on() {
    let mut sim = Sim::new(with_credits(1));
    sim.event(Event::Scale(2));
    sim.boot(worker(1), 80);
    sim.pass(ms(500));
    sim.boot(worker(2), 80);
    sim.pass(ms(700));
    let conns = sim.connect_many(80, 2);
    let holders: Vec<_> = conns.into_iter().map(|conn| sim.holder(conn)).collect();
    assert_eq!(holders.iter().flatten().count(), 2);
    assert_ne!(holders[0], holders[1]);
}

#[test]
fn the_unproven_serve_when_nobody_else_does() {
    let mut sim = Sim::new(with_credits(1));
    sim.event(Event::Scale(2));
    sim.boot(worker(1), 80);
    let conn = sim.connect(80);
    assert_eq!(sim.holder(conn), Some(worker(1)));
}

#[test]
fn the_unproven_serve_at_once_when_the_last_proven_one_falls_out() {
    let mut sim = Sim::serving(with_credits(1), 1);
    sim.event(Event::Scale(2));
    sim.boot(worker(2), 80);
    let conns = sim.connect_many(80, 2);
    assert_eq!(sim.holder(conns[1]), None);
    sim.obeys.end_tree = false;
    sim.exit(worker(1), 1);
    assert_eq!(sim.holder(conns[1]), Some(worker(2)), "waiting connections need not wait for the burial");
    assert_eq!(sim.holder(conns[0]), Some(worker(1)), "what was sent cannot be revoked");
}

#[test]
fn the_unproven_serve_at_once_when_the_last_proven_one_closes() {
    let mut sim = Sim::serving(with_credits(1), 1);
    sim.event(Event::Scale(2));
    sim.boot(worker(2), 80);
    let conns = sim.connect_many(80, 2);
    sim.close(worker(1), 80);
    assert_eq!(sim.holder(conns[1]), Some(worker(2)));
}

#[test]
fn before_ready_is_said_a_worker_that_has_to_say_it_gets_nothing() {
    let mut sim = Sim::new(Settings { readiness: Readiness::Message, ..settings() });
    sim.event(Event::Scale(1));
    sim.boot(worker(1), 80);
    sim.pass(ms(5000));
    let conn = sim.connect(80);
    assert_eq!(sim.holder(conn), None);
    assert_eq!(sim.cluster.phase(worker(1)), Some(Phase::Listening));
    sim.event(Event::Ready { worker: worker(1) });
    assert_eq!(sim.holder(conn), Some(worker(1)));
}

#[test]
fn nothing_goes_to_a_port_before_its_server_listens() {
    let mut sim = Sim::new(settings());
    sim.event(Event::Scale(1));
    sim.online(worker(1));
    sim.query(worker(1), sim::tcp(80), Default::default());
    let conn = sim.connect(80);
    assert_eq!(sim.holder(conn), None);
    sim.event(Event::Listening { worker: worker(1) });
    assert_eq!(sim.holder(conn), Some(worker(1)));
}

#[test]
fn a_connection_that_never_arrived_is_given_back() {
    let mut sim = Sim::serving(with_credits(1), 2);
    let conn = sim.connect(80);
    let first = sim.holder(conn).unwrap();
    sim.event(Event::NotReceived { worker: first, conn });
    assert!(sim.holder(conn).is_some_and(|w| w != first));
}

#[test]
fn a_new_worker_helps_with_what_waits() {
    let mut sim = Sim::serving(with_credits(1), 1);
    sim.connect_many(80, 3);
    sim.event(Event::Scale(2));
    sim.boot(worker(2), 80);
    sim.prove();
    assert_eq!(sim.served(), [1, 2]);
}

#[test]
fn without_any_credit_configured_one_is_granted() {
    let mut sim = Sim::serving(with_credits(0), 1);
    sim.connect_many(80, 2);
    assert_eq!(sim.cluster.in_flight(worker(1)), 1);
}
