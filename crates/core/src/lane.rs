//! Lanes: sockets of workers that are programs, one or more per worker and port.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::effect::Effects;
use crate::ids::{LaneId, Time, WorkerId};
use crate::life::Input;
use crate::worker::EndCause;

impl Cluster {
    pub(crate) fn stopping(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        self.note_cause(worker, EndCause::Voluntary);
        self.live(now, worker, Input::LeavesByItself, fx);
    }

    pub(crate) fn alive(&mut self, _now: Time, _worker: WorkerId) {}

    pub(crate) fn extend(&mut self, _now: Time, _worker: WorkerId, _by: Duration) {}

    pub(crate) fn lane_listens(&mut self, now: Time, worker: WorkerId, _lane: LaneId, fx: &mut Effects) {
        self.listening(now, worker, fx);
    }

    pub(crate) fn lane_failed(&mut self, _now: Time, _worker: WorkerId, _lane: LaneId, _fx: &mut Effects) {}

    pub(crate) fn lane_closed(&mut self, _now: Time, _lane: LaneId, _fx: &mut Effects) {}

    pub(crate) fn lanes_empty(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        self.live(now, worker, Input::Settled, fx);
    }

    pub(crate) fn lane_stuck(&mut self, _now: Time, _lane: LaneId, _fx: &mut Effects) {}

    pub(crate) fn lane_retired(&mut self, _now: Time, _lane: LaneId, _fx: &mut Effects) {}
}
