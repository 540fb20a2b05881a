//! Random lives of whole apps. `sim::Check` judges every step: each connection settles once, has one owner, goes to
//! nobody who leaves or has no credit, and no deadline repeats for ever. Here are the worlds, and the end of each.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the few effects it is about")]

mod sim;
#[path = "sim/world.rs"]
mod world;

use oneport_core::{
    Attach, Canary, Cluster, ConnId, Effect, EndCause, Endpoint, Errno, Event, Exit, LaneId, Policy, PortId,
    QuerySeq, QueryTerms, Readiness, ReloadTerms, Settings, Sharing, Slot, StopWith, Terms, WorkerId,
};
use proptest::collection::vec;
use proptest::prelude::*;
use sim::{Promises, Sim, ms, settings, tcp};
use world::{Action, World};

fn any_settings() -> impl Strategy<Value = Settings> {
    let counts = (0u32..4, 0usize..10, 1usize..6, 1u32..4, 1usize..3);
    let pause = prop_oneof![3 => Just(None), 1 => Just(Some(ms(0))), 1 => Just(Some(ms(50)))];
    let late = || prop_oneof![2 => Just(None), 1 => Just(Some(ms(500)))];
    let late = (late(), late());
    let policy = prop_oneof![
        6 => Just(Policy::RoundRobin),
        1 => Just(Policy::Shared),
        4 => Just(Policy::Least),
        1 => Just(Policy::Hash),
    ];
    let readiness = prop_oneof![3 => Just(Readiness::Listening), 1 => Just(Readiness::Message)];
    let stop_with = prop_oneof![Just(StopWith::Disconnect), Just(StopWith::Signal)];
    let uptime = prop_oneof![4 => Just(1000), 1 => Just(0)];
    (counts, pause, late, policy, readiness, stop_with, uptime, any_attach()).prop_map(
        |(
            (credits, queue, ports, max_restarts, parallel),
            pause,
            (hang, watchdog),
            policy,
            readiness,
            stop_with,
            uptime,
            attach,
        )| {
            Settings {
                credits,
                queue,
                ports,
                max_restarts,
                parallel,
                policy,
                readiness,
                stop_with,
                restart_delay: pause,
                hang_timeout: hang,
                watchdog,
                attach,
                min_uptime: ms(uptime),
                ..settings()
            }
        },
    )
}

fn any_attach() -> impl Strategy<Value = Attach> {
    prop_oneof![3 => Just(Attach::Channel), 2 => Just(Attach::Program)]
}

fn any_port() -> impl Strategy<Value = u16> {
    prop_oneof![8 => Just(80), 2 => Just(81), 1 => Just(0), 1 => Just(53)]
}

fn any_action() -> impl Strategy<Value = Action> {
    let i = || 0usize..8;
    prop_oneof![
        3 => (0u32..5).prop_map(Action::Scale),
        1 => any_attach().prop_map(Action::Fork),
        4 => Just(Action::Reload),
        2 => (0u32..6, 0usize..3).prop_map(|(slot, canaries)| Action::ReloadSome(slot, canaries)),
        1 => (0u32..5).prop_map(Action::Reserve),
        2 => (0u32..5).prop_map(Action::StopSlot),
        3 => (0u32..5).prop_map(Action::StartSlot),
        2 => i().prop_map(Action::Leave),
        1 => i().prop_map(Action::Kill),
        20 => (i(), any_port()).prop_map(|(i, port)| Action::Boot(i, port)),
        6 => (i(), prop::bool::weighted(0.9)).prop_map(|(i, works)| Action::Spawn(i, works)),
        4 => i().prop_map(Action::Online),
        2 => i().prop_map(Action::Ready),
        4 => (i(), any_port()).prop_map(|(i, port)| Action::Query(i, port)),
        4 => i().prop_map(Action::Listening),
        1 => (i(), 1_u32..4).prop_map(|(i, most)| Action::Limit(i, most)),
        2 => (i(), i()).prop_map(|(i, j)| Action::Close(i, j)),
        2 => (i(), any_port()).prop_map(|(i, port)| Action::QueryMore(i, port)),
        8 => i().prop_map(Action::LaneListens),
        1 => i().prop_map(Action::LaneFails),
        2 => i().prop_map(Action::LaneCloses),
        6 => i().prop_map(Action::Empty),
        6 => (i(), any::<bool>()).prop_map(|(i, stuck)| Action::Retire(i, stuck)),
        1 => i().prop_map(Action::Stopping),
        4 => i().prop_map(Action::Alive),
        1 => (i(), 0u64..500).prop_map(|(i, by)| Action::Extend(i, by)),
        1 => i().prop_map(Action::LeaveByItself),
        1 => i().prop_map(Action::CloseChannel),
        4 => (i(), 0i32..3).prop_map(|(i, code)| Action::Exit(i, code)),
        10 => i().prop_map(Action::Bury),
        3 => i().prop_map(Action::Idle),
        1 => i().prop_map(Action::Misbehave),
        24 => (i(), 1usize..6).prop_map(|(i, count)| Action::Connect(i, count)),
        24 => (i(), prop::bool::weighted(0.8)).prop_map(|(i, accepted)| Action::Answer(i, accepted)),
        2 => i().prop_map(Action::Lose),
        8 => (i(), prop::bool::weighted(0.9)).prop_map(|(i, works)| Action::Open(i, works)),
        8 => (i(), 0u32..4).prop_map(|(i, waiting)| Action::Shut(i, waiting)),
        2 => i().prop_map(Action::Exhaust),
        20 => prop_oneof![0u64..20, 0u64..1500, Just(10_000)].prop_map(Action::Pass),
        2 => Just(Action::Restore),
        1 => Just(Action::Disconnect),
        2 => (0u32..4).prop_map(Action::StartAfresh),
        1 => Just(Action::Stop),
    ]
}

/// Any event at all, about anybody, at any time. Only the names of connections are taken seriously: the shell
/// chooses them.
fn any_event() -> impl Strategy<Value = Event> {
    let worker = || (0u32..8).prop_map(WorkerId);
    let port = || (0u32..6).prop_map(PortId);
    let conn = || (0u64..40).prop_map(ConnId);
    let lane = || (0u32..12).prop_map(LaneId);
    let sharing = prop_oneof![Just(Sharing::Alone), Just(Sharing::WithItself)];
    let query = (worker(), any_port(), 0u32..2, any::<bool>(), sharing).prop_map(
        |(worker, port, index, narrow, sharing)| {
            let terms = Terms { backlog: if narrow { 10 } else { 1000 }, ..Terms::default() };
            let query = QueryTerms { endpoint: Endpoint { index, ..tcp(port) }, terms, data: None, sharing };
            Event::Query { worker, seq: QuerySeq(0), query: Box::new(query) }
        },
    );
    let cause = prop_oneof![Just(EndCause::Violation), Just(EndCause::ByItself), Just(EndCause::Asked)];
    prop_oneof![
        2 => (0u32..5).prop_map(Event::Scale),
        1 => Just(Event::Fork { attach: Attach::Nothing }),
        1 => any_attach().prop_map(|attach| Event::Fork { attach }),
        1 => worker().prop_map(|worker| Event::Leave { worker }),
        1 => worker().prop_map(|worker| Event::Kill { worker }),
        2 => Just(Event::Reload),
        1 => (0u32..5, 0usize..3).prop_map(|(slot, workers)| Event::ReloadSome(ReloadTerms {
            slots: vec![Slot(slot)],
            parallel: None,
            canary: Some(Canary { workers, watch: ms(2000) }),
        })),
        1 => (0u32..5).prop_map(|slot| Event::StopSlots(vec![Slot(slot)])),
        1 => (0u32..5).prop_map(|slot| Event::StartSlots(vec![Slot(slot)])),
        1 => any_settings().prop_map(|settings| Event::Treat(Box::new(settings))),
        1 => Just(Event::Disconnect),
        1 => Just(Event::Stop),
        3 => worker().prop_map(|worker| Event::Spawned { worker }),
        1 => worker().prop_map(|worker| Event::SpawnFailed { worker, cause: EndCause::ByItself }),
        2 => worker().prop_map(|worker| Event::Exited { worker, exit: Exit::Code(0) }),
        2 => worker().prop_map(|worker| Event::Gone { worker }),
        1 => worker().prop_map(|worker| Event::Idle { worker }),
        5 => worker().prop_map(|worker| Event::Online { worker }),
        3 => worker().prop_map(|worker| Event::Ready { worker }),
        8 => query,
        8 => worker().prop_map(|worker| Event::Listening { worker }),
        1 => (worker(), 0_u32..4).prop_map(|(worker, most)| Event::CreditsLimited { worker, most }),
        2 => (worker(), port()).prop_map(|(worker, port)| Event::Closed { worker, port }),
        1 => worker().prop_map(|worker| Event::LeavesByItself { worker, seq: QuerySeq(0) }),
        12 => (worker(), conn(), any::<bool>())
            .prop_map(|(worker, conn, accepted)| Event::Answered { worker, conn, accepted }),
        3 => (worker(), conn()).prop_map(|(worker, conn)| Event::NotReceived { worker, conn }),
        1 => worker().prop_map(|worker| Event::ChannelClosed { worker }),
        8 => (worker(), lane()).prop_map(|(worker, lane)| Event::LaneListens { worker, lane }),
        1 => (worker(), lane()).prop_map(|(worker, lane)| Event::LaneFailed { worker, lane }),
        1 => (worker(), lane()).prop_map(|(worker, lane)| Event::LaneClosed { worker, lane }),
        2 => worker().prop_map(|worker| Event::LanesEmpty { worker }),
        2 => lane().prop_map(|lane| Event::LaneStuck { lane }),
        2 => lane().prop_map(|lane| Event::LaneRetired { lane }),
        1 => lane().prop_map(|lane| Event::LaneExhausted { lane }),
        1 => (worker(), port(), lane(), prop::collection::vec(worker(), 0..4))
            .prop_map(|(worker, port, lane, at_rest)| Event::Stalls { worker, port, lane, at_rest }),
        1 => (worker(), port()).prop_map(|(worker, port)| Event::TakesNothing { worker, port }),
        1 => worker().prop_map(|worker| Event::Stopping { worker }),
        1 => worker().prop_map(|worker| Event::Alive { worker }),
        1 => (worker(), 0u64..500).prop_map(|(worker, by)| Event::Extend { worker, by: ms(by) }),
        1 => (worker(), cause).prop_map(|(worker, cause)| Event::Condemned { worker, cause }),
        8 => (port(), prop::bool::weighted(0.8)).prop_map(|(port, works)| Event::PortOpened {
            port,
            outcome: if works { Ok(()) } else { Err(Errno::ADDR_IN_USE) }
        }),
        1 => port().prop_map(|port| Event::PortShut { port }),
        12 => port().prop_map(|port| Event::Accepted { port, conn: ConnId(0) }),
        1 => port().prop_map(|port| Event::AcceptExhausted { port }),
        3 => Just(Event::Tick),
    ]
}

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_app_keeps_its_promises_whatever_its_workers_do(
        settings in any_settings(),
        workers in 1u32..5,
        actions in vec(any_action(), 1..250),
    ) {
        let mut world = World::new(settings);
        world.event(Event::Scale(workers));
        for index in 0..workers {
            world.act(Action::Boot(index as usize, 80));
        }
        for action in actions {
            world.act(action);
        }
        world.ends();
    }

    #[test]
    fn an_immediate_end_is_one(settings in any_settings(), actions in vec(any_action(), 1..100)) {
        let mut world = World::new(settings);
        world.event(Event::Scale(3));
        for action in actions {
            world.act(action);
        }
        world.act(Action::StopNow);
        world.obey();
        assert!(world.sim.check.is_stopped(), "{:#?}", world.sim.cluster);
    }

    #[test]
    fn events_in_any_order_at_all_lose_no_connection_and_break_nothing(
        settings in any_settings(),
        events in vec((any_event(), prop_oneof![4 => 0u64..5, 1 => 0u64..3000]), 1..300),
    ) {
        let mut sim = Sim::promising(settings, Promises::Ownership);
        sim.obeys = sim::Obeys::NOTHING;
        let mut ending = Vec::new();
        let mut next = 0;
        sim.event(Event::Scale(3));
        for (event, span) in events {
            sim.pass(ms(span));
            match event {
                Event::Accepted { port, .. } => {
                    sim.event(Event::Accepted { port, conn: ConnId(next) });
                    next += 1;
                }
                event => sim.event(event),
            }
        }
        sim.event(Event::Stop);
        for _ in 0..400 {
            for effect in sim.take() {
                if let Effect::EndTree { worker, .. } = effect {
                    ending.push(worker);
                }
            }
            for worker in std::mem::take(&mut ending) {
                sim.gone(worker);
            }
            sim.pass(ms(50));
        }
        assert!(sim.check.is_stopped(), "{:#?}", sim.cluster);
    }

    #[test]
    fn a_restored_cluster_goes_on_as_the_original_would(
        settings in any_settings(),
        before in vec(any_event(), 1..150),
        after in vec((any_event(), 0u64..500), 1..100),
    ) {
        let mut sim = Sim::promising(settings, Promises::Ownership);
        let mut conn = 0;
        sim.event(Event::Scale(3));
        let mut named = |event: Event| match event {
            Event::Accepted { port, .. } => {
                conn += 1;
                Event::Accepted { port, conn: ConnId(conn) }
            }
            event => event,
        };
        for event in before {
            sim.event(named(event));
        }
        sim.take();
        let mut restored = sim.clone();
        restored.cluster = Cluster::restore(sim.cluster.snapshot());
        for (event, span) in after {
            let event = named(event);
            for world in [&mut sim, &mut restored] {
                world.pass(ms(span));
                world.event(event.clone());
            }
            prop_assert_eq!(sim.take(), restored.take());
        }
        prop_assert!(sim.cluster == restored.cluster);
    }
}
