//! What of another process watches a socket of its own: finding the registrations in its epoll sets, and making them anew
//! for a socket that takes the place of that one.
//!
//! The kernel knows a registration by the open file and the number it was made under, which is how the process changes and
//! ends it: so it is made under that number, in a descriptor table that a thread has for itself (`table`). Invariant: all
//! registrations follow, or none; text of the kernel is not taken for well-formed, and only so much of it is read.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::thread;

use super::state::socket_inode;
use super::table::{self, Move};
use super::take_fd;
use crate::proc::read_bounded;
use crate::process::Pid;

/// Descriptors looked at, epoll sets among them, and registrations of one socket.
const MOST_DESCRIPTORS: usize = 1 << 16;
const MOST_SETS: usize = 64;
const MOST_REGISTRATIONS: usize = 64;

/// That a socket is in an epoll set, as `epoll_ctl` was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    /// The process's number of the epoll set.
    pub set: RawFd,
    /// Its number of the socket when it was put there. By now it may have another under that number, or none.
    pub number: RawFd,
    /// What is waited for, with modes such as `EPOLLET`. `EPOLLERR` and `EPOLLHUP` are always among it, except when
    /// `EPOLLONESHOT` is set and was used up: then only modes are left, until the process arms it again.
    pub events: u32,
    /// What the process is told with an event.
    pub data: u64,
}

/// Whether one of the process's epoll sets watches this socket, under whatever number. Such a registration stays with the socket
/// when another is put in its place, and the program never hears of the other. `false` also when it cannot be known: not
/// permitted, or no socket. Looks at 65,536 descriptors and 64 sets at most (Linux 4.13 names inodes there).
pub fn is_polled(process: Pid, fd: RawFd) -> bool {
    let (Ok(inode), Ok(sets)) = (socket_inode(process, fd), sets(process)) else { return false };
    sets.iter().any(|set| {
        let text = read_bounded(&format!("/proc/{process}/fdinfo/{set}")).unwrap_or_default();
        watching(&text, *set, inode).next().is_some()
    })
}

/// All registrations of this socket in the process's epoll sets, under whatever numbers. `ENOENT`, `ESRCH`: there is no such
/// process or descriptor; `EACCES`: not permitted; `ENOTSOCK`: not a socket; `E2BIG`: more than 64 registrations, 64 sets or
/// 65,536 descriptors. Sets that only another process still has, and io_uring, are not seen.
pub fn registrations(process: Pid, fd: RawFd) -> io::Result<Vec<Registration>> {
    let inode = socket_inode(process, fd)?;
    let mut found = Vec::new();
    for set in sets(process)? {
        let text = match read_bounded(&format!("/proc/{process}/fdinfo/{set}")) {
            // Closed by another thread since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        found.extend(watching(&text, set, inode).take(MOST_REGISTRATIONS + 1));
        if found.len() > MOST_REGISTRATIONS {
            return Err(too_many());
        }
    }
    Ok(found)
}

/// Makes the [registrations](registrations) of the process's socket `from` anew for `to`, under the same numbers, and ends those
/// of `from`. If that fails, all is as before. To be called when `to` is under those numbers in the process, so that it finds
/// there what it is told of. What waits in `to` is told at once, edge-triggered or not; a one-shot registration that was used up
/// stays so until it is armed again, but for errors and hang-up (`EPOLL_CTL_ADD` always adds these).
///
/// `pidfd` is the process's, with what [`take_fd`] needs; both sockets are duplicates of ours. `EBADF`, `EINVAL`: a set is gone
/// meanwhile, or a number is above our limit of descriptors; `EMFILE`; `ENOSPC`: the user may watch no more
/// (`fs.epoll.max_user_watches`); `ENOSYS`: Linux before 5.9. What other threads of the process do to these sets meanwhile may
/// be undone.
pub fn register_again(
    pidfd: BorrowedFd<'_>,
    registrations: &[Registration],
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
) -> io::Result<()> {
    if registrations.is_empty() {
        return Ok(());
    }
    if registrations.len() > MOST_REGISTRATIONS {
        return Err(too_many());
    }
    let mut sets: Vec<(RawFd, OwnedFd)> = Vec::new();
    for registration in registrations {
        if sets.iter().all(|(number, _)| *number != registration.set) {
            sets.push((registration.set, take_fd(pidfd, registration.set)?));
        }
    }
    let taken = |number| sets.iter().find(|(theirs, _)| *theirs == number).map(|(_, set)| set.as_raw_fd());
    let moves = registrations.iter().filter_map(|registration| {
        let Registration { set, number, events, data } = *registration;
        Some(Move { set: taken(set)?, number, events, data })
    });
    let moves: Vec<Move> = moves.collect();
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("oneport-register".into());
        let mover = builder.spawn_scoped(scope, || table::carry_out(&moves, from, to))?;
        mover.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    })
}

/// The numbers of the process's epoll sets.
fn sets(process: Pid) -> io::Result<Vec<RawFd>> {
    let mut sets = Vec::new();
    for (looked_at, entry) in fs::read_dir(format!("/proc/{process}/fd"))?.enumerate() {
        if looked_at == MOST_DESCRIPTORS {
            return Err(too_many());
        }
        let entry = entry?;
        let leads_to_set =
            fs::read_link(entry.path()).is_ok_and(|target| target == Path::new("anon_inode:[eventpoll]"));
        if leads_to_set && let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            if sets.len() == MOST_SETS {
                return Err(too_many());
            }
            sets.push(number);
        }
    }
    Ok(sets)
}

fn watching(text: &[u8], set: RawFd, inode: u64) -> impl Iterator<Item = Registration> {
    text.split(|byte| *byte == b'\n')
        .filter_map(move |line| parse(line, set))
        .filter_map(move |(watched, registration)| (watched == inode).then_some(registration))
}

/// `tfd: 5 events: 19 data: 5  pos:0 ino:2a sdev:8`: the first number is decimal, all others are hexadecimal.
fn parse(line: &[u8], set: RawFd) -> Option<(u64, Registration)> {
    let mut fields = std::str::from_utf8(line.strip_prefix(b"tfd:")?).ok()?.split_ascii_whitespace();
    let number = fields.next()?.parse().ok()?;
    let events = u32::from_str_radix(fields.next().filter(|name| *name == "events:").and(fields.next())?, 16);
    let data = u64::from_str_radix(fields.next().filter(|name| *name == "data:").and(fields.next())?, 16);
    let inode = u64::from_str_radix(fields.find_map(|field| field.strip_prefix("ino:"))?, 16).ok()?;
    Some((inode, Registration { set, number, events: events.ok()?, data: data.ok()? }))
}

fn too_many() -> io::Error {
    io::Error::from_raw_os_error(libc::E2BIG)
}

#[cfg(test)]
mod tests {
    use super::{Registration, parse};

    #[test]
    fn a_line_of_a_watched_descriptor_is_a_registration() {
        let line = b"tfd:        5 events: 80000019 data: ffffffff00000007  pos:0 ino:2a sdev:8";
        let data = 0xffff_ffff_0000_0007;
        let expected = Registration { set: 3, number: 5, events: 0x8000_0019, data };
        assert_eq!(parse(line, 3), Some((42, expected)));
    }

    #[test]
    fn no_other_line_is_one() {
        for other in [
            &b"pos:\t0"[..],
            b"ino:\t42",
            b"tfd: 5 events: 19",
            b"tfd: 5 events: 19 data: 5",
            b"tfd: 5 ino:2a",
            b"tfd: 5 data: 5 events: 19 ino:2a",
            b"tfd: x events: 19 data: 5 ino:2a",
            b"tfd: 5 events: 1ffffffff data: 5 ino:2a",
            b"tfd: 5 events: 19 data: 5 ino:xyz",
            b"tfd: \xff",
            b"",
        ] {
            assert_eq!(parse(other, 3), None, "{}", String::from_utf8_lossy(other));
        }
    }
}
