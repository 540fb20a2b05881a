//! A supervised place and who occupies it. During a reload the successor is already there, unproven, while
//! its predecessor serves.

use crate::ids::WorkerId;
use crate::restart::History;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occupancy {
    /// Waiting for its pause to pass.
    Waiting,
    /// One worker.
    Held(WorkerId),
    /// A reload: the successor has to prove itself, or its predecessor has still to leave.
    Handing { old: WorkerId, new: WorkerId },
    /// Given up.
    Errored,
    /// Nobody is to be there: the owner wished so, or its worker ended for good.
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotState {
    pub(crate) occupancy: Occupancy,
    pub(crate) history: History,
}

impl SlotState {
    pub(crate) fn new() -> SlotState {
        SlotState { occupancy: Occupancy::Waiting, history: History::default() }
    }

    pub(crate) fn stopped() -> SlotState {
        SlotState { occupancy: Occupancy::Stopped, history: History::default() }
    }

    /// Whether somebody is there, or is to come.
    pub(crate) fn is_wanted(&self) -> bool {
        match self.occupancy {
            Occupancy::Waiting | Occupancy::Held(_) | Occupancy::Handing { .. } => true,
            Occupancy::Errored | Occupancy::Stopped => false,
        }
    }

    pub(crate) fn workers(&self) -> impl Iterator<Item = WorkerId> + use<> {
        let (a, b) = match self.occupancy {
            Occupancy::Waiting | Occupancy::Errored | Occupancy::Stopped => (None, None),
            Occupancy::Held(worker) => (Some(worker), None),
            Occupancy::Handing { old, new } => (Some(old), Some(new)),
        };
        a.into_iter().chain(b)
    }
}
