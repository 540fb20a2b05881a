//! One trapped call, as the kernel reported it.
//!
//! Invariant: numbers are cut as the kernel cuts them: an int is the low half of an argument.

use std::os::fd::RawFd;

use super::filter;
use crate::process::Pid;

/// Names one trapped call for as long as its caller waits. Never zero by chance alone: the kernel starts each listener's
/// count at a random number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId(pub(super) u64);

impl CallId {
    /// The number, for saving. A call that was received cannot be received again: a successor that takes over the notify
    /// descriptor can answer it only by a noted id.
    pub fn to_raw(self) -> u64 {
        self.0
    }

    /// An id that was saved.
    pub fn from_raw(number: u64) -> Self {
        Self(number)
    }
}

/// A call that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// What it is answered by.
    pub id: CallId,
    /// The thread that called; [`process_of`](crate::foreign::process_of) says whose it is. It may have ended, and its
    /// number may be another's: whatever was learnt through it holds only if [`is_waiting`](super::Listener::is_waiting)
    /// afterwards.
    pub thread: Pid,
    /// What was called.
    pub kind: Kind,
}

/// What was called, with the caller's descriptor and what else it passed. The numbers are a stranger's: any value
/// is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `bind(fd, address, length)`; the address lies in the caller's memory.
    Bind {
        /// The caller's descriptor.
        fd: RawFd,
        /// Where the address lies, in the caller's memory.
        address: u64,
        /// Its length in bytes.
        length: u32,
    },
    /// `listen(fd, backlog)`.
    Listen {
        /// The caller's descriptor.
        fd: RawFd,
        /// The wished backlog; negative means as much as the kernel allows.
        backlog: i32,
    },
    /// `shutdown(fd, how)`, never with `SHUT_WR`.
    Shutdown {
        /// The caller's descriptor.
        fd: RawFd,
        /// `SHUT_RD` (0), `SHUT_RDWR` (2), or nonsense.
        how: i32,
    },
}

impl Call {
    /// `None`: not one of ours. That happens when a newer version of this program made the listener, or when the caller
    /// has no number here (another pid namespace, for which the kernel says 0).
    pub(super) fn read(notified: &libc::seccomp_notif) -> Option<Self> {
        let thread = Pid::new(notified.pid.cast_signed())?;
        let data = &notified.data;
        if Some(data.arch) != filter::NATIVE {
            return None;
        }
        let [first, second, third, ..] = data.args;
        let fd = int(first);
        let kind = match libc::c_long::from(data.nr) {
            libc::SYS_bind => Kind::Bind { fd, address: second, length: int(third).cast_unsigned() },
            libc::SYS_listen => Kind::Listen { fd, backlog: int(second) },
            libc::SYS_shutdown => Kind::Shutdown { fd, how: int(second) },
            _ => return None,
        };
        Some(Self { id: CallId(notified.id), thread, kind })
    }
}

fn int(argument: u64) -> i32 {
    (argument as u32).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::{Call, CallId, Kind, filter};

    fn notified(pid: u32, nr: libc::c_long, args: [u64; 3]) -> libc::seccomp_notif {
        let [a, b, c] = args;
        let data = libc::seccomp_data {
            nr: i32::try_from(nr).unwrap(),
            arch: filter::NATIVE.unwrap(),
            instruction_pointer: 0,
            args: [a, b, c, 9, 9, 9],
        };
        libc::seccomp_notif { id: 77, pid, flags: 0, data }
    }

    #[test]
    fn ints_are_the_low_half_of_their_argument() {
        let minus_one = u64::from(u32::MAX);
        let read = |nr, args| Call::read(&notified(5, nr, args)).unwrap().kind;
        assert_eq!(read(libc::SYS_listen, [3 | 1 << 40, minus_one, 0]), Kind::Listen { fd: 3, backlog: -1 });
        assert_eq!(read(libc::SYS_shutdown, [minus_one, 2, 0]), Kind::Shutdown { fd: -1, how: 2 });
        let bind = Kind::Bind { fd: 4, address: u64::MAX, length: 16 };
        assert_eq!(read(libc::SYS_bind, [4, u64::MAX, 16 | 1 << 32]), bind);
    }

    #[test]
    fn what_is_not_ours_is_not_read() {
        assert_eq!(Call::read(&notified(5, libc::SYS_connect, [0; 3])), None);
        assert_eq!(Call::read(&notified(0, libc::SYS_bind, [0; 3])), None);
        let mut other = notified(5, libc::SYS_bind, [0; 3]);
        other.data.arch = 0x4000_0003;
        assert_eq!(Call::read(&other), None);
        let known = Call::read(&notified(5, libc::SYS_bind, [0; 3])).unwrap();
        assert_eq!(known.id, CallId::from_raw(77));
    }
}
