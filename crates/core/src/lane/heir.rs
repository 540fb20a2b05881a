//! The temporary copy: connections wait in a lane that nobody takes over and that the kernel does not migrate, so a
//! copy of the program is started outside the slots, adopts that lane, empties it and leaves. It is never chosen,
//! never ready, and there is at most one at a time; what it fails to adopt is closed.

use super::{Lane, State};
use crate::cluster::Cluster;
use crate::effect::{Effect, Effects, Notice, Origin};
use crate::ids::{LaneId, Time, WorkerId};
use crate::settings::Attach;
use crate::stop::Ending;
use crate::timer::Timer;
use crate::worker::{Role, Worker};

impl Cluster {
    pub(crate) fn lane_stuck(&mut self, now: Time, lane: LaneId) {
        if self.state(lane) == Some(State::Retiring) {
            self.change(lane, State::Stuck);
            self.timers.arm(Timer::Lane(lane), now.after(self.settings.listen_timeout));
        }
    }

    /// Starts a copy for the lanes that are stuck, where one would work: somebody else of its kind does.
    pub(super) fn serve_stuck(&mut self, now: Time, fx: &mut Effects) {
        let stuck = self.lanes_where(|lane| lane.state == State::Stuck);
        if stuck.is_empty() {
            return;
        }
        let stays = |w: &Worker| !w.phase.is_leaving() && !w.is_temporary();
        let hope = self.ending == Ending::No && (self.someone_comes() || self.workers.values().any(stays));
        if !hope {
            for lane in stuck {
                self.close_lane(lane, fx);
            }
        } else if let Some(heir) = self.heir() {
            self.bequeath(stuck, heir);
        } else if self.workers.values().any(|w| stays(w) && w.is_proven()) {
            let heir = self.spawn(now, None, Attach::Program, fx);
            if let Some(w) = self.workers.get_mut(&heir) {
                w.role = Role::Temporary;
            }
            fx.push(Effect::Tell(Notice::Temporary { worker: heir }));
            self.bequeath(stuck, heir);
        }
    }

    /// Gives the copy one lane on each port that it has not bound yet; more of them it may not be able to have.
    fn bequeath(&mut self, stuck: Vec<LaneId>, heir: WorkerId) {
        for lane in stuck {
            let Some(port) = self.lanes.get(&lane).map(|lane| lane.port) else { continue };
            let bound =
                self.workers.get(&heir).is_none_or(|w| w.phase.is_leaving() || w.ports.contains(&port));
            let inherits = |l: &Lane| {
                l.port == port && matches!(l.state, State::Inherited { heir: whose } if whose == heir)
            };
            if !bound && !self.lanes.values().any(inherits) {
                self.change(lane, State::Inherited { heir });
            }
        }
    }

    /// It waits for a copy. While one is at work, the next one may be for this lane.
    pub(super) fn stuck_too_long(&mut self, now: Time, lane: LaneId, fx: &mut Effects) {
        if self.heir().is_some() {
            self.timers.arm(Timer::Lane(lane), now.after(self.settings.listen_timeout));
        } else {
            self.close_lane(lane, fx);
        }
    }

    fn heir(&self) -> Option<WorkerId> {
        self.workers.values().find(|w| w.is_temporary()).map(|w| w.id)
    }

    /// Asks the copy to leave as soon as it has what it was started for.
    pub(super) fn dismiss_heir(&mut self, now: Time, fx: &mut Effects) {
        let Some(heir) = self.heir() else { return };
        let awaits = |lane: LaneId| match self.state(lane) {
            Some(State::Inherited { heir: whose }) => whose == heir,
            Some(State::Promised { to, origin: Origin::Adopted }) => to == heir,
            Some(
                State::Promised { origin: Origin::Fresh, .. }
                | State::Listens { .. }
                | State::Closed { .. }
                | State::Kept
                | State::Retiring
                | State::Stuck,
            )
            | None => false,
        };
        let stays = self.phase(heir).is_some_and(|phase| !phase.is_leaving());
        if stays && !self.lanes.keys().any(|&lane| awaits(lane)) {
            self.ask(now, heir, fx);
        }
    }
}
