//! Which CPU runs what: servers (primary and workers) on one, the load generator on another.
//!
//! Affinity is inherited over fork and exec, so starting a server on its CPU is enough; nothing is changed for
//! any process the runner did not start. With fewer than two CPUs nothing is pinned, and the report says so.

use crate::error::{Cannot, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Where the generator and the servers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pins {
    /// Two CPUs of their own.
    Apart {
        /// The load generator's.
        generator: usize,
        /// The servers', all processes of them.
        servers: usize,
        /// Every one that the runner may use.
        all: CpuSet,
    },
    /// Not enough CPUs: everybody everywhere.
    Together,
}

impl Pins {
    /// Takes the first two CPUs this process may use, and puts the calling thread on the generator's.
    pub(crate) fn take() -> Result<Self> {
        let allowed = sched_getaffinity(None).cannot(|| "read the allowed cpus".into())?;
        let mut cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
        match (cpus.next(), cpus.next()) {
            (Some(generator), Some(servers)) => {
                pin(generator)?;
                Ok(Self::Apart { generator, servers, all: allowed })
            }
            (Some(_) | None, _) => Ok(Self::Together),
        }
    }

    /// Runs `start` on the servers' CPU, so that what it spawns stays there.
    pub(crate) fn on_servers<T>(self, start: impl FnOnce() -> T) -> Result<T> {
        match self {
            Self::Apart { generator, servers, .. } => {
                pin(servers)?;
                let started = start();
                pin(generator)?;
                Ok(started)
            }
            Self::Together => Ok(start()),
        }
    }

    /// Runs `start` on every CPU there is, so that what it spawns may use them all.
    pub(crate) fn on_all<T>(self, start: impl FnOnce() -> T) -> Result<T> {
        match self {
            Self::Apart { generator, all, .. } => {
                sched_setaffinity(None, &all).cannot(|| "run on every cpu".into())?;
                let started = start();
                pin(generator)?;
                Ok(started)
            }
            Self::Together => Ok(start()),
        }
    }
}

/// Restricts the calling thread to one CPU.
fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).cannot(|| format!("run on cpu {cpu}"))
}
