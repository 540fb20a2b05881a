//! What waits to be written to the primary, and the handle on its way. Nothing here waits: what the socket does not
//! take stays, up to a bound, until the reading thread finds room.
//!
//! Invariants: the order of the program's messages is kept; at most one handle is unanswered, and the program's later
//! messages wait behind it (as Node's do), while the library's own words pass them by.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use oneport_sys::fdpass;
use oneport_wire::node::MAX_LINE;
use oneport_wire::node::message::{FromWorker, HandleEnvelope, Json};

use crate::Handle;

/// An emptied buffer larger than this is given back.
const KEPT: usize = 64 * 1024;
/// How often a handle is sent again after a NACK (Node's number).
const AGAIN: u8 = 3;
/// Handles that may wait behind one that is not answered yet.
const HANDLES: usize = 256;
/// Bytes that may wait when the program sends another message.
const TEXTS: usize = 16 * 1024 * 1024;
/// What the envelope of a message takes at most, beside the message.
const ENVELOPE: usize = 256;
/// The kernel's `ETOOMANYREFS`: more descriptors of this user are in flight than it may have open.
const TOO_MANY_REFS: i32 = 109;

/// How much may wait before a message is refused, beside what the program's own messages take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// For what this program asks or tells by itself: 1 MiB.
    Calls,
    /// For what answers the primary or takes something back: 2 MiB, so that calls leave room for it. The primary
    /// bounds its number by how much it leaves unanswered.
    Answers,
}

impl Room {
    const fn bytes(self) -> usize {
        match self {
            Room::Calls => 1024 * 1024,
            Room::Answers => 2 * 1024 * 1024,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// Of `bytes`, how much at most is the program's messages.
    texts: usize,
    passing: Option<Passing>,
    /// The program's messages behind `passing`.
    held: VecDeque<Held>,
    held_bytes: usize,
}

/// The handle that was sent, or is about to be, and not answered.
#[derive(Debug)]
struct Passing {
    line: Vec<u8>,
    handle: Handle,
    /// Where `line` begins in `bytes`, until the descriptor is sent.
    at: Option<usize>,
    nacks: u8,
}

#[derive(Debug)]
struct Held {
    line: Vec<u8>,
    handle: Option<Handle>,
}

impl Outbox {
    /// Puts one of the library's own messages behind those that wait. `WouldBlock` when there is no room: then nothing of
    /// it is kept.
    pub(super) fn push(&mut self, message: &FromWorker<'_>, room: Room) -> io::Result<()> {
        let before = self.bytes.len();
        message.encode(&mut self.bytes);
        if self.bytes.len() > room.bytes() + self.texts {
            self.bytes.truncate(before);
            return Err(full(before));
        }
        Ok(())
    }

    /// Puts a message of the program behind those that wait. `WouldBlock` when 16 MiB or 256 handles wait already,
    /// `InvalidInput` when the message is too long for the channel; a handle is closed then.
    pub(super) fn push_text(&mut self, json: &str, handle: Option<Handle>) -> io::Result<()> {
        let waiting = self.bytes.len() + self.held_bytes;
        let handles = self.held.iter().filter(|held| held.handle.is_some()).count();
        if waiting > TEXTS || (handle.is_some() && handles >= HANDLES) {
            return Err(full(waiting));
        }
        if json.len() > MAX_LINE - ENVELOPE {
            let text = format!("cannot send message: longer than {} bytes", MAX_LINE - ENVELOPE);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let message =
            Json::parse(json).map_err(|cause| io::Error::new(io::ErrorKind::InvalidInput, cause))?;
        let message = match &handle {
            None => FromWorker::User(message),
            Some(handle) => FromWorker::Handle(HandleEnvelope { kind: handle.kind(), message, key: None }),
        };
        let mut line = Vec::with_capacity(json.len() + ENVELOPE);
        message.encode(&mut line);
        self.held_bytes += line.len();
        self.held.push_back(Held { line, handle });
        self.proceed();
        Ok(())
    }

    /// Moves on what waits behind no handle any more.
    fn proceed(&mut self) {
        while self.passing.is_none()
            && let Some(Held { line, handle }) = self.held.pop_front()
        {
            self.held_bytes -= line.len();
            let at = self.append(&line);
            if let Some(handle) = handle {
                self.passing = Some(Passing { line, handle, at: Some(at), nacks: 0 });
            }
        }
    }

    /// Where the line begins.
    fn append(&mut self, line: &[u8]) -> usize {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(line);
        self.texts += line.len();
        at
    }

    /// The handle on its way arrived: it is the caller's to close, where that holds up nobody.
    pub(super) fn acked(&mut self) -> Option<Handle> {
        let arrived = self.passing.take_if(|passing| passing.at.is_none())?;
        self.proceed();
        Some(arrived.handle)
    }

    /// The handle on its way did not arrive: it is sent again, and given up after the fourth time.
    pub(super) fn nacked(&mut self) {
        let Some(mut passing) = self.passing.take_if(|passing| passing.at.is_none()) else { return };
        passing.nacks += 1;
        if passing.nacks > AGAIN {
            tracing::warn!(event = "handle_lost", "cannot pass handle: the primary could not receive it");
            self.proceed();
        } else {
            passing.at = Some(self.append(&passing.line));
            self.passing = Some(passing);
        }
    }

    /// Writes as much as the socket takes now. After an error nothing waits any more: nobody would read it.
    pub(super) fn flush(&mut self, sock: BorrowedFd<'_>) -> io::Result<()> {
        let mut written = 0;
        let outcome = loop {
            let rest = self.bytes.get(written..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            // A descriptor goes with the first byte of its own line and with no other.
            let (chunk, fd) = match &self.passing {
                Some(Passing { at: Some(at), .. }) if *at > written => (&rest[..*at - written], None),
                Some(Passing { at: Some(_), line, handle, .. }) => {
                    (&rest[..line.len()], Some(handle.as_fd()))
                }
                Some(Passing { at: None, .. }) | None => (rest, None),
            };
            let carries = fd.is_some();
            let length = chunk.len();
            match fdpass::send(sock, chunk, fd) {
                Ok(n) => {
                    written += n;
                    if carries && let Some(passing) = &mut self.passing {
                        passing.at = None;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) if carries && error.raw_os_error() == Some(TOO_MANY_REFS) => {
                    tracing::warn!(event = "handle_lost", error = %error, "cannot pass handle");
                    self.passing = None;
                    self.bytes.drain(written..written + length);
                    self.proceed();
                }
                Err(error) => {
                    *self = Outbox::default();
                    return Err(error);
                }
            }
        };
        self.bytes.drain(..written);
        if let Some(Passing { at: Some(at), .. }) = &mut self.passing {
            *at -= written;
        }
        if self.bytes.is_empty() {
            self.texts = 0;
            if self.bytes.capacity() > KEPT {
                self.bytes = Vec::new();
            }
        }
        outcome
    }

    /// Whether nothing waits for room.
    pub(super) fn is_written(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of the program's messages that wait for room or for an answer.
    pub(super) fn texts_waiting(&self) -> usize {
        let passing = self.passing.as_ref().map_or(0, |passing| passing.line.len());
        self.texts.min(self.bytes.len()) + passing + self.held_bytes
    }

    /// Whether nothing waits for room or for an answer.
    pub(super) fn is_idle(&self) -> bool {
        self.bytes.is_empty() && self.passing.is_none() && self.held.is_empty()
    }
}

fn full(waiting: usize) -> io::Error {
    let text = format!("cannot tell primary: {waiting} bytes wait already and it does not read");
    io::Error::new(io::ErrorKind::WouldBlock, text)
}
