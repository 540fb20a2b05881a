//! Ending a whole tree, with exceptions if wished, and waiting for these.
//!
//! What does not live here: who belongs to a tree, and who deserves to finish. Invariant: everything that is waited for or
//! killed is held by a pidfd that was checked, and nothing waits without a deadline.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Member, members, open_member, scan};
use crate::process::{self, Pid, Signal};

/// How long a killed process may take to be dead; longer only in uninterruptible sleep.
const DYING: Duration = Duration::from_secs(2);

/// What could not be ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Left {
    /// Processes still alive at the end: in uninterruptible sleep, not ours to signal, or started faster than killed.
    pub pids: Vec<Pid>,
}

impl Left {
    /// Whether all are gone.
    pub fn is_empty(&self) -> bool {
        self.pids.is_empty()
    }
}

/// A member of a tree that was not ended with it. Dropping it neither ends nor waits for the process.
#[derive(Debug)]
pub struct Spared {
    member: Member,
    pidfd: OwnedFd,
}

impl Spared {
    /// Its number. Another's once it was reaped; [`as_fd`](AsFd::as_fd) is not.
    pub fn pid(&self) -> Pid {
        self.member.pid
    }

    /// Waits until all have ended of themselves, and kills those that have not by `until`; answers how many that were. What
    /// they started and left behind is not ended: look at the tree again. May wait for two seconds more after killing.
    pub fn wait_or_kill(spared: Vec<Self>, until: Instant) -> usize {
        let pidfds = spared.into_iter().map(|spared| spared.pidfd).collect();
        let mut late = wait_for_end(pidfds, until);
        late.retain(|pidfd| process::signal(pidfd.as_fd(), Signal::KILL).is_ok());
        let killed = late.len();
        wait_for_end(late, Instant::now() + DYING);
        killed
    }
}

impl AsFd for Spared {
    /// Readable when it has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Ends all members with SIGKILL: kills, waits until they are dead, looks again for what they started meanwhile; at most
/// `rounds` times and about `within` in all.
pub fn kill_until_gone(root: Pid, mark: &str, rounds: u32, within: Duration) -> Left {
    let (left, _) = end_sparing(root, mark, rounds, within, |_| false);
    left
}

/// As [`kill_until_gone`], but for those that `spare` speaks for. It is asked for each when it is first seen, while others of the
/// tree still live, also for what a spared one starts meanwhile; and in a later round again only for who outlived a kill. The
/// root is a member like any other.
pub fn end_sparing(
    root: Pid,
    mark: &str,
    rounds: u32,
    within: Duration,
    spare: impl Fn(Pid) -> bool,
) -> (Left, Vec<Spared>) {
    let deadline = Instant::now() + within;
    let mut spared: Vec<Spared> = Vec::new();
    for _ in 0..rounds {
        // At the descriptor limit only some open; they go first, the next round takes the others.
        let mut pidfds: Vec<OwnedFd> = Vec::new();
        let mut found = false;
        for member in scan(root, mark) {
            if spared.iter().any(|spared| spared.member == member) {
                continue;
            }
            found = true;
            let Some(pidfd) = open_member(&member) else { continue };
            if spare(member.pid) {
                spared.push(Spared { member, pidfd });
            } else if process::signal(pidfd.as_fd(), Signal::KILL).is_ok() {
                pidfds.push(pidfd);
            }
        }
        if !found {
            return (Left::default(), spared);
        }
        wait_for_end(pidfds, deadline);
        if Instant::now() >= deadline {
            break;
        }
    }
    let mut pids = members(root, mark);
    pids.retain(|pid| spared.iter().all(|spared| spared.pid() != *pid));
    (Left { pids }, spared)
}

/// Waits until every pidfd is readable (its process is dead, reaped or not) or the deadline has passed; answers those that
/// are not.
fn wait_for_end(mut pidfds: Vec<OwnedFd>, deadline: Instant) -> Vec<OwnedFd> {
    while !pidfds.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        let ended: Vec<bool> = {
            let mut polled: Vec<PollFd<'_>> =
                pidfds.iter().map(|pidfd| PollFd::new(pidfd, PollFlags::IN)).collect();
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            match poll(&mut polled, Some(&timeout)) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => break,
            }
            polled.iter().map(|entry| !entry.revents().is_empty()).collect()
        };
        let mut ended = ended.into_iter();
        pidfds.retain(|_| !ended.next().unwrap_or(false));
        if left.is_zero() {
            break;
        }
    }
    pidfds
}
