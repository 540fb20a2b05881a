//! What must hold after every step, whatever happened: judged from events and effects alone, by a second and much
//! simpler bookkeeping than the core's own. A broken promise panics with the event that broke it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::lanes::{Judged, LaneCheck};
use oneport_core::{
    Cluster, ConnId, Effect, Event, Mode, Notice, Phase, PortId, ReplyOutcome, Settings, Time, WorkerId,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Queue,
    Worker(WorkerId),
    /// The worker took it; the settling is due in this very step.
    Taken,
}

#[derive(Clone, Debug)]
struct SeenWorker {
    phase: Phase,
    ready: bool,
    /// Born when nobody was proven.
    founding: bool,
    proven: bool,
    most: u32,
    flights: VecDeque<ConnId>,
}

#[derive(Clone, Debug, Default)]
struct SeenHolder {
    scheduled: bool,
    /// It refused since it last took something, so it may be resting.
    refused: bool,
    /// Number of the hand-off that served it last.
    served: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Socket {
    Opening,
    Open,
    Shutting,
}

#[derive(Clone, Debug)]
struct SeenPort {
    mode: Mode,
    socket: Socket,
    paused: bool,
    holders: BTreeMap<WorkerId, SeenHolder>,
}

/// How much is asked for: a world that keeps its side of the contract gets every promise, one that sends events in
/// any order still gets those about connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promises {
    All,
    Ownership,
}

#[derive(Clone, Debug)]
pub(crate) struct Check {
    settings: Settings,
    promises: Promises,
    /// Those that are not done.
    conns: BTreeMap<ConnId, (PortId, At)>,
    done: BTreeSet<ConnId>,
    workers: BTreeMap<WorkerId, SeenWorker>,
    ports: BTreeMap<PortId, SeenPort>,
    pub(crate) lanes: LaneCheck,
    hand_offs: u64,
    exhausted: bool,
    /// Asked to disconnect and not told yet that it is done.
    disconnecting: bool,
    stopping: bool,
    stopped: bool,
}

impl Check {
    pub(crate) fn new(settings: Settings, promises: Promises) -> Check {
        let settings =
            Settings { credits: settings.credits.max(1), queue: settings.queue.max(1), ..settings };
        Check {
            settings,
            promises,
            conns: BTreeMap::new(),
            done: BTreeSet::new(),
            workers: BTreeMap::new(),
            ports: BTreeMap::new(),
            lanes: LaneCheck::default(),
            hand_offs: 0,
            exhausted: false,
            disconnecting: false,
            stopping: false,
            stopped: false,
        }
    }

    pub(crate) fn live(&self) -> Vec<WorkerId> {
        self.workers.keys().copied().collect()
    }

    pub(crate) fn flights(&self, worker: WorkerId) -> Vec<ConnId> {
        self.workers.get(&worker).map_or(Vec::new(), |w| w.flights.iter().copied().collect())
    }

    pub(crate) fn holder(&self, conn: ConnId) -> Option<WorkerId> {
        match self.conns.get(&conn).map(|&(_, at)| at) {
            Some(At::Worker(worker)) => Some(worker),
            Some(At::Queue | At::Taken) | None => None,
        }
    }

    pub(crate) fn is_done(&self, conn: ConnId) -> bool {
        self.done.contains(&conn)
    }

    pub(crate) fn is_paused(&self, port: PortId) -> bool {
        self.ports[&port].paused
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.stopping || self.disconnecting
    }

    /// Ports on which a connection may be accepted.
    pub(crate) fn accepting(&self) -> Vec<PortId> {
        let open = |p: &SeenPort| p.mode == Mode::RoundRobin && p.socket == Socket::Open && !p.paused;
        self.ports.iter().filter(|(_, p)| open(p)).map(|(&port, _)| port).collect()
    }

    pub(crate) fn held_by(&self, worker: WorkerId) -> Vec<PortId> {
        let held = self.ports.iter().filter(|(_, p)| p.holders.contains_key(&worker));
        held.map(|(&port, _)| port).collect()
    }

    pub(crate) fn port_exists(&self, port: PortId) -> bool {
        self.ports.contains_key(&port)
    }

    fn unanswered(&self, at: At) -> usize {
        self.conns.values().filter(|(_, a)| *a == at).count()
    }

    /// What an event means by itself.
    pub(crate) fn before(&mut self, event: &Event) {
        if self.promises == Promises::All {
            self.lanes.before(event);
        }
        match *event {
            Event::Accepted { port, conn } => {
                assert!(
                    self.conns.insert(conn, (port, At::Queue)).is_none(),
                    "the world used {conn:?} twice"
                );
            }
            Event::Answered { worker, conn, accepted } => self.give(worker, conn, accepted),
            Event::NotReceived { worker, conn } => self.give(worker, conn, false),
            Event::Gone { worker } | Event::SpawnFailed { worker, .. } => {
                for conn in
                    self.workers.get_mut(&worker).map(|w| std::mem::take(&mut w.flights)).unwrap_or_default()
                {
                    self.place(conn, At::Queue);
                }
                self.ports.values_mut().for_each(|p| p.holders.retain(|w, _| *w != worker));
            }
            Event::Listening { worker }
                if self.workers.get(&worker).is_some_and(|w| !w.phase.is_leaving()) =>
            {
                let holders = self.ports.values_mut().filter_map(|p| p.holders.get_mut(&worker));
                holders.for_each(|h| h.scheduled = true);
            }
            Event::Closed { worker, port } => {
                self.ports.get_mut(&port).map(|p| p.holders.remove(&worker));
            }
            Event::PortOpened { port, outcome } => match (self.ports.get_mut(&port), outcome) {
                (Some(p), Ok(())) if p.socket == Socket::Opening => p.socket = Socket::Open,
                (Some(p), Err(_)) if p.socket == Socket::Opening => drop(self.ports.remove(&port)),
                _ => {}
            },
            Event::AcceptExhausted { .. } => self.exhausted = true,
            Event::CreditsLimited { worker, most } => {
                self.workers.entry(worker).and_modify(|w| w.most = most.max(1));
            }
            Event::Disconnect => self.disconnecting |= !self.stopping,
            Event::Stop | Event::StopNow => self.stopping = true,
            _ => {}
        }
    }

    fn give(&mut self, worker: WorkerId, conn: ConnId, accepted: bool) {
        let Some(&(port, At::Worker(holder))) = self.conns.get(&conn) else { return };
        if holder != worker {
            return;
        }
        self.place(conn, if accepted { At::Taken } else { At::Queue });
        self.workers.get_mut(&worker).expect("it holds something").flights.retain(|c| *c != conn);
        if let Some(h) = self.ports.get_mut(&port).and_then(|p| p.holders.get_mut(&worker)) {
            h.refused = !accepted;
        }
    }

    fn place(&mut self, conn: ConnId, at: At) {
        self.conns.get_mut(&conn).expect("a connection of this world").1 = at;
    }

    /// Judges what the core did about it.
    pub(crate) fn after(&mut self, now: Time, event: &Event, fx: &[Effect], cluster: &Cluster) {
        let wanted = if let Event::Scale(n) = event { *n as usize } else { 0 };
        let open = self.unanswered(At::Queue) + self.workers.len() * self.settings.credits as usize;
        let bound = 64 + 10 * (self.workers.len() + self.ports.len() + self.lanes.count() + open + wanted);
        assert!(fx.len() <= bound, "{} effects of {event:?}", fx.len());
        for effect in fx {
            self.effect(event, effect);
            if self.promises == Promises::All {
                self.lanes.effect(event, effect, fx);
            }
        }
        assert_eq!(self.unanswered(At::Taken), 0, "not settled after {event:?}");
        assert_eq!(cluster.queued(), self.unanswered(At::Queue), "queued() after {event:?}: {fx:#?}");
        for (&worker, seen) in &self.workers {
            assert_eq!(cluster.phase(worker), Some(seen.phase), "phase of {worker} after {event:?}");
            assert_eq!(
                cluster.in_flight(worker),
                seen.flights.len(),
                "in_flight of {worker} after {event:?}"
            );
        }
        if *event == Event::Tick {
            let next = cluster.next_deadline();
            assert!(next.is_none_or(|at| at > now), "would spin: {next:?} is due after a tick at {now:?}");
        }
        if self.stopped || fx.contains(&Effect::Tell(Notice::Disconnected)) {
            assert_eq!(cluster.next_deadline(), None, "a deadline after the end");
            assert!(self.workers.is_empty(), "workers outlive the end");
            assert_eq!(self.unanswered(At::Queue), 0, "connections outlive the end");
        }
        if self.promises == Promises::All {
            self.nobody_waits_in_vain(event, fx);
            self.accepting_follows_the_queue(event);
            self.lanes_are_in_order(event);
        }
    }

    fn lanes_are_in_order(&self, event: &Event) {
        self.lanes.after(event, self.is_ending(), |worker| {
            let w = self.workers.get(&worker)?;
            Some(Judged { phase: w.phase, trusted: w.ready && (w.proven || w.founding) })
        });
        assert!(!self.stopped || self.lanes.count() == 0, "lanes outlive the end");
    }

    fn effect(&mut self, event: &Event, effect: &Effect) {
        match effect {
            Effect::Spawn { worker, .. } => {
                assert!(!self.is_ending(), "{worker} is started while everybody leaves, by {event:?}");
                let founding = !self.workers.values().any(|w| w.proven && !w.phase.is_leaving());
                let seen = SeenWorker {
                    phase: Phase::Starting,
                    ready: false,
                    founding,
                    proven: false,
                    most: u32::MAX,
                    flights: VecDeque::new(),
                };
                assert!(self.workers.insert(*worker, seen).is_none(), "{worker} is spawned twice");
            }
            Effect::SignalStop { worker }
            | Effect::EndTree { worker, .. }
            | Effect::TellDisconnect { worker }
            | Effect::Acknowledge { worker, .. }
            | Effect::EmptyLanes { worker }
            | Effect::WatchIdle { worker, .. } => self.known(*worker, event),
            Effect::Forget { worker } => {
                let seen = self.workers.remove(worker).expect("only somebody known can be forgotten");
                assert!(seen.flights.is_empty(), "{worker} is forgotten with what it holds, by {event:?}");
                assert_eq!(seen.phase, Phase::Gone);
            }
            Effect::Reply { worker, outcome, .. } => {
                self.known(*worker, event);
                match outcome {
                    ReplyOutcome::RoundRobin(port) | ReplyOutcome::Shared(port) => {
                        let p = self.ports.get_mut(port).expect("the port of a reply exists");
                        let before = p.holders.insert(*worker, SeenHolder::default());
                        assert!(before.is_none(), "{worker} got one key for two servers, by {event:?}");
                    }
                    ReplyOutcome::Lane { .. } | ReplyOutcome::Failed(_) => {}
                }
            }
            Effect::Open { port, mode, .. } => {
                let seen = SeenPort {
                    mode: *mode,
                    socket: Socket::Opening,
                    paused: false,
                    holders: BTreeMap::new(),
                };
                assert!(self.ports.insert(*port, seen).is_none(), "{port:?} is opened twice");
            }
            Effect::HandOff { worker, port, conn } => self.hand_off(event, *worker, *port, *conn),
            Effect::Settle { conn } => {
                self.end(*conn, At::Taken, event);
            }
            Effect::Drop { conn, .. } => {
                self.end(*conn, At::Queue, event);
            }
            Effect::Unwatch { .. } | Effect::Watch { .. } => {}
            Effect::PauseAccept { port } => self.pause(*port, true, event),
            Effect::ResumeAccept { port } => {
                self.exhausted = false;
                self.pause(*port, false, event);
            }
            Effect::Widen { port, .. } => {
                let p = self.ports.get(port).expect("the port to widen exists");
                assert_ne!(p.socket, Socket::Opening, "{port:?} is widened before it is open");
            }
            Effect::Shut { port } => {
                let p = self.ports.get_mut(port).expect("the port to shut exists");
                assert_eq!((p.mode, p.socket), (Mode::RoundRobin, Socket::Open), "shut by {event:?}");
                p.socket = Socket::Shutting;
            }
            Effect::Close { port } => {
                let known = self.ports.remove(port).is_some();
                assert!(known || matches!(event, Event::PortOpened { .. }), "{port:?} is closed twice");
            }
            Effect::Choose { port, .. } => assert!(self.ports.contains_key(port), "{port:?} is there"),
            Effect::RetireLane { .. } | Effect::CloseLane { .. } | Effect::TakeOver { .. } => {}
            Effect::Tell(notice) => self.notice(event, notice),
        }
    }

    fn end(&mut self, conn: ConnId, from: At, event: &Event) {
        let was = self.conns.remove(&conn).map(|(_, at)| at);
        assert_eq!(was, Some(from), "{conn:?} ends, by {event:?}");
        self.done.insert(conn);
    }

    fn known(&self, worker: WorkerId, event: &Event) {
        assert!(self.workers.contains_key(&worker), "{event:?} concerns the forgotten worker {worker}");
    }

    fn hand_off(&mut self, event: &Event, worker: WorkerId, port: PortId, conn: ConnId) {
        assert_eq!(
            self.conns.get(&conn),
            Some(&(port, At::Queue)),
            "{conn:?} goes to {worker}, by {event:?}"
        );
        self.known(worker, event);
        let seen = &self.workers[&worker];
        assert_eq!(seen.phase, Phase::Listening, "a hand-off to {worker}, by {event:?}");
        assert!(seen.ready, "a hand-off to the unready {worker}, by {event:?}");
        assert!(
            seen.flights.len() < self.settings.credits.min(seen.most) as usize,
            "{worker} has no credit, {event:?}"
        );
        let p = self.ports.get(&port).expect("the port of a hand-off exists");
        if p.mode == Mode::Lanes {
            // What waited in one lane goes to the worker of another; who is next is nobody's promise.
            let has = self.promises != Promises::All || self.lanes.has(worker, port);
            assert!(has, "{worker} has no lane on {port:?}, by {event:?}");
            self.workers.get_mut(&worker).expect("known").flights.push_back(conn);
            return self.place(conn, At::Worker(worker));
        }
        let holder = p.holders.get(&worker).expect("who is served holds the port");
        assert!(holder.scheduled, "{worker} is not scheduled on {port:?}");
        let proven_serves = self.proven_serves(p);
        assert!(
            seen.proven || seen.founding || !proven_serves,
            "the unproven {worker} is served beside a proven one, by {event:?}"
        );
        for (other, h) in p.holders.iter().filter(|(other, _)| self.may_take(p, **other)) {
            assert!(holder.served <= h.served, "{worker} is served before {other}, by {event:?}");
        }
        self.hand_offs += 1;
        let served = self.hand_offs;
        self.workers.get_mut(&worker).expect("known").flights.push_back(conn);
        let holder = self.ports.get_mut(&port).and_then(|p| p.holders.get_mut(&worker));
        holder.expect("a holder").served = served;
        self.place(conn, At::Worker(worker));
    }

    fn proven_serves(&self, p: &SeenPort) -> bool {
        p.holders.iter().any(|(w, h)| {
            h.scheduled && self.workers.get(w).is_some_and(|w| w.ready && (w.proven || w.founding))
        })
    }

    /// Whether this worker could certainly be chosen now.
    fn may_take(&self, p: &SeenPort, worker: WorkerId) -> bool {
        let (Some(h), Some(w)) = (p.holders.get(&worker), self.workers.get(&worker)) else { return false };
        let credit = w.flights.len() < self.settings.credits.min(w.most) as usize;
        let trusted = w.ready && (w.proven || w.founding || !self.proven_serves(p));
        h.scheduled && !h.refused && credit && trusted
    }

    fn nobody_waits_in_vain(&self, event: &Event, fx: &[Effect]) {
        for &(port, at) in self.conns.values() {
            if let (At::Queue, Some(p)) = (at, self.ports.get(&port)) {
                let idle = p.holders.keys().find(|w| self.may_take(p, **w));
                assert_eq!(idle, None, "a connection waits beside an idle worker after {event:?}: {fx:#?}");
            }
        }
    }

    fn accepting_follows_the_queue(&self, event: &Event) {
        let queued = self.unanswered(At::Queue);
        for (port, p) in &self.ports {
            if self.is_ending() || p.mode != Mode::RoundRobin || p.socket != Socket::Open {
                continue;
            }
            // One of a port that is gone is closed; that says nothing about the others.
            let came = matches!(event, Event::Accepted { port, .. } if self.ports.contains_key(port));
            let over = came && queued >= self.settings.queue;
            assert!(p.paused || !over, "{port:?} accepts above the bound, after {event:?}");
            let room = queued <= self.settings.queue / 2 && !self.exhausted;
            assert!(!p.paused || !room, "{port:?} stays paused with room for more, after {event:?}");
        }
    }

    fn pause(&mut self, port: PortId, paused: bool, event: &Event) {
        let p = self.ports.get_mut(&port).expect("the port to pause exists");
        assert_ne!(p.paused, paused, "{port:?} is told twice, by {event:?}");
        p.paused = paused;
    }

    fn notice(&mut self, event: &Event, notice: &Notice) {
        match *notice {
            Notice::Moved { worker, from, to } => {
                let seen = self.workers.get_mut(&worker).expect("only somebody known moves");
                assert_eq!(seen.phase, from, "{worker} moves, by {event:?}");
                seen.phase = to;
                if to.is_leaving() {
                    let holders = self.ports.values_mut().filter_map(|p| p.holders.get_mut(&worker));
                    holders.for_each(|h| h.scheduled = false);
                }
            }
            Notice::Ready { worker } => self.workers.get_mut(&worker).expect("known").ready = true,
            Notice::Proven { worker } => self.workers.get_mut(&worker).expect("known").proven = true,
            Notice::OnTrial { worker } => self.workers.get_mut(&worker).expect("known").founding = true,
            Notice::Disconnected => {
                assert!(self.disconnecting && !self.stopping, "nobody waits for that, after {event:?}");
                (self.disconnecting, self.exhausted) = (false, false);
                assert!(self.ports.is_empty(), "ports outlive the disconnect: {:?}", self.ports);
            }
            Notice::Stopped => {
                assert!(!self.stopped, "stopped twice");
                self.stopped = true;
                assert!(self.ports.is_empty(), "ports outlive the end: {:?}", self.ports);
            }
            _ => {}
        }
    }
}
