//! Replacing every supervised worker, the new one first.
//!
//! For each slot: start a successor; once it is proven ask its predecessor to leave; once that is gone take the
//! next slot. A successor that cannot prove itself is ended, its predecessor stays, and the reload stops there.

use std::collections::VecDeque;
use std::time::Duration;

use crate::cluster::{Cluster, slot_at};
use crate::effect::{Effect, Effects, Notice, ReloadFailure};
use crate::event::Exit;
use crate::ids::{Slot, Time, WorkerId};
use crate::life::Phase;
use crate::slot::Occupancy;
use crate::stop::Ending;
use crate::timer::Timer;
use crate::worker::{EndCause, Worker};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The successor has to show that it works.
    Proving,
    /// The predecessor leaves.
    Retiring,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Replacement {
    slot: Slot,
    new: WorkerId,
    stage: Stage,
}

/// Workers that come first, and are watched beside those that they are to replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canary {
    /// How many, at least 1.
    pub workers: usize,
    /// How long they have to serve, beside the others, before anything else is done.
    pub watch: Duration,
}

/// Which workers are replaced, and in what manner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadTerms {
    /// Of these slots; where none is named of all but those that were stopped.
    pub slots: Vec<Slot>,
    /// So many at a time; `None`: as the settings say.
    pub parallel: Option<usize>,
    /// Who comes first.
    pub canary: Option<Canary>,
}

/// A reload under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Roll {
    todo: VecDeque<Slot>,
    parallel: Option<usize>,
    /// Until the last of these slots is done, nothing else is.
    canary: Option<(Canary, usize)>,
    active: Vec<Replacement>,
    replaced: usize,
    started: Time,
}

impl Cluster {
    pub(crate) fn reload(&mut self, now: Time, terms: ReloadTerms, fx: &mut Effects) {
        if self.ending != Ending::No || self.slots.is_empty() {
            return;
        }
        if self.roll.is_some() {
            self.roll_again = true;
            return fx.push(Effect::Tell(Notice::ReloadQueued));
        }
        // What was stopped by name stays so, unless it is named again.
        let wanted = |slot: &Slot| match terms.slots.is_empty() {
            true => self.slot(*slot).is_some_and(|found| found.occupancy != Occupancy::Stopped),
            false => terms.slots.contains(slot),
        };
        let todo: VecDeque<Slot> = (0..self.slots.len()).map(slot_at).filter(wanted).collect();
        fx.push(Effect::Tell(Notice::ReloadStarted { workers: todo.len() }));
        let canary = terms.canary.map(|canary| (canary, canary.workers.clamp(1, todo.len().max(1))));
        let parallel = terms.parallel;
        self.roll = Some(Roll { todo, parallel, canary, active: Vec::new(), replaced: 0, started: now });
        self.advance_roll(now, fx);
    }

    /// Starts as many replacements as may run at a time; ends the reload when none is left.
    pub(crate) fn advance_roll(&mut self, now: Time, fx: &mut Effects) {
        loop {
            let Some(roll) = self.roll.as_mut() else { return };
            let begun = roll.replaced + roll.active.iter().filter(|r| r.stage == Stage::Proving).count();
            let is_canary = match roll.canary {
                // Those that are watched come all at once, and nobody follows them before they are through.
                Some((_, first)) if begun < first => true,
                Some((_, first)) if roll.replaced < first || !roll.active.is_empty() => return,
                Some(_) | None => {
                    roll.canary = None;
                    false
                }
            };
            let at_a_time = roll.parallel.unwrap_or(self.settings.parallel).max(1);
            if !is_canary && roll.active.len() >= at_a_time {
                return;
            }
            let Some(slot) = roll.todo.pop_front() else { break };
            let new = self.spawn(now, Some(slot), self.settings.attach, fx);
            if is_canary && let Some(w) = self.workers.get_mut(&new) {
                w.on_trial();
                fx.push(Effect::Tell(Notice::OnTrial { worker: new }));
            }
            match self.slot(slot).map(|s| s.occupancy) {
                Some(Occupancy::Held(old)) => self.occupy(slot, Occupancy::Handing { old, new }),
                // Left over from a reload that was given up: one of the two is leaving already.
                Some(Occupancy::Handing { old, new: former }) => {
                    let leaves = self.phase(former).is_none_or(Phase::is_leaving);
                    self.occupy(slot, Occupancy::Handing { old: if leaves { old } else { former }, new });
                }
                Some(Occupancy::Waiting | Occupancy::Errored | Occupancy::Stopped) => {
                    self.timers.disarm(Timer::Restart(slot));
                    self.occupy(slot, Occupancy::Held(new));
                }
                None => {}
            }
            if let Some(roll) = self.roll.as_mut() {
                roll.active.push(Replacement { slot, new, stage: Stage::Proving });
            }
        }
        if self.roll.as_ref().is_some_and(|roll| roll.active.is_empty())
            && let Some(done) = self.roll.take()
        {
            let took = now.since(done.started);
            fx.push(Effect::Tell(Notice::ReloadDone { replaced: done.replaced, took }));
            self.reload_again(now, fx);
        }
    }

    /// How long this worker has to be up, once it is ready, until it is proven.
    pub(crate) fn proof_takes(&self, worker: WorkerId) -> Duration {
        let watched = self.roll.as_ref().and_then(|roll| roll.canary).filter(|_| self.is_proving(worker));
        let watch = watched.map_or(Duration::ZERO, |(canary, _)| canary.watch);
        self.settings.min_uptime.max(watch)
    }

    /// Whether this worker is a successor that has still to prove itself.
    pub(crate) fn is_proving(&self, worker: WorkerId) -> bool {
        let active = self.roll.iter().flat_map(|roll| &roll.active);
        active.into_iter().any(|r| r.new == worker && r.stage == Stage::Proving)
    }

    pub(crate) fn roll_proven(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        let Some(roll) = self.roll.as_mut() else { return };
        let Some(replacement) = roll.active.iter_mut().find(|r| r.new == worker && r.stage == Stage::Proving)
        else {
            return;
        };
        replacement.stage = Stage::Retiring;
        let slot = replacement.slot;
        roll.replaced += 1;
        fx.push(Effect::Tell(Notice::Replaced { slot, new: worker }));
        match self.slot(slot).map(|s| s.occupancy) {
            Some(Occupancy::Handing { old, .. }) => self.ask(now, old, fx),
            Some(Occupancy::Held(_) | Occupancy::Waiting | Occupancy::Errored | Occupancy::Stopped)
            | None => {
                self.finish_replacement(now, slot, fx);
            }
        }
    }

    /// A worker is gone: the predecessor that was awaited, or a successor that failed.
    pub(crate) fn roll_lost(&mut self, now: Time, dead: &Worker, exit: Exit, fx: &mut Effects) {
        let Some(slot) = dead.slot else { return };
        let Some(roll) = self.roll.as_ref() else { return };
        let Some(replacement) = roll.active.iter().find(|r| r.slot == slot) else { return };
        if replacement.new == dead.id {
            let failure = match dead.cause {
                EndCause::ByItself | EndCause::Voluntary | EndCause::Killed | EndCause::Shortage => {
                    ReloadFailure::Died(exit)
                }
                EndCause::NotReady => ReloadFailure::NotReady(self.settings.listen_timeout),
                EndCause::Violation | EndCause::Hung => ReloadFailure::Condemned(dead.cause),
                EndCause::Asked => ReloadFailure::Interrupted,
            };
            self.abort_roll(now, slot, dead.id, failure, fx);
            return;
        }
        // Not everybody who dies with this slot's number is the predecessor: it may be a straggler of an earlier
        // reload, or of a slot that was scaled away meanwhile.
        let alone = self.slot(slot).is_some_and(|s| s.occupancy == Occupancy::Held(replacement.new));
        if replacement.stage == Stage::Retiring && alone {
            self.finish_replacement(now, slot, fx);
        }
    }

    fn finish_replacement(&mut self, now: Time, slot: Slot, fx: &mut Effects) {
        if let Some(roll) = self.roll.as_mut() {
            roll.active.retain(|r| r.slot != slot);
        }
        self.advance_roll(now, fx);
    }

    fn abort_roll(
        &mut self,
        now: Time,
        slot: Slot,
        worker: WorkerId,
        failure: ReloadFailure,
        fx: &mut Effects,
    ) {
        let Some(roll) = self.roll.take() else { return };
        fx.push(Effect::Tell(Notice::ReloadAborted { slot, worker, failure, replaced: roll.replaced }));
        for other in roll.active {
            let handing = matches!(
                self.slot(other.slot).map(|s| s.occupancy),
                Some(Occupancy::Handing { new, .. }) if new == other.new
            );
            if other.stage == Stage::Proving && handing {
                self.ask(now, other.new, fx);
            }
        }
        self.reload_again(now, fx);
    }

    /// Whoever asked meanwhile may have mended what made this one fail.
    fn reload_again(&mut self, now: Time, fx: &mut Effects) {
        if std::mem::take(&mut self.roll_again) {
            self.reload(now, ReloadTerms::default(), fx);
        }
    }

    /// The app is ending.
    pub(crate) fn interrupt_roll(&mut self, fx: &mut Effects) {
        self.roll_again = false;
        let Some(roll) = self.roll.take() else { return };
        if let Some(&Replacement { slot, new: worker, .. }) = roll.active.first() {
            let (failure, replaced) = (ReloadFailure::Interrupted, roll.replaced);
            fx.push(Effect::Tell(Notice::ReloadAborted { slot, worker, failure, replaced }));
        }
    }

    /// The slot is being scaled away.
    pub(crate) fn forget_in_roll(&mut self, slot: Slot) {
        if let Some(roll) = self.roll.as_mut() {
            roll.todo.retain(|s| *s != slot);
            roll.active.retain(|r| r.slot != slot);
        }
    }
}
