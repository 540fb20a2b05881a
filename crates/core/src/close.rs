//! Ports going: an explicit close by the last holder ends a port, and so does its departure in order when nobody
//! follows; death never does. The socket and what waits on it are kept for the successor, until every worker has
//! shown that it does not want the port any more.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::effect::{Effect, Effects};
use crate::ids::{PortId, Slot, Time, WorkerId};
use crate::port::{Mode, Port, PortPhase};
use crate::slot::SlotState;
use crate::stop::Ending;
use crate::timer::Timer;
use crate::worker::Worker;

/// A Node worker that leaves says `close` for each server first and only then that it leaves.
const CLOSE_GRACE: Duration = Duration::from_millis(50);

impl Cluster {
    pub(crate) fn closed(&mut self, now: Time, worker: WorkerId, port: PortId, fx: &mut Effects) {
        let Some(p) = self.ports.get_mut(&port).filter(|p| p.holds(worker)) else { return };
        // What is closed there is a lane, not the port.
        if p.mode == Mode::Lanes {
            return self.close_lanes_by_channel(now, worker, port, fx);
        }
        p.holders.retain(|h| h.worker != worker);
        let last = p.holders.is_empty();
        let Some(w) = self.workers.get_mut(&worker) else { return };
        w.ports.retain(|held| *held != port);
        if !last {
            // Where it was the last proven one, the unproven have their turn now.
            self.serve(now, port, fx);
        } else {
            let kept = p.kept_until > now && self.ending == Ending::No;
            if w.phase.is_leaving() && (kept || self.is_followed(now, worker)) {
                self.note_orphans(now);
            } else {
                self.begin_close(now, port, worker, fx);
            }
        }
    }

    /// A worker with a channel closed its server: what waits in its socket is handed to others. A program says which lane
    /// it closed.
    fn close_lanes_by_channel(&mut self, now: Time, worker: WorkerId, port: PortId, fx: &mut Effects) {
        let Some(p) = self.ports.get_mut(&port).filter(|p| p.hands_off()) else { return };
        if let Some(holder) = p.holder_mut(worker) {
            holder.scheduled = false;
        }
        for lane in self.lanes_where(|lane| lane.port == port && lane.worker() == Some(worker)) {
            self.lane_closed(now, worker, lane, fx);
            if self.timers.is_armed(Timer::Lane(lane)) {
                // Perhaps it says next that it leaves.
                self.timers.arm(Timer::Lane(lane), now.after(CLOSE_GRACE));
                if self.is_taken_over(lane) {
                    fx.push(Effect::TakeOver { lane });
                }
            }
        }
    }

    /// A worker was told to leave, or said that it does. Where it was the last one that stays and nobody follows
    /// it, the port ends with it, as in Node: it would only gather connections that nobody takes.
    pub(crate) fn depart(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        let Some(w) = self.workers.get(&worker) else { return };
        if self.ending != Ending::No || !w.cause.is_in_order() || self.is_followed(now, worker) {
            return;
        }
        for port in w.ports.clone() {
            let ends = |p: &Port| {
                // Where lanes are, nothing gathers: the worker empties its own, and the port ends with the last one.
                p.phase == PortPhase::Open && p.kept_until <= now && p.mode != Mode::Lanes
            };
            if self.ports.get(&port).is_some_and(ends) && !self.is_served_on(port) {
                self.begin_close(now, port, worker, fx);
            }
        }
    }

    /// Whether anybody who stays holds the port.
    fn is_served_on(&self, port: PortId) -> bool {
        let stays = |worker| self.phase(worker).is_some_and(|phase| !phase.is_leaving());
        self.ports.get(&port).is_some_and(|p| p.holders.iter().any(|h| stays(h.worker)))
    }

    /// A worker that nobody replaces died unasked. Its owner may do that, and has as long as a successor would.
    pub(crate) fn keep_for_owner(&mut self, now: Time, worker: WorkerId) {
        let Some(w) = self.workers.get(&worker) else { return };
        if w.slot.is_some() || w.cause.is_in_order() {
            return;
        }
        for port in w.ports.clone() {
            if !self.is_served_on(port)
                && let Some(p) = self.ports.get_mut(&port)
            {
                p.kept_until = now.after(self.settings.listen_timeout);
            }
        }
    }

    fn begin_close(&mut self, now: Time, port: PortId, worker: WorkerId, fx: &mut Effects) {
        let Some(p) = self.ports.get_mut(&port) else { return };
        match p.phase {
            PortPhase::Open => {
                p.phase = PortPhase::Closing(worker);
                self.timers.arm(Timer::Close(port), now.after(CLOSE_GRACE));
            }
            PortPhase::Shut => self.close_port(port, fx),
            PortPhase::Opening { .. } | PortPhase::Closing(_) => {}
        }
        self.advance_stop(now, fx);
    }

    pub(crate) fn close_due(&mut self, now: Time, port: PortId, fx: &mut Effects) {
        if let Some(PortPhase::Closing(_)) = self.ports.get(&port).map(|p| &p.phase) {
            self.close_port(port, fx);
            self.advance_stop(now, fx);
        }
    }

    /// The worker that closed these ports is leaving: they stay for its successor.
    pub(crate) fn keep_for_successor(&mut self, now: Time, worker: WorkerId) {
        if !self.is_followed(now, worker) {
            return;
        }
        for (&port, p) in &mut self.ports {
            if p.phase == PortPhase::Closing(worker) {
                p.phase = PortPhase::Open;
                self.timers.disarm(Timer::Close(port));
            }
        }
    }

    /// Whether somebody supervised comes who may want the ports of this leaving worker: its own successor, or
    /// another one that is to be started or has not listened yet.
    fn is_followed(&self, now: Time, worker: WorkerId) -> bool {
        let timeout = self.settings.listen_timeout;
        let young = |w: &Worker| w.slot.is_some() && !w.has_listened && w.spawned.after(timeout) > now;
        let boots = |w: &Worker| young(w) && !w.phase.is_leaving();
        let slot = self.workers.get(&worker).and_then(|w| w.slot);
        slot.is_some_and(|slot| self.has_successor(slot))
            || self.someone_comes()
            || (self.ending == Ending::No && self.workers.values().any(boots))
    }

    pub(crate) fn has_successor(&self, slot: Slot) -> bool {
        self.ending == Ending::No && self.slot(slot).is_some_and(SlotState::is_wanted)
    }

    /// Ports this worker closed a moment ago, which nobody else holds.
    pub(crate) fn closing_ports(&self, worker: WorkerId) -> Vec<PortId> {
        let closing = self.ports.iter().filter(|(_, p)| p.phase == PortPhase::Closing(worker));
        closing.map(|(&port, _)| port).collect()
    }

    /// Ends a port: what waits on it is closed, nothing hangs.
    pub(crate) fn close_port(&mut self, port: PortId, fx: &mut Effects) {
        self.close_lanes_of(port, fx);
        let Some(ended) = self.ports.remove(&port) else { return };
        self.drop_queue(ended.queue, fx);
        for holder in &ended.holders {
            if let Some(w) = self.workers.get_mut(&holder.worker) {
                w.ports.retain(|held| *held != port);
            }
        }
        self.timers.disarm(Timer::Close(port));
        self.timers.disarm(Timer::Retry(port));
        fx.push(Effect::Close { port });
    }

    /// Something waits on a port that will never be held again: close it.
    pub(crate) fn drop_unservable(&mut self, port: PortId, fx: &mut Effects) {
        let Some(p) = self.ports.get(&port) else { return };
        if p.phase == PortPhase::Shut && p.holders.is_empty() {
            self.close_port(port, fx);
        }
    }

    /// A port lost its last holder to a death or a departure: it is looked at again later.
    pub(crate) fn note_orphans(&mut self, now: Time) {
        if self.has_orphans() && !self.timers.is_armed(Timer::Orphans) {
            self.timers.arm(Timer::Orphans, now.after(self.settings.listen_timeout));
        }
    }

    fn has_orphans(&self) -> bool {
        self.ports.values().any(Port::is_orphan)
    }

    /// Ports that nobody came back for end, but only once everybody who lives has had `listen_timeout` to come: a
    /// server may open its ports one after the other.
    pub(crate) fn end_orphans(&mut self, now: Time, fx: &mut Effects) {
        if !self.has_orphans() {
            return;
        }
        let timeout = self.settings.listen_timeout;
        let coming =
            self.workers.values().filter(|w| !w.phase.is_leaving()).map(|w| w.spawned.after(timeout));
        let due = if self.someone_comes() { Some(now.after(timeout)) } else { coming.max() };
        match due.filter(|due| *due > now) {
            Some(due) => self.timers.arm(Timer::Orphans, due),
            None => self.close_orphans(now, fx),
        }
    }

    /// Whether some slot is to be filled: it is empty, or everybody in it is on the way out.
    pub(crate) fn someone_comes(&self) -> bool {
        let stays = |worker| self.phase(worker).is_some_and(|phase| !phase.is_leaving());
        let vacant = |s: &SlotState| s.is_wanted() && !s.workers().any(stays);
        self.ending == Ending::No && self.slots.iter().any(vacant)
    }

    fn close_orphans(&mut self, now: Time, fx: &mut Effects) {
        let orphans = self.ports.iter().filter(|(_, p)| p.is_orphan());
        let mut kept_until = None;
        for (port, until) in orphans.map(|(&port, p)| (port, p.kept_until)).collect::<Vec<_>>() {
            if until <= now {
                self.close_port(port, fx);
            } else {
                kept_until = kept_until.into_iter().chain([until]).min();
            }
        }
        if let Some(at) = kept_until {
            self.timers.arm(Timer::Orphans, at);
        }
        self.advance_stop(now, fx);
    }
}
