//! Walks the table of `life.rs` for one worker and carries out what a transition asks for, up to the burial and
//! what becomes of the slot. Nothing of a worker is taken back before it is gone with its whole tree.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::effect::{Effect, Effects, Notice};
use crate::event::Exit;
use crate::ids::{QuerySeq, Slot, Time, WorkerId};
use crate::life::{Act, Input, Phase, transition};
use crate::restart::Verdict;
use crate::settings::{Restarts, StopWith};
use crate::slot::Occupancy;
use crate::stop::Ending;
use crate::timer::Timer;
use crate::worker::{EndCause, Worker};

/// How long after a start that failed for want of descriptors, memory or processes the next one is tried.
const SHORTAGE_PAUSE: Duration = Duration::from_secs(1);
/// After its channel closed at our request a Node worker ends as soon as its event loop is empty; one that
/// keeps timers running never does.
const EXIT_GRACE: Duration = Duration::from_millis(500);

impl Cluster {
    pub(crate) fn leaves_by_itself(&mut self, now: Time, worker: WorkerId, seq: QuerySeq, fx: &mut Effects) {
        if !self.workers.contains_key(&worker) {
            return;
        }
        self.note_cause(worker, EndCause::Voluntary);
        self.keep_for_successor(now, worker);
        self.live(now, worker, Input::LeavesByItself, fx);
        // Last: when the worker knows, the owner can see it.
        fx.push(Effect::Acknowledge { worker, seq });
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
    pub(crate) fn note_cause(&mut self, worker: WorkerId, cause: EndCause) {
        if let Some(w) = self.workers.get_mut(&worker)
            && w.cause == EndCause::ByItself
            && w.exit.is_none()
        {
            w.cause = cause;
        }
    }

    pub(crate) fn note_exit(&mut self, worker: WorkerId, exit: Exit, now: Time) {
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
        if from != to && to == Phase::Draining {
            self.empty_lanes(worker, fx);
        }
        self.settle(now, worker, fx);
    }

    fn act(&mut self, now: Time, worker: WorkerId, act: Act, fx: &mut Effects) {
        match act {
            Act::Unschedule => self.unschedule(now, worker, fx),
            Act::AllowDrain => {
                let by = now.after(self.settings.drain_timeout).min(self.leave_by).max(now);
                self.timers.arm(Timer::Life(worker), by);
            }
            Act::AskToLeave => {
                let by_word = self.settings.stop_with == StopWith::Disconnect
                    && self.workers.get(&worker).is_some_and(|w| w.channel_open);
                fx.push(if by_word {
                    Effect::TellDisconnect { worker }
                } else {
                    Effect::WatchIdle { worker, linger: Duration::ZERO }
                });
            }
            Act::SignalStop => {
                fx.push(Effect::SignalStop { worker });
                self.timers.arm(Timer::Life(worker), now.after(self.settings.kill_timeout));
            }
            Act::AllowExit => {
                let cause = self.workers.get(&worker).map(|w| w.cause);
                match cause {
                    // It left as we asked, and may still serve connections of sockets of its own (`exclusive`), of
                    // which the channel says nothing: it has the rest of its drain time.
                    Some(EndCause::Asked | EndCause::NotReady) => {
                        fx.push(Effect::WatchIdle { worker, linger: EXIT_GRACE });
                    }
                    // One that leaves of its own accord has its drain time for that, too.
                    Some(EndCause::Voluntary) | None => {}
                    Some(
                        EndCause::ByItself
                        | EndCause::Violation
                        | EndCause::Hung
                        | EndCause::Shortage
                        | EndCause::Killed,
                    ) => {
                        let grace = EXIT_GRACE.min(self.settings.kill_timeout);
                        self.timers.arm(Timer::Life(worker), now.after(grace));
                    }
                }
            }
            Act::KillTree => {
                self.timers.disarm(Timer::Life(worker));
                fx.push(Effect::EndTree { worker, grace: Duration::ZERO });
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
        for timer in [
            Timer::Life(worker),
            Timer::Proof(worker),
            Timer::Readiness(worker),
            Timer::Hang(worker),
            Timer::Watchdog(worker),
        ] {
            self.timers.disarm(timer);
        }
        let (exit, died) = dead.exit.unwrap_or((Exit::NotSpawned, now));
        fx.push(Effect::Tell(Notice::Died { worker, slot: dead.slot, exit, cause: dead.cause }));
        fx.push(Effect::Forget { worker });
        self.vacate(now, &dead, died, fx);
        self.leave_lanes(now, &dead, fx);
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
            Occupancy::Handing { .. }
            | Occupancy::Held(_)
            | Occupancy::Waiting
            | Occupancy::Errored
            | Occupancy::Stopped => {}
        }
    }

    fn refill(&mut self, now: Time, slot: Slot, dead: &Worker, died: Time, fx: &mut Effects) {
        if self.ended_for_good(dead) {
            self.occupy(slot, Occupancy::Stopped);
            fx.push(Effect::Tell(Notice::Finished { slot }));
            return self.end_orphans(now, fx);
        }
        let verdict = match dead.cause {
            EndCause::Asked | EndCause::Killed => Verdict::RestartAfter(Duration::ZERO),
            // One that announces to leave as soon as it is up would be started again without end.
            EndCause::Voluntary if died.since(dead.spawned) >= self.settings.min_uptime => {
                Verdict::RestartAfter(Duration::ZERO)
            }
            // Not the program's fault, and trying again at once would not help.
            EndCause::Shortage => Verdict::RestartAfter(SHORTAGE_PAUSE),
            EndCause::ByItself
            | EndCause::Voluntary
            | EndCause::Violation
            | EndCause::Hung
            | EndCause::NotReady => match self.slots.get_mut(slot.0 as usize) {
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
                self.tell_if_all_errored(fx);
                self.end_orphans(now, fx);
            }
        }
    }

    /// Whether it ended by itself in a way after which it gets no successor.
    fn ended_for_good(&self, dead: &Worker) -> bool {
        let by_itself = match dead.cause {
            EndCause::ByItself | EndCause::Voluntary => true,
            EndCause::Asked
            | EndCause::Killed
            | EndCause::Violation
            | EndCause::Hung
            | EndCause::NotReady
            | EndCause::Shortage => false,
        };
        let code = match dead.exit {
            Some((Exit::Code(code), _)) => Some(code),
            Some((Exit::Signal(_) | Exit::NotSpawned, _)) | None => None,
        };
        let is_final = code.is_some_and(|code| self.settings.stop_exit_codes.contains(&code));
        by_itself
            && match self.settings.restarts {
                Restarts::Always => is_final,
                Restarts::Never => true,
            }
    }

    pub(crate) fn tell_if_all_errored(&self, fx: &mut Effects) {
        if !self.slots.is_empty() && self.slots.iter().all(|s| s.occupancy == Occupancy::Errored) {
            fx.push(Effect::Tell(Notice::AllErrored));
        }
    }
}
