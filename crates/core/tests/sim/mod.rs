//! A scripted world around a [`Cluster`]: workers that are spawned, boot, listen and answer; sockets that open;
//! time that passes only when told. It carries out effects and lets `check` judge every step.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the few effects it is about")]

mod check;
mod lanes;
pub(crate) mod programs;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use oneport_core::{
    Cluster, ConnId, Effect, Endpoint, EndpointKind, Errno, Event, Exit, LaneId, Notice, Opened, Place,
    PortId, QuerySeq, QueryTerms, ReplyOutcome, Settings, Sharing, Terms, Time, WorkerId,
};

pub(crate) use check::{Check, Promises};

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) const fn worker(id: u32) -> WorkerId {
    WorkerId(id)
}

/// A TCP endpoint without a host.
pub(crate) fn tcp(port: u16) -> Endpoint {
    Endpoint {
        kind: EndpointKind::Tcp4,
        place: Place::Anywhere,
        port,
        ipv6_only: false,
        reuse_address: false,
        index: 0,
        copy: 0,
    }
}

/// Which orders the world carries out by itself, at once. The others wait for the test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Obeys {
    pub(crate) spawn: bool,
    pub(crate) open: bool,
    pub(crate) shut: bool,
    pub(crate) end_tree: bool,
    pub(crate) empty: bool,
    pub(crate) retire: bool,
}

impl Obeys {
    pub(crate) const ALL: Obeys =
        Obeys { spawn: true, open: true, shut: true, end_tree: true, empty: true, retire: true };
    pub(crate) const NOTHING: Obeys =
        Obeys { spawn: false, open: false, shut: false, end_tree: false, empty: false, retire: false };
}

#[derive(Clone, Debug)]
pub(crate) struct Sim {
    pub(crate) cluster: Cluster,
    pub(crate) now: Time,
    pub(crate) obeys: Obeys,
    pub(crate) check: Check,
    /// What opening comes to, by port number; the rest opens.
    pub(crate) open_fails: BTreeMap<u16, Errno>,
    /// Connections that wait in the kernel's queue of every port that is shut.
    pub(crate) kernel_queue: u32,
    /// Lanes in which connections wait that do not migrate.
    pub(crate) stuck: BTreeSet<LaneId>,
    log: Vec<Effect>,
    pending: VecDeque<Event>,
    names: BTreeMap<Endpoint, PortId>,
    next_conn: u64,
    next_seq: i64,
}

/// Short times, so that tests name round numbers.
pub(crate) fn settings() -> Settings {
    Settings {
        min_uptime: ms(1000),
        listen_timeout: ms(10_000),
        drain_timeout: ms(8000),
        kill_timeout: ms(2000),
        ..Settings::default()
    }
}

impl Sim {
    pub(crate) fn new(settings: Settings) -> Sim {
        Sim::promising(settings, Promises::All)
    }

    pub(crate) fn promising(settings: Settings, promises: Promises) -> Sim {
        Sim {
            cluster: Cluster::new(settings.clone()),
            now: Time(1_000_000_000_000),
            obeys: Obeys::ALL,
            check: Check::new(settings, promises),
            open_fails: BTreeMap::new(),
            kernel_queue: 0,
            stuck: BTreeSet::new(),
            log: Vec::new(),
            pending: VecDeque::new(),
            names: BTreeMap::new(),
            next_conn: 1,
            next_seq: 1,
        }
    }

    /// `count` workers that serve port 80 and are proven; what led there is forgotten.
    pub(crate) fn serving(settings: Settings, count: u32) -> Sim {
        let mut sim = Sim::new(settings);
        sim.event(Event::Scale(count));
        for id in 1..=count {
            sim.boot(worker(id), 80);
        }
        sim.prove();
        sim.take();
        sim
    }

    /// Lets an event happen, and whatever follows from it at once.
    pub(crate) fn event(&mut self, event: Event) {
        self.pending.push_back(event);
        while let Some(event) = self.pending.pop_front() {
            let mut fx = Vec::new();
            self.check.before(&event);
            self.cluster.step(self.now, event.clone(), &mut fx);
            self.check.after(self.now, &event, &fx, &self.cluster);
            for effect in &fx {
                self.carry_out(effect);
            }
            self.log.append(&mut fx);
        }
    }

    fn carry_out(&mut self, effect: &Effect) {
        match effect {
            Effect::Spawn { worker, .. } if self.obeys.spawn => {
                self.pending.push_back(Event::Spawned { worker: *worker });
            }
            Effect::Open { port, endpoint, .. } => {
                self.names.insert(endpoint.clone(), *port);
                if self.obeys.open {
                    let outcome: Opened = self.open_fails.get(&endpoint.port).map_or(Ok(()), |e| Err(*e));
                    self.pending.push_back(Event::PortOpened { port: *port, outcome });
                }
            }
            Effect::Shut { port } if self.obeys.shut => {
                for _ in 0..self.kernel_queue {
                    let conn = self.new_conn();
                    self.pending.push_back(Event::Accepted { port: *port, conn });
                }
                self.pending.push_back(Event::PortShut { port: *port });
            }
            Effect::EmptyLanes { worker } if self.obeys.empty => {
                self.pending.push_back(Event::LanesEmpty { worker: *worker });
            }
            Effect::RetireLane { lane } if self.obeys.retire => {
                let stuck = self.stuck.contains(lane);
                let (lane, retired) = (*lane, Event::LaneRetired { lane: *lane });
                self.pending.push_back(if stuck { Event::LaneStuck { lane } } else { retired });
            }
            Effect::EndTree { worker, .. } if self.obeys.end_tree => {
                self.pending.push_back(Event::Exited { worker: *worker, exit: Exit::Signal(9) });
                self.pending.push_back(Event::Gone { worker: *worker });
            }
            _ => {}
        }
    }

    fn new_conn(&mut self) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        conn
    }

    // What workers do.

    /// It comes up and its server listens on `port`.
    pub(crate) fn boot(&mut self, worker: WorkerId, port: u16) {
        self.event(Event::Online { worker });
        self.listen(worker, port);
    }

    pub(crate) fn online(&mut self, worker: WorkerId) {
        self.event(Event::Online { worker });
    }

    pub(crate) fn listen(&mut self, worker: WorkerId, port: u16) {
        self.query(worker, tcp(port), Terms::default());
        self.event(Event::Listening { worker });
    }

    /// It asks for a handle; returns the number of the question.
    pub(crate) fn query(&mut self, worker: WorkerId, endpoint: Endpoint, terms: Terms) -> QuerySeq {
        let seq = QuerySeq(self.next_seq);
        self.next_seq += 1;
        let query = Box::new(QueryTerms { endpoint, terms, data: None, sharing: Sharing::Alone });
        self.event(Event::Query { worker, seq, query });
        seq
    }

    pub(crate) fn close(&mut self, worker: WorkerId, port: u16) {
        let port = self.port(port);
        self.event(Event::Closed { worker, port });
    }

    /// It takes its oldest hand-off.
    pub(crate) fn accept(&mut self, worker: WorkerId) -> ConnId {
        self.answer(worker, true)
    }

    /// It refuses its oldest hand-off.
    pub(crate) fn refuse(&mut self, worker: WorkerId) -> ConnId {
        self.answer(worker, false)
    }

    fn answer(&mut self, worker: WorkerId, accepted: bool) -> ConnId {
        let conn = self.check.flights(worker)[0];
        self.event(Event::Answered { worker, conn, accepted });
        conn
    }

    /// Every hand-off is taken, until none is under way.
    pub(crate) fn accept_all(&mut self) {
        while let Some(worker) = self.check.live().into_iter().find(|w| !self.check.flights(*w).is_empty()) {
            self.accept(worker);
        }
    }

    /// Its process ends; the tree follows if the world obeys.
    pub(crate) fn exit(&mut self, worker: WorkerId, code: i32) {
        self.event(Event::Exited { worker, exit: Exit::Code(code) });
    }

    pub(crate) fn gone(&mut self, worker: WorkerId) {
        self.event(Event::Gone { worker });
    }

    // What clients do.

    pub(crate) fn connect(&mut self, port: u16) -> ConnId {
        let port = self.port(port);
        let conn = self.new_conn();
        self.event(Event::Accepted { port, conn });
        conn
    }

    pub(crate) fn connect_to(&mut self, port: PortId) -> ConnId {
        let conn = self.new_conn();
        self.event(Event::Accepted { port, conn });
        conn
    }

    pub(crate) fn connect_many(&mut self, port: u16, count: usize) -> Vec<ConnId> {
        (0..count).map(|_| self.connect(port)).collect()
    }

    // Time.

    /// Time passes, with a tick at every deadline on the way.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now.after(span);
        let mut ticks = 0;
        while let Some(due) = self.cluster.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.event(Event::Tick);
            ticks += 1;
            assert!(ticks < 100_000, "no end of deadlines");
        }
        self.now = end;
    }

    /// Everybody who is ready stays up long enough.
    pub(crate) fn prove(&mut self) {
        self.pass(ms(1000));
    }

    // What is there to see.

    pub(crate) fn port(&self, number: u16) -> PortId {
        self.names[&tcp(number)]
    }

    pub(crate) fn port_of(&self, endpoint: &Endpoint) -> Option<PortId> {
        self.names.get(endpoint).copied().filter(|port| self.check.port_exists(*port))
    }

    pub(crate) fn holder(&self, conn: ConnId) -> Option<WorkerId> {
        self.check.holder(conn)
    }

    /// The effects since this was asked for last.
    pub(crate) fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.log)
    }

    pub(crate) fn log(&self) -> &[Effect] {
        &self.log
    }

    pub(crate) fn has(&self, effect: &Effect) -> bool {
        self.log.contains(effect)
    }

    pub(crate) fn told(&self, notice: &Notice) -> bool {
        self.log.iter().any(|e| matches!(e, Effect::Tell(n) if n == notice))
    }

    /// Where in the log an effect stands.
    pub(crate) fn position(&self, effect: &Effect) -> usize {
        let found = self.log.iter().position(|e| e == effect);
        found.unwrap_or_else(|| panic!("{effect:?} is not among {:#?}", self.log))
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Effect) -> bool) -> usize {
        self.log.iter().filter(|e| wanted(e)).count()
    }

    /// Who was handed what, in order.
    pub(crate) fn hand_offs(&self) -> Vec<(WorkerId, ConnId)> {
        let hand_off = |e: &Effect| match e {
            Effect::HandOff { worker, conn, .. } => Some((*worker, *conn)),
            _ => None,
        };
        self.log.iter().filter_map(hand_off).collect()
    }

    pub(crate) fn served(&self) -> Vec<u32> {
        self.hand_offs().iter().map(|(worker, _)| worker.0).collect()
    }

    pub(crate) fn spawned(&self) -> Vec<WorkerId> {
        let spawn = |e: &Effect| match e {
            Effect::Spawn { worker, .. } => Some(*worker),
            _ => None,
        };
        self.log.iter().filter_map(spawn).collect()
    }

    pub(crate) fn replies(&self) -> Vec<(WorkerId, ReplyOutcome)> {
        let reply = |e: &Effect| match e {
            Effect::Reply { worker, outcome, .. } => Some((*worker, outcome.clone())),
            _ => None,
        };
        self.log.iter().filter_map(reply).collect()
    }

    pub(crate) fn dropped(&self) -> Vec<ConnId> {
        let drop = |e: &Effect| match e {
            Effect::Drop { conn, .. } => Some(*conn),
            _ => None,
        };
        self.log.iter().filter_map(drop).collect()
    }
}
