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
    /// One for each process.
    files: Vec<(Pid, OpenFiles)>,
    /// Descriptors that it had when it had no connection yet: the fewest that were seen.
    base: u32,
    queue: u32,
    open: u32,
    /// Whatever shows progress.
    signs: Signs,
    /// Since when connections wait and nothing shows any.
    stuck_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Signs {
    /// Connections established so far that do not wait any more, where the kernel counts.
    accepted: Option<u32>,
    files: u32,
    waits: u64,
}

impl Load {
    /// Of a worker that has begun to listen and has no connection yet.
    pub(super) fn of(files: Vec<OpenFiles>, root: Pid) -> Load {
        let base = files.iter().filter_map(OpenFiles::count).sum();
        let files = files.into_iter().map(|open| (root, open)).collect();
        Load { root, files, base, queue: 0, open: 0, signs: Signs::default(), stuck_since: None }
    }

    /// The processes that it consists of now.
    pub(super) fn consists_of(&mut self, members: Vec<Pid>) {
        self.files.retain(|(pid, _)| members.contains(pid));
        for pid in members {
            if !self.files.iter().any(|(known, _)| *known == pid)
                && let Ok(open) = OpenFiles::of(pid)
            {
                // What a process has that is new belongs to it and is no connection.
                self.base += open.count().unwrap_or(0);
                self.files.push((pid, open));
            }
        }
    }

    /// Looks. Whether anything is going on. `queue`: what waits now; `established`: what the kernel has counted so far.
    pub(super) fn look(&mut self, queue: impl Fn() -> u32, established: Option<u32>, now: Instant) -> bool {
        let (files, taken, queue) = match established {
            // The kernel knows better.
            Some(_) => (0, 0, queue()),
            None => {
                let (files, queue) = self.count(queue);
                self.base = self.base.min(files);
                (files, files - self.base, queue)
            }
        };
        let accepted = established.map(|established| established.wrapping_sub(queue));
        let open = taken + queue;
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
    fn count(&self, queue: impl Fn() -> u32) -> (u32, u32) {
        let mut before = self.count_files();
        for _ in 0..MOST_LOOKS {
            let waiting = queue();
            let after = self.count_files();
            if after == before {
                return (after, waiting);
            }
            before = after;
        }
        (before, queue())
    }

    fn count_files(&self) -> u32 {
        self.files.iter().filter_map(|(_, open)| open.count()).sum()
    }

    /// Whether something waits for it, or it has more open than when it began to listen; asked now.
    pub(super) fn has_some(&self) -> bool {
        self.queue > 0 || self.count_files() > self.base
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

    /// What waited is gone.
    pub(super) fn was_rescued(&mut self, now: Instant) {
        self.stuck_since = Some(now);
    }
}
