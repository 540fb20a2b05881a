//! Ending a whole tree, with exceptions if wished, and waiting for these: round by round, so that many trees are ended with
//! one reading of the table for each round of all.
//!
//! What does not live here: who belongs to a tree, and who deserves to finish. Invariant: everything that is waited for or
//! killed is held by a pidfd that was checked, and nothing waits without a deadline.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Member, Table, open_member};
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
    /// Waits until all have ended of themselves, and kills those that have not by `until`; answers how many that were. What
    /// they started and left behind is not ended: look at the tree again. May wait for two seconds more after killing.
    pub fn wait_or_kill(spared: Vec<Self>, until: Instant) -> usize {
        let pidfds = spared.into_iter().map(|spared| spared.pidfd).collect();
        let mut late = wait_dead(pidfds, until);
        late.retain(|pidfd| process::signal(pidfd.as_fd(), Signal::KILL).is_ok());
        let killed = late.len();
        wait_dead(late, Instant::now() + DYING);
        killed
    }
}

impl AsFd for Spared {
    /// Readable when it has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// A tree that is being ended: what it started while it was killed is looked for once more. Dropping it leaves what is not killed yet as it is.
#[derive(Debug)]
pub struct Ending {
    root: Pid,
    mark: String,
    rounds: u32,
    begun: u32,
    deadline: Instant,
    spared: Vec<Spared>,
    dying: Vec<OwnedFd>,
}

impl Ending {
    /// Nothing is done yet. At most so many rounds, and about `within` in all from now on, are made of it.
    pub fn new(root: Pid, mark: &str, rounds: u32, within: Duration) -> Self {
        Self {
            root,
            mark: mark.to_owned(),
            rounds,
            begun: 0,
            deadline: Instant::now() + within,
            spared: Vec::new(),
            dying: Vec::new(),
        }
    }

    /// Kills all members in the table with SIGKILL, the root like any other, but for those that `spare` speaks for. It is asked
    /// for each when it is first seen, while others of the tree still live, also for what a spared one starts meanwhile; and in
    /// a later round again only for who outlived a kill. The table has to be read after those killed before were waited for, or
    /// they are found again. What is left is answered when it is over: nothing, if all are gone, or whatever lives when rounds
    /// or time have come to their end.
    pub fn round(&mut self, table: &Table, spare: impl Fn(Pid) -> bool) -> Option<Left> {
        let spared = |member: &Member, spared: &[Spared]| spared.iter().any(|one| one.member == *member);
        let mut found: Vec<Member> = table.members_of(self.root, &self.mark).collect();
        found.retain(|member| !spared(member, &self.spared));
        self.dying.clear();
        let over = self.begun > 0 && Instant::now() >= self.deadline;
        if found.is_empty() || over || self.begun == self.rounds {
            return Some(Left { pids: found.into_iter().map(|member| member.pid).collect() });
        }
        self.begun += 1;
        for member in found {
            // At the descriptor limit only some open; they go first, the next round takes the others.
            let Some(pidfd) = open_member(&member) else { continue };
            if spare(member.pid) {
                self.spared.push(Spared { member, pidfd });
            } else if process::signal(pidfd.as_fd(), Signal::KILL).is_ok() {
                self.dying.push(pidfd);
            }
        }
        None
    }

    /// Whether some that were killed are not known to be dead, and there is time left to wait for them.
    pub fn has_dying(&self) -> bool {
        !self.dying.is_empty() && Instant::now() < self.deadline
    }

    /// Waits until all that these killed are dead, or the moment has come.
    pub fn wait<'a>(endings: impl IntoIterator<Item = &'a mut Self>, until: Instant) {
        let mut endings: Vec<&mut Self> = endings.into_iter().collect();
        let mut dying = Vec::new();
        for (of, ending) in endings.iter_mut().enumerate() {
            dying.extend(ending.dying.drain(..).map(|pidfd| Dying { of, pidfd }));
        }
        for Dying { of, pidfd } in wait_dead(dying, until) {
            if let Some(ending) = endings.get_mut(of) {
                ending.dying.push(pidfd);
            }
        }
    }

    /// Those that were spared.
    pub fn into_spared(self) -> Vec<Spared> {
        self.spared
    }
}

/// A killed process, and whose it is.
struct Dying {
    of: usize,
    pidfd: OwnedFd,
}

impl AsFd for Dying {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Waits until every pidfd is readable (its process is dead, reaped or not) or the moment has come; answers those that are
/// not.
pub fn wait_dead<T: AsFd>(mut pidfds: Vec<T>, until: Instant) -> Vec<T> {
    while !pidfds.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
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
