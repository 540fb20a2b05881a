//! The one door of the core: an event goes in, effects come out. This file only routes; scheduling, reload
//! and stop each have their own.

use std::collections::BTreeMap;

use crate::effect::{Effect, Effects, Notice};
use crate::event::{Event, Exit};
use crate::ids::{ConnId, PortId, QuerySeq, Slot, Time, WorkerId};
use crate::life::{Act, Input, Phase, transition};
use crate::port::Port;
use crate::reload::Roll;
use crate::restart::Verdict;
use crate::settings::{Attach, Readiness, Settings, StopWith};
use crate::slot::{Occupancy, SlotState};
use crate::stop::Ending;
use crate::timer::{Timer, Timers};
use crate::worker::{EndCause, Standing, Worker};

/// After its channel closed at our request a Node worker ends as soon as its event loop is empty; one that
/// keeps timers running never does.
const EXIT_GRACE: std::time::Duration = std::time::Duration::from_millis(500);

/// One app: its workers, slots and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub(crate) settings: Settings,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) slots: Vec<SlotState>,
    pub(crate) ports: BTreeMap<PortId, Port>,
    pub(crate) timers: Timers,
    pub(crate) roll: Option<Roll>,
    pub(crate) roll_again: bool,
    pub(crate) ending: Ending,
    /// Connections waiting in all ports together.
    pub(crate) queued: usize,
    /// The queue reached its bound and has not fallen to half of it since.
    pub(crate) full: bool,
    /// Times in a row that accepting failed for want of descriptors.
    pub(crate) exhausted: u32,
    /// Some worker has listened: a successor that does not is not ready.
    pub(crate) listens: bool,
    next_worker: u32,
    pub(crate) next_port: u32,
}

/// The whole state of a [`Cluster`] as a value: what has to outlive a primary besides its descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(Cluster);

impl Cluster {
    /// An app without workers.
    pub fn new(settings: Settings) -> Cluster {
        Cluster {
            settings,
            workers: BTreeMap::new(),
            slots: Vec::new(),
            ports: BTreeMap::new(),
            timers: Timers::default(),
            roll: None,
            roll_again: false,
            ending: Ending::No,
            queued: 0,
            full: false,
            exhausted: 0,
            listens: false,
            next_worker: 1,
            next_port: 1,
        }
    }

    /// Writes the state out.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.clone())
    }

    /// Goes on where a snapshot was taken. Its times are on the clock since boot, so they hold in another
    /// process of the same machine.
    pub fn restore(snapshot: Snapshot) -> Cluster {
        snapshot.0
    }

    /// When the next `Tick` is due.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Where a worker is in its life; `None` once it is gone.
    pub fn phase(&self, worker: WorkerId) -> Option<Phase> {
        self.workers.get(&worker).map(|w| w.phase)
    }

    /// How many hand-offs to this worker await an answer.
    pub fn in_flight(&self, worker: WorkerId) -> usize {
        self.workers.get(&worker).map_or(0, |w| w.in_flight.len())
    }

    /// How many accepted connections wait for a worker.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Takes in what happened and appends what has to be done, in order.
    pub fn step(&mut self, now: Time, event: Event, fx: &mut Effects) {
        match event {
            Event::Accepted { port, conn } => self.accepted(now, port, conn, fx),
            Event::Answered { worker, conn, accepted: true } => self.settled(now, worker, conn, fx),
            Event::Answered { worker, conn, accepted: false } | Event::NotReceived { worker, conn } => {
                self.refused(now, worker, conn, fx);
            }
            Event::AcceptExhausted { port } => self.accept_exhausted(now, port, fx),

            Event::Scale(wanted) => self.scale(now, wanted, fx),
            Event::Fork { attach } => self.fork(now, attach, fx),
            Event::Leave { worker } => self.ask(now, worker, fx),
            Event::Kill { worker } => self.condemn(now, worker, EndCause::Killed, fx),
            Event::Reload => self.reload(now, fx),
            Event::Stop => self.stop(now, fx),
            Event::StopNow => self.stop_now(now, fx),

            Event::Spawned { worker } => self.spawned(now, worker, fx),
            Event::SpawnFailed { worker } => {
                self.note_exit(worker, Exit::NotSpawned, now);
                self.live(now, worker, Input::Gone, fx);
            }
            Event::Exited { worker, exit } => {
                self.note_exit(worker, exit, now);
                self.live(now, worker, Input::Exited, fx);
            }
            Event::Gone { worker } => self.live(now, worker, Input::Gone, fx),
            Event::Idle { worker } => self.live(now, worker, Input::Idle, fx),
            Event::Online { worker } => self.online(now, worker, fx),
            Event::Ready { worker } => {
                if self.settings.readiness == Readiness::Message {
                    self.became_ready(now, worker, fx);
                }
            }
            Event::Query { worker, seq, query } => self.query(now, worker, seq, *query, fx),
            Event::Listening { worker } => self.listening(now, worker, fx),
            Event::Closed { worker, port } => self.closed(now, worker, port, fx),
            Event::LeavesByItself { worker, seq } => self.leaves_by_itself(now, worker, seq, fx),
            Event::ChannelClosed { worker } => {
                if let Some(w) = self.workers.get_mut(&worker) {
                    w.channel_open = false;
                }
                self.live(now, worker, Input::ChannelClosed, fx);
            }
            Event::Condemned { worker, cause } => self.condemn(now, worker, cause, fx),
            Event::PortOpened { port, outcome } => self.port_opened(now, port, outcome, fx),
            Event::PortShut { port } => self.port_shut(now, port, fx),
            Event::Tick => self.tick(now, fx),
        }
    }

    fn tick(&mut self, now: Time, fx: &mut Effects) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Life(worker) => self.live(now, worker, Input::Deadline, fx),
                Timer::Proof(worker) => self.proven(now, worker, fx),
                Timer::Readiness(worker) => self.readiness_due(now, worker, fx),
                Timer::Hang(worker) => self.hang_due(now, worker, fx),
                Timer::Restart(slot) => self.fill(now, slot, fx),
                Timer::Retry(port) => self.serve(now, port, fx),
                Timer::Accept => self.update_accepting(fx),
                Timer::Close(port) => self.close_due(now, port, fx),
                Timer::Orphans => self.end_orphans(now, fx),
                Timer::Stop => self.stop_due(now, fx),
            }
        }
    }

    fn scale(&mut self, now: Time, wanted: u32, fx: &mut Effects) {
        if self.ending != Ending::No {
            return;
        }
        let wanted = wanted as usize;
        for index in wanted..self.slots.len() {
            let slot = slot_at(index);
            self.timers.disarm(Timer::Restart(slot));
            self.forget_in_roll(slot);
            for worker in self.slots[index].workers() {
                self.ask(now, worker, fx);
            }
        }
        self.slots.truncate(wanted);
        for index in self.slots.len()..wanted {
            self.slots.push(SlotState::new());
            self.fill(now, slot_at(index), fx);
        }
        self.advance_roll(now, fx);
    }

    fn fork(&mut self, now: Time, attach: Attach, fx: &mut Effects) {
        if self.ending == Ending::No {
            self.spawn(now, None, attach, fx);
        }
    }

    /// Puts a worker into an empty slot.
    fn fill(&mut self, now: Time, slot: Slot, fx: &mut Effects) {
        let attach = self.settings.attach;
        let waiting = self.slot(slot).is_some_and(|s| s.occupancy == Occupancy::Waiting);
        if waiting && self.ending == Ending::No {
            let worker = self.spawn(now, Some(slot), attach, fx);
            self.occupy(slot, Occupancy::Held(worker));
        }
    }

    pub(crate) fn spawn(
        &mut self,
        now: Time,
        slot: Option<Slot>,
        attach: Attach,
        fx: &mut Effects,
    ) -> WorkerId {
        let worker = WorkerId(self.next_worker);
        self.next_worker += 1;
        self.workers.insert(worker, Worker::new(worker, slot, attach, now));
        self.timers.arm(Timer::Readiness(worker), now.after(self.settings.listen_timeout));
        fx.push(Effect::Spawn { worker, slot, attach });
        worker
    }

    fn spawned(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        let Some(w) = self.workers.get(&worker) else { return };
        if w.attach == Attach::Nothing {
            self.online(now, worker, fx);
        }
    }

    fn online(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        self.live(now, worker, Input::Online, fx);
        // An app that has never listened anywhere (a queue consumer) is ready by being there.
        if !self.listens && self.settings.readiness == Readiness::Listening {
            self.became_ready(now, worker, fx);
        }
    }

    fn listening(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        self.listens = true;
        self.live(now, worker, Input::Listening, fx);
        let Some(w) = self.workers.get_mut(&worker) else { return };
        if !w.phase.serves() {
            return;
        }
        let first = !std::mem::replace(&mut w.has_listened, true);
        let ports: Vec<PortId> = w.ports.iter().copied().collect();
        for port in &ports {
            if let Some(holder) = self.ports.get_mut(port).and_then(|p| p.holder_mut(worker)) {
                holder.scheduled = true;
            }
        }
        if first && self.settings.readiness == Readiness::Listening {
            self.became_ready(now, worker, fx);
        }
        for port in ports {
            self.serve(now, port, fx);
        }
    }

    fn became_ready(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        let Some(w) = self.workers.get_mut(&worker) else { return };
        if w.phase.is_leaving() || w.is_proven() {
            return;
        }
        if !w.is_ready() {
            fx.push(Effect::Tell(Notice::Ready { worker }));
        }
        w.standing = Standing::Ready(now);
        self.timers.disarm(Timer::Readiness(worker));
        self.timers.arm(Timer::Proof(worker), now.after(self.settings.min_uptime));
        self.serve_worker(now, worker, fx);
    }

    fn proven(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        let Some(w) = self.workers.get_mut(&worker) else { return };
        if w.phase.is_leaving() {
            return;
        }
        w.standing = Standing::Proven;
        fx.push(Effect::Tell(Notice::Proven { worker }));
        self.serve_worker(now, worker, fx);
        self.roll_proven(now, worker, fx);
        self.end_orphans(now, fx);
    }

    fn readiness_due(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        let Some(w) = self.workers.get(&worker) else { return };
        if !w.is_ready() && self.is_proving(worker) {
            self.condemn(now, worker, EndCause::NotReady, fx);
        }
        self.end_orphans(now, fx);
    }

    fn leaves_by_itself(&mut self, now: Time, worker: WorkerId, seq: QuerySeq, fx: &mut Effects) {
        fx.push(Effect::Acknowledge { worker, seq });
        self.note_cause(worker, EndCause::Voluntary);
        self.keep_for_successor(worker);
        self.live(now, worker, Input::LeavesByItself, fx);
    }

    /// Asks a worker to leave in order.
    pub(crate) fn ask(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        self.note_cause(worker, EndCause::Asked);
        self.live(now, worker, Input::Asked, fx);
    }

    /// Ends a worker now.
    pub(crate) fn condemn(&mut self, now: Time, worker: WorkerId, cause: EndCause, fx: &mut Effects) {
        let Some(w) = self.workers.get(&worker) else { return };
        match w.phase {
            Phase::Ending | Phase::Gone => {}
            Phase::Starting
            | Phase::Online
            | Phase::Listening
            | Phase::Draining
            | Phase::Leaving
            | Phase::Stopping => {
                self.note_cause(worker, cause);
                fx.push(Effect::Tell(Notice::Condemned { worker, cause }));
            }
        }
        self.live(now, worker, Input::Condemned, fx);
    }

    /// The first cause is the one that counts.
    fn note_cause(&mut self, worker: WorkerId, cause: EndCause) {
        if let Some(w) = self.workers.get_mut(&worker)
            && w.cause == EndCause::ByItself
            && w.exit.is_none()
        {
            w.cause = cause;
        }
    }

    fn note_exit(&mut self, worker: WorkerId, exit: Exit, now: Time) {
        if let Some(w) = self.workers.get_mut(&worker) {
            w.exit.get_or_insert((exit, now));
        }
    }

    /// Walks the table of a worker's life.
    pub(crate) fn live(&mut self, now: Time, worker: WorkerId, input: Input, fx: &mut Effects) {
        let Some(w) = self.workers.get_mut(&worker) else { return };
        let from = w.phase;
        let (to, acts) = transition(from, input);
        w.phase = to;
        if from != to {
            fx.push(Effect::Tell(Notice::Moved { worker, from, to }));
        }
        for act in acts {
            self.act(now, worker, *act, fx);
        }
        if to == Phase::Draining && self.in_flight(worker) == 0 {
            self.live(now, worker, Input::Settled, fx);
        }
    }

    fn act(&mut self, now: Time, worker: WorkerId, act: Act, fx: &mut Effects) {
        match act {
            Act::Unschedule => self.unschedule(worker),
            Act::AllowDrain => self.timers.arm(Timer::Life(worker), now.after(self.settings.drain_timeout)),
            Act::AskToLeave => {
                let by_word = self.settings.stop_with == StopWith::Disconnect
                    && self.workers.get(&worker).is_some_and(|w| w.channel_open);
                fx.push(if by_word {
                    Effect::TellDisconnect { worker }
                } else {
                    Effect::WatchIdle { worker }
                });
            }
            Act::SignalStop => {
                fx.push(Effect::SignalStop { worker });
                self.timers.arm(Timer::Life(worker), now.after(self.settings.kill_timeout));
            }
            Act::AllowExit => {
                // One that leaves of its own accord has its drain time for that.
                if self.workers.get(&worker).is_some_and(|w| w.cause != EndCause::Voluntary) {
                    let grace = EXIT_GRACE.min(self.settings.kill_timeout);
                    self.timers.arm(Timer::Life(worker), now.after(grace));
                }
            }
            Act::KillTree => {
                self.timers.disarm(Timer::Life(worker));
                fx.push(Effect::EndTree { worker, grace: std::time::Duration::ZERO });
            }
            Act::EndTree => {
                self.timers.disarm(Timer::Life(worker));
                fx.push(Effect::EndTree { worker, grace: self.settings.kill_timeout });
            }
            Act::Bury => self.bury(now, worker, fx),
        }
    }

    fn bury(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        self.give_back(now, worker, fx);
        let Some(dead) = self.workers.remove(&worker) else { return };
        for timer in
            [Timer::Life(worker), Timer::Proof(worker), Timer::Readiness(worker), Timer::Hang(worker)]
        {
            self.timers.disarm(timer);
        }
        let (exit, died) = dead.exit.unwrap_or((Exit::NotSpawned, now));
        fx.push(Effect::Tell(Notice::Died { worker, slot: dead.slot, exit, cause: dead.cause }));
        fx.push(Effect::Forget { worker });
        self.vacate(now, &dead, died, fx);
        self.roll_lost(now, &dead, exit, fx);
        self.advance_stop(now, fx);
    }

    /// What becomes of the slot of a dead worker.
    fn vacate(&mut self, now: Time, dead: &Worker, died: Time, fx: &mut Effects) {
        let Some(slot) = dead.slot else { return };
        let Some(occupancy) = self.slot(slot).map(|s| s.occupancy) else { return };
        match occupancy {
            Occupancy::Handing { old, new } if new == dead.id => self.occupy(slot, Occupancy::Held(old)),
            Occupancy::Handing { old, new } if old == dead.id => self.occupy(slot, Occupancy::Held(new)),
            Occupancy::Held(held) if held == dead.id => {
                self.occupy(slot, Occupancy::Waiting);
                if self.ending == Ending::No {
                    self.refill(now, slot, dead, died, fx);
                }
            }
            Occupancy::Handing { .. } | Occupancy::Held(_) | Occupancy::Waiting | Occupancy::Errored => {}
        }
    }

    fn refill(&mut self, now: Time, slot: Slot, dead: &Worker, died: Time, fx: &mut Effects) {
        let verdict = match dead.cause {
            EndCause::Voluntary | EndCause::Asked => Verdict::RestartAfter(std::time::Duration::ZERO),
            EndCause::ByItself
            | EndCause::Violation
            | EndCause::Hung
            | EndCause::NotReady
            | EndCause::Killed => match self.slots.get_mut(slot.0 as usize) {
                Some(state) => state.history.judge(&self.settings, dead.spawned, died),
                None => return,
            },
        };
        match verdict {
            Verdict::RestartAfter(delay) if delay.is_zero() => self.fill(now, slot, fx),
            Verdict::RestartAfter(delay) => {
                fx.push(Effect::Tell(Notice::Restarting { slot, delay }));
                self.timers.arm(Timer::Restart(slot), now.after(delay));
            }
            Verdict::GiveUp { unstable } => {
                self.occupy(slot, Occupancy::Errored);
                fx.push(Effect::Tell(Notice::Errored { slot, restarts: unstable }));
                if self.slots.iter().all(|s| s.occupancy == Occupancy::Errored) {
                    fx.push(Effect::Tell(Notice::AllErrored));
                }
                self.end_orphans(now, fx);
            }
        }
    }

    pub(crate) fn slot(&self, slot: Slot) -> Option<&SlotState> {
        self.slots.get(slot.0 as usize)
    }

    pub(crate) fn occupy(&mut self, slot: Slot, occupancy: Occupancy) {
        if let Some(state) = self.slots.get_mut(slot.0 as usize) {
            state.occupancy = occupancy;
        }
    }

    pub(crate) fn drop_conn(&mut self, conn: ConnId, reason: crate::effect::DropReason, fx: &mut Effects) {
        fx.push(Effect::Drop { conn, reason });
    }
}

pub(crate) fn slot_at(index: usize) -> Slot {
    Slot(u32::try_from(index).unwrap_or(u32::MAX))
}
