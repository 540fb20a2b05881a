//! One worker's channel: what was received and not yet read, what waits to be sent, and which hand-offs await an
//! answer. A descriptor belongs to the message that carries it. Every queue has a bound.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oneport_core::ConnId;
use oneport_sys::fdpass;
use oneport_wire::Violation;
use oneport_wire::node::inbox::Inbox;
use oneport_wire::node::message::{FromPrimary, FromWorker};
use oneport_wire::node::{MAX_LINE, env};
use rustix::io::Errno;
use tracing::warn;

/// Above this a channel is not read any more: the worker asks faster than it listens.
const OUTBOX_HIGH: usize = 1024 * 1024;
/// Above this a user's message is dropped.
const OUTBOX_FULL: usize = 16 * 1024 * 1024;

/// What goes along with a message.
#[derive(Debug)]
pub(crate) enum Carried {
    Nothing,
    /// A connection, kept by the primary until it is settled.
    Connection(ConnId),
    /// A descriptor of this message's own.
    Descriptor(OwnedFd),
}

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
    carried: Carried,
}

/// A descriptor on its way; the worker answers these in order.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Connection(ConnId),
    Socket,
}

/// What came of a read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// As much as there was room for; there may be more.
    Full,
    /// All there was.
    Part,
    /// Nothing right now.
    Empty,
    /// The worker's end is closed.
    End,
}

/// A worker answered a descriptor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    Nothing,
    /// This connection's descriptor never arrived.
    ConnectionLost(ConnId),
    /// A listening socket never arrived: the worker's `listen` would wait for ever.
    SocketLost,
}

/// An answer to something never asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unasked;

#[derive(Debug)]
pub(crate) struct Channel {
    sock: OwnedFd,
    inbox: Inbox<OwnedFd>,
    outbox: VecDeque<Outgoing>,
    waiting_bytes: usize,
    scratch: Vec<u8>,
    next_seq: i64,
    awaiting: VecDeque<(i64, ConnId)>,
    sent: VecDeque<Sent>,
    link: Link,
    lost: Lost,
    stalled: bool,
    pub(crate) throttled: bool,
    pub(crate) trust: Trust,
}

/// How far the worker's words count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    Heard,
    /// It broke the protocol: only answers that lie unread still count, once it is dead.
    Condemned,
    /// Its end was read.
    Ended,
}

impl Channel {
    pub(crate) fn new(sock: OwnedFd) -> Channel {
        Channel {
            sock,
            inbox: Inbox::new(MAX_LINE),
            outbox: VecDeque::new(),
            waiting_bytes: 0,
            scratch: Vec::with_capacity(256),
            next_seq: 0,
            awaiting: VecDeque::new(),
            sent: VecDeque::new(),
            link: Link::Whole,
            lost: Lost::Never,
            stalled: false,
            throttled: false,
            trust: Trust::Heard,
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.sock.as_fd()
    }

    /// The variables by which a worker finds the channel on descriptor 3.
    pub(crate) fn variables(worker: u32) -> [(&'static str, String); 3] {
        [
            (env::CHANNEL_FD, oneport_sys::spawn::CHANNEL_FD.to_string()),
            (env::UNIQUE_ID, worker.to_string()),
            (env::SERIALIZATION_MODE, env::SERIALIZATION_JSON.to_owned()),
        ]
    }

    pub(crate) fn next_seq(&mut self) -> i64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    /// Reads once.
    pub(crate) fn receive(&mut self) -> Result<Read, Violation> {
        if self.trust == Trust::Ended {
            return Ok(Read::End);
        }
        let room = self.inbox.space();
        let most = room.len();
        let received = match fdpass::receive(self.sock.as_fd(), room) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Read::Empty),
            // ECONNRESET: the worker went while our bytes lay unread. The end all the same.
            Err(_) => return Ok(Read::End),
        };
        if received.bytes == 0 {
            return Ok(Read::End);
        }
        if received.extra > 0 || received.truncated && received.fd.is_some() {
            return Err(Violation::TwoHandles);
        }
        if received.truncated {
            self.note_lost_descriptor();
        }
        self.inbox.received(received.bytes, received.fd)?;
        Ok(if received.bytes == most { Read::Full } else { Read::Part })
    }

    /// Ours: no descriptor was free. The message will be answered as one that lost it, if all of it is here.
    fn note_lost_descriptor(&mut self) {
        if self.lost == Lost::Never {
            warn!("a descriptor that a worker sent is lost: this process is at its limit of open files");
        }
        self.lost = Lost::JustNow;
    }

    /// Nobody can write to it any more; what was written can still be read.
    pub(crate) fn shut_for_reading(&self) {
        // Fails only where the other end is gone anyway.
        let _ = rustix::net::shutdown(&self.sock, rustix::net::Shutdown::Read);
    }

    /// The next message, and the descriptor that came with it.
    pub(crate) fn next(&mut self) -> Result<Option<(FromWorker<'_>, Option<OwnedFd>)>, Violation> {
        if self.lost == Lost::JustNow {
            // The rest of its line would take the descriptor of the message after it.
            if !self.inbox.is_whole() {
                return Err(Violation::StrayHandle);
            }
            self.lost = Lost::Before;
        }
        self.inbox.next_from_worker()
    }

    /// Sends a message, or queues it behind those that wait. `connections` lends the descriptor of a connection.
    pub(crate) fn send<'c>(
        &mut self,
        message: &FromPrimary<'_>,
        carried: Carried,
        connections: impl Fn(ConnId) -> Option<BorrowedFd<'c>>,
    ) {
        if self.link != Link::Whole {
            return;
        }
        self.scratch.clear();
        message.encode(&mut self.scratch);
        match carried {
            Carried::Connection(conn) => self.sent.push_back(Sent::Connection(conn)),
            Carried::Descriptor(_) => self.sent.push_back(Sent::Socket),
            Carried::Nothing => {}
        }
        let mut written = 0;
        if self.outbox.is_empty() {
            let fd = match &carried {
                Carried::Nothing => None,
                Carried::Connection(conn) => connections(*conn),
                Carried::Descriptor(fd) => Some(fd.as_fd()),
            };
            match fdpass::send(self.sock.as_fd(), &self.scratch, fd) {
                Ok(n) => written = n,
                Err(error) => match Obstacle::of(&error) {
                    Obstacle::Full => {}
                    Obstacle::Shortage => self.stalled = true,
                    Obstacle::Broken => return self.break_off(),
                },
            }
            if written == self.scratch.len() {
                return;
            }
        }
        let carried = if written > 0 { Carried::Nothing } else { carried };
        self.waiting_bytes += self.scratch.len() - written;
        self.outbox.push_back(Outgoing { bytes: self.scratch.clone(), written, carried });
    }

    /// Sends a user's message; refuses when too much waits.
    pub(crate) fn send_user(&mut self, message: &FromPrimary<'_>) -> bool {
        let room = self.waiting_bytes < OUTBOX_FULL;
        if room {
            self.send(message, Carried::Nothing, |_| None);
        }
        room
    }

    /// Goes on sending what waits.
    pub(crate) fn flush<'c>(&mut self, connections: impl Fn(ConnId) -> Option<BorrowedFd<'c>>) {
        self.stalled = false;
        while let Some(first) = self.outbox.front_mut() {
            let fd = match &first.carried {
                Carried::Nothing => None,
                Carried::Connection(conn) => connections(*conn),
                Carried::Descriptor(fd) => Some(fd.as_fd()),
            };
            match fdpass::send(self.sock.as_fd(), &first.bytes[first.written..], fd) {
                Ok(n) => {
                    first.written += n;
                    self.waiting_bytes -= n;
                    first.carried = Carried::Nothing;
                    if first.written == first.bytes.len() {
                        self.outbox.pop_front();
                    }
                }
                Err(error) => {
                    return match Obstacle::of(&error) {
                        Obstacle::Full => {}
                        Obstacle::Shortage => self.stalled = true,
                        Obstacle::Broken => self.break_off(),
                    };
                }
            }
        }
    }

    pub(crate) fn wants_write(&self) -> bool {
        !self.outbox.is_empty() && !self.stalled
    }

    /// Whether sending has to be tried again after a pause: the socket has room, the kernel has not.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Whether it was just found out that nothing can be sent any more. True once.
    pub(crate) fn take_broken(&mut self) -> bool {
        let told = self.link.told();
        std::mem::replace(&mut self.link, told) == Link::Broken
    }

    fn break_off(&mut self) {
        self.outbox.clear();
        self.waiting_bytes = 0;
        if self.link == Link::Whole {
            self.link = Link::Broken;
        }
    }

    /// Descriptors sent that the worker has not said anything about.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.sent.len()
    }

    /// Whether the worker's messages should be read: not while it leaves our answers lying.
    pub(crate) fn wants_read(&self) -> bool {
        self.trust == Trust::Heard && !self.throttled && self.waiting_bytes < OUTBOX_HIGH
    }

    /// Notes a hand-off that the worker will answer under this number.
    pub(crate) fn expect(&mut self, seq: i64, conn: ConnId) {
        self.awaiting.push_back((seq, conn));
    }

    /// The connection this answer is about.
    pub(crate) fn answered(&mut self, ack: i64) -> Option<ConnId> {
        let at = self.awaiting.iter().position(|(seq, _)| *seq == ack)?;
        self.awaiting.remove(at).map(|(_, conn)| conn)
    }

    /// What a dead worker that broke the protocol had answered behind its breach, as far as it can be read: whole
    /// lines that are not understood are passed over. Nobody holds the other end any more, so this ends.
    pub(crate) fn last_answers(&mut self) -> Vec<(ConnId, bool)> {
        let mut answers = Vec::new();
        loop {
            match self.inbox.next_from_worker() {
                Ok(Some((FromWorker::Answer { ack, accepted, .. }, _))) => {
                    let accepted = accepted == Some(true);
                    answers.extend(self.answered(ack).map(|conn| (conn, accepted)));
                }
                Ok(Some(_)) | Err(Violation::NotJson | Violation::Malformed { .. }) => {}
                Ok(None) => match self.receive() {
                    Ok(Read::Full | Read::Part) => {}
                    Ok(Read::Empty | Read::End) | Err(_) => return answers,
                },
                Err(_) => return answers,
            }
        }
    }

    /// Connections that were sent and never answered about, oldest first.
    pub(crate) fn unanswered(&self) -> Vec<ConnId> {
        self.awaiting.iter().map(|(_, conn)| *conn).collect()
    }

    /// A descriptor arrived.
    pub(crate) fn acked(&mut self) -> Result<(), Unasked> {
        self.sent.pop_front().map(|_| ()).ok_or(Unasked)
    }

    /// A descriptor did not arrive.
    pub(crate) fn nacked(&mut self) -> Result<Receipt, Unasked> {
        match self.sent.pop_front().ok_or(Unasked)? {
            Sent::Socket => Ok(Receipt::SocketLost),
            Sent::Connection(conn) => {
                let before = self.awaiting.len();
                self.awaiting.retain(|(_, awaited)| *awaited != conn);
                let lost = self.awaiting.len() < before;
                Ok(if lost { Receipt::ConnectionLost(conn) } else { Receipt::Nothing })
            }
        }
    }
}

/// Why a message could not be sent.
enum Obstacle {
    /// The socket is full: epoll says when it is not.
    Full,
    /// Too many descriptors in flight between processes of this user (`ETOOMANYREFS`, unix(7)), or no memory. The
    /// socket itself has room, so epoll says nothing; it has to be tried again.
    Shortage,
    /// The worker reads no more.
    Broken,
}

impl Obstacle {
    fn of(error: &io::Error) -> Obstacle {
        let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
        match error.kind() == io::ErrorKind::WouldBlock {
            true => Obstacle::Full,
            false if is(Errno::TOOMANYREFS) || is(Errno::NOBUFS) || is(Errno::NOMEM) => Obstacle::Shortage,
            false => Obstacle::Broken,
        }
    }
}

/// Whether a descriptor that the worker sent did not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Never,
    Before,
    /// With what was read last.
    JustNow,
}

/// Whether messages can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Whole,
    /// No, and nobody was told.
    Broken,
    /// No.
    Over,
}

impl Link {
    fn told(self) -> Link {
        match self {
            Link::Whole => Link::Whole,
            Link::Broken | Link::Over => Link::Over,
        }
    }
}

#[cfg(test)]
mod tests;
