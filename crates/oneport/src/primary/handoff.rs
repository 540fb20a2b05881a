//! The compact hand-off to library workers: one socket pair per worker and port, one byte and one descriptor per
//! connection, one byte for each answer. Nothing here decides: the core chose the worker, and credits bound what is
//! on the way. Connections chosen in one turn of the loop go in one message.
//!
//! A worker answers when its program gets a connection. The end of the stream says that nobody holds its other end any
//! more, so what was not answered is in nobody's hands and goes to somebody else at once.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use oneport_core::{ConnId, Effects, Event as Core, PortId, WorkerId};
use oneport_sys::fdpass::{self, MOST_AT_ONCE};
use oneport_sys::poll::Interest;
use oneport_sys::untouched::is_untouched;
use oneport_wire::handoff::{Answer, CONNECTION, MOST, match_answers};
use tracing::trace;

use super::Primary;
use super::channel::Obstacle;
use super::token::Token;

const _: () = assert!(MOST == MOST_AT_ONCE);

/// Answers read at a time: more than there can be credits for.
const ANSWERS: usize = 64;

/// Names a [`Stream`] within one primary; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StreamId(pub(crate) u32);

/// The way of one port's connections to one worker.
#[derive(Debug)]
pub(super) struct Stream {
    worker: WorkerId,
    port: PortId,
    sock: OwnedFd,
    /// Chosen and not sent.
    outgoing: VecDeque<ConnId>,
    /// Sent and not answered, oldest first.
    awaiting: VecDeque<ConnId>,
}

/// What came of reading answers.
enum Heard {
    Answers,
    Nothing,
    End,
}

impl Primary {
    /// A new stream to this worker; the end to give it. `None` where descriptors ran out: then the channel serves.
    pub(super) fn open_stream(&mut self, worker: WorkerId, port: PortId) -> Option<OwnedFd> {
        let held = self.streams.values().filter(|stream| stream.worker == worker).count();
        if held >= self.settings.conduct.ports {
            return None;
        }
        let (ours, theirs) = fdpass::channel_pair().ok()?;
        let id = StreamId(self.next_stream);
        self.next_stream += 1;
        self.poller.add(ours.as_fd(), Token::Stream(id).pack(), Interest::READ).ok()?;
        let (outgoing, awaiting) = (VecDeque::new(), VecDeque::new());
        self.streams.insert(id, Stream { worker, port, sock: ours, outgoing, awaiting });
        if let Some(w) = self.workers.get_mut(&worker) {
            w.streams.retain(|(of, _)| *of != port);
            w.streams_ended.retain(|of| *of != port);
            w.streams.push((port, id));
        }
        self.pending.push_back(Core::CreditsLimited { worker, most: MOST as u32 });
        Some(theirs)
    }

    /// Puts a connection on the stream, to be sent at the end of this turn.
    pub(super) fn put_on_stream(&mut self, id: StreamId, conn: ConnId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        trace!(target: "oneport::wire", "to worker {}: connection {}", stream.worker, conn.0);
        if stream.outgoing.is_empty() {
            self.chosen.push(id);
        }
        stream.outgoing.push_back(conn);
        if stream.outgoing.len() >= MOST {
            self.send_on_stream(id);
        }
    }

    /// Sends what was chosen in this turn; what cannot be sent is chosen for somebody else.
    pub(super) fn flush_streams(&mut self, effects: &mut Effects) {
        while !self.chosen.is_empty() {
            let mut chosen = std::mem::take(&mut self.chosen);
            for id in chosen.drain(..) {
                self.send_on_stream(id);
            }
            if self.chosen.is_empty() {
                self.chosen = chosen;
            }
            self.settle(effects);
        }
    }

    fn send_on_stream(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        while !stream.outgoing.is_empty() {
            // A connection that is in no table any more was settled otherwise; it cannot be sent.
            stream.outgoing.retain(|conn| self.conns.contains_key(conn));
            let mut fds = [stream.sock.as_fd(); MOST];
            let mut n = 0;
            for (place, conn) in fds.iter_mut().zip(&stream.outgoing) {
                if let Some(fd) = self.conns.get(conn) {
                    (*place, n) = (fd.as_fd(), n + 1);
                }
            }
            match fdpass::send_many(stream.sock.as_fd(), &[CONNECTION; MOST][..n], &fds[..n]) {
                Ok(_) => stream.awaiting.extend(stream.outgoing.drain(..n)),
                Err(error) => match Obstacle::of(&error) {
                    Obstacle::Full | Obstacle::Shortage => {
                        self.stalled_streams.insert(id);
                        return;
                    }
                    // It takes nothing more, but may still answer: only what was not sent goes to somebody else.
                    Obstacle::Broken => return self.take_back_unsent(id),
                },
            }
        }
    }

    /// The worker has shut the stream: it is leaving, and says `close` next.
    fn take_back_unsent(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let (worker, port) = (stream.worker, stream.port);
        let unsent = std::mem::take(&mut stream.outgoing);
        if let Some(w) = self.workers.get_mut(&worker) {
            w.stream_ended(port, id);
        }
        self.pending.extend(unsent.into_iter().map(|conn| Core::NotReceived { worker, conn }));
    }

    /// Tries again what the kernel had no room for.
    pub(super) fn try_stalled_streams(&mut self) {
        for id in std::mem::take(&mut self.stalled_streams) {
            self.send_on_stream(id);
        }
    }

    /// Answers came, or the end.
    pub(super) fn stream_ready(&mut self, id: StreamId, effects: &mut Effects) {
        loop {
            match self.hear_stream(id, effects) {
                Heard::Answers => {}
                Heard::Nothing => return,
                Heard::End => return self.end_stream(id, effects),
            }
        }
    }

    fn hear_stream(&mut self, id: StreamId, effects: &mut Effects) -> Heard {
        let Some(stream) = self.streams.get_mut(&id) else { return Heard::Nothing };
        let worker = stream.worker;
        let mut bytes = [0; ANSWERS];
        let received = match fdpass::receive_bytes(stream.sock.as_fd(), &mut bytes) {
            Ok(0) => return Heard::End,
            Ok(received) => received,
            // It went while connections lay unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Heard::End,
            // Nothing there, or no memory just now: then it stays readable.
            Err(_) => return Heard::Nothing,
        };
        let mut answers = std::mem::take(&mut self.answers);
        let breach = match_answers(&bytes[..received], &mut stream.awaiting, |conn, answer| {
            answers.push((conn, answer == Answer::Taken));
        });
        // First, so that it gets nothing more for its answers; what it said before it broke the rules counts.
        if let Err(violation) = &breach {
            self.condemn_on_stream(id, worker, violation.to_string(), effects);
        }
        for (conn, accepted) in answers.drain(..) {
            self.happen(Core::Answered { worker, conn, accepted }, effects);
        }
        self.answers = answers;
        if breach.is_err() {
            return Heard::Nothing;
        }
        if received < ANSWERS { Heard::Nothing } else { Heard::Answers }
    }

    /// It broke the rules: what it has not answered stays in its hands until it is gone.
    fn condemn_on_stream(&mut self, id: StreamId, worker: WorkerId, reason: String, effects: &mut Effects) {
        if let Some(stream) = self.streams.get(&id) {
            let _ = self.poller.remove(stream.sock.as_fd());
        }
        self.condemn(worker, reason, effects);
    }

    /// Nobody holds the other end: what was not answered is in nobody's hands.
    fn end_stream(&mut self, id: StreamId, effects: &mut Effects) {
        let Some(stream) = self.streams.remove(&id) else { return };
        let _ = self.poller.remove(stream.sock.as_fd());
        let worker = stream.worker;
        if let Some(w) = self.workers.get_mut(&worker) {
            w.stream_ended(stream.port, id);
        }
        for conn in stream.awaiting.into_iter().chain(stream.outgoing) {
            // Only a stranger uses what it has not answered for; nobody else can serve that then.
            let used = self.conns.get(&conn).is_some_and(|fd| !is_untouched(fd.as_fd()));
            self.happen(
                match used {
                    true => Core::Answered { worker, conn, accepted: true },
                    false => Core::NotReceived { worker, conn },
                },
                effects,
            );
        }
    }

    /// What a dead worker answered last.
    pub(super) fn hear_out_streams(&mut self, worker: WorkerId, effects: &mut Effects) {
        let of = |(id, stream): (&StreamId, &Stream)| (stream.worker == worker).then_some(*id);
        for id in self.streams.iter().filter_map(of).collect::<Vec<_>>() {
            self.stream_ready(id, effects);
        }
    }

    /// Connections that were sent to a worker and never answered about.
    pub(super) fn unanswered_on_streams(&self, worker: WorkerId) -> Vec<ConnId> {
        let streams = self.streams.values().filter(|stream| stream.worker == worker);
        streams.flat_map(|stream| stream.awaiting.iter().copied()).collect()
    }

    /// The port is closed: its streams end, but for those on which answers may be on their way.
    pub(super) fn end_streams_of(&mut self, port: PortId) {
        self.close_streams(|stream| {
            stream.port == port && stream.outgoing.is_empty() && stream.awaiting.is_empty()
        });
        for w in self.workers.values_mut() {
            w.streams.retain(|(of, _)| *of != port);
            w.streams_ended.retain(|of| *of != port);
        }
    }

    /// The worker is forgotten.
    pub(super) fn drop_streams(&mut self, worker: WorkerId) {
        self.close_streams(|stream| stream.worker == worker);
    }

    fn close_streams(&mut self, gone: impl Fn(&Stream) -> bool) {
        for (_, stream) in self.streams.extract_if(|_, stream| gone(stream)) {
            // Removed when it was condemned, or gone from the set with its last descriptor now.
            let _ = self.poller.remove(stream.sock.as_fd());
        }
    }
}
