//! What waits to be written to the primary. Nothing here waits: what the socket does not take stays, up to a bound,
//! until the reading thread finds room.

use std::io;
use std::os::fd::BorrowedFd;

use oneport_sys::fdpass;
use oneport_wire::node::message::FromWorker;

/// An emptied buffer larger than this is given back.
const KEPT: usize = 64 * 1024;

/// How much may wait before a message is refused.
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
}

impl Outbox {
    /// Puts a message behind those that wait. `WouldBlock` when there is no room: then nothing of it is kept.
    pub(super) fn push(&mut self, message: &FromWorker<'_>, room: Room) -> io::Result<()> {
        let before = self.bytes.len();
        message.encode(&mut self.bytes);
        if self.bytes.len() > room.bytes() {
            self.bytes.truncate(before);
            let text = format!("cannot tell primary: {before} bytes wait already and it does not read");
            return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
        }
        Ok(())
    }

    /// Writes as much as the socket takes now. After an error nothing waits any more: nobody would read it.
    pub(super) fn flush(&mut self, sock: BorrowedFd<'_>) -> io::Result<()> {
        let mut written = 0;
        let outcome = loop {
            let rest = &self.bytes[written..];
            if rest.is_empty() {
                break Ok(());
            }
            match fdpass::send(sock, rest, None) {
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) => {
                    written = self.bytes.len();
                    break Err(error);
                }
            }
        };
        self.bytes.drain(..written);
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
        outcome
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
