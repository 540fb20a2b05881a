//! The names things have inside the core. A descriptor, a pid or a sequence number of the wire never enters.

use std::fmt;
use std::time::Duration;

/// A worker: 1, 2, 3 ... in order of birth, never reused within one primary (Node's `worker.id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u32);

/// A stable place 0..N-1 that successive workers occupy (`NODE_APP_INSTANCE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// One accepted connection that no worker has acknowledged yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// One listening endpoint (Node: one entry of the primary's `handles` map).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u32);

/// One socket of one worker on one port, of which the primary keeps a duplicate. Never reused within one primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub u32);

/// The worker's own number of a question, which the answer repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuerySeq(pub i64);

/// A Linux error number, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// Permission denied.
    pub const ACCESS: Errno = Errno(13);
    /// Address already in use.
    pub const ADDR_IN_USE: Errno = Errno(98);
    /// Too many open files: also the answer to a worker that asks for more endpoints than the bound.
    pub const TOO_MANY_FILES: Errno = Errno(24);
}

/// Nanoseconds since boot. Counting from boot, not from process start, lets a written-out state be read back
/// by a successor process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// This moment plus `span`; a span that does not fit means "never" and saturates.
    pub fn after(self, span: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Whether this moment is never reached.
    pub fn is_never(self) -> bool {
        self.0 == u64::MAX
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
