//! The sending half of a channel: what waits to be written, each message with the descriptor that belongs to it.
//! Nothing here waits; what the socket does not take stays in order until there is room.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use oneport_core::ConnId;
use oneport_sys::fdpass;
use rustix::io::Errno;

/// What goes along with a message.
#[derive(Clone, Debug)]
pub(crate) enum Carried {
    Nothing,
    /// A connection, kept by the primary until it is settled.
    Connection(ConnId),
    /// Another descriptor.
    Descriptor(Arc<OwnedFd>),
}

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
    carried: Carried,
    /// Counts as so many bytes of its owner's.
    owned: usize,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Outgoing>,
    waiting: usize,
    link: Link,
    stalled: bool,
    /// Bytes of the owner's messages that were written since it was asked last.
    pub(super) owned_written: usize,
}

/// Whether messages can be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Link {
    #[default]
    Whole,
    /// No, and nobody was told.
    Broken,
    /// No.
    Over,
}

/// Why a message could not be sent.
pub(crate) enum Obstacle {
    /// The socket is full: epoll says when it is not.
    Full,
    /// Too many descriptors in flight between processes of this user (`ETOOMANYREFS`, unix(7)), or no memory. The
    /// socket itself has room, so epoll says nothing; it has to be tried again.
    Shortage,
    /// The worker reads no more.
    Broken,
}

impl Obstacle {
    pub(crate) fn of(error: &io::Error) -> Obstacle {
        let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
        match error.kind() == io::ErrorKind::WouldBlock {
            true => Obstacle::Full,
            false if is(Errno::TOOMANYREFS) || is(Errno::NOBUFS) || is(Errno::NOMEM) => Obstacle::Shortage,
            false => Obstacle::Broken,
        }
    }
}

impl Outbox {
    pub(super) fn is_whole(&self) -> bool {
        self.link == Link::Whole
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Sends one line, or puts it behind those that wait. `connections` lends the descriptor of a connection.
    pub(super) fn push<'c>(
        &mut self,
        sock: BorrowedFd<'_>,
        line: &[u8],
        carried: Carried,
        owned: usize,
        connections: impl Fn(ConnId) -> Option<BorrowedFd<'c>>,
    ) {
        if self.link != Link::Whole {
            return;
        }
        let mut written = 0;
        if self.queue.is_empty() {
            match transmit(sock, line, &carried, connections) {
                Ok(n) => written = n,
                Err(Obstacle::Full) => {}
                Err(Obstacle::Shortage) => self.stalled = true,
                Err(Obstacle::Broken) => return self.break_off(),
            }
            if written == line.len() {
                self.owned_written += owned;
                return;
            }
        }
        // The descriptor goes with the first byte.
        let carried = if written > 0 { Carried::Nothing } else { carried };
        self.waiting += line.len() - written;
        self.queue.push_back(Outgoing { bytes: line.to_vec(), written, carried, owned });
    }

    /// Goes on sending what waits.
    pub(super) fn flush<'c>(
        &mut self,
        sock: BorrowedFd<'_>,
        connections: impl Fn(ConnId) -> Option<BorrowedFd<'c>>,
    ) {
        self.stalled = false;
        while let Some(first) = self.queue.front_mut() {
            match transmit(sock, &first.bytes[first.written..], &first.carried, &connections) {
                Ok(n) => {
                    first.written += n;
                    self.waiting -= n;
                    first.carried = Carried::Nothing;
                    if first.written == first.bytes.len() {
                        self.owned_written += first.owned;
                        self.queue.pop_front();
                    }
                }
                Err(Obstacle::Full) => return,
                Err(Obstacle::Shortage) => return self.stalled = true,
                Err(Obstacle::Broken) => return self.break_off(),
            }
        }
    }

    pub(super) fn wants_write(&self) -> bool {
        !self.queue.is_empty() && !self.stalled
    }

    /// Whether sending has to be tried again after a pause: the socket has room, the kernel has not.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Whether it was just found out that nothing can be sent any more. True once.
    pub(super) fn take_broken(&mut self) -> bool {
        match self.link {
            Link::Whole | Link::Over => false,
            Link::Broken => {
                self.link = Link::Over;
                true
            }
        }
    }

    fn break_off(&mut self) {
        // What its owner sent counts as waiting to the end: it is told then that it was lost.
        self.queue.clear();
        self.waiting = 0;
        if self.link == Link::Whole {
            self.link = Link::Broken;
        }
    }
}

fn transmit<'c>(
    sock: BorrowedFd<'_>,
    bytes: &[u8],
    carried: &Carried,
    connections: impl Fn(ConnId) -> Option<BorrowedFd<'c>>,
) -> Result<usize, Obstacle> {
    let sent = match carried {
        Carried::Nothing => fdpass::send(sock, bytes, None),
        Carried::Connection(conn) => fdpass::send(sock, bytes, connections(*conn)),
        Carried::Descriptor(fd) => fdpass::send(sock, bytes, Some(fd.as_fd())),
    };
    sent.map_err(|error| Obstacle::of(&error))
}
