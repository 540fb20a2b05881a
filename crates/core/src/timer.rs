//! The deadlines of the core, at most one of each name. A timer that fires late or no longer fits the state is
//! harmless: whoever handles it looks at the state first.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{LaneId, PortId, Slot, Time, WorkerId};

/// What a deadline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The worker's phase lasts too long.
    Life(WorkerId),
    /// The worker has been ready for `min_uptime`.
    Proof(WorkerId),
    /// The worker should have become ready by now.
    Readiness(WorkerId),
    /// The worker's oldest hand-off is due.
    Hang(WorkerId),
    /// The slot's pause before a restart is over.
    Restart(Slot),
    /// The worker should have said that it is alive by now.
    Watchdog(WorkerId),
    /// A lane has waited long enough for somebody.
    Lane(LaneId),
    /// A worker that refused connections may be asked again.
    Retry(PortId),
    /// Arrivals have waited in the kernel long enough.
    Watch,
    /// Accepting may be tried again after running out of descriptors.
    Accept,
    /// A port whose last server closed is to be closed.
    Close(PortId),
    /// Ports nobody holds any more are to be looked at.
    Orphans,
    /// Waiting connections were given time enough to be served before the stop.
    Stop,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timers {
    due: BTreeSet<(Time, Timer)>,
    at: BTreeMap<Timer, Time>,
}

impl Timers {
    /// Sets or moves a deadline.
    pub(crate) fn arm(&mut self, timer: Timer, at: Time) {
        self.disarm(timer);
        if !at.is_never() {
            self.at.insert(timer, at);
            self.due.insert((at, timer));
        }
    }

    /// Moves a deadline that is set, if the new one is later.
    pub(crate) fn postpone(&mut self, timer: Timer, at: Time) {
        if self.at.get(&timer).is_some_and(|before| *before < at) {
            self.arm(timer, at);
        }
    }

    pub(crate) fn disarm(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.due.remove(&(at, timer));
        }
    }

    pub(crate) fn due(&self, timer: Timer) -> Option<Time> {
        self.at.get(&timer).copied()
    }

    pub(crate) fn is_armed(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.due.first().map(|&(at, _)| at)
    }

    /// Takes the earliest deadline that has passed.
    pub(crate) fn pop(&mut self, now: Time) -> Option<Timer> {
        let &(at, timer) = self.due.first()?;
        if at > now {
            return None;
        }
        self.disarm(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_deadline_fires_once_at_its_new_time() {
        let mut timers = Timers::default();
        timers.arm(Timer::Accept, Time(5));
        timers.arm(Timer::Accept, Time(9));
        assert_eq!(timers.pop(Time(8)), None);
        assert_eq!(timers.pop(Time(9)), Some(Timer::Accept));
        assert_eq!(timers.pop(Time(99)), None);
        assert_eq!(timers.next(), None);
    }
}
