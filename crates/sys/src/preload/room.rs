//! Where connections wait that have not said anything yet.
//!
//! Invariant: they are bounded in number and in time; and since anybody may connect, nobody's place is needed for users who run
//! no worker, but that of one of these.
#![expect(
    unsafe_code,
    reason = "SO_PEERCRED: rustix's type cannot hold the process number 0 of another pid namespace"
)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::fdpass;

/// How many may wait, and how many of users who run no worker among them.
const MOST: usize = 64;
const MOST_FOREIGN: usize = 8;

/// How long each of them may.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Users who are known to run workers, besides ourselves and root; the oldest gives way.
const MOST_USERS: usize = 16;

#[derive(Debug)]
pub(super) struct Room {
    /// In the order they came in.
    waiting: VecDeque<Waiting>,
    own_user: u32,
    /// Who runs workers, the newest last.
    users: VecDeque<u32>,
}

#[derive(Debug)]
struct Waiting {
    token: u64,
    since: Instant,
    connection: OwnedFd,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Its user runs workers, or could end them.
    Known,
    Foreign,
}

impl Room {
    pub(super) fn new() -> Self {
        let own_user = rustix::process::geteuid().as_raw();
        Self { waiting: VecDeque::new(), own_user, users: VecDeque::new() }
    }

    pub(super) fn trust(&mut self, user: u32) {
        if self.users.contains(&user) {
            return;
        }
        if self.users.len() >= MOST_USERS {
            self.users.pop_front();
        }
        self.users.push_back(user);
    }

    /// Makes room for one more. `None`: there is none for somebody like that.
    pub(super) fn admit(&mut self, connection: OwnedFd, token: u64) -> Option<BorrowedFd<'_>> {
        let standing = self.standing(connection.as_fd());
        let foreign = |waiting: &Waiting| waiting.standing == Standing::Foreign;
        let is_full = self.waiting.len() >= MOST;
        let foreigners = self.waiting.iter().filter(|waiting| foreign(waiting)).count();
        let needs_place = match standing {
            Standing::Known => is_full,
            Standing::Foreign => is_full || foreigners >= MOST_FOREIGN,
        };
        if needs_place {
            let oldest_foreigner = self.waiting.iter().position(foreign);
            let place = match standing {
                Standing::Known => oldest_foreigner.unwrap_or(0),
                Standing::Foreign => oldest_foreigner?,
            };
            self.waiting.remove(place);
        }
        self.waiting.push_back(Waiting { token, since: Instant::now(), connection, standing });
        self.waiting.back().map(|waiting| waiting.connection.as_fd())
    }

    fn standing(&self, connection: BorrowedFd<'_>) -> Standing {
        let is_known = |user| user == self.own_user || user == 0 || self.users.contains(&user);
        match read_peer(connection) {
            Some(peer) if is_known(peer.uid) => Standing::Known,
            Some(_) | None => Standing::Foreign,
        }
    }

    /// What one has to say, and itself, which does not wait any more. One that still says nothing stays; an end is an empty word.
    pub(super) fn hear(&mut self, token: u64, packet: &mut [u8]) -> Option<(usize, OwnedFd)> {
        let place = self.waiting.iter().position(|waiting| waiting.token == token)?;
        let length = match fdpass::receive_bytes(self.waiting.get(place)?.connection.as_fd(), packet) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Ok(length) => length,
            Err(_) => 0,
        };
        Some((length, self.waiting.remove(place)?.connection))
    }

    pub(super) fn drop_silent(&mut self, now: Instant) {
        while self.waiting.front().is_some_and(|oldest| now.duration_since(oldest.since) >= PATIENCE) {
            self.waiting.pop_front();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// Who connected. One without a number here (of another pid namespace) has number 0.
pub(super) fn read_peer(connection: BorrowedFd<'_>) -> Option<libc::ucred> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(size_of_val(&peer)).ok()?;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    let room = (&raw mut peer).cast();
    // SAFETY: the kernel writes at most `length` bytes to `peer`, plain numbers, and how many it wrote to `length`.
    let failed = unsafe { libc::getsockopt(connection.as_raw_fd(), level, name, room, &mut length) } != 0;
    if failed { None } else { Some(peer) }
}
