//! Processes after they were started: ending, reaping, limits.
//!
//! What lives here: calls on one process by its pidfd, and on this process. What does not: starting (`spawn`) and
//! whole trees (`tree`). Invariant: a child is signalled and reaped through its pidfd, never by a number that could
//! have been given to somebody else.
#![expect(unsafe_code, reason = "waitid with the child's pid in its answer: rustix does not give it")]

use std::cmp::Ordering;
use std::fmt;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, WaitId, WaitIdOptions, WaitIdStatus, getrlimit, setrlimit, waitid};

pub use crate::signal::Signal;

/// A process number, always above zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pid(rustix::process::Pid);

impl Pid {
    /// A pid from its number; `None` unless above zero (zero and negatives mean groups to the kernel).
    pub fn new(number: i32) -> Option<Self> {
        if number > 0 { rustix::process::Pid::from_raw(number).map(Self) } else { None }
    }

    /// The number.
    pub fn get(self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    pub(crate) fn as_rustix(self) -> rustix::process::Pid {
        self.0
    }
}

impl PartialOrd for Pid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pid {
    fn cmp(&self, other: &Self) -> Ordering {
        self.get().cmp(&other.get())
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code, 0 to 255.
    Code(i32),
    /// This signal ended it; a bare number, because real-time signals end processes too.
    Signal(i32),
}

impl From<WaitIdStatus> for Exit {
    fn from(status: WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Code(0), // not possible: only exits are waited for
        }
    }
}

/// Takes the exit of a child that has ended and frees its pid; `None` while it runs. `ECHILD`: reaped already, or not
/// ours.
pub fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<Exit>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    Ok(rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd), options))?.map(Exit::from))
}

/// Looks at the exit of a child that has ended without freeing its pid, so that the number stays its own while its
/// tree is still being ended; `None` while it runs. Errors as [`reap`].
pub fn peek(pidfd: BorrowedFd<'_>) -> io::Result<Option<Exit>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd), options))?.map(Exit::from))
}

/// Sends a signal to exactly this process. A zombie takes it silently; `ESRCH` once it was reaped.
pub fn signal(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    Ok(rustix::process::pidfd_send_signal(pidfd, signal.as_rustix())?)
}

/// Sends a signal to every process of a group; an empty group is no error. `EINVAL` for group 1, which `kill(2)` would
/// take for "everybody".
pub fn signal_group(group: Pid, signal: Signal) -> io::Result<()> {
    if group.get() == 1 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    match rustix::process::kill_process_group(group.as_rustix(), signal.as_rustix()) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes this process the one that orphans among its descendants fall to, instead of PID 1. From then on somebody must
/// reap them: [`peek_zombie`] and [`reap_stranger`].
pub fn become_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(own_pid().as_rustix()))?)
}

/// A child that has ended and is not reaped, if any, without reaping it: known workers belong to their pidfd, only
/// strangers may be reaped by number. It may answer the same child again and again, so reap what it names first.
pub fn peek_zombie() -> Option<Pid> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the answer goes to memory of the right type.
    let failed = unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) };
    if failed != 0 {
        return None;
    }
    // SAFETY: all zeroes is a valid value, whether or not the call filled it.
    let info = unsafe { info.assume_init() };
    // SAFETY: waitid fills the child variant of the union, or leaves zeroes when no child has ended.
    Pid::new(unsafe { info.si_pid() })
}

/// Reaps an ended child by number; `None` while it runs. Only for children nobody holds a pidfd of: the number cannot
/// change hands before this call, because an unreaped child keeps it.
pub fn reap_stranger(pid: Pid) -> io::Result<Option<Exit>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    Ok(rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid.as_rustix()), options))?.map(Exit::from))
}

/// Our own pid.
pub fn own_pid() -> Pid {
    Pid(rustix::process::getpid())
}

/// Raises the soft limit of open descriptors to the hard one and returns what it was, for workers to be started with
/// (a program that uses `select` breaks with descriptors above 1023). `u64::MAX` is "no limit".
pub fn set_nofile_to_hard() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(limit.current.unwrap_or(u64::MAX))
}

/// Sets the soft limit of open descriptors, no higher than the hard one: what is started from now on gets it.
pub fn set_nofile_soft(soft: u64) -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = maximum.map_or(soft, |maximum| soft.min(maximum));
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum })?)
}

/// How many processors this process may use, at least 1: its affinity mask, and no more than its cgroups' CPU quota
/// rounded up (cgroup v2 mounted in the usual place).
pub fn cpus() -> usize {
    let allowed = match rustix::thread::sched_getaffinity(None) {
        Ok(set) => usize::try_from(set.count()).unwrap_or(1),
        // More than 1024 processors do not fit the mask: EINVAL.
        Err(_) => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let quota = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| read_quota(&text));
    quota.map_or(allowed, |quota| allowed.min(quota)).max(1)
}

/// The smallest quota on the way from our cgroup to the root.
fn read_quota(own_cgroup: &str) -> Option<usize> {
    let path = own_cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let own: PathBuf = root.join(path);
    own.ancestors()
        .take_while(|directory| directory.starts_with(root))
        .filter_map(|directory| parse_quota(&fs::read_to_string(directory.join("cpu.max")).ok()?))
        .min()
}

/// `cpu.max` is `QUOTA PERIOD` in microseconds, or `max PERIOD`.
fn parse_quota(text: &str) -> Option<usize> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    if period == 0 {
        return None;
    }
    usize::try_from(quota.div_ceil(period)).ok().map(|cpus| cpus.max(1))
}

#[cfg(test)]
mod tests {
    use super::parse_quota;

    #[test]
    fn a_quota_is_rounded_up_and_at_least_one() {
        assert_eq!(parse_quota("150000 100000\n"), Some(2));
        assert_eq!(parse_quota("50000 100000\n"), Some(1));
        assert_eq!(parse_quota("max 100000\n"), None);
        assert_eq!(parse_quota("1 0\n"), None);
        assert_eq!(parse_quota("nonsense"), None);
    }
}
