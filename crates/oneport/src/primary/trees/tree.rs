//! One tree on its way to its end, look by look: left to follow its root by itself if it may, then killed round by round.
//!
//! What does not live here: reading the table, and waiting. Invariant: the tree's end is told exactly once, after the last use
//! of its root's number, for with that the root is reaped.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use oneport_core::WorkerId;
use oneport_sys::process::{self, Pid, Signal};
use oneport_sys::tree::{Ending, Left, Spared, Table};
use tracing::warn;

use crate::cluster::Commands;
use crate::primary::Command;
use crate::primary::program::Sparing;

/// A tree that starts processes faster than they are ended is ended round by round.
const ROUNDS: u32 = 50;
const PATIENCE: Duration = Duration::from_secs(5);

/// What is to be ended.
#[derive(Debug)]
pub(in crate::primary) struct Request {
    pub(in crate::primary) worker: WorkerId,
    pub(in crate::primary) root: Pid,
    pub(in crate::primary) mark: String,
    /// Asks what the root left behind to follow it, within this time.
    pub(in crate::primary) stop: Signal,
    pub(in crate::primary) grace: Duration,
    /// Set: it waits no longer.
    pub(in crate::primary) hurry: Arc<AtomicBool>,
    pub(in crate::primary) sparing: Option<Sparing>,
    pub(in crate::primary) leftovers: Leftovers,
}

/// What is said of processes that outlive their root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::primary) enum Leftovers {
    /// Nothing: they follow it, or are what is left of one that crashed.
    #[default]
    Expected,
    /// The root left in peace to let them go on.
    InBackground,
}

/// How far it has come.
#[derive(Debug)]
enum Stage {
    New,
    Following {
        until: Instant,
    },
    /// Others are killed first.
    Queued,
    Ending(Ending),
    Over,
}

/// A request that is being carried out.
#[derive(Debug)]
pub(super) struct Tree {
    request: Request,
    stage: Stage,
}

impl Tree {
    pub(super) fn new(request: Request) -> Tree {
        Tree { request, stage: Stage::New }
    }

    /// Nobody is there any more who could say that it is to hurry.
    pub(super) fn hurry(&self) {
        self.request.hurry.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        match self.stage {
            Stage::Over => true,
            Stage::New | Stage::Following { .. } | Stage::Queued | Stage::Ending(_) => false,
        }
    }

    pub(super) fn is_queued(&self) -> bool {
        match self.stage {
            Stage::Queued => true,
            Stage::New | Stage::Following { .. } | Stage::Ending(_) | Stage::Over => false,
        }
    }

    pub(super) fn ending(&mut self) -> Option<&mut Ending> {
        match &mut self.stage {
            Stage::Ending(ending) => Some(ending),
            Stage::New | Stage::Following { .. } | Stage::Queued | Stage::Over => None,
        }
    }

    /// Whether there is nothing to look for until those that were killed are dead.
    pub(super) fn has_dying(&self) -> bool {
        match &self.stage {
            Stage::Ending(ending) => ending.has_dying(),
            Stage::New | Stage::Following { .. } | Stage::Queued | Stage::Over => false,
        }
    }

    /// Goes on as far as it can with what the table shows. `room`: how many more trees may be killed now.
    pub(super) fn look(&mut self, table: &Table, room: &mut usize, commands: &Commands) {
        let Request { root, ref mark, stop, grace, leftovers, .. } = self.request;
        let hurries = self.request.hurry.load(Ordering::Relaxed);
        match self.stage {
            Stage::New => {
                let processes = table.members(root, mark).len();
                if processes == 0 {
                    return self.end(Left::default(), Vec::new(), commands);
                }
                match leftovers {
                    Leftovers::Expected => {}
                    Leftovers::InBackground => {
                        commands.send(Command::WentToBackground { worker: self.request.worker, processes });
                    }
                }
                let may_follow = !grace.is_zero() && !hurries;
                if may_follow && table.kill(root, mark, stop) > 0 {
                    self.stage = Stage::Following { until: Instant::now() + grace };
                } else {
                    self.kill(table, room, commands);
                }
            }
            Stage::Following { until } => {
                if table.members(root, mark).is_empty() {
                    self.end(Left::default(), Vec::new(), commands);
                } else if hurries || Instant::now() >= until {
                    self.kill(table, room, commands);
                }
            }
            Stage::Queued if table.members(root, mark).is_empty() => {
                self.end(Left::default(), Vec::new(), commands);
            }
            Stage::Queued | Stage::Ending(_) => self.kill(table, room, commands),
            Stage::Over => {}
        }
    }

    /// The next round, or the first if there is room for it.
    fn kill(&mut self, table: &Table, room: &mut usize, commands: &Commands) {
        if !matches!(self.stage, Stage::Ending(_)) {
            if *room == 0 {
                self.stage = Stage::Queued;
                return;
            }
            *room -= 1;
            self.strike();
            let Request { root, ref mark, .. } = self.request;
            self.stage = Stage::Ending(Ending::new(root, mark, ROUNDS, PATIENCE));
        }
        let Stage::Ending(ending) = &mut self.stage else { return };
        let sparing = self.request.sparing.as_ref();
        let left = ending.round(table, |pid| sparing.is_some_and(|sparing| sparing.speaks_for(pid)));
        if let Some(left) = left {
            match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Ending(ending) => self.end(left, ending.into_spared(), commands),
                Stage::New | Stage::Following { .. } | Stage::Queued | Stage::Over => {}
            }
        }
    }

    /// The whole group at one go, so that it has no time to grow. The root is not reaped, so the group is no other's.
    fn strike(&self) {
        if self.request.sparing.is_none() {
            // One that is gone needs no signal.
            let _ = process::signal_group(self.request.root, Signal::KILL);
        }
    }

    fn end(&mut self, left: Left, spared: Vec<Spared>, commands: &Commands) {
        self.stage = Stage::Over;
        let worker = self.request.worker;
        if !left.is_empty() {
            warn!(worker = worker.0, pids = ?left.pids, "cannot end processes of the worker's tree");
        }
        // Where descriptors have run out the table shows nobody.
        self.strike();
        let processes: Vec<_> =
            spared.iter().filter_map(|one| one.as_fd().try_clone_to_owned().ok()).collect();
        if !processes.is_empty() {
            commands.send(Command::Spared { processes });
        }
        commands.send(Command::TreeEnded { worker });
        let Some(sparing) = self.request.sparing.take().filter(|_| !spared.is_empty()) else { return };
        let seen_out = thread::Builder::new().name("oneport-spared".into());
        if let Err(cause) = seen_out.spawn(move || sparing.see_out(spared)) {
            warn!(%cause, worker = worker.0, "cannot watch over the connections of a crashed worker; they end with the app");
        }
    }
}
