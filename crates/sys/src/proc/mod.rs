//! What `/proc` says about a process: identity and use here, with what it started in `family`, its sockets in
//! `sockets`.
//!
//! Everything here reads text the kernel makes up at that moment: slow (a scan of all processes takes milliseconds), so it
//! belongs off the accept loop, and only true for an instant. Invariant: a process that is gone or not ours to look at is an
//! error or an empty answer, never a panic.

mod family;
mod open_files;
mod sockets;
mod stat;

use std::fs::{self, File};
use std::io::{self, Read};

use rustix::thread::sched_getaffinity;

use crate::process::Pid;

pub use family::{Relative, families};
pub use open_files::OpenFiles;
pub(crate) use sockets::is_unix_path_bound;
pub use sockets::{
    Listening, ListeningKind, holder_of, holder_of_inode, holder_of_unix, listening_around,
    listening_sockets, may_hold, network_of, open_sockets, socket_descriptors,
};
pub(crate) use stat::{Stat, read_stat};

/// Longest text read from one `/proc` file. The kernel's own bound for an environment is larger than this only with
/// a raised stack limit.
const MAX_TEXT: u64 = 8 * 1024 * 1024;

/// When the process started, in clock ticks since boot. Together with the pid it names a process for ever. `ENOENT` or
/// `ESRCH` when there is no such process.
pub fn start_ticks(pid: Pid) -> io::Result<u64> {
    Ok(read_stat(pid)?.start_ticks)
}

/// Resident memory in bytes, shared pages included. 0 for a zombie.
pub fn rss(pid: Pid) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = text.split(' ').nth(1).and_then(|field| field.parse().ok()).ok_or_else(unreadable)?;
    Ok(pages.saturating_mul(u64::try_from(rustix::param::page_size()).unwrap_or(4096)))
}

/// Processor time of all threads that live now, in nanoseconds, from `schedstat`; exact where `stat` counts ticks.
/// Threads that ended are not in it, so it can shrink. Where the kernel keeps no `schedstat`, the ticks of `stat`.
pub fn cpu_ns(pid: Pid) -> io::Result<u64> {
    let mut total: u64 = 0;
    let mut counted = false;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that ends between listing and reading counts as ended.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        if let Some(time) = text.split(' ').next().and_then(|field| field.parse::<u64>().ok()) {
            total = total.saturating_add(time);
            counted = true;
        }
    }
    if counted {
        return Ok(total);
    }
    let ticks = read_stat(pid)?.cpu_ticks;
    Ok(ticks.saturating_mul(1_000_000_000 / rustix::param::clock_ticks_per_second().max(1)))
}

/// How often the process's first thread went to wait for something (`voluntary_ctxt_switches`): whether it makes progress at
/// all.
pub fn waits_of(pid: Pid) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    value.and_then(|value| value.trim().parse().ok()).ok_or_else(unreadable)
}

/// Whether a process has time: its first thread sleeps until something comes (it is not stopped, and waits for no disk), and
/// the others leave one of the processors that it may use. False as well if that cannot be seen.
pub fn rests(pid: Pid) -> bool {
    if state_in(&format!("/proc/{pid}/stat")) != Some(b'S') {
        return false;
    }
    let allowed = rustix::process::Pid::from_raw(pid.get()).map(|pid| sched_getaffinity(Some(pid)));
    let (Some(Ok(allowed)), Ok(threads)) = (allowed, fs::read_dir(format!("/proc/{pid}/task"))) else {
        return false;
    };
    let wants = threads.flatten().filter(|thread| {
        let stat = thread.path().join("stat");
        stat.to_str().and_then(state_in) == Some(b'R')
    });
    wants.count() < allowed.count() as usize
}

/// The letter behind the name, which may have any bytes in it.
fn state_in(path: &str) -> Option<u8> {
    let stat = read_bounded(path).ok()?;
    stat.rsplit(|byte| *byte == b')').next().and_then(|rest| rest.get(1).copied())
}

/// All pids there are now, in rising order.
pub(crate) fn all_pids() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut pids: Vec<Pid> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::new))
        .collect();
    pids.sort_unstable();
    pids
}

/// The contents of one `/proc` file, bounded.
pub(crate) fn read_bounded(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_TEXT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "cannot read process table: unexpected format")
}

/// Children of this process that have ended and were not waited for yet.
pub fn zombie_children() -> Vec<Pid> {
    let own = crate::process::own_pid().get();
    let stat_of = |pid: &Pid| read_stat(*pid).is_ok_and(|stat| stat.parent == own && !stat.is_live());
    all_pids().into_iter().filter(stat_of).collect()
}
