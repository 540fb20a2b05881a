//! What workers say, turned into events of the core. A worker is a stranger: what breaks the protocol condemns it,
//! and it alone.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use oneport_core::{
    ConnId, Effects, EndCause, Event as Core, PortId, QuerySeq, QueryTerms, ReplyOutcome, WorkerId,
};
use oneport_sys::poll::{Interest, Ready};
use oneport_wire::handoff;
use oneport_wire::node::message::{FromPrimary, FromWorker, HandleEnvelope, Query, SocketNote};
use tracing::{debug, trace, warn};

use super::channel::{Carried, Channel, Kin, Read, Receipt, Trust};
use super::ids::IdMap;
use super::notes::LONGEST_KEY;
use super::port::{PortSocket, backlog, understand, wished};
use super::spawn::Wish;
use super::token::Token;
use super::{Command, Primary};
use crate::cluster::STRANGERS_WORDS;
use crate::event::{Address, Event};
use crate::handle::Handle;
use crate::message::Message;

/// Reads of one channel per turn of the loop.
const READS: usize = 4;
/// Descriptors that a worker may have answered for without acknowledging them. Node acknowledges each first.
const MOST_UNACKNOWLEDGED: usize = 1024;
/// Opaque text kept per port. Node puts 96 hex digits of TLS ticket keys there.
const MOST_DATA: usize = 16 * 1024;
/// What a worker says when it is ready (PM2's `process.send('ready')`).
const READY: &str = "\"ready\"";

/// Which messages of a worker are heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ears {
    /// Those that come while the worker reads ours, too.
    Fair,
    /// All: it hung up or is dead. epoll reports a hang-up for ever, wanted or not, so the end has to be reached;
    /// what lies in the channel is bounded by the socket's buffer.
    Open,
}

/// One message, without the buffer it was read from.
enum Heard {
    Nothing,
    Online,
    Query(QuerySeq, Option<Box<QueryTerms>>),
    /// And where, as far as that is our ports.
    Listening(Vec<(PortId, Address)>),
    Close(String),
    Released(String),
    Leaves(QuerySeq),
    Answer(ConnId, bool),
    NotReceived(ConnId),
    /// A handle of the owner's arrived, or never will.
    HandleSettled(Option<std::io::Error>),
    /// A user's message with a handle.
    Handle(HandleEnvelope<'static>, OwnedFd),
    /// A user's descriptor that did not arrive.
    HandleMissing,
    /// About connections that were passed on.
    Note(SocketNote<'static>),
    User(String),
    Violation(String),
}

impl Primary {
    pub(super) fn channel_ready(&mut self, worker: WorkerId, ready: Ready, effects: &mut Effects) {
        if ready.writable
            && let Some(channel) = self.workers.get_mut(&worker).and_then(|w| w.channel.as_mut())
        {
            let conns = &self.conns;
            channel.flush(|conn| conns.get(&conn).map(std::os::fd::AsFd::as_fd));
        }
        self.read_channel(worker, if ready.hung_up { Ears::Open } else { Ears::Fair }, effects);
        self.update_interest(worker);
    }

    /// First what was read and not heard yet, while the worker had too much of ours to read itself.
    fn read_channel(&mut self, worker: WorkerId, ears: Ears, effects: &mut Effects) {
        for _ in 0..READS {
            if !self.hear_all(worker, ears, effects) {
                return;
            }
            let Some(channel) = self.workers.get_mut(&worker).and_then(|w| w.channel.as_mut()) else {
                return;
            };
            if channel.trust != Trust::Heard || ears == Ears::Fair && !channel.wants_read() {
                return;
            }
            match channel.receive() {
                Ok(Read::Full) => {}
                Ok(Read::Part) => {
                    self.hear_all(worker, ears, effects);
                    return;
                }
                Ok(Read::Empty) => return,
                Ok(Read::End) => return self.channel_ended(worker, effects),
                Err(violation) => return self.condemn(worker, violation.to_string(), effects),
            }
        }
    }

    fn channel_ended(&mut self, worker: WorkerId, effects: &mut Effects) {
        let Some(channel) = self.workers.get_mut(&worker).and_then(|w| w.channel.as_mut()) else { return };
        if channel.trust != Trust::Heard {
            return;
        }
        channel.trust = Trust::Ended;
        let kin = channel.kin();
        // A socket whose other end is closed stays readable for ever.
        let _ = self.poller.remove(channel.fd());
        match kin {
            Kin::Cluster => self.happen(Core::ChannelClosed { worker }, effects),
            // It only listens no more.
            Kin::Child => {}
        }
        self.disconnected(worker);
    }

    /// Takes in the whole messages that were read. False: the worker is condemned.
    pub(super) fn hear_all(&mut self, worker: WorkerId, ears: Ears, effects: &mut Effects) -> bool {
        loop {
            if ears == Ears::Fair
                && self.workers.get(&worker).and_then(|w| w.channel.as_ref()).is_some_and(|c| !c.wants_read())
            {
                return true;
            }
            let Some(heard) = self.hear(worker) else { return true };
            match heard {
                Heard::Nothing => {}
                Heard::Answer(conn, accepted) => {
                    self.happen(Core::Answered { worker, conn, accepted }, effects)
                }
                Heard::NotReceived(conn) => self.happen(Core::NotReceived { worker, conn }, effects),
                Heard::Online => self.happen(Core::Online { worker }, effects),
                Heard::Query(seq, Some(query)) => self.happen(Core::Query { worker, seq, query }, effects),
                Heard::Query(seq, None) => self.refuse(worker, seq),
                Heard::Listening(places) => {
                    if let Some((_, address)) = places.first().cloned() {
                        let handle = self.handle(worker);
                        handle.listens(&address);
                        self.tell_counted(worker, Event::Listening { worker: handle, address });
                    }
                    self.lanes_listen(worker, |port| places.iter().any(|(meant, _)| *meant == port));
                    self.happen(Core::Listening { worker }, effects);
                }
                Heard::Close(key) => {
                    let port = self.ports.iter().find(|(_, socket)| socket.key == key).map(|(&port, _)| port);
                    if let Some(port) = port {
                        self.happen(Core::Closed { worker, port }, effects);
                    }
                }
                Heard::Released(key) => {
                    let port = self.ports.iter().find(|(_, socket)| socket.key == key).map(|(&port, _)| port);
                    if let Some(port) = port {
                        self.happen(Core::TakesNothing { worker, port }, effects);
                    }
                }
                Heard::Leaves(seq) => self.happen(Core::LeavesByItself { worker, seq }, effects),
                Heard::Handle(envelope, fd) => self.hear_handle(worker, &envelope, fd),
                Heard::Note(note) => self.asked(worker, note),
                Heard::HandleSettled(lost) => self.handle_settled(worker, lost),
                Heard::HandleMissing => self.answer_handle(worker, FromPrimary::HandleNack),
                Heard::User(json) => self.hear_user(worker, json, effects),
                Heard::Violation(reason) => {
                    self.condemn(worker, reason, effects);
                    return false;
                }
            }
        }
    }

    fn hear(&mut self, worker: WorkerId) -> Option<Heard> {
        let w = self.workers.get_mut(&worker)?;
        let channel = w.channel.as_mut()?;
        let in_cluster = match channel.kin() {
            Kin::Cluster => true,
            Kin::Child => false,
        };
        let (message, mut handle) = match channel.next() {
            Ok(Some(heard)) => heard,
            Ok(None) => return None,
            Err(violation) => return Some(Heard::Violation(violation.to_string())),
        };
        trace_message("from", worker, |out| message.encode(out));
        let heard = match message {
            FromWorker::Online { .. }
            | FromWorker::Query { .. }
            | FromWorker::Listening { .. }
            | FromWorker::Close { .. }
            | FromWorker::Released { .. }
            | FromWorker::ExitedAfterDisconnect { .. }
                if !in_cluster =>
            {
                Heard::Violation("cannot take message: it is no worker of a cluster".into())
            }
            FromWorker::HandleAck => match channel.acked() {
                Ok(Receipt::HandleArrived) => Heard::HandleSettled(None),
                Ok(
                    Receipt::Nothing | Receipt::HandleLost | Receipt::ConnectionLost(_) | Receipt::SocketLost,
                ) => Heard::Nothing,
                Err(_) => Heard::Violation("cannot match acknowledgement: no descriptor is under way".into()),
            },
            FromWorker::HandleNack => match channel.nacked() {
                Ok(Receipt::Nothing | Receipt::HandleArrived) => Heard::Nothing,
                Ok(Receipt::HandleLost) => Heard::HandleSettled(Some(std::io::Error::other(
                    "cannot send handle: it did not arrive, however often it was sent",
                ))),
                Ok(Receipt::ConnectionLost(conn)) => Heard::NotReceived(conn),
                Ok(Receipt::SocketLost) => Heard::Violation(
                    "cannot share socket: the worker could not receive its descriptor".into(),
                ),
                Err(_) => Heard::Violation("cannot match refusal: no descriptor is under way".into()),
            },
            FromWorker::Answer { ack, accepted, .. } => match channel.answered(ack) {
                Some(_) if channel.unacknowledged() > MOST_UNACKNOWLEDGED => {
                    Heard::Violation("cannot go on: descriptors are answered and never acknowledged".into())
                }
                Some(conn) => Heard::Answer(conn, accepted == Some(true)),
                // A program may send `{cmd: 'NODE_CLUSTER', ack: -1}` itself; Node ignores it.
                None if ack < 0 => Heard::Nothing,
                None => {
                    Heard::Violation(format!("cannot match answer: nothing was asked under number {ack}"))
                }
            },
            FromWorker::Online { .. } => Heard::Online,
            FromWorker::Query { query, .. } if too_much_data(&query) => {
                Heard::Violation(format!("cannot keep `data` of a query: more than {MOST_DATA} bytes"))
            }
            FromWorker::Query { seq, query } => {
                let seq = QuerySeq(seq);
                let terms = understand(&query).map(Box::new);
                if let Some(terms) = &terms {
                    let takes_stream = query.handoff.is_some_and(|version| version >= handoff::VERSION);
                    let backlog = backlog(terms.terms);
                    w.note_wish(seq, Wish { address: wished(&terms.endpoint), takes_stream, backlog });
                }
                Heard::Query(seq, terms)
            }
            FromWorker::Listening { query, .. } => Heard::Listening(places_of(&self.ports, &query)),
            FromWorker::Close { key, .. } => Heard::Close(key.into_owned()),
            FromWorker::Released { key, .. } => Heard::Released(key.into_owned()),
            FromWorker::ExitedAfterDisconnect { seq } => Heard::Leaves(QuerySeq(seq)),
            FromWorker::Handle(envelope) if envelope.key.as_deref().is_some_and(is_too_long) => long_key(),
            FromWorker::Sockets(note) if is_too_long(note.key()) => long_key(),
            FromWorker::Handle(envelope) => match handle.take() {
                Some(fd) => Heard::Handle(envelope.into_owned(), fd),
                None => Heard::HandleMissing,
            },
            FromWorker::Sockets(note) => Heard::Note(note.into_owned()),
            FromWorker::Internal { cmd } => {
                debug!(worker = worker.0, %cmd, "internal message");
                Heard::Nothing
            }
            FromWorker::UnknownAct { act } => {
                Heard::Violation(format!("cannot understand message: unknown act `{act}`"))
            }
            FromWorker::User(json) => Heard::User(json.get().to_owned()),
        };
        drop(handle);
        Some(heard)
    }

    fn hear_user(&mut self, worker: WorkerId, json: String, effects: &mut Effects) {
        if json == READY {
            self.happen(Core::Ready { worker }, effects);
        }
        let message = Message::received(json, None);
        self.tell_counted(worker, Event::Message { worker: self.handle(worker), message });
    }

    /// Tells the owner something that a worker can say as often as it likes. Where the owner does not keep up the
    /// worker is not read any more, until it does.
    pub(super) fn tell_counted(&mut self, worker: WorkerId, event: Event) {
        if self.backlog.abandoned.load(Ordering::Acquire) {
            return;
        }
        let weight = event.weight();
        if self.backlog.waiting.fetch_add(weight, Ordering::AcqRel) + weight >= STRANGERS_WORDS {
            self.backlog.throttled.store(true, Ordering::Release);
            if let Some(channel) = self.workers.get_mut(&worker).and_then(|w| w.channel.as_mut()) {
                channel.throttled = true;
            }
            // The owner may have taken everything between the count and the flag; nobody else would say so then.
            let waiting = self.backlog.waiting.load(Ordering::Acquire);
            if waiting <= STRANGERS_WORDS / 2 || self.backlog.abandoned.load(Ordering::Acquire) {
                self.own_commands.send(Command::Unthrottle);
            }
        }
        self.tell(event);
    }

    /// The owner caught up: read the channels that were held back.
    pub(super) fn unthrottle(&mut self, effects: &mut Effects) {
        let held: Vec<WorkerId> = self
            .workers
            .iter_mut()
            .filter_map(|(&worker, w)| w.channel.as_mut().map(|channel| (worker, channel)))
            .filter_map(|(worker, channel)| std::mem::take(&mut channel.throttled).then_some(worker))
            .collect();
        for worker in held {
            self.read_channel(worker, Ears::Fair, effects);
            self.update_interest(worker);
        }
    }

    /// No endpoint can be meant by the query.
    fn refuse(&mut self, worker: WorkerId, seq: QuerySeq) {
        let errno = oneport_core::Errno(rustix::io::Errno::INVAL.raw_os_error());
        let outcome = ReplyOutcome::Failed(errno);
        self.carry_out(oneport_core::Effect::Reply { worker, seq, outcome, data: None });
    }

    /// Acknowledged so that the worker's channel goes on. The kernel decides what a descriptor is: what is not what it was
    /// announced as is closed, and its message comes alone.
    fn hear_handle(&mut self, worker: WorkerId, envelope: &HandleEnvelope<'_>, fd: OwnedFd) {
        self.answer_handle(worker, FromPrimary::HandleAck);
        let handle = Handle::received(&envelope.kind, fd);
        let handle = handle.inspect_err(|cause| warn!(worker = worker.0, %cause, "a handle is dropped")).ok();
        if let Some(handle) = &handle {
            self.note_passed(worker, envelope, handle);
        }
        let message = Message::received(envelope.message.get().to_owned(), handle);
        self.tell_counted(worker, Event::Message { worker: self.handle(worker), message });
    }

    pub(super) fn tell_note(&mut self, worker: WorkerId, note: SocketNote<'static>) {
        self.answer_handle(worker, FromPrimary::Sockets(note));
    }

    /// A handle that this process sent is confirmed or lost.
    fn handle_settled(&mut self, worker: WorkerId, lost: Option<std::io::Error>) {
        let handle = self.handle(worker);
        handle.handles_settled(1);
        if let Some(error) = lost {
            self.tell(Event::Error { worker: handle, error });
        }
    }

    fn answer_handle(&mut self, worker: WorkerId, answer: FromPrimary<'static>) {
        if let Some(channel) = self.workers.get_mut(&worker).and_then(|w| w.channel.as_mut()) {
            channel.send(&answer, Carried::Nothing, |_| None);
        }
        self.update_interest(worker);
    }

    pub(super) fn condemn(&mut self, worker: WorkerId, reason: String, effects: &mut Effects) {
        if let Some(w) = self.workers.get_mut(&worker) {
            w.reason = Some(reason);
            if let Some(channel) = &mut w.channel {
                channel.trust = Trust::Condemned;
                // Whatever else it says is not heard while it lives.
                let _ = self.poller.remove(channel.fd());
            }
        }
        self.happen(Core::Condemned { worker, cause: EndCause::Violation }, effects);
    }

    /// Waits for room only while something waits, and for messages only while they may be read.
    pub(super) fn update_interest(&mut self, worker: WorkerId) {
        let Some(w) = self.workers.get_mut(&worker) else { return };
        if let Some(channel) = w.channel.as_mut() {
            w.owner.written(channel.take_written());
        }
        if w.channel.as_ref().is_some_and(Channel::is_stalled) {
            self.stalled.insert(worker);
        }
        let broken = w.channel.as_mut().and_then(|channel| channel.take_broken().then_some(channel.kin()));
        match broken {
            // It may be dying; if it lives on it cannot be talked to and has to leave.
            Some(Kin::Cluster) => self.pending.push_back(Core::ChannelClosed { worker }),
            // Nothing reaches it; what it said is still read.
            Some(Kin::Child) => self.disconnected(worker),
            None => {}
        }
        let Some(w) = self.workers.get_mut(&worker) else { return };
        let Some(channel) = w.channel.as_ref().filter(|channel| channel.trust == Trust::Heard) else {
            return;
        };
        let wanted = match (channel.wants_read(), channel.wants_write()) {
            (true, true) => Interest::BOTH,
            (true, false) => Interest::READ,
            (false, true) => Interest::WRITE,
            (false, false) => Interest::NONE,
        };
        if wanted != w.interest {
            match self.poller.modify(channel.fd(), Token::Channel(worker).pack(), wanted) {
                Ok(()) => w.interest = wanted,
                Err(cause) => warn!(%cause, worker = worker.0, "cannot change interest"),
            }
        }
    }
}

/// Shows a message as it passes on the channel, to who looks closely.
pub(super) fn trace_message(direction: &str, worker: WorkerId, encode: impl FnOnce(&mut Vec<u8>)) {
    if tracing::enabled!(target: "oneport::wire", tracing::Level::TRACE) {
        let mut line = Vec::new();
        encode(&mut line);
        let line = String::from_utf8_lossy(&line);
        trace!(target: "oneport::wire", "{direction} worker {worker}: {}", line.trim_end());
    }
}

/// Which port a worker means that says it listens. The port's own address is told, never the worker's words.
fn places_of(ports: &IdMap<PortId, PortSocket>, query: &Query<'_>) -> Vec<(PortId, Address)> {
    let meant = ports.iter().filter(|(_, socket)| socket.is_meant(query));
    meant.map(|(port, socket)| (*port, socket.address.clone())).collect()
}

/// Whether a server's key is longer than any of Node's.
fn is_too_long(key: &str) -> bool {
    key.len() > LONGEST_KEY
}

fn long_key() -> Heard {
    Heard::Violation(format!("cannot keep key of a server: more than {LONGEST_KEY} bytes"))
}

fn too_much_data(query: &Query<'_>) -> bool {
    query.data.as_ref().is_some_and(|data| data.get().len() > MOST_DATA)
}
