//! Which namespaces another process lives in, compared to this one: what it may do, and which address it means, holds only
//! within them.
//!
//! Invariant: namespaces are told apart by what the kernel names them (inode, cookie), never by what is in them.
#![expect(unsafe_code, reason = "SO_NETNS_COOKIE: rustix has no call for it")]

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::process::Pid;

/// Whose network a program's socket is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Ours.
    Ours,
    /// That of another network namespace: the same address there is another one.
    Foreign,
}

/// The network namespace that this process lives in.
#[derive(Debug, Clone, Copy)]
pub struct Home {
    cookie: Option<u64>,
}

impl Home {
    /// That of the calling thread.
    pub fn of_this_thread() -> Self {
        let own = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
        Self { cookie: own.ok().and_then(|own| cookie(own.as_fd()).ok()) }
    }

    /// Whether a socket of the thread is in this one. By a duplicate of it if there is one (Linux 5.14); else by where the thread
    /// lives, and then what cannot be known is taken for ours.
    pub fn network_of(&self, thread: Pid, socket: Option<BorrowedFd<'_>>) -> Network {
        let theirs = socket.and_then(|socket| cookie(socket).ok());
        let is_ours = match (self.cookie, theirs) {
            (Some(ours), Some(theirs)) => ours == theirs,
            (Some(_) | None, Some(_) | None) => shares(thread, "net").unwrap_or(true),
        };
        if is_ours { Network::Ours } else { Network::Foreign }
    }
}

/// Whether the thread and this one live in the same namespace of that kind. `ENOENT`, `ESRCH`: there is no such thread; `EACCES`: not
/// permitted.
pub(super) fn shares(thread: Pid, kind: &str) -> io::Result<bool> {
    let theirs = fs::read_link(format!("/proc/{thread}/ns/{kind}"))?;
    Ok(theirs == fs::read_link(format!("/proc/thread-self/ns/{kind}"))?)
}

/// The name of the network namespace that the socket is in. `ENOPROTOOPT`: Linux before 5.14.
fn cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of_val(&cookie) as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_NETNS_COOKIE);
    let room = (&raw mut cookie).cast();
    // SAFETY: the kernel writes at most `length` bytes to `cookie`, and how many it wrote to `length`.
    let failed = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, room, &mut length) } != 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}
