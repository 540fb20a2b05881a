//! Safeguards of one app: its memory limit, its hours, and its files.
//!
//! What lives here: one thread that finds out and tells. What does not: what is done about it (a drained replacement, the new
//! worker first), which is the business of who started it. Invariants: nothing configured, no thread; the thread wakes when
//! something is due, once a second only if there is a memory limit; what it calls is called on it, one call after the other, and
//! no more once `Guards` is dropped.

mod cron;
mod memory;
mod thread;
mod watch;

use std::path::{Path, PathBuf};

use oneport_wire::control::AppSpec;

use crate::error::Failure;

pub(crate) use cron::Schedule;
pub(crate) use thread::Guards;

/// What is to be guarded.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Bytes of one worker with what it started.
    memory: Option<u64>,
    cron: Schedule,
    watch: Option<watch::Plan>,
}

impl Plan {
    /// What the app's configuration asks for. `cwd` is its working directory. `own`: files and directories that are written for
    /// it (logs, pid files, the home directory), whose changes are never of interest to `watch`.
    pub(crate) fn of(spec: &AppSpec, cwd: &Path, own: &[PathBuf]) -> Result<Plan, Failure> {
        let text = spec.cron_restart.as_ref().map_or("", |text| text.0.as_str());
        let refuse = |cause| {
            Failure::usage(format!("cannot use `{text}` for `cron_restart`: {cause}")).hint(
                "minute, hour, day of the month, month, day of the week: `0 3 * * *` is three in the morning",
            )
        };
        Ok(Plan {
            memory: spec.max_memory_restart.map(|limit| limit.0).filter(|limit| *limit > 0),
            cron: Schedule::parse(text).map_err(refuse)?,
            watch: watch::Plan::of(spec, cwd, own)?,
        })
    }

    fn is_nothing(&self) -> bool {
        self.memory.is_none() && self.cron.is_never() && self.watch.is_none()
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// A worker, by its key, takes more memory than it may.
    Memory { key: u32, used: u64, limit: u64 },
    /// A moment of `cron_restart` has come.
    Cron,
    /// A file changed: this one first.
    Changed { path: PathBuf },
    /// Something cannot be guarded as it was asked for.
    Note(Note),
}

/// Something to tell people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

#[cfg(test)]
mod tests;
