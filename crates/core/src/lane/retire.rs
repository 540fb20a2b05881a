//! How a lane ends: what becomes of those of a dead worker, how long one is kept, and when a port is left bare.
//!
//! What waits in a lane is lost only by `CloseLane`, so that is asked for at once only where nothing waits (it was
//! emptied, or never listened) or nobody is left to serve it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::effect::{Effect, Effects, Origin};
use crate::ids::{LaneId, PortId, Slot, Time, WorkerId};
use crate::life::Phase;
use crate::port::{Holder, Mode, Port, PortPhase};
use crate::stop::Ending;
use crate::timer::Timer;
use crate::worker::{EndCause, Queues, Worker};

use super::{Lane, State};

/// When it is tried again to empty a lane, after descriptors were short.
const RETRY: Duration = Duration::from_millis(100);

impl Cluster {
    /// A worker is gone and its slot's fate is known: each of its lanes is kept, closed or retired.
    pub(crate) fn leave_lanes(&mut self, now: Time, dead: &Worker, fx: &mut Effects) {
        for lane in self.lanes_where(|lane| lane.worker() == Some(dead.id)) {
            let emptied = dead.cause == EndCause::Asked && dead.queues == Queues::Empty;
            let hands_off = self.lanes.get(&lane).is_some_and(|lane| self.hands_off(lane));
            match self.state(lane) {
                Some(State::Promised { origin: Origin::Fresh, .. }) if !hands_off => {
                    self.close_lane(lane, fx)
                }
                // One temporary copy is tried, not a series of them.
                Some(_) if dead.is_temporary() => self.close_lane(lane, fx),
                Some(_) if self.is_wanted_after(lane, dead) => {
                    self.keep(now, lane);
                    self.take_over_kept(lane, fx);
                }
                // Whoever came in the last moment is handed to somebody else.
                Some(State::Listens { .. }) if emptied && !hands_off => self.close_lane(lane, fx),
                Some(
                    State::Promised { .. }
                    | State::Listens { .. }
                    | State::Closed { .. }
                    | State::Kept
                    | State::Inherited { .. }
                    | State::Retiring
                    | State::Stuck,
                ) => self.retire_lane(lane, fx),
                None => {}
            }
        }
    }

    /// Whether somebody may come who adopts this lane of a dead worker.
    fn is_wanted_after(&self, lane: LaneId, dead: &Worker) -> bool {
        let Some(port) = self.lanes.get(&lane).map(|lane| lane.port) else { return false };
        match dead.slot {
            Some(slot) => self.is_awaited(slot, port),
            // Its owner may replace it, as after any death that was not wanted.
            None => self.ending == Ending::No && !dead.cause.is_in_order(),
        }
    }

    /// Whether the slot has, or will have, a worker that can still adopt a lane on this port: one that may yet become
    /// proven and has not bound a socket of its own there.
    fn is_awaited(&self, slot: Slot, port: PortId) -> bool {
        if !self.has_successor(slot) {
            return false;
        }
        let occupants = self.slot(slot).into_iter().flat_map(|s| s.workers());
        let mut stay = occupants.filter_map(|id| self.workers.get(&id)).filter(|w| !w.phase.is_leaving());
        let Some(first) = stay.next() else { return true };
        self.may_adopt(first, port) || stay.any(|w| self.may_adopt(w, port))
    }

    fn may_adopt(&self, w: &Worker, port: PortId) -> bool {
        let in_time = w.is_ready() || self.timers.is_armed(Timer::Readiness(w.id));
        let fresh = |lane: &Lane| match lane.state {
            State::Promised { to: worker, origin: Origin::Fresh }
            | State::Listens { worker, origin: Origin::Fresh } => lane.port == port && worker == w.id,
            State::Promised { origin: Origin::Adopted, .. }
            | State::Listens { origin: Origin::Adopted, .. }
            | State::Closed { .. }
            | State::Kept
            | State::Inherited { .. }
            | State::Retiring
            | State::Stuck => false,
        };
        !w.is_proven() && in_time && !(w.ports.contains(&port) && self.lanes.values().any(fresh))
    }

    /// Keeps a lane for whoever comes: for its slot as long as that gets somebody, else for as long as a successor
    /// may take.
    fn keep(&mut self, now: Time, lane: LaneId) {
        self.change(lane, State::Kept);
        if self.lanes.get(&lane).is_some_and(|lane| lane.slot.is_none()) {
            self.timers.arm(Timer::Lane(lane), now.after(self.settings.listen_timeout));
        }
    }

    /// Others can be handed what waits in a lane that is kept, and need not wait for who adopts it.
    fn take_over_kept(&mut self, lane: LaneId, fx: &mut Effects) {
        let port = self.lanes.get(&lane).and_then(|lane| self.ports.get(&lane.port));
        let serves = |p: &Port| {
            let of = |worker| self.workers.get(&worker).is_some_and(|w| w.phase.serves() && w.is_ready());
            let takes = |holder: &Holder| holder.scheduled && !holder.takes_nothing && of(holder.worker);
            p.hands_off() && p.holders.iter().any(takes)
        };
        if port.is_some_and(serves) {
            fx.push(Effect::TakeOver { lane });
        }
    }

    /// Its worker will not have this lane after all.
    pub(super) fn put_back(&mut self, now: Time, lane: LaneId, worker: WorkerId) {
        if self.workers.get(&worker).is_some_and(Worker::is_temporary) {
            self.change(lane, State::Inherited { heir: worker });
        } else {
            self.keep(now, lane);
        }
    }

    /// Ends what is kept for nobody any more.
    pub(super) fn end_unwanted(&mut self, fx: &mut Effects) {
        let unwanted = |lane: &Lane| match lane.state {
            State::Kept => {
                self.ending != Ending::No || lane.slot.is_some_and(|slot| !self.is_awaited(slot, lane.port))
            }
            State::Inherited { heir } => {
                self.ending != Ending::No || self.phase(heir).is_none_or(Phase::is_leaving)
            }
            State::Promised { .. }
            | State::Listens { .. }
            | State::Closed { .. }
            | State::Retiring
            | State::Stuck => false,
        };
        for lane in self.lanes_where(unwanted) {
            match self.state(lane) {
                Some(State::Inherited { .. }) => self.close_lane(lane, fx),
                Some(
                    State::Kept
                    | State::Promised { .. }
                    | State::Listens { .. }
                    | State::Closed { .. }
                    | State::Retiring
                    | State::Stuck,
                )
                | None => self.retire_lane(lane, fx),
            }
        }
    }

    /// Whoever was waited for has not come.
    pub(crate) fn lane_due(&mut self, now: Time, lane: LaneId, fx: &mut Effects) {
        match self.state(lane) {
            // Its burial decides whether a successor gets it.
            Some(State::Closed { worker }) if self.phase(worker).is_some_and(Phase::is_leaving) => {}
            Some(State::Kept | State::Closed { .. }) => self.retire_lane(lane, fx),
            Some(State::Stuck) => self.stuck_too_long(now, lane, fx),
            Some(State::Retiring) => fx.push(Effect::RetireLane { lane }),
            Some(State::Promised { .. } | State::Listens { .. } | State::Inherited { .. }) | None => {}
        }
    }

    pub(super) fn retire_lane(&mut self, lane: LaneId, fx: &mut Effects) {
        if self.ending != Ending::No {
            return self.close_lane(lane, fx);
        }
        if !self.is_taken_over(lane) {
            return self.close_lane(lane, fx);
        }
        self.change(lane, State::Retiring);
        fx.push(Effect::RetireLane { lane });
    }

    /// Whether what waits there would find anybody, if it is one that can be emptied by the primary.
    pub(crate) fn is_taken_over(&self, lane: LaneId) -> bool {
        let port = self.lanes.get(&lane).and_then(|lane| self.ports.get(&lane.port));
        port.is_none_or(|p| !p.hands_off() || p.holders.is_empty() || p.has_takers())
    }

    /// Whether what waits in a lane is still to be accepted.
    pub(crate) fn is_emptying_lanes(&self) -> bool {
        self.lanes.values().any(|lane| lane.state == State::Retiring)
    }

    /// What waits there goes on waiting until descriptors are free.
    pub(crate) fn lane_exhausted(&mut self, now: Time, lane: LaneId, fx: &mut Effects) {
        if self.state(lane) != Some(State::Retiring) {
            return;
        }
        if let Some(port) = self.lanes.get(&lane).map(|lane| lane.port) {
            self.accept_exhausted(now, port, fx);
        }
        self.timers.arm(Timer::Lane(lane), now.after(RETRY));
    }

    pub(crate) fn lane_retired(&mut self, now: Time, lane: LaneId, fx: &mut Effects) {
        if self.state(lane) == Some(State::Retiring) {
            self.remove_lane(lane);
            self.advance_stop(now, fx);
        }
    }

    pub(super) fn close_lane(&mut self, lane: LaneId, fx: &mut Effects) {
        self.remove_lane(lane);
        fx.push(Effect::CloseLane { lane });
    }

    /// Closes the lanes of a port that ends.
    pub(crate) fn close_lanes_of(&mut self, port: PortId, fx: &mut Effects) {
        for lane in self.lanes_where(|lane| lane.port == port) {
            self.close_lane(lane, fx);
        }
    }

    /// Without a socket a port is nobody's: it is to be looked at anew whether it is free when somebody asks again.
    pub(crate) fn close_bare_ports(&mut self, fx: &mut Effects) {
        let used: BTreeSet<PortId> = self.lanes.values().map(|lane| lane.port).collect();
        let bare = self
            .ports
            .iter()
            .filter(|(port, p)| p.mode == Mode::Lanes && p.phase == PortPhase::Open && !used.contains(port))
            // What was taken over waits for whoever comes.
            .filter(|(_, p)| p.queue.is_empty() || !self.someone_comes());
        for port in bare.map(|(&port, _)| port).collect::<Vec<_>>() {
            self.close_port(port, fx);
        }
    }

    pub(crate) fn lanes_where(&self, wanted: impl Fn(&Lane) -> bool) -> Vec<LaneId> {
        self.lanes.iter().filter(|(_, lane)| wanted(lane)).map(|(&lane, _)| lane).collect()
    }
}
