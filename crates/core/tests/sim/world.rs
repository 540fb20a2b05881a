//! A whole app left to chance: workers do anything at any time, the shell obeys sooner or later.

mod action;

use std::time::Duration;

use oneport_core::{
    Attach, Canary, Cluster, ConnId, Effect, EndCause, Endpoint, Errno, Event, Exit, LaneId, PortId,
    QuerySeq, ReloadTerms, Settings, Sharing, Slot, Terms, WorkerId,
};

pub(crate) use action::Action;

use crate::sim::programs::udp;
use crate::sim::{Obeys, Sim, ms, tcp};

/// A world that keeps its side: workers may do anything at any time, the shell obeys sooner or later.
pub(crate) struct World {
    pub(crate) sim: Sim,
    spawning: Vec<WorkerId>,
    opening: Vec<PortId>,
    shutting: Vec<PortId>,
    ending: Vec<WorkerId>,
    watched: Vec<WorkerId>,
    exited: Vec<WorkerId>,
    channels: Vec<WorkerId>,
    emptying: Vec<WorkerId>,
    retiring: Vec<LaneId>,
    /// Ports whose workers can be handed what waits in the lanes of others.
    handing: Vec<PortId>,
}

fn endpoint(port: u16) -> Endpoint {
    if port == 53 { udp(53) } else { tcp(port) }
}

/// One drain time, one kill time and some ticks.
const WITHIN: Duration = ms(8000 + 2000 + 500 + 200);

fn pick<T: Copy>(from: &[T], index: usize) -> Option<T> {
    (!from.is_empty()).then(|| from[index % from.len()])
}

impl World {
    pub(crate) fn new(settings: Settings) -> World {
        let mut sim = Sim::new(settings);
        sim.obeys = Obeys::NOTHING;
        World {
            sim,
            spawning: Vec::new(),
            opening: Vec::new(),
            shutting: Vec::new(),
            ending: Vec::new(),
            watched: Vec::new(),
            exited: Vec::new(),
            channels: Vec::new(),
            emptying: Vec::new(),
            retiring: Vec::new(),
            handing: Vec::new(),
        }
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.sim.event(event);
        self.note();
    }

    fn note(&mut self) {
        let mut taken = Vec::new();
        for effect in self.sim.take() {
            match effect {
                Effect::Spawn { worker, attach, .. } => {
                    self.spawning.push(worker);
                    if attach == Attach::Channel {
                        self.channels.push(worker);
                    }
                }
                Effect::EmptyLanes { worker } => self.emptying.push(worker),
                Effect::RetireLane { lane } => self.retiring.push(lane),
                Effect::Open { port, attach, .. } => {
                    self.opening.push(port);
                    if attach == Attach::Channel {
                        self.handing.push(port);
                    }
                }
                Effect::TakeOver { lane } => taken.push(lane),
                Effect::Shut { port } => self.shutting.push(port),
                Effect::EndTree { worker, .. } if !self.ending.contains(&worker) => self.ending.push(worker),
                Effect::WatchIdle { worker, .. } => self.watched.push(worker),
                Effect::Forget { worker } => {
                    for list in [
                        &mut self.spawning,
                        &mut self.ending,
                        &mut self.watched,
                        &mut self.exited,
                        &mut self.channels,
                        &mut self.emptying,
                    ] {
                        list.retain(|w| *w != worker);
                    }
                }
                _ => {}
            }
        }
        for lane in taken {
            self.take_over(lane);
        }
    }

    /// Some wait there, or none.
    fn take_over(&mut self, lane: LaneId) {
        let Some(port) = self.sim.check.lanes.port(lane).filter(|port| self.sim.check.port_exists(*port))
        else {
            return;
        };
        for _ in 0..lane.0 % 3 {
            self.sim.connect_to(port);
            self.note();
        }
    }

    /// Processes that exist and run.
    fn running(&self) -> Vec<WorkerId> {
        let live = self.sim.check.live().into_iter();
        live.filter(|w| !self.spawning.contains(w) && !self.exited.contains(w)).collect()
    }

    fn spawn(&mut self, worker: WorkerId, works: bool) {
        self.spawning.retain(|w| *w != worker);
        self.event(if works {
            Event::Spawned { worker }
        } else {
            Event::SpawnFailed { worker, cause: EndCause::ByItself }
        });
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
        self.sim.query(worker, endpoint(port), Terms::default());
        self.note();
    }

    /// Running workers with a channel.
    fn talking(&self) -> Vec<WorkerId> {
        self.running().into_iter().filter(|w| self.channels.contains(w)).collect()
    }

    /// Ports of which it may close its server: those that it holds, and its lanes if it has a channel to say so.
    fn closable(&self, worker: WorkerId) -> Vec<PortId> {
        let lanes = self.sim.check.lanes.ports(worker);
        let by_channel = lanes.into_iter().filter(|port| self.handing.contains(port));
        self.sim.check.held_by(worker).into_iter().chain(by_channel).collect()
    }

    fn lanes_of(&self, worker: Option<WorkerId>, listening: bool) -> (WorkerId, Vec<LaneId>) {
        let worker = worker.unwrap_or(WorkerId(0));
        (worker, self.sim.check.lanes.of(worker, listening))
    }

    fn about_lane(&mut self, lane: Option<LaneId>, event: impl Fn(LaneId) -> Event) {
        if let Some(lane) = lane {
            self.event(event(lane));
        }
    }

    fn empty(&mut self, worker: WorkerId) {
        self.emptying.retain(|w| *w != worker);
        self.event(Event::LanesEmpty { worker });
    }

    fn retire(&mut self, lane: LaneId, stuck: bool) {
        self.retiring.retain(|l| *l != lane);
        let hands_off = self.sim.check.lanes.port(lane).is_some_and(|port| self.handing.contains(&port));
        if hands_off {
            self.take_over(lane);
        }
        self.event(if stuck && !hands_off { Event::LaneStuck { lane } } else { Event::LaneRetired { lane } });
    }

    pub(crate) fn act(&mut self, action: Action) {
        let running = self.running();
        let all = self.sim.check.live();
        match action {
            Action::Scale(n) => self.event(Event::Scale(n)),
            Action::Fork(attach) => self.event(Event::Fork { attach }),
            Action::Reload => self.event(Event::Reload),
            Action::ReloadSome(slot, canaries) => {
                let canary = Canary { workers: canaries, watch: ms(3000) };
                let canary = (canaries > 0).then_some(canary);
                let slots = if slot < 4 { vec![Slot(slot)] } else { Vec::new() };
                self.event(Event::ReloadSome(ReloadTerms { slots, parallel: Some(2), canary }));
            }
            Action::Reserve(slots) => self.event(Event::Reserve(slots)),
            Action::StopSlot(slot) => self.event(Event::StopSlots(vec![Slot(slot)])),
            Action::StartSlot(slot) => self.event(Event::StartSlots(vec![Slot(slot)])),
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
            Action::QueryMore(i, port) => {
                if let Some(worker) = pick(&running, i) {
                    self.sim.bind_later(worker, endpoint(port), Sharing::WithItself);
                    self.note();
                }
            }
            Action::LaneListens(i) => {
                let (worker, lanes) = self.lanes_of(pick(&running, i), false);
                self.about_lane(pick(&lanes, i), |lane| Event::LaneListens { worker, lane });
            }
            Action::LaneFails(i) => {
                let (worker, lanes) = self.lanes_of(pick(&running, i), false);
                self.about_lane(pick(&lanes, i), |lane| Event::LaneFailed { worker, lane });
            }
            Action::LaneCloses(i) => {
                let (worker, lanes) = self.lanes_of(pick(&running, i), i % 3 != 0);
                self.about_lane(pick(&lanes, i), |lane| Event::LaneClosed { worker, lane });
            }
            Action::Empty(i) => {
                if let Some(worker) = pick(&self.emptying, i) {
                    self.empty(worker);
                }
            }
            Action::Retire(i, stuck) => {
                if let Some(lane) = pick(&self.retiring, i) {
                    self.retire(lane, stuck);
                }
            }
            Action::Stopping(i) => self.to(pick(&running, i), |worker| Event::Stopping { worker }),
            Action::Alive(i) => self.to(pick(&running, i), |worker| Event::Alive { worker }),
            Action::Extend(i, by) => {
                self.to(pick(&running, i), |worker| Event::Extend { worker, by: ms(by) });
            }
            Action::Limit(i, most) => {
                self.to(pick(&running, i), |worker| Event::CreditsLimited { worker, most })
            }
            Action::Listening(i) => self.to(pick(&running, i), |worker| Event::Listening { worker }),
            Action::Close(i, j) => {
                let held = pick(&running, i).map(|worker| (worker, self.closable(worker)));
                if let Some((worker, Some(port))) = held.map(|(worker, ports)| (worker, pick(&ports, j))) {
                    self.event(Event::Closed { worker, port });
                }
            }
            Action::LeaveByItself(i) => {
                self.to(pick(&self.talking(), i), |worker| Event::LeavesByItself {
                    worker,
                    seq: QuerySeq(1),
                });
            }
            Action::CloseChannel(i) => {
                self.to(pick(&self.talking(), i), |worker| Event::ChannelClosed { worker });
            }
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
            Action::Disconnect => self.event(Event::Disconnect),
            Action::StartAfresh(count) => self.start_afresh(count),
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
        for lane in self.sim.check.lanes.of(worker, false) {
            self.event(Event::LaneListens { worker, lane });
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
    pub(crate) fn obey(&mut self) {
        while let Some(port) = self.opening.first().copied() {
            self.open(port, true);
        }
        while let Some(port) = self.shutting.first().copied() {
            self.shut(port, 2);
        }
        while let Some(lane) = self.retiring.first().copied() {
            self.retire(lane, lane.0 % 2 == 0);
        }
        while let Some(worker) = self.ending.first().copied() {
            self.bury(worker);
        }
    }

    fn pass_until(&mut self, over: impl Fn(&World) -> bool) {
        let start = self.sim.now;
        while !over(self) {
            assert!(self.sim.now.since(start) <= WITHIN, "never ends: {:#?}", self.sim.cluster);
            self.obey();
            self.pass(50);
        }
    }

    fn start_afresh(&mut self, count: u32) {
        self.event(Event::Disconnect);
        self.pass_until(|world| world.sim.check.is_stopped() || !world.sim.check.is_ending());
        self.event(Event::Scale(count));
        let came = self.sim.check.live();
        assert_eq!(came.len(), if self.sim.check.is_stopped() { 0 } else { count as usize });
        for index in 0..came.len() {
            self.act(Action::Boot(index, 80));
        }
    }

    /// Whatever happened before and however stubborn the workers: the end comes, in bounded time.
    pub(crate) fn ends(mut self) {
        self.event(Event::Stop);
        self.pass_until(|world| world.sim.check.is_stopped());
        for number in 0..1000 {
            let conn = ConnId(number);
            assert_eq!(self.sim.holder(conn), None, "{conn:?} is still held");
        }
    }
}
