//! Being asked before a program binds or listens: seccomp user notification.
//!
//! What lives here: the filter, its installation in a child about to exec, receiving and answering the calls it traps, and a
//! trial of all that (`probe`).
//! What does not: what the answer should be; looking into the caller (`foreign`). Invariant: between `fork` and `exec` nothing
//! allocates, and a child that cannot be trapped never runs its program.
//!
//! A convenience, no sandbox: whoever wants past it uses another architecture's calls, or io_uring (which binds and
//! listens without system calls since Linux 6.11). The filter is inherited by every descendant, `exec` included, and
//! with it comes `no_new_privs`: setuid bits and file capabilities have no effect below. A call that is not trapped pays 20
//! to 60 ns. Needs Linux 5.0 for notification, 5.5 for [`let_through`](Listener::let_through), 5.9 for
//! [`put`](Listener::put).

mod call;
mod filter;
mod install;
mod listener;
mod probe;
mod unavailable;

use std::os::fd::RawFd;

pub use call::{Call, CallId, Kind};
pub(crate) use install::{Receipt, duplicate_inheritable, prepare};
pub use listener::{Delivery, Listener, Waits};
pub use probe::{Reach, probe};
pub use unavailable::{Reason, Unavailable};

/// What a child is trapped at, beside `bind` and `listen`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traps {
    /// Whether `shutdown` is trapped as well.
    pub shutdown: Shutdown,
    /// Leaves the program a duplicate of the notify descriptor, open across `exec`, under this number or the next free
    /// one above ([`Listener::kept`] says which). While anybody holds one, trapped calls wait instead of failing with
    /// `ENOSYS` when we end, and a successor can take it with [`foreign::take_fd`](crate::foreign::take_fd). The
    /// number must be below the child's limit of descriptors: else `spawn` fails with `EINVAL`. A program that closes
    /// everything at its start loses it.
    pub keep: Option<RawFd>,
}

/// Whether a program's `shutdown` is trapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shutdown {
    /// No `shutdown` is.
    #[default]
    Untouched,
    /// Every one that ends the reading side is: on a listening socket that several processes share it would end the port
    /// for all of them. `SHUT_WR`, the usual farewell on a connection, is not.
    Trapped,
}
