//! One worker's channel: what was received and not yet read, and which descriptors and hand-offs await an answer;
//! what waits to be sent is in `outbox`. A descriptor belongs to the message that carries it. Every queue has a bound.

mod outbox;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use oneport_core::ConnId;
use oneport_sys::fdpass;
use oneport_wire::Violation;
use oneport_wire::node::inbox::Inbox;
use oneport_wire::node::message::{FromPrimary, FromWorker, HandleEnvelope};
use oneport_wire::node::{MAX_LINE, env};
use tracing::warn;

use outbox::Outbox;
pub(crate) use outbox::{Carried, Obstacle};

/// Above this a channel is not read any more: the worker asks faster than it listens.
const OUTBOX_HIGH: usize = 1024 * 1024;
/// How often a user's handle is sent that does not arrive (as in Node).
const TRIES: u8 = 3;

/// A user's handle on its way, kept until the worker has confirmed it.
#[derive(Debug)]
struct UserHandle {
    line: Vec<u8>,
    fd: Arc<OwnedFd>,
    owned: usize,
    tries: u8,
}

/// A descriptor on its way; the worker answers these in order.
#[derive(Debug)]
enum Sent {
    Connection(ConnId),
    Socket,
    Handle(UserHandle),
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
    /// A user's handle has arrived.
    HandleArrived,
    /// A user's handle did not arrive however often it was sent.
    HandleLost,
    /// This connection's descriptor never arrived.
    ConnectionLost(ConnId),
    /// A listening socket never arrived: the worker's `listen` would wait for ever.
    SocketLost,
}

/// An answer to something never asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unasked;

/// What the two ends of a channel are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kin {
    /// Primary and worker of a cluster. Its end is the worker's (Node leaves at once).
    Cluster,
    /// Parent and child, as of `child_process.fork`: nothing but messages. The child outlives its end.
    Child,
}

#[derive(Debug)]
pub(crate) struct Channel {
    sock: OwnedFd,
    kin: Kin,
    inbox: Inbox<OwnedFd>,
    outbox: Outbox,
    scratch: Vec<u8>,
    next_seq: i64,
    awaiting: VecDeque<(i64, ConnId)>,
    sent: VecDeque<Sent>,
    lost: Lost,
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
    pub(crate) fn new(sock: OwnedFd, kin: Kin) -> Channel {
        Channel {
            sock,
            kin,
            inbox: Inbox::new(MAX_LINE),
            outbox: Outbox::default(),
            scratch: Vec::with_capacity(256),
            next_seq: 0,
            awaiting: VecDeque::new(),
            sent: VecDeque::new(),
            lost: Lost::Never,
            throttled: false,
            trust: Trust::Heard,
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.sock.as_fd()
    }

    pub(crate) fn kin(&self) -> Kin {
        self.kin
    }

    /// The variables by which a worker finds the channel on descriptor 3. The number is what makes it one of a cluster.
    pub(crate) fn variables(worker: u32, kin: Kin) -> impl Iterator<Item = (&'static str, String)> {
        let number = match kin {
            Kin::Cluster => Some((env::UNIQUE_ID, worker.to_string())),
            Kin::Child => None,
        };
        [
            (env::CHANNEL_FD, oneport_sys::spawn::CHANNEL_FD.to_string()),
            (env::SERIALIZATION_MODE, env::SERIALIZATION_JSON.to_owned()),
        ]
        .into_iter()
        .chain(number)
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
        if !self.outbox.is_whole() {
            return;
        }
        self.scratch.clear();
        message.encode(&mut self.scratch);
        match &carried {
            Carried::Connection(conn) => self.sent.push_back(Sent::Connection(*conn)),
            Carried::Descriptor(_) => self.sent.push_back(Sent::Socket),
            Carried::Nothing => {}
        }
        self.outbox.push(self.sock.as_fd(), &self.scratch, carried, 0, connections);
    }

    /// Sends an owner's message.
    pub(crate) fn send_user(&mut self, message: &FromPrimary<'_>, owned: usize) {
        self.scratch.clear();
        message.encode(&mut self.scratch);
        self.outbox.push(self.sock.as_fd(), &self.scratch, Carried::Nothing, owned, |_| None);
    }

    /// Sends an owner's message with a handle, which is kept until the worker has confirmed it.
    pub(crate) fn send_handle(&mut self, envelope: HandleEnvelope<'_>, fd: OwnedFd, owned: usize) {
        let mut line = Vec::new();
        FromPrimary::Handle(envelope).encode(&mut line);
        self.send_again(UserHandle { line, fd: Arc::new(fd), owned, tries: 0 });
    }

    fn send_again(&mut self, mut handle: UserHandle) {
        handle.tries += 1;
        let carried = Carried::Descriptor(handle.fd.clone());
        self.outbox.push(self.sock.as_fd(), &handle.line, carried, 0, |_| None);
        self.sent.push_back(Sent::Handle(handle));
    }

    /// Goes on sending what waits.
    pub(crate) fn flush<'c>(&mut self, connections: impl Fn(ConnId) -> Option<BorrowedFd<'c>>) {
        self.outbox.flush(self.sock.as_fd(), connections);
    }

    pub(crate) fn wants_write(&self) -> bool {
        self.outbox.wants_write()
    }

    /// Whether sending has to be tried again after a pause: the socket has room, the kernel has not.
    pub(crate) fn is_stalled(&self) -> bool {
        self.outbox.is_stalled()
    }

    /// Whether it was just found out that nothing can be sent any more. True once.
    pub(crate) fn take_broken(&mut self) -> bool {
        self.outbox.take_broken()
    }

    /// Bytes of the owner's messages that are written, or confirmed where they carried a handle, since the last call.
    pub(crate) fn take_written(&mut self) -> usize {
        std::mem::take(&mut self.outbox.owned_written)
    }

    /// Descriptors sent that the worker has not said anything about.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.sent.len()
    }

    /// Whether the worker's messages should be read: not while it leaves our answers lying.
    pub(crate) fn wants_read(&self) -> bool {
        self.trust == Trust::Heard && !self.throttled && self.outbox.waiting() < OUTBOX_HIGH
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
    pub(crate) fn acked(&mut self) -> Result<Receipt, Unasked> {
        match self.sent.pop_front().ok_or(Unasked)? {
            Sent::Connection(_) | Sent::Socket => Ok(Receipt::Nothing),
            Sent::Handle(handle) => {
                self.outbox.owned_written += handle.owned;
                Ok(Receipt::HandleArrived)
            }
        }
    }

    /// A descriptor did not arrive.
    pub(crate) fn nacked(&mut self) -> Result<Receipt, Unasked> {
        match self.sent.pop_front().ok_or(Unasked)? {
            Sent::Socket => Ok(Receipt::SocketLost),
            Sent::Handle(handle) if handle.tries < TRIES => {
                self.send_again(handle);
                Ok(Receipt::Nothing)
            }
            Sent::Handle(handle) => {
                self.outbox.owned_written += handle.owned;
                Ok(Receipt::HandleLost)
            }
            Sent::Connection(conn) => {
                let before = self.awaiting.len();
                self.awaiting.retain(|(_, awaited)| *awaited != conn);
                let lost = self.awaiting.len() < before;
                Ok(if lost { Receipt::ConnectionLost(conn) } else { Receipt::Nothing })
            }
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
