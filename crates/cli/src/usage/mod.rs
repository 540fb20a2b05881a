//! What workers use: processor, memory and open connections, for the list and for the memory limit.
//!
//! What lives here: remembering the last look, so that processor time becomes a share. What does not: what is done about it
//! (`guards`). Invariants: processes come and go meanwhile, which is never an error; one look is a few milliseconds, because
//! the list waits for it, and whoever holds more connections than can be counted in that time is not counted.

mod connections;

use std::collections::HashMap;

use oneport_sys::clock::boot_time;
use oneport_sys::proc::{Relative, families};
use oneport_sys::process::Pid;

/// Nanoseconds below which two looks are one: processor time is counted in ticks of 10 ms, so the share since would be noise.
const SHORTEST: u64 = 200_000_000;

/// Remembers the last look at each worker.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    seen: HashMap<u32, Seen>,
}

/// What one worker uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Percent of one CPU, by the worker and what it started: since the last look, at the first since it started.
    pub(crate) cpu: Option<f32>,
    /// Resident bytes of the worker and of everything it started; pages that several share count for each.
    pub(crate) memory: Option<u64>,
    /// Connections on the app's ports that it, or what it started, holds.
    pub(crate) connections: Option<u64>,
}

#[derive(Debug)]
struct Seen {
    /// The worker's process: its number and start.
    process: (Pid, u64),
    at: u64,
    /// Processor time of each process of its family, by number and start.
    used: HashMap<(Pid, u64), u64>,
    cpu: f32,
}

impl Usage {
    /// One look at all workers, by their key. Those that are not named are forgotten; one whose process is gone has an empty
    /// sample. No ports: connections are not looked for.
    pub(crate) fn take(&mut self, workers: &[(u32, i32)], ports: &[u16]) -> HashMap<u32, Sample> {
        let named: Vec<(u32, Pid)> =
            workers.iter().filter_map(|(key, pid)| Some((*key, Pid::new(*pid)?))).collect();
        let roots: Vec<Pid> = named.iter().map(|(_, pid)| *pid).collect();
        let families = families(&roots);
        let now = boot_time();
        let connections = connections::count(&families, ports);
        let mut samples: HashMap<u32, Sample> =
            workers.iter().map(|(key, _)| (*key, Sample::default())).collect();
        let mut seen = HashMap::with_capacity(named.len());
        for (((key, _), family), connections) in named.iter().zip(&families).zip(connections) {
            let Some(root) = family.first() else { continue };
            let before = self.seen.remove(key).filter(|seen| seen.process == (root.pid, root.start_ticks));
            let after = look(family, root, before, now);
            let memory = family.iter().fold(0, |sum: u64, member| sum.saturating_add(member.rss));
            samples.insert(*key, Sample { cpu: Some(after.cpu), memory: Some(memory), connections });
            seen.insert(*key, after);
        }
        self.seen = seen;
        samples
    }
}

/// The share since the look before. What ended meanwhile has taken its time with it.
fn look(family: &[Relative], root: &Relative, before: Option<Seen>, now: u64) -> Seen {
    let before = match before {
        Some(before) if now.saturating_sub(before.at) < SHORTEST => return before,
        before => before,
    };
    let used: HashMap<(Pid, u64), u64> =
        family.iter().map(|member| ((member.pid, member.start_ticks), member.cpu_ns)).collect();
    let (since, known) = match &before {
        Some(before) => (before.at, Some(&before.used)),
        None => (root.start_ns(), None),
    };
    let earlier = |process| known.and_then(|known| known.get(process)).copied().unwrap_or(0);
    let spent = used
        .iter()
        .fold(0, |sum: u64, (process, ns)| sum.saturating_add(ns.saturating_sub(earlier(process))));
    // A process that has just started: no shorter than the tick its time is counted in.
    let elapsed = now.saturating_sub(since).max(10_000_000);
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a percentage")]
    let cpu = (spent as f64 * 100.0 / elapsed as f64) as f32;
    Seen { process: (root.pid, root.start_ticks), at: now, used, cpu }
}

#[cfg(test)]
mod tests;
