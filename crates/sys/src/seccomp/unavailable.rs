//! Why a child could not be trapped.
//!
//! Invariant: a reason is given only for a refusal that would be the same next time; a passing failure (no memory, no
//! descriptor) stays a plain error.

use std::error::Error;
use std::fmt;
use std::io;

/// Traps cannot be had here. It lies inside the error of [`Command::spawn`](crate::spawn::Command::spawn); look with
/// [`Unavailable::of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable {
    reason: Reason,
    errno: i32,
}

/// What stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// `EBUSY`: this process lives under a filter with a notify descriptor already, and the kernel allows one in a tree
    /// of processes (6.18 still does). We were started by another supervisor of calls, perhaps by ourselves.
    Busy,
    /// `ENOSYS`, `EINVAL`: the kernel has no user notification (before 5.0, or built without), or the filter does not know
    /// this architecture.
    Missing,
    /// `EPERM`, `EACCES`: something forbids filters, for example a container's own.
    Refused,
    /// `ETIMEDOUT`, from [`probe`](super::probe) alone: the call does not come back. Linux 6.18 does that for good, to whatever
    /// makes or frees a BPF program, once 1024 of them waited to be freed on one processor (`bpf_prog_pack_free` in the
    /// stacks of its `kworker`s); whoever calls it then can be killed by nobody.
    Hangs,
}

impl Unavailable {
    /// What an error of `spawn` says about traps; `None` when it is about something else.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }

    /// What stands in the way.
    pub fn reason(self) -> Reason {
        self.reason
    }

    /// The kernel's number.
    pub fn errno(self) -> i32 {
        self.errno
    }

    /// Nothing came back in time.
    pub(super) fn hangs() -> Self {
        Self { reason: Reason::Hangs, errno: libc::ETIMEDOUT }
    }

    /// The error for a number that came out of the installation.
    pub(super) fn explain(errno: i32) -> io::Error {
        let reason = match errno {
            libc::EBUSY => Reason::Busy,
            libc::ENOSYS | libc::EINVAL => Reason::Missing,
            libc::EPERM | libc::EACCES => Reason::Refused,
            _ => return io::Error::from_raw_os_error(errno),
        };
        let unavailable = Self { reason, errno };
        io::Error::new(io::Error::from_raw_os_error(errno).kind(), unavailable)
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot trap calls: ")?;
        match self.reason {
            Reason::Busy => f.write_str("a supervisor above already traps calls of this process"),
            Reason::Missing => f.write_str("this kernel has no seccomp user notification"),
            Reason::Refused => f.write_str("seccomp filters are not allowed here"),
            Reason::Hangs => f.write_str("this kernel hangs when a seccomp filter is installed"),
        }?;
        write!(f, " (errno {})", self.errno)
    }
}

impl Error for Unavailable {}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{Reason, Unavailable};

    #[test]
    fn lasting_refusals_have_a_reason_and_passing_failures_have_none() {
        let reason = |errno| Unavailable::of(&Unavailable::explain(errno)).map(Unavailable::reason);
        assert_eq!(reason(libc::EBUSY), Some(Reason::Busy));
        assert_eq!(reason(libc::ENOSYS), Some(Reason::Missing));
        assert_eq!(reason(libc::EINVAL), Some(Reason::Missing));
        assert_eq!(reason(libc::EPERM), Some(Reason::Refused));
        assert_eq!(reason(libc::EACCES), Some(Reason::Refused));
        assert_eq!(reason(libc::EMFILE), None);
        assert_eq!(Unavailable::explain(libc::EMFILE).raw_os_error(), Some(libc::EMFILE));
        assert_eq!(Unavailable::of(&io::Error::from_raw_os_error(libc::EBUSY)), None);
    }

    #[test]
    fn the_reason_is_said_with_the_kernels_number() {
        let error = Unavailable::explain(libc::EBUSY);
        assert_eq!(
            error.to_string(),
            "cannot trap calls: a supervisor above already traps calls of this process (errno 16)"
        );
        assert_eq!(Unavailable::of(&error).map(Unavailable::errno), Some(16));
    }
}
