//! Which descriptors a child finds from 3 on, and under which numbers.
//!
//! What lives here: getting them out of each other's way before `fork`, and putting them in place after it. What does
//! not: where they come from. Invariant: between `fork` and `exec` only async-signal-safe calls, and nothing that was not
//! asked for survives `exec`.
#![expect(unsafe_code, reason = "dup2 to a fixed number and close_range, in the child")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::fdscan;
use crate::spawn::CHANNEL_FD;

/// What the child shall find from 3 on, and nothing else. Here every descriptor has a number above all those they get
/// there, so that putting one in its place never overwrites another.
pub(crate) struct Placement {
    given: Vec<(OwnedFd, RawFd)>,
    /// One above the last number the child shall have.
    end: RawFd,
}

impl Placement {
    /// Every descriptor with its number there, from 3 on and no number twice.
    pub(crate) fn new(given: impl IntoIterator<Item = (OwnedFd, RawFd)>) -> io::Result<Self> {
        let given: Vec<_> = given.into_iter().collect();
        let last = given.iter().map(|(_, place)| *place).max().unwrap_or(CHANNEL_FD);
        let end = last.saturating_add(1);
        let given = given.into_iter().map(|(fd, place)| Ok((lift(fd, end)?, place)));
        Ok(Self { given: given.collect::<io::Result<_>>()?, end })
    }

    /// One above the last number the child shall have.
    pub(crate) fn end(&self) -> RawFd {
        self.end
    }

    /// Holds those of the child's numbers that are free. What has one of the others keeps it: closing it in another
    /// thread just now is the one race left, and then only the report of a failed exec is lost.
    pub(crate) fn occupy(&self) -> io::Result<Vec<OwnedFd>> {
        let Some((any, _)) = self.given.first() else { return Ok(Vec::new()) };
        let mut held = Vec::new();
        // The kernel gives the lowest free number, so the first one above says that none is free below.
        loop {
            let fd = rustix::io::fcntl_dupfd_cloexec(any, CHANNEL_FD)?;
            if fd.as_raw_fd() >= self.end {
                return Ok(held);
            }
            held.push(fd);
        }
    }

    /// In the child: everything gets its number, all the rest from 3 on closes at exec. Marking instead of closing keeps
    /// the standard library's report pipe alive until exec.
    pub(crate) fn arrange(&self) -> io::Result<()> {
        for (fd, place) in &self.given {
            // SAFETY: both are plain numbers; in this child nobody else uses those from 3 to `end`.
            if unsafe { libc::dup2(fd.as_raw_fd(), *place) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        close_all_at_exec();
        for (_, place) in &self.given {
            fdscan::set_fd_flags(*place, 0);
        }
        Ok(())
    }
}

/// The same descriptor under a number from `end` on.
pub(crate) fn lift(fd: OwnedFd, end: RawFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= end {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, end)?)
}

fn close_all_at_exec() {
    let (first, last) = (3 as libc::c_uint, libc::c_uint::MAX);
    // SAFETY: plain numbers; marks descriptors and closes none.
    let failed = unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
    if failed != 0 {
        // Before Linux 5.11 there is no such flag (EINVAL), before 5.9 no such call (ENOSYS); seccomp may say EPERM.
        fdscan::visit_open_fds(|fd| fdscan::set_fd_flags(fd, libc::FD_CLOEXEC));
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, OwnedFd};

    use super::Placement;

    #[test]
    fn what_lies_where_the_child_shall_have_another_is_moved_away() {
        // More than other tests of this binary hold meanwhile, so that some of ours lie low.
        let mut files: Vec<OwnedFd> =
            (0..240).map(|_| std::fs::File::open("/dev/null").unwrap().into()).collect();
        files.reverse();
        assert!(files.iter().any(|file| file.as_raw_fd() < 243));
        let placement = Placement::new(files.into_iter().zip(3..)).unwrap();
        assert_eq!(placement.end, 243);
        let numbers = placement.given.iter().map(|(fd, _)| fd.as_raw_fd());
        assert!(numbers.min().unwrap() >= 243);
        assert!(placement.occupy().unwrap().iter().all(|fd| (3..243).contains(&fd.as_raw_fd())));
    }
}
