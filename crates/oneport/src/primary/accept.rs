//! Accepting: a bounded batch per turn of the loop, so that one busy port starves nobody. Each connection has one
//! owner from the moment it is accepted: this table, until the core settles or drops it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

use oneport_core::{ConnId, Effects, Event as Core, PortId};
use oneport_sys::accept::{self, Accepted};
use oneport_sys::poll::Interest;
use tracing::warn;

use super::Primary;
use super::port::PortSocket;
use super::token::Token;

/// Connections accepted per port and turn.
const BATCH: usize = 64;
/// And of these so many before those chosen for them get them.
const TOGETHER: usize = 8;
/// Most that a kernel queue may hold when it is emptied before a port closes (somaxconn is 4096 since Linux 5.4;
/// administrators raise it).
const LONGEST_QUEUE: usize = 65_536;

/// Descriptors that this process needs besides (standard streams, epoll, threads' own, the program's), and those
/// that one worker takes, twice: its successor may have to be started beside it.
const FIXED: usize = 32;
const PER_WORKER: usize = 12;
/// Lingering connections that may wait to be closed.
const CLOSING: usize = 1024;

enum Turn {
    Again,
    Done,
}

impl Primary {
    pub(super) fn accept(&mut self, port: PortId, effects: &mut Effects) {
        for n in 1..=BATCH {
            match self.accept_one(port, effects) {
                Turn::Again if n % TOGETHER == 0 => self.flush_streams(effects),
                Turn::Again => {}
                Turn::Done => break,
            }
        }
    }

    fn accept_one(&mut self, port: PortId, effects: &mut Effects) -> Turn {
        let Some(socket) = self.ports.get(&port) else { return Turn::Done };
        if !socket.accepting {
            return Turn::Done;
        }
        let Some(listener) = socket.listener() else { return Turn::Done };
        if !self.has_room() {
            self.happen(Core::AcceptExhausted { port }, effects);
            return Turn::Done;
        }
        match accept::accept(listener) {
            Accepted::Connection(fd) => {
                let conn = self.keep(fd);
                self.happen(Core::Accepted { port, conn }, effects);
                Turn::Again
            }
            Accepted::Skipped => Turn::Again,
            Accepted::Empty => Turn::Done,
            Accepted::Exhausted(_) => {
                self.happen(Core::AcceptExhausted { port }, effects);
                Turn::Done
            }
            Accepted::Failed(cause) => {
                // Not known to happen; pausing as for want of descriptors keeps it from spinning.
                warn!(%cause, address = %socket.address, "cannot accept");
                self.happen(Core::AcceptExhausted { port }, effects);
                Turn::Done
            }
        }
    }

    pub(super) fn keep(&mut self, fd: OwnedFd) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.conns.insert(conn, fd);
        conn
    }

    /// Takes everything that already waits in the kernel, then closes the listening socket.
    pub(super) fn shut(&mut self, port: PortId) {
        let mut waiting = Vec::new();
        if let Some(socket) = self.ports.get_mut(&port) {
            if let Some(listener) = socket.listener() {
                for _ in 0..LONGEST_QUEUE {
                    match accept::accept(listener) {
                        Accepted::Connection(fd) => waiting.push(fd),
                        Accepted::Skipped => {}
                        Accepted::Empty | Accepted::Exhausted(_) | Accepted::Failed(_) => break,
                    }
                }
                // A descriptor that is not registered is no loss: it closes now anyway.
                let _ = self.poller.remove(listener);
            }
            socket.close();
        }
        for fd in waiting {
            let conn = self.keep(fd);
            self.pending.push_back(Core::Accepted { port, conn });
        }
        self.pending.push_back(Core::PortShut { port });
    }

    /// Whether arrivals wake this thread, and whether they are accepted then.
    pub(super) fn set_arrivals(&mut self, port: PortId, change: impl FnOnce(&mut PortSocket)) {
        let Some(socket) = self.ports.get_mut(&port) else { return };
        change(socket);
        let Some(listener) = socket.listener() else { return };
        let interest = if socket.accepting && socket.watched { Interest::READ } else { Interest::NONE };
        if let Err(cause) = self.poller.modify(listener, Token::Port(port).pack(), interest) {
            warn!(%cause, address = %socket.address, "cannot change interest");
        }
    }

    /// Closes our copy of a connection. Under SO_LINGER the last `close` of a socket blocks until the peer has
    /// acknowledged everything, whoever set it and non-blocking or not (`inet_release`, Linux 6.18), and the
    /// worker may have closed its copy already.
    pub(super) fn release(&mut self, conn: ConnId) {
        let Some(fd) = self.conns.remove(&conn) else { return };
        if accept::lingers(fd.as_fd()) {
            self.lingering.close(fd);
        }
    }

    /// Whether one more connection may be kept: so many that a worker can still be started for each that dies, but
    /// never so few that a low limit leaves half of it unused.
    pub(super) fn has_room(&self) -> bool {
        let reserve = FIXED + PER_WORKER * self.workers.len() + self.ports.len() + self.streams.len();
        self.conns.len() < self.descriptors - reserve.min(self.descriptors / 2)
    }
}

/// Closing where it may wait: one thread, a bounded queue to it, and what does not fit is kept for the next time.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    closer: Option<SyncSender<OwnedFd>>,
    kept: Vec<OwnedFd>,
}

impl Lingering {
    fn close(&mut self, fd: OwnedFd) {
        if self.closer.is_none() {
            self.closer = start_closer();
        }
        self.kept.push(fd);
        // Without a closer nothing may be taken out: dropping it here is the close that waits.
        while let Some(closer) = &self.closer
            && let Some(fd) = self.kept.pop()
        {
            match closer.try_send(fd) {
                Ok(()) => {}
                Err(TrySendError::Full(fd)) => return self.kept.push(fd),
                Err(TrySendError::Disconnected(fd)) => {
                    self.kept.push(fd);
                    self.closer = None;
                    return;
                }
            }
        }
    }
}

fn start_closer() -> Option<SyncSender<OwnedFd>> {
    let (closer, fds) = sync_channel::<OwnedFd>(CLOSING);
    let spawned =
        thread::Builder::new().name("oneport-close".into()).spawn(move || fds.into_iter().for_each(drop));
    match spawned {
        Ok(_) => Some(closer),
        Err(cause) => {
            warn!(%cause, "cannot close lingering connections aside");
            None
        }
    }
}
