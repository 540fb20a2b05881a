//! Waiting for descriptors: a level-triggered epoll set.
//!
//! What lives here: registration by token and one wait. What does not: who owns the descriptors and what a token
//! means. Invariant: a wait never returns before its timeout without a reason, so a loop over it cannot spin on a
//! rounded-down timer.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

/// Events taken from the kernel by one wait; what does not fit is reported by the next.
const MAX_EVENTS: usize = 256;

/// What to be told about a descriptor. Errors and hang-ups are always told, `NONE` included: a descriptor that
/// hung up must be [removed](Poller::remove), not silenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest(epoll::EventFlags);

impl Interest {
    /// Hang-up and error only.
    pub const NONE: Self = Self(epoll::EventFlags::empty());
    /// Something to read, or the end.
    pub const READ: Self = Self(epoll::EventFlags::IN);
    /// Room to write.
    pub const WRITE: Self = Self(epoll::EventFlags::OUT);
    /// Both.
    pub const BOTH: Self = Self(epoll::EventFlags::IN.union(epoll::EventFlags::OUT));
}

/// One ready descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The token it was added with.
    pub token: u64,
    /// A read will not block: data, the end, or an error.
    pub readable: bool,
    /// A write will not block.
    pub writable: bool,
    /// Hung up on both sides, or an error is pending.
    pub hung_up: bool,
}

/// The answers of one wait; kept by the caller and reused, so that waiting allocates nothing.
pub struct Readiness {
    events: Vec<epoll::Event>,
}

impl Readiness {
    /// An empty one, with room for 256 answers.
    pub fn new() -> Self {
        Self { events: Vec::with_capacity(MAX_EVENTS) }
    }

    /// The ready descriptors of the last wait.
    pub fn iter(&self) -> impl Iterator<Item = Ready> + '_ {
        self.events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            Ready {
                token: data.u64(),
                readable: flags.intersects(epoll::EventFlags::IN),
                writable: flags.intersects(epoll::EventFlags::OUT),
                hung_up: flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR),
            }
        })
    }

    /// Whether the last wait ended without any: a timeout, or a signal handler ran.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

/// An epoll set. Closing the last duplicate of a registered descriptor removes it; while another process holds a
/// duplicate it stays and can no longer be named, so remove before closing whatever was passed on.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    /// A new, empty set, close-on-exec.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Watches a descriptor. `EEXIST` when it is in the set already.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), interest.0)?)
    }

    /// Changes token and interest. `ENOENT` when it is not in the set.
    pub fn modify(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(token), interest.0)?)
    }

    /// Stops watching. `ENOENT` when it is not in the set.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// Waits until something is ready or the timeout is over (`None`: for ever) and replaces the contents of
    /// `readiness`. A signal handler ends the wait early with nothing.
    pub fn wait(&self, readiness: &mut Readiness, timeout: Option<Duration>) -> io::Result<()> {
        readiness.events.clear();
        let timeout = timeout.map(round_up);
        match epoll::wait(&self.epoll, spare_capacity(&mut readiness.events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Whole milliseconds, rounded up: `epoll_wait` counts in them, and 0.4 ms rounded down is 0, which would turn the
/// last part of every timer into a busy loop.
fn round_up(timeout: Duration) -> Timespec {
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    let millis = i32::try_from(millis).unwrap_or(i32::MAX); // 24 days; longer waits just come back
    Timespec { tv_sec: i64::from(millis / 1000), tv_nsec: i64::from(millis % 1000) * 1_000_000 }
}
