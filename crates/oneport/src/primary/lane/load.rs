//! The load of one worker as it is seen from outside: what waits in its lane, what it has open, whether it makes progress.

use std::time::{Duration, Instant};

use oneport_sys::proc::{OpenFiles, waits_of};
use oneport_sys::process::Pid;

/// So long a worker must have made no progress before others get what waits for it. At saturation a worker that does has
/// been seen the same for two or three looks in a row.
const PATIENCE: Duration = Duration::from_millis(10);

/// How often a worker that accepts meanwhile is looked at again.
const MOST_LOOKS: usize = 3;

/// One worker's.
#[derive(Debug)]
pub(super) struct Load {
    root: Pid,
    processes: Vec<Process>,
    queue: u32,
    open: u32,
    /// Whatever shows progress.
    signs: Signs,
    /// Since when connections wait and nothing shows any.
    stuck_since: Option<Instant>,
}

#[derive(Debug)]
struct Process {
    pid: Pid,
    files: OpenFiles,
    /// Descriptors that are no connections: the fewest that were seen.
    base: u32,
}

impl Process {
    fn of(pid: Pid) -> Option<Process> {
        let files = OpenFiles::of(pid).ok()?;
        let base = files.count()?;
        Some(Process { pid, files, base })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Signs {
    /// Connections established so far that do not wait any more, where the kernel counts.
    accepted: Option<u32>,
    files: u32,
    waits: u64,
}

/// Descriptors of all processes, and how many of them are more than each had at the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Files {
    all: u32,
    taken: u32,
}

impl Load {
    /// Of a worker that has begun to listen and has no connection yet.
    pub(super) fn of(root: Pid) -> Load {
        let processes = Process::of(root).into_iter().collect();
        Load { root, processes, queue: 0, open: 0, signs: Signs::default(), stuck_since: None }
    }

    /// The processes that it consists of now. What a new one has belongs to it and is no connection.
    pub(super) fn consists_of(&mut self, members: Vec<Pid>) {
        self.processes.retain(|process| members.contains(&process.pid));
        for pid in members {
            if !self.processes.iter().any(|process| process.pid == pid) {
                self.processes.extend(Process::of(pid));
            }
        }
    }

    /// Looks. Whether anything is going on. `queue`: what waits now; `established`: what the kernel has counted so far.
    pub(super) fn look(&mut self, queue: impl Fn() -> u32, established: Option<u32>, now: Instant) -> bool {
        let (Files { all: files, taken }, queue) = match established {
            // The kernel knows better.
            Some(_) => (Files::default(), queue()),
            None => self.count(queue),
        };
        let accepted = established.map(|established| established.wrapping_sub(queue));
        let open = taken.saturating_add(queue);
        let changed = open != self.open || queue > 0;
        let stands =
            queue > 0 && queue >= self.queue && accepted == self.signs.accepted && files == self.signs.files;
        // A worker that sleeps and wakes goes on; only asked where nothing else says so.
        let waits =
            if stands && accepted.is_none() { waits_of(self.root).unwrap_or(0) } else { self.signs.waits };
        self.stuck_since = match (stands && waits == self.signs.waits, self.stuck_since) {
            (true, Some(since)) => Some(since),
            (true, None) => Some(now),
            (false, _) => None,
        };
        (self.queue, self.open, self.signs) = (queue, open, Signs { accepted, files, waits });
        changed
    }

    /// What is accepted between the two looks would count twice, or not at all.
    fn count(&mut self, queue: impl Fn() -> u32) -> (Files, u32) {
        if self.processes.is_empty() {
            // There were no descriptors for it, or it is gone.
            self.processes.extend(Process::of(self.root));
        }
        let mut before = self.files();
        for _ in 0..MOST_LOOKS {
            let waiting = queue();
            let after = self.files();
            if after == before {
                return (after, waiting);
            }
            before = after;
        }
        (before, queue())
    }

    fn files(&mut self) -> Files {
        let mut files = Files::default();
        for process in &mut self.processes {
            // It is gone, or we are out of descriptors ourselves.
            let Some(count) = process.files.count() else { continue };
            process.base = process.base.min(count);
            files.all = files.all.saturating_add(count);
            files.taken = files.taken.saturating_add(count - process.base);
        }
        files
    }

    /// Whether something waits for it, or it has more open than when it began to listen; asked now.
    pub(super) fn has_some(&mut self) -> bool {
        self.queue > 0 || self.files().taken > 0
    }

    /// How often it has gone to wait for something until now.
    pub(super) fn waits(&self) -> Option<u64> {
        waits_of(self.root).ok()
    }

    /// Connections that it has, those that wait included.
    pub(super) fn open(&self) -> u32 {
        self.open
    }

    /// Nothing waits for it.
    pub(super) fn is_idle(&self) -> bool {
        self.queue == 0
    }

    /// Connections wait, and for a while it has taken none.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        self.stuck_since.is_some_and(|since| now.saturating_duration_since(since) >= PATIENCE)
    }

    /// It was seen to, whatever came of it: patience begins anew.
    pub(super) fn was_seen_to(&mut self, now: Instant) {
        self.stuck_since = Some(now);
    }
}
