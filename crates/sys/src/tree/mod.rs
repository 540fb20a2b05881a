//! A worker and everything it started, as a set of processes: who belongs to it is read in `table`, ending it is in `end`.
//!
//! Children inherit a process group and can leave it, inherit a parent and can lose it, inherit a session and can leave
//! that; the environment they were started with stays readable. So membership is any of these. Invariant: a signal goes
//! through a pidfd that was checked after it was opened, so a reused number is never hit, and never to this process.
//!
//! Limit: a process that lost its parent, left group and session *and* started with another environment is not found; a
//! cgroup would hold it. Everything here reads `/proc` and may block for its bounded time: use a helper thread.

mod end;
mod table;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{PidfdFlags, pidfd_open};

use crate::proc::{read_stat, start_ticks};
use crate::process::{self, Pid, Signal, own_pid};

pub use end::{Ending, Left, Spared, wait_dead};
pub use table::Table;

/// The variable that marks a worker's processes. It may hold several marks, separated by commas: those of a worker whose
/// primary is a worker itself.
pub const MARK_VARIABLE: &str = "ONEPORT_WORKER";

/// The value of [`MARK_VARIABLE`] for one worker: primary's pid, primary's start in ticks, worker id. No two workers of
/// one boot share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeMark(String);

impl TreeMark {
    /// The mark of a worker of this process.
    pub fn of_worker(worker: u64) -> io::Result<Self> {
        let primary = own_pid();
        Ok(Self(format!("{primary}.{}.{worker}", start_ticks(primary)?)))
    }

    /// The value to set.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TreeMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All live processes that are `root`, descend from it, are in the group or session it leads, carry the mark in the
/// environment they were started with, or descend from one of those; never this process. Zombies are not live. Call it
/// while `root` is not reaped, or the number may be somebody else's. Of marks those of up to 128 bytes are seen, and 16 of one
/// process. For several trees one [`Table`] is cheaper.
pub fn members(root: Pid, mark: &str) -> Vec<Pid> {
    Table::read().members(root, mark)
}

/// Ancestors looked at; a chain that is longer is a strange one.
const MOST_ANCESTORS: usize = 64;

/// Whether the process is `root` or descends from it now. Cheap, unlike [`members`]: it reads a file for each ancestor. One
/// that lost its parent, or has ended, is not found.
pub fn descends_from(pid: Pid, root: Pid) -> bool {
    let mut next = Some(pid);
    for _ in 0..MOST_ANCESTORS {
        let Some(pid) = next else { return false };
        if pid == root {
            return true;
        }
        next = read_stat(pid).ok().and_then(|stat| Pid::new(stat.parent));
    }
    false
}

impl Table {
    /// Sends a signal to all members that still live; returns to how many.
    pub fn kill(&self, root: Pid, mark: &str, signal: Signal) -> usize {
        let pidfds = self.members_of(root, mark).filter_map(|member| open_member(&member));
        pidfds.filter(|pidfd| process::signal(pidfd.as_fd(), signal).is_ok()).count()
    }
}

/// A process of the table, named for ever by both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    pid: Pid,
    start_ticks: u64,
}

/// A pidfd for the process that was seen in the scan, not for one that got its number since: numbers are only handed out
/// again after the end, and two holders of one number have different starts.
fn open_member(member: &Member) -> Option<OwnedFd> {
    let pidfd = pidfd_open(member.pid.as_rustix(), PidfdFlags::empty()).ok()?;
    (start_ticks(member.pid).ok()? == member.start_ticks).then_some(pidfd)
}
