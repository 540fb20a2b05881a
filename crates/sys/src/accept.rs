//! Accepting one connection, with the outcome sorted by what the caller must do next.
//!
//! Invariant: an accepted descriptor is non-blocking and close-on-exec from its first moment.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, sockopt};

/// What became of one accept.
#[derive(Debug)]
pub enum Accepted {
    /// A connection, non-blocking and close-on-exec.
    Connection(OwnedFd),
    /// Nothing waits: go back to waiting.
    Empty,
    /// This one is gone already (`ECONNABORTED`, or a network error pending on it, which Linux reports here):
    /// accept the next.
    Skipped,
    /// No descriptor or memory for it (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`). The connection stays queued and the
    /// listener stays readable: stop watching it for a while, or the loop spins.
    Exhausted(io::Error),
    /// The listener itself is unusable (`EINVAL`: not listening; `ENOTSOCK` ...).
    Failed(io::Error),
}

/// Accepts one connection without waiting; the listener must be non-blocking.
pub fn accept(listener: BorrowedFd<'_>) -> Accepted {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    match rustix::io::retry_on_intr(|| accept_with(listener, flags)) {
        Ok(connection) => Accepted::Connection(connection),
        Err(Errno::AGAIN) => Accepted::Empty,
        // EOPNOTSUPP and EPERM are in accept(2)'s list of passing errors too, but they are also what a datagram
        // socket and a security module answer for ever: treating them as passing would spin.
        Err(
            Errno::CONNABORTED
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NOPROTOOPT
            | Errno::NONET
            | Errno::TIMEDOUT,
        ) => Accepted::Skipped,
        Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
            Accepted::Exhausted(error.into())
        }
        Err(error) => Accepted::Failed(error.into()),
    }
}

/// Whether the last `close` of this socket would wait: `SO_LINGER` with a time above zero. The option belongs to the
/// socket, not to the descriptor, so a worker that sets it makes our close of a duplicate block as well, non-blocking
/// mode or not.
pub fn lingers(fd: BorrowedFd<'_>) -> bool {
    matches!(sockopt::socket_linger(fd), Ok(Some(time)) if !time.is_zero())
}
