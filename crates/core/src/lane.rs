//! Lanes: the sockets of workers that are programs. How one comes, is taken over and changes hands is here; who gets
//! new connections is `choose.rs`, how one ends `retire.rs`, and the copy that serves what would be lost `heir.rs`.
//!
//! A lane has one state at a time, belongs to a port that exists, and leaves the table in the step that asks for its
//! end or hears of it. A worker holds a Lanes port exactly while it has a lane there.

mod choose;
mod heir;
mod retire;

use crate::cluster::Cluster;
use crate::effect::{Effect, Effects, Origin};
use crate::event::Sharing;
use crate::ids::{Errno, LaneId, PortId, Slot, Time, WorkerId};
use crate::life::{Input, Phase};
use crate::port::Mode;
use crate::timer::Timer;
use crate::worker::Queues;

/// Sockets one worker may have on one port. A program with one per processor needs fewer.
pub(crate) const LANES: usize = 64;

/// Where a lane is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// This worker was told that it may have it, and has still to listen.
    Promised { to: WorkerId, origin: Origin },
    /// This worker listens on it.
    Listens { worker: WorkerId, origin: Origin },
    /// This worker closed it and lives on; what waits in it waits for a while.
    Closed { worker: WorkerId },
    /// Nobody's: the next worker of its slot adopts it, or the next one outside the slots.
    Kept,
    /// This temporary copy adopts it.
    Inherited { heir: WorkerId },
    /// `RetireLane` is not answered yet.
    Retiring,
    /// What waits in it does not migrate: a temporary copy is needed.
    Stuck,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) port: PortId,
    /// Whose next worker may adopt it. `None`: a worker outside the slots.
    pub(crate) slot: Option<Slot>,
    pub(crate) state: State,
}

impl Lane {
    /// Whose part in the port it is.
    pub(crate) fn worker(&self) -> Option<WorkerId> {
        match self.state {
            State::Promised { to: worker, .. } | State::Listens { worker, .. } | State::Closed { worker } => {
                Some(worker)
            }
            State::Kept | State::Inherited { .. } | State::Retiring | State::Stuck => None,
        }
    }

    /// Whether this worker has bound it, or is about to.
    fn is_live_for(&self, who: WorkerId) -> bool {
        match self.state {
            State::Promised { to: worker, .. } | State::Listens { worker, .. } => worker == who,
            State::Closed { .. } | State::Kept | State::Inherited { .. } | State::Retiring | State::Stuck => {
                false
            }
        }
    }
}

impl Cluster {
    pub(crate) fn is_lanes(&self, port: PortId) -> bool {
        self.ports.get(&port).is_some_and(|p| p.mode == Mode::Lanes)
    }

    /// Finds a socket for a worker on a port: one that was kept for it, else a new one.
    pub(crate) fn promise(
        &mut self,
        port: PortId,
        worker: WorkerId,
        sharing: Sharing,
    ) -> Result<(LaneId, Origin), Errno> {
        let Some(w) = self.workers.get(&worker) else { return Err(Errno::ADDR_IN_USE) };
        let (slot, temporary) = (w.slot, w.is_temporary());
        let there = || self.lanes.iter().filter(|(_, lane)| lane.port == port);
        if sharing == Sharing::Alone && there().any(|(_, lane)| lane.is_live_for(worker)) {
            return Err(Errno::ADDR_IN_USE);
        }
        let waits_for_it = |lane: &Lane| match lane.state {
            State::Closed { worker: owner } => owner == worker,
            State::Inherited { heir } => heir == worker,
            State::Kept => lane.slot == slot && !temporary,
            // It comes for one of them on each port; where it shares with itself it takes more.
            State::Stuck => temporary,
            State::Promised { .. } | State::Listens { .. } | State::Retiring => false,
        };
        let waiting = there().filter(|(_, lane)| waits_for_it(lane));
        if let Some((&lane, _)) = waiting.min_by_key(|(id, lane)| (lane.state == State::Stuck, **id)) {
            self.change(lane, State::Promised { to: worker, origin: Origin::Adopted });
            return Ok((lane, Origin::Adopted));
        }
        if there().filter(|(_, lane)| lane.worker() == Some(worker)).count() >= LANES {
            return Err(Errno::TOO_MANY_FILES);
        }
        let (lane, origin) = (LaneId(self.next_lane), Origin::Fresh);
        self.next_lane += 1;
        self.lanes.insert(lane, Lane { port, slot, state: State::Promised { to: worker, origin } });
        Ok((lane, origin))
    }

    pub(crate) fn lane_listens(&mut self, now: Time, worker: WorkerId, lane: LaneId, fx: &mut Effects) {
        match self.state(lane) {
            Some(State::Promised { to, origin }) if to == worker => {
                self.change(lane, State::Listens { worker, origin });
            }
            Some(State::Listens { worker: listener, .. }) if listener == worker => {}
            Some(State::Closed { worker: owner }) if owner == worker => {
                self.change(lane, State::Listens { worker, origin: Origin::Adopted });
            }
            Some(
                State::Promised { .. }
                | State::Listens { .. }
                | State::Closed { .. }
                | State::Kept
                | State::Inherited { .. }
                | State::Retiring
                | State::Stuck,
            )
            | None => return,
        }
        if let Some(w) = self.workers.get_mut(&worker)
            && w.queues == Queues::Empty
        {
            // What was heard did not include this one.
            w.queues = Queues::Unknown;
        }
        self.listening(now, worker, fx);
    }

    pub(crate) fn lane_failed(&mut self, now: Time, worker: WorkerId, lane: LaneId) {
        match self.state(lane) {
            Some(State::Promised { to, origin }) if to == worker => match origin {
                Origin::Fresh => self.remove_lane(lane),
                Origin::Adopted => self.put_back(now, lane, worker),
            },
            Some(
                State::Promised { .. }
                | State::Listens { .. }
                | State::Closed { .. }
                | State::Kept
                | State::Inherited { .. }
                | State::Retiring
                | State::Stuck,
            )
            | None => {}
        }
    }

    pub(crate) fn lane_closed(&mut self, now: Time, worker: WorkerId, lane: LaneId, fx: &mut Effects) {
        match self.state(lane) {
            Some(State::Promised { to, origin: Origin::Fresh }) if to == worker => {
                match self.lanes.get(&lane).is_some_and(|lane| self.hands_off(lane)) {
                    true => self.retire_lane(lane, fx),
                    false => self.close_lane(lane, fx),
                }
            }
            Some(State::Promised { to, origin: Origin::Adopted }) if to == worker => {
                self.put_back(now, lane, worker);
            }
            Some(State::Listens { worker: listener, .. }) if listener == worker => {
                self.change(lane, State::Closed { worker });
                self.timers.arm(Timer::Lane(lane), now.after(self.settings.listen_timeout));
                self.forget_emptying(now, worker, fx);
            }
            Some(
                State::Promised { .. }
                | State::Listens { .. }
                | State::Closed { .. }
                | State::Kept
                | State::Inherited { .. }
                | State::Retiring
                | State::Stuck,
            )
            | None => {}
        }
    }

    /// Nobody accepts any more what waits in the sockets of a draining worker: waiting for that is in vain.
    fn forget_emptying(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        let listens = self.has_listening_lane(worker);
        if let Some(w) = self.workers.get_mut(&worker)
            && w.queues == Queues::Emptying
            && !listens
        {
            w.queues = Queues::Unknown;
            self.settle(now, worker, fx);
        }
    }

    /// A worker begins to drain: what waits in its sockets is still its own to serve.
    pub(crate) fn empty_lanes(&mut self, worker: WorkerId, fx: &mut Effects) {
        if self.has_listening_lane(worker)
            && let Some(w) = self.workers.get_mut(&worker)
        {
            w.queues = Queues::Emptying;
            fx.push(Effect::EmptyLanes { worker });
        }
    }

    pub(crate) fn lanes_empty(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        let Some(w) = self.workers.get_mut(&worker) else { return };
        if w.phase == Phase::Draining && w.queues == Queues::Emptying {
            w.queues = Queues::Empty;
            self.settle(now, worker, fx);
        }
    }

    /// Lets a draining worker go on once nothing is on its way to it and nothing waits in its sockets.
    pub(crate) fn settle(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        let settled = |w: &crate::worker::Worker| w.phase == Phase::Draining && w.is_settled();
        if self.workers.get(&worker).is_some_and(settled) {
            self.live(now, worker, Input::Settled, fx);
        }
    }

    pub(crate) fn has_listening_lane(&self, worker: WorkerId) -> bool {
        self.lanes.values().any(|lane| listens(lane, worker))
    }

    /// Whether the worker listens there on a socket of its own.
    pub(crate) fn listens_in_lane(&self, port: PortId, worker: WorkerId) -> bool {
        self.lanes.values().any(|lane| lane.port == port && listens(lane, worker))
    }

    fn state(&self, lane: LaneId) -> Option<State> {
        self.lanes.get(&lane).map(|lane| lane.state)
    }

    /// Gives a lane another state, and takes the worker that it was part of off the port with its last one there.
    fn change(&mut self, lane: LaneId, state: State) {
        self.timers.disarm(Timer::Lane(lane));
        let Some(changed) = self.lanes.get_mut(&lane) else { return };
        let (port, before) = (changed.port, changed.worker());
        changed.state = state;
        self.let_go(port, before);
    }

    /// Forgets a lane of which nothing is left.
    fn remove_lane(&mut self, lane: LaneId) {
        self.timers.disarm(Timer::Lane(lane));
        let Some(removed) = self.lanes.remove(&lane) else { return };
        self.let_go(removed.port, removed.worker());
    }

    fn let_go(&mut self, port: PortId, worker: Option<WorkerId>) {
        let Some(worker) = worker else { return };
        if self.lanes.values().any(|lane| lane.port == port && lane.worker() == Some(worker)) {
            return;
        }
        if let Some(p) = self.ports.get_mut(&port) {
            p.holders.retain(|h| h.worker != worker);
        }
        if let Some(w) = self.workers.get_mut(&worker) {
            w.ports.retain(|held| *held != port);
        }
    }
}

fn listens(lane: &Lane, who: WorkerId) -> bool {
    match lane.state {
        State::Listens { worker, .. } => worker == who,
        State::Promised { .. }
        | State::Closed { .. }
        | State::Kept
        | State::Inherited { .. }
        | State::Retiring
        | State::Stuck => false,
    }
}
