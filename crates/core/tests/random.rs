//! Random lives of whole apps. `sim::Check` judges every step: each connection settles once, has one owner, goes to
//! nobody who leaves or has no credit, and no deadline repeats for ever. Here are the worlds, and the end of each.

mod sim;

use oneport_core::{
    Attach, Cluster, ConnId, Effect, EndCause, Endpoint, EndpointKind, Errno, Event, Exit, Policy, PortId,
    QuerySeq, QueryTerms, Readiness, Settings, StopWith, Terms, WorkerId,
};
use proptest::collection::vec;
use proptest::prelude::*;
use sim::{Promises, Sim, ms, settings, tcp};

/// Something that may happen; a number picks among those to whom it can.
#[derive(Clone, Debug)]
enum Action {
    Scale(u32),
    Fork,
    Reload,
    Leave(usize),
    Kill(usize),
    /// The whole way from the process to a listening server.
    Boot(usize, u16),
    Spawn(usize, bool),
    Online(usize),
    Ready(usize),
    Query(usize, u16),
    Listening(usize),
    Close(usize, usize),
    LeaveByItself(usize),
    CloseChannel(usize),
    Exit(usize, i32),
    Bury(usize),
    Idle(usize),
    Misbehave(usize),
    Connect(usize, usize),
    Answer(usize, bool),
    Lose(usize),
    Open(usize, bool),
    Shut(usize, u32),
    Exhaust(usize),
    Pass(u64),
    /// The primary is replaced by one that reads its state.
    Restore,
    Stop,
    StopNow,
}

/// A world that keeps its side: workers may do anything at any time, the shell obeys sooner or later.
struct World {
    sim: Sim,
    spawning: Vec<WorkerId>,
    opening: Vec<PortId>,
    shutting: Vec<PortId>,
    ending: Vec<WorkerId>,
    watched: Vec<WorkerId>,
    exited: Vec<WorkerId>,
}

fn pick<T: Copy>(from: &[T], index: usize) -> Option<T> {
    (!from.is_empty()).then(|| from[index % from.len()])
}

impl World {
    fn new(settings: Settings) -> World {
        let mut sim = Sim::new(settings);
        sim.obeys = sim::Obeys { spawn: false, open: false, shut: false, end_tree: false };
        World {
            sim,
            spawning: Vec::new(),
            opening: Vec::new(),
            shutting: Vec::new(),
            ending: Vec::new(),
            watched: Vec::new(),
            exited: Vec::new(),
        }
    }

    fn event(&mut self, event: Event) {
        self.sim.event(event);
        self.note();
    }

    fn note(&mut self) {
        for effect in self.sim.take() {
            match effect {
                Effect::Spawn { worker, .. } => self.spawning.push(worker),
                Effect::Open { port, .. } => self.opening.push(port),
                Effect::Shut { port } => self.shutting.push(port),
                Effect::EndTree { worker, .. } if !self.ending.contains(&worker) => self.ending.push(worker),
                Effect::WatchIdle { worker } => self.watched.push(worker),
                Effect::Forget { worker } => {
                    for list in [&mut self.spawning, &mut self.ending, &mut self.watched, &mut self.exited] {
                        list.retain(|w| *w != worker);
                    }
                }
                _ => {}
            }
        }
    }

    /// Processes that exist and run.
    fn running(&self) -> Vec<WorkerId> {
        let live = self.sim.check.live().into_iter();
        live.filter(|w| !self.spawning.contains(w) && !self.exited.contains(w)).collect()
    }

    fn spawn(&mut self, worker: WorkerId, works: bool) {
        self.spawning.retain(|w| *w != worker);
        self.event(if works { Event::Spawned { worker } } else { Event::SpawnFailed { worker } });
    }

    fn exit(&mut self, worker: WorkerId, exit: Exit) {
        self.exited.push(worker);
        self.event(Event::Exited { worker, exit });
    }

    fn bury(&mut self, worker: WorkerId) {
        if self.spawning.contains(&worker) {
            return self.spawn(worker, false);
        }
        if !self.exited.contains(&worker) {
            self.exit(worker, Exit::Signal(9));
        }
        self.event(Event::Gone { worker });
    }

    fn open(&mut self, port: PortId, works: bool) {
        self.opening.retain(|p| *p != port);
        self.event(Event::PortOpened { port, outcome: if works { Ok(()) } else { Err(Errno::ADDR_IN_USE) } });
    }

    fn shut(&mut self, port: PortId, waiting: u32) {
        self.shutting.retain(|p| *p != port);
        for _ in 0..waiting {
            self.sim.connect_to(port);
            self.note();
        }
        self.event(Event::PortShut { port });
    }

    fn query(&mut self, worker: WorkerId, port: u16) {
        let endpoint = if port == 53 { Endpoint { kind: EndpointKind::Udp4, ..tcp(53) } } else { tcp(port) };
        self.sim.query(worker, endpoint, Terms::default());
        self.note();
    }

    fn act(&mut self, action: Action) {
        let running = self.running();
        let all = self.sim.check.live();
        match action {
            Action::Scale(n) => self.event(Event::Scale(n)),
            Action::Fork => self.event(Event::Fork { attach: Attach::Channel }),
            Action::Reload => self.event(Event::Reload),
            Action::Leave(i) => self.to(pick(&all, i), |worker| Event::Leave { worker }),
            Action::Kill(i) => self.to(pick(&all, i), |worker| Event::Kill { worker }),
            Action::Boot(i, port) => self.boot(pick(&all, i), port),
            Action::Spawn(i, works) => {
                if let Some(worker) = pick(&self.spawning, i) {
                    self.spawn(worker, works);
                }
            }
            Action::Online(i) => self.to(pick(&running, i), |worker| Event::Online { worker }),
            Action::Ready(i) => self.to(pick(&running, i), |worker| Event::Ready { worker }),
            Action::Query(i, port) => {
                if let Some(worker) = pick(&running, i) {
                    self.query(worker, port);
                }
            }
            Action::Listening(i) => self.to(pick(&running, i), |worker| Event::Listening { worker }),
            Action::Close(i, j) => {
                let held = pick(&running, i).map(|worker| (worker, self.sim.check.held_by(worker)));
                if let Some((worker, Some(port))) = held.map(|(worker, ports)| (worker, pick(&ports, j))) {
                    self.event(Event::Closed { worker, port });
                }
            }
            Action::LeaveByItself(i) => {
                self.to(pick(&running, i), |worker| Event::LeavesByItself { worker, seq: QuerySeq(1) });
            }
            Action::CloseChannel(i) => self.to(pick(&running, i), |worker| Event::ChannelClosed { worker }),
            Action::Exit(i, code) => {
                if let Some(worker) = pick(&running, i) {
                    self.exit(worker, Exit::Code(code));
                }
            }
            Action::Bury(i) => {
                if let Some(worker) = pick(&self.ending, i) {
                    self.bury(worker);
                }
            }
            Action::Idle(i) => self.to(pick(&self.watched, i), |worker| Event::Idle { worker }),
            Action::Misbehave(i) => {
                self.to(pick(&all, i), |worker| Event::Condemned { worker, cause: EndCause::Violation });
            }
            Action::Connect(i, count) => self.connect(i, count),
            Action::Answer(i, accepted) => {
                self.answer(i, |worker, conn| Event::Answered { worker, conn, accepted })
            }
            Action::Lose(i) => self.answer(i, |worker, conn| Event::NotReceived { worker, conn }),
            Action::Open(i, works) => {
                if let Some(port) = pick(&self.opening, i) {
                    self.open(port, works);
                }
            }
            Action::Shut(i, waiting) => {
                if let Some(port) = pick(&self.shutting, i) {
                    self.shut(port, waiting);
                }
            }
            Action::Exhaust(i) => {
                if let Some(port) = pick(&self.sim.check.accepting(), i) {
                    self.event(Event::AcceptExhausted { port });
                }
            }
            Action::Pass(span) => self.pass(span),
            Action::Restore => self.sim.cluster = Cluster::restore(self.sim.cluster.snapshot()),
            Action::Stop => self.event(Event::Stop),
            Action::StopNow => self.event(Event::StopNow),
        }
    }

    fn to(&mut self, worker: Option<WorkerId>, event: impl Fn(WorkerId) -> Event) {
        if let Some(worker) = worker {
            self.event(event(worker));
        }
    }

    fn pass(&mut self, span: u64) {
        self.sim.pass(ms(span));
        self.note();
    }

    fn boot(&mut self, worker: Option<WorkerId>, port: u16) {
        let Some(worker) = worker else { return };
        if self.spawning.contains(&worker) {
            self.spawn(worker, true);
        }
        if self.exited.contains(&worker) {
            return;
        }
        self.event(Event::Online { worker });
        self.query(worker, port);
        while let Some(port) = self.opening.first().copied() {
            self.open(port, true);
        }
        self.event(Event::Listening { worker });
        self.event(Event::Ready { worker });
    }

    fn connect(&mut self, index: usize, count: usize) {
        for _ in 0..count {
            if let Some(port) = pick(&self.sim.check.accepting(), index) {
                self.sim.connect_to(port);
                self.note();
            }
        }
    }

    /// Answers are read from the channel even after the process ended.
    fn answer(&mut self, index: usize, event: impl Fn(WorkerId, ConnId) -> Event) {
        let live = self.sim.check.live();
        let busy: Vec<WorkerId> = live.into_iter().filter(|w| self.sim.cluster.in_flight(*w) > 0).collect();
        if let Some(worker) = pick(&busy, index) {
            let conn = pick(&self.sim.check.flights(worker), index).expect("it is busy");
            self.event(event(worker, conn));
        }
    }

    /// The shell does what it owes; workers do nothing at all.
    fn obey(&mut self) {
        while let Some(port) = self.opening.first().copied() {
            self.open(port, true);
        }
        while let Some(port) = self.shutting.first().copied() {
            self.shut(port, 2);
        }
        while let Some(worker) = self.ending.first().copied() {
            self.bury(worker);
        }
    }

    /// Whatever happened before and however stubborn the workers: the end comes, in bounded time.
    fn ends(mut self, within: u64) {
        self.event(Event::Stop);
        let start = self.sim.now;
        while !self.sim.check.is_stopped() {
            assert!(self.sim.now.since(start) <= ms(within), "never ends: {:#?}", self.sim.cluster);
            self.obey();
            self.pass(50);
        }
        for number in 0..1000 {
            let conn = ConnId(number);
            assert_eq!(self.sim.holder(conn), None, "{conn:?} is still held");
        }
    }
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let counts = (0u32..4, 0usize..10, 1usize..6, 1u32..4, 1usize..3);
    let pause = prop_oneof![3 => Just(None), 1 => Just(Some(ms(0))), 1 => Just(Some(ms(50)))];
    let hang = prop_oneof![2 => Just(None), 1 => Just(Some(ms(500)))];
    let policy = prop_oneof![6 => Just(Policy::RoundRobin), 1 => Just(Policy::Shared)];
    let readiness = prop_oneof![3 => Just(Readiness::Listening), 1 => Just(Readiness::Message)];
    let stop_with = prop_oneof![Just(StopWith::Disconnect), Just(StopWith::Signal)];
    let uptime = prop_oneof![4 => Just(1000), 1 => Just(0)];
    (counts, pause, hang, policy, readiness, stop_with, uptime).prop_map(
        |(
            (credits, queue, ports, max_restarts, parallel),
            pause,
            hang,
            policy,
            readiness,
            stop_with,
            uptime,
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
                min_uptime: ms(uptime),
                ..settings()
            }
        },
    )
}

fn any_port() -> impl Strategy<Value = u16> {
    prop_oneof![8 => Just(80), 2 => Just(81), 1 => Just(0), 1 => Just(53)]
}

fn any_action() -> impl Strategy<Value = Action> {
    let i = || 0usize..8;
    prop_oneof![
        3 => (0u32..5).prop_map(Action::Scale),
        1 => Just(Action::Fork),
        4 => Just(Action::Reload),
        2 => i().prop_map(Action::Leave),
        1 => i().prop_map(Action::Kill),
        20 => (i(), any_port()).prop_map(|(i, port)| Action::Boot(i, port)),
        6 => (i(), prop::bool::weighted(0.9)).prop_map(|(i, works)| Action::Spawn(i, works)),
        4 => i().prop_map(Action::Online),
        2 => i().prop_map(Action::Ready),
        4 => (i(), any_port()).prop_map(|(i, port)| Action::Query(i, port)),
        4 => i().prop_map(Action::Listening),
        2 => (i(), i()).prop_map(|(i, j)| Action::Close(i, j)),
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
        1 => Just(Action::Stop),
    ]
}

/// Any event at all, about anybody, at any time. Only the names of connections are taken seriously: the shell
/// chooses them.
fn any_event() -> impl Strategy<Value = Event> {
    let worker = || (0u32..8).prop_map(WorkerId);
    let port = || (0u32..6).prop_map(PortId);
    let conn = || (0u64..40).prop_map(ConnId);
    let query = (worker(), any_port(), 0u32..2, any::<bool>()).prop_map(|(worker, port, index, narrow)| {
        let terms = Terms { backlog: if narrow { 10 } else { 1000 }, ..Terms::default() };
        let query = QueryTerms { endpoint: Endpoint { index, ..tcp(port) }, terms, data: None };
        Event::Query { worker, seq: QuerySeq(0), query: Box::new(query) }
    });
    let cause = prop_oneof![Just(EndCause::Violation), Just(EndCause::ByItself), Just(EndCause::Asked)];
    prop_oneof![
        2 => (0u32..5).prop_map(Event::Scale),
        1 => Just(Event::Fork { attach: Attach::Nothing }),
        1 => worker().prop_map(|worker| Event::Leave { worker }),
        1 => worker().prop_map(|worker| Event::Kill { worker }),
        2 => Just(Event::Reload),
        1 => Just(Event::Stop),
        3 => worker().prop_map(|worker| Event::Spawned { worker }),
        1 => worker().prop_map(|worker| Event::SpawnFailed { worker }),
        2 => worker().prop_map(|worker| Event::Exited { worker, exit: Exit::Code(0) }),
        2 => worker().prop_map(|worker| Event::Gone { worker }),
        1 => worker().prop_map(|worker| Event::Idle { worker }),
        5 => worker().prop_map(|worker| Event::Online { worker }),
        3 => worker().prop_map(|worker| Event::Ready { worker }),
        8 => query,
        8 => worker().prop_map(|worker| Event::Listening { worker }),
        2 => (worker(), port()).prop_map(|(worker, port)| Event::Closed { worker, port }),
        1 => worker().prop_map(|worker| Event::LeavesByItself { worker, seq: QuerySeq(0) }),
        12 => (worker(), conn(), any::<bool>())
            .prop_map(|(worker, conn, accepted)| Event::Answered { worker, conn, accepted }),
        3 => (worker(), conn()).prop_map(|(worker, conn)| Event::NotReceived { worker, conn }),
        1 => worker().prop_map(|worker| Event::ChannelClosed { worker }),
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

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn an_app_keeps_its_promises_whatever_its_workers_do(
        settings in any_settings(),
        workers in 1u32..5,
        actions in vec(any_action(), 1..250),
    ) {
        let within = 8000 + 2000 + 500 + 200;
        let mut world = World::new(settings);
        world.event(Event::Scale(workers));
        for index in 0..workers {
            world.act(Action::Boot(index as usize, 80));
        }
        for action in actions {
            world.act(action);
        }
        world.ends(within);
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
        sim.obeys = sim::Obeys { spawn: false, open: false, shut: false, end_tree: false };
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
