//! A worker that is up and never asks for a port, while a process of its tree listens on one. Of a worker with a channel
//! some wrapper has kept that to itself (package managers are known by name and get none; this finds the others). A
//! program's bind has passed by the traps.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use oneport::WorkerId;
use oneport_sys::proc::listening_sockets;
use oneport_sys::process::Pid;
use oneport_sys::tree;

use super::Run;
use crate::attach::Class;

/// When a worker is looked at, from the moment it is up: what a wrapper starts may take its time.
const LOOKS: [Duration; 3] = [Duration::from_secs(3), Duration::from_secs(10), Duration::from_secs(30)];

/// Workers that are up and have not asked for a port, each with the time of the next look.
#[derive(Default)]
pub(super) struct Unheard(BTreeSet<Watch>);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Watch {
    due: Instant,
    worker: WorkerId,
    online: Instant,
    look: usize,
}

impl Unheard {
    pub(super) fn watch(&mut self, worker: WorkerId, online: Instant) {
        self.0.insert(Watch { due: online + LOOKS[0], worker, online, look: 0 });
    }

    /// It asked for a port, was reported, or is gone.
    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.0.retain(|watch| watch.worker != worker);
    }

    /// When the next look is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.first().map(|watch| watch.due)
    }

    /// A worker to look at now; it is watched on until its last look.
    fn take(&mut self, now: Instant) -> Option<WorkerId> {
        let watch = self.0.pop_first()?;
        if watch.due > now {
            self.0.insert(watch);
            return None;
        }
        if let Some(after) = LOOKS.get(watch.look + 1) {
            self.0.insert(Watch { due: watch.online + *after, look: watch.look + 1, ..watch });
        }
        Some(watch.worker)
    }
}

impl Run {
    pub(super) fn watch_unheard(&mut self, worker: WorkerId, online: Instant) {
        match self.class {
            Class::Channel | Class::Program => self.unheard.watch(worker, online),
            // Their sockets are not asked for.
            Class::ListenFds | Class::Nothing => {}
        }
    }

    pub(super) fn look_at_unheard(&mut self, now: Instant) {
        while let Some(worker) = self.unheard.take(now) {
            let Some(root) = self.roll.get(worker).and_then(|worker| Pid::new(worker.pid)) else { continue };
            // Without the mark: only what is still in its family tree.
            let own = self.class == Class::Program;
            let looked_at = tree::members(root, "").into_iter().filter(|pid| own || *pid != root);
            let found = looked_at
                .flat_map(|pid| listening_sockets(pid).into_iter().map(move |socket| (pid, socket)))
                .find(|(_, socket)| socket.port.is_some());
            let Some((pid, socket)) = found else { continue };
            self.unheard.forget(worker);
            let address = &socket.address;
            let (message, hint) = match self.class {
                Class::Channel => (
                    format!(
                        "cannot share `{address}`: worker {root} kept the channel, and pid {pid}, which it started, binds alone"
                    ),
                    "run the script itself instead of what starts it, or let its binds be trapped: --attach own",
                ),
                Class::Program | Class::ListenFds | Class::Nothing => (
                    format!(
                        "cannot share `{address}`: pid {pid} of worker {root} listens there, and its bind was not seen"
                    ),
                    "it passes by the traps (io_uring, a 32-bit program), and a second copy gets EADDRINUSE: \
                     `oneport check` tells more",
                ),
            };
            self.teller.error(&message, Some(hint));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_looked_at_three_times() {
        let online = Instant::now();
        let after = |seconds| online + Duration::from_secs(seconds);
        let mut unheard = Unheard::default();
        unheard.watch(WorkerId(1), online);
        for seconds in [3, 10, 30] {
            assert_eq!(unheard.due(), Some(after(seconds)));
            assert_eq!(unheard.take(after(seconds) - Duration::from_millis(1)), None);
            assert_eq!(unheard.take(after(seconds)), Some(WorkerId(1)));
            assert_eq!(unheard.take(after(seconds)), None);
        }
        assert_eq!(unheard.due(), None);
    }

    #[test]
    fn one_that_was_heard_is_not_looked_at() {
        let online = Instant::now();
        let mut unheard = Unheard::default();
        unheard.watch(WorkerId(1), online);
        unheard.watch(WorkerId(2), online);
        unheard.forget(WorkerId(1));
        assert_eq!(unheard.take(online + LOOKS[0]), Some(WorkerId(2)));
        assert_eq!(unheard.take(online + LOOKS[0]), None);
    }
}
