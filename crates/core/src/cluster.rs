//! The one door of the core: an event goes in, effects come out. This file only routes, and keeps the
//! number of workers; a worker's life, ports, schedule, reload and stop each have their own.

use std::collections::BTreeMap;

use crate::effect::{Effect, Effects};
use crate::event::{Event, Exit};
use crate::ids::{LaneId, PortId, Slot, Time, WorkerId};
use crate::lane::Lane;
use crate::life::{Input, Phase};
use crate::port::Port;
use crate::reload::{ReloadTerms, Roll};
use crate::settings::{Attach, Readiness, Settings};
use crate::slot::{Occupancy, SlotState};
use crate::stop::Ending;
use crate::timer::{Timer, Timers};
use crate::worker::{EndCause, Worker};

/// One app: its workers, slots and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub(crate) settings: Settings,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) slots: Vec<SlotState>,
    pub(crate) ports: BTreeMap<PortId, Port>,
    pub(crate) lanes: BTreeMap<LaneId, Lane>,
    pub(crate) timers: Timers,
    pub(crate) roll: Option<Roll>,
    pub(crate) roll_again: bool,
    pub(crate) ending: Ending,
    /// When the drain time of a stop is over, for the queue and all workers together.
    pub(crate) leave_by: Time,
    /// Connections waiting in all ports together.
    pub(crate) queued: usize,
    /// The queue reached its bound and has not fallen to half of it since.
    pub(crate) full: bool,
    /// Enough wait: arrivals wake nobody for a moment.
    pub(crate) unwatched: bool,
    /// Times in a row that accepting failed for want of descriptors.
    pub(crate) exhausted: u32,
    /// When a shortage was last told or seen again.
    pub(crate) shortage: Option<Time>,
    /// Some worker has listened: a successor that does not is not ready.
    pub(crate) listens: bool,
    next_worker: u32,
    pub(crate) next_port: u32,
    pub(crate) next_lane: u32,
}

/// The whole state of a [`Cluster`] as a value: what has to outlive a primary besides its descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(Cluster);

impl Cluster {
    /// An app without workers. Without a credit, or room for one connection, nothing would ever be served:
    /// there is always one.
    pub fn new(settings: Settings) -> Cluster {
        let (credits, queue) = (settings.credits.max(1), settings.queue.max(1));
        Cluster {
            settings: Settings { credits, queue, ..settings },
            workers: BTreeMap::new(),
            slots: Vec::new(),
            ports: BTreeMap::new(),
            lanes: BTreeMap::new(),
            timers: Timers::default(),
            roll: None,
            roll_again: false,
            ending: Ending::No,
            leave_by: Time(u64::MAX),
            queued: 0,
            full: false,
            unwatched: false,
            exhausted: 0,
            shortage: None,
            listens: false,
            next_worker: 1,
            next_port: 1,
            next_lane: 1,
        }
    }

    /// An app without workers once more. Names go on counting: none is ever used for two things.
    pub(crate) fn start_afresh(&mut self) {
        let (next_worker, next_port, next_lane) = (self.next_worker, self.next_port, self.next_lane);
        *self = Cluster { next_worker, next_port, next_lane, ..Cluster::new(self.settings.clone()) };
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

    /// Whether this worker's end is one in order (Node's `exitedAfterDisconnect`): true as soon as it was asked to
    /// leave or announced that it does, false once it is on its way out without; `None` before that, and once it
    /// is gone ([`EndCause::is_in_order`] of [`crate::Notice::Died`] answers then).
    pub fn asked_to_leave(&self, worker: WorkerId) -> Option<bool> {
        let w = self.workers.get(&worker)?;
        w.phase.is_leaving().then(|| w.cause.is_in_order())
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
        let from = fx.len();
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
            Event::Reload => self.reload(now, ReloadTerms::default(), fx),
            Event::ReloadSome(terms) => self.reload(now, terms, fx),
            Event::Reserve(slots) => self.reserve(slots),
            Event::StopSlots(slots) => self.stop_slots(now, &slots, fx),
            Event::StartSlots(slots) => self.start_slots(now, &slots, fx),
            Event::Treat(settings) => self.treat(*settings),
            Event::Disconnect => self.disconnect(now, fx),
            Event::Stop => self.stop(now, fx),
            Event::StopNow => self.stop_now(now, fx),

            Event::Spawned { worker } => self.spawned(now, worker, fx),
            Event::SpawnFailed { worker, cause } => {
                self.note_cause(worker, cause);
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
            Event::CreditsLimited { worker, most } => {
                if let Some(w) = self.workers.get_mut(&worker) {
                    w.most_credits = most.max(1);
                }
                // It may be more than before.
                self.serve_worker(now, worker, fx);
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
            Event::Stopping { worker } => self.stopping(now, worker, fx),
            Event::Alive { worker } => self.alive(now, worker),
            Event::Extend { worker, by } => self.extend(now, worker, by),
            Event::LaneListens { worker, lane } => self.lane_listens(now, worker, lane, fx),
            Event::LaneFailed { worker, lane } => self.lane_failed(now, worker, lane),
            Event::LaneClosed { worker, lane } => self.lane_closed(now, worker, lane, fx),
            Event::LanesEmpty { worker } => self.lanes_empty(now, worker, fx),
            Event::Stalls { worker, port, lane, at_rest } => {
                self.stalls(now, (worker, port, lane), &at_rest, fx);
            }
            Event::TakesNothing { worker, port } => {
                if let Some(holder) = self.ports.get_mut(&port).and_then(|p| p.holder_mut(worker)) {
                    holder.takes_nothing = true;
                }
            }
            Event::LaneStuck { lane } => self.lane_stuck(now, lane),
            Event::LaneExhausted { lane } => self.lane_exhausted(now, lane, fx),
            Event::LaneRetired { lane } => self.lane_retired(now, lane, fx),
            Event::Condemned { worker, cause } => self.condemn(now, worker, cause, fx),
            Event::PortOpened { port, outcome } => self.port_opened(now, port, outcome, fx),
            Event::PortShut { port } => self.port_shut(now, port, fx),
            Event::Tick => self.tick(now, fx),
        }
        self.tend_lanes(now, from, fx);
    }

    fn tick(&mut self, now: Time, fx: &mut Effects) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Life(worker) => self.live(now, worker, Input::Deadline, fx),
                Timer::Proof(worker) => self.proven(now, worker, fx),
                Timer::Readiness(worker) => self.readiness_due(now, worker, fx),
                Timer::Hang(worker) => self.hang_due(now, worker, fx),
                Timer::Watchdog(worker) => self.watchdog_due(now, worker, fx),
                Timer::Lane(lane) => self.lane_due(now, lane, fx),
                Timer::Restart(slot) => self.fill(now, slot, fx),
                Timer::Retry(port) => self.serve(now, port, fx),
                Timer::Watch => self.watch_arrivals(fx),
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
        let fewer = wanted < self.slots.len();
        self.slots.truncate(wanted);
        if fewer {
            self.tell_if_all_errored(fx);
        }
        for index in self.slots.len()..wanted {
            self.slots.push(SlotState::new());
            self.fill(now, slot_at(index), fx);
        }
        self.advance_roll(now, fx);
    }

    fn reserve(&mut self, slots: u32) {
        let more = (slots as usize).saturating_sub(self.slots.len());
        if self.ending == Ending::No {
            self.slots.extend(std::iter::repeat_with(SlotState::stopped).take(more));
        }
    }

    fn stop_slots(&mut self, now: Time, slots: &[Slot], fx: &mut Effects) {
        for &slot in slots {
            let Some(workers) = self.slot(slot).map(SlotState::workers) else { continue };
            self.timers.disarm(Timer::Restart(slot));
            self.forget_in_roll(slot);
            self.occupy(slot, Occupancy::Stopped);
            for worker in workers {
                self.ask(now, worker, fx);
            }
        }
        self.end_orphans(now, fx);
        self.advance_roll(now, fx);
    }

    fn start_slots(&mut self, now: Time, slots: &[Slot], fx: &mut Effects) {
        for &slot in slots {
            match self.slot(slot).map(|s| s.occupancy) {
                Some(Occupancy::Stopped | Occupancy::Errored | Occupancy::Waiting) => {
                    self.timers.disarm(Timer::Restart(slot));
                    if let Some(state) = self.slots.get_mut(slot.0 as usize) {
                        *state = SlotState::new();
                    }
                    self.fill(now, slot, fx);
                }
                Some(Occupancy::Held(_) | Occupancy::Handing { .. }) | None => {}
            }
        }
    }

    fn treat(&mut self, wanted: Settings) {
        let Settings { policy, attach, credits, queue, ports, readiness, .. } = self.settings;
        self.settings = Settings { policy, attach, credits, queue, ports, readiness, ..wanted };
    }

    fn fork(&mut self, now: Time, attach: Attach, fx: &mut Effects) {
        if self.ending == Ending::No {
            self.spawn(now, None, attach, fx);
        }
    }

    /// Puts a worker into an empty slot.
    pub(crate) fn fill(&mut self, now: Time, slot: Slot, fx: &mut Effects) {
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
        let founding = !self.workers.values().any(|w| w.is_proven() && !w.phase.is_leaving());
        self.workers.insert(worker, Worker::new(worker, slot, attach, now, founding));
        self.timers.arm(Timer::Readiness(worker), now.after(self.settings.listen_timeout));
        fx.push(Effect::Spawn { worker, slot, attach });
        worker
    }

    pub(crate) fn slot(&self, slot: Slot) -> Option<&SlotState> {
        self.slots.get(slot.0 as usize)
    }

    pub(crate) fn occupy(&mut self, slot: Slot, occupancy: Occupancy) {
        if let Some(state) = self.slots.get_mut(slot.0 as usize) {
            state.occupancy = occupancy;
        }
    }
}

pub(crate) fn slot_at(index: usize) -> Slot {
    Slot(u32::try_from(index).unwrap_or(u32::MAX))
}
