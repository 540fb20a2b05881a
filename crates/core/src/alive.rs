//! What a worker says about itself besides listening: that it is alive, needs more time, or leaves of its own accord
//! (the words of `sd_notify`).

use std::time::Duration;

use crate::cluster::Cluster;
use crate::effect::Effects;
use crate::ids::{Time, WorkerId};
use crate::life::{Input, Phase};
use crate::timer::Timer;
use crate::worker::EndCause;

/// More time than this is not granted at once.
const LONGEST_EXTENSION: Duration = Duration::from_secs(600);
/// And in all, beyond the deadline that there was: to become ready, and to leave.
const LONGEST_START: Duration = Duration::from_secs(3600);
const LONGEST_LEAVE: Duration = Duration::from_secs(600);

impl Cluster {
    /// It leaves of its own accord and waits for nobody's word. Its process ends by itself, or gets the stop signal
    /// when its drain time is over.
    pub(crate) fn stopping(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        if !self.workers.contains_key(&worker) {
            return;
        }
        self.note_cause(worker, EndCause::Voluntary);
        self.keep_for_successor(now, worker);
        self.live(now, worker, Input::LeavesByItself, fx);
    }

    /// It serves: from now on it has to say that it is alive. One that passes for ready because it never listens may
    /// still be starting, and is watched from its first word on.
    pub(crate) fn begin_watch(&mut self, now: Time, worker: WorkerId) {
        if !self.timers.is_armed(Timer::Watchdog(worker))
            && let Some(span) = self.settings.watchdog
        {
            self.timers.arm(Timer::Watchdog(worker), now.after(span));
        }
    }

    pub(crate) fn alive(&mut self, now: Time, worker: WorkerId) {
        if self.workers.get(&worker).is_some_and(|w| w.told_ready && !w.phase.is_leaving()) {
            self.timers.disarm(Timer::Watchdog(worker));
            self.begin_watch(now, worker);
        }
    }

    pub(crate) fn watchdog_due(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        // One on its way out has other deadlines.
        if self.phase(worker).is_some_and(|phase| !phase.is_leaving()) {
            self.condemn(now, worker, EndCause::Hung, fx);
        }
    }

    /// Once the stop signal was sent nothing is granted: whoever asks again and again would never end.
    pub(crate) fn extend(&mut self, now: Time, worker: WorkerId, by: Duration) {
        let Some(w) = self.workers.get_mut(&worker) else { return };
        let (timer, most) = match w.phase {
            Phase::Starting | Phase::Online | Phase::Listening => (Timer::Readiness(worker), LONGEST_START),
            Phase::Draining | Phase::Leaving => (Timer::Life(worker), LONGEST_LEAVE),
            Phase::Stopping | Phase::Ending | Phase::Gone => return,
        };
        let Some(due) = self.timers.due(timer) else { return };
        let first = match w.extended {
            Some((of, first)) if of == timer => first,
            Some(_) | None => due,
        };
        w.extended = Some((timer, first));
        self.timers.postpone(timer, now.after(by.min(LONGEST_EXTENSION)).min(first.after(most)));
    }
}
