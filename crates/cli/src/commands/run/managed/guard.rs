//! What the guards want: workers replaced that take too much memory, all of them by the clock or when files change. It is done
//! as soon as nothing else is under way; wishes that come meanwhile are one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use oneport_wire::control::{AppSpec, ByteSize, Problem, Reload, Restart};

use super::super::Happening;
use super::{Managed, tenant_of};
use crate::guards::{Alarm, Guards, Plan};

/// Who runs: the numbers of slots, and processes.
#[derive(Clone, Debug, Default)]
pub(super) struct Living(Arc<Mutex<Vec<(u32, i32)>>>);

impl Living {
    fn set(&self, living: Vec<(u32, i32)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = living;
    }

    fn list(&self) -> Vec<(u32, i32)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// These take too much memory.
    heavy: Vec<u32>,
    /// The hour has come.
    hour: bool,
    /// Files have changed.
    changed: bool,
}

impl Wishes {
    fn is_empty(&self) -> bool {
        *self == Wishes::default()
    }
}

impl Managed {
    /// Begins to watch over what the configuration says, in place of what was watched before.
    pub(super) fn set_guards(&mut self) {
        if let Some(before) = self.guards.take() {
            // It waits for its thread, and that may wait for this one to take what it tells.
            let _ = std::thread::Builder::new().name("guards-end".into()).spawn(move || drop(before));
        }
        self.count_living();
        let cwd = self.spec.cwd.clone().map_or_else(|| PathBuf::from("/"), PathBuf::from);
        // Those of each slot have names like these, also of slots that are yet to come.
        let AppSpec { out_file, error_file, log_file, pid_file, .. } = &self.spec;
        let written = [out_file, error_file, log_file, pid_file].into_iter().flatten().map(PathBuf::from);
        let own: Vec<PathBuf> = written.chain([self.boot.home.clone()]).collect();
        let (living, happenings) = (self.living.clone(), self.happenings.clone());
        let tell = move |alarm: Alarm| {
            // Fails only when this primary is over.
            let _ = happenings.send(Happening::Alarm(alarm));
        };
        let guards = Plan::of(&self.spec, &cwd, &own)
            .and_then(|plan| Guards::start(plan, move || living.list(), tell));
        match guards {
            Ok(guards) => self.guards = guards,
            Err(failure) => self.teller().error(failure.message(), failure.advice()),
        }
    }

    pub(super) fn count_living(&self) {
        if self.guards.is_some() || self.spec.max_memory_restart.is_some() {
            let proven = self.slots.iter().filter_map(|slot| Some((slot.id, tenant_of(slot)?.1)));
            self.living.set(proven.collect());
        }
    }

    pub(super) fn alarmed(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Memory { key, used, limit } => {
                let (used, limit) = (ByteSize(used), ByteSize(limit));
                self.teller()
                    .notice(&format!("worker {key} takes {used}, more than {limit}: it is replaced"), None);
                if !self.wishes.heavy.contains(&key) {
                    self.wishes.heavy.push(key);
                }
            }
            Alarm::Cron => {
                self.teller().notice("the hour has come: all workers are replaced", None);
                self.wishes.hour = true;
            }
            Alarm::Changed { path } => {
                self.teller()
                    .notice(&format!("`{}` changed: all workers are replaced", path.display()), None);
                self.wishes.changed = true;
            }
            Alarm::Note(note) => self.teller().notice(&note.message, note.hint.as_deref()),
        }
        self.grant_wishes();
    }

    /// Does what was wished for, if nothing else is under way.
    pub(super) fn grant_wishes(&mut self) {
        if self.wishes.is_empty() || self.course.is_some() || self.rolling {
            return;
        }
        let wishes = std::mem::take(&mut self.wishes);
        // PM2's watch and cron bring back what had crashed or ended, and leave alone what was stopped. A file that was saved
        // half-written takes nothing down.
        let wanted = self.slots.iter().filter(|slot| slot.wanted && !slot.deleted);
        let wanted: Vec<u32> = wanted.map(|slot| slot.id).collect();
        let heavy: Vec<u32> = wishes.heavy.into_iter().filter(|id| wanted.contains(id)).collect();
        let begun = match (wishes.changed, wishes.hour) {
            _ if wanted.is_empty() => return,
            (false, false) if heavy.is_empty() => return,
            (true, _) | (false, true) => self.replace(wanted),
            (false, false) => self.replace(heavy.clone()),
        };
        if let Err(problem) = begun {
            self.teller().error(&problem.error, problem.hint.as_deref());
            self.forgive(heavy.into_iter());
        }
        self.settle_job();
    }

    fn replace(&mut self, ids: Vec<u32>) -> Result<u64, Problem> {
        match self.words.binds_alone() {
            // The new one could not bind beside the old one.
            true => self.restart(Restart { ids, ..Restart::default() }),
            false => self.reload(Reload { ids, ..Reload::default() }),
        }
    }

    /// Replacing these did not work: they are told of again.
    pub(super) fn forgive(&self, ids: impl Iterator<Item = u32>) {
        if let Some(guards) = &self.guards {
            ids.for_each(|id| guards.forget(id));
        }
    }
}
