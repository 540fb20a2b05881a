//! What the tests stand on: the library as it was built, C programs under it, and a primary that a test plays by hand.
//!
//! Invariant: everything waits with a deadline, and every program is ended with its process group.

mod build;
mod primary;
mod program;

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) use build::{library, probe, skipped};
pub(crate) use primary::{Primary, listening, not_listening};
pub(crate) use program::{Program, ask_pid};

/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the descriptor is readable or hung up.
pub(crate) fn wait_readable(fd: impl AsFd) {
    assert!(is_readable_within(fd, PATIENCE), "nothing to read in time");
}

/// Whether it becomes so in this time.
pub(crate) fn is_readable_within(fd: impl AsFd, time: Duration) -> bool {
    let timeout = Timespec::try_from(time).expect("small");
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).expect("poll") == 1
}
