//! The thread that reads the worker's end of the channel and passes answers and connections on.
//!
//! Every descriptor is acknowledged in the order in which it came, before anybody touches it: that is what lets
//! a primary give a connection to somebody else when this process dies. When the primary goes away, or once
//! everything is closed after its `disconnect`, listeners end: `accept` then fails with `BrokenPipe`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use oneport_sys::fdpass;
use oneport_sys::poll::Readiness;
use oneport_wire::Violation;
use oneport_wire::node::MAX_LINE;
use oneport_wire::node::inbox::Inbox;
use oneport_wire::node::message::{FromPrimary, FromWorker, Outcome, SockName};
use tokio::sync::mpsc;

use super::link::{Answer, Link, Membership};
use super::outbox::Room;

/// Connections of one listener that may wait for `accept`; more are refused, so that a sibling gets them.
const WAITING: usize = 64;

/// What came of a read.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    GoOn,
    End,
}

impl Link {
    /// Until the primary is gone. Any end is the same end: nothing more will come.
    pub(super) fn read(self: Arc<Self>) {
        let _ = self.read_until_end();
        let (queries, listeners) = {
            let mut state = self.state();
            state.ended = true;
            (std::mem::take(&mut state.queries), std::mem::take(&mut state.listeners))
        };
        drop((queries, listeners));
        self.leaving.send_replace(true);
    }

    fn read_until_end(self: &Arc<Self>) -> io::Result<()> {
        let mut inbox = Inbox::<OwnedFd>::new(MAX_LINE);
        let mut readiness = Readiness::new();
        loop {
            self.poller.wait(&mut readiness, None)?;
            for ready in readiness.iter() {
                if ready.writable {
                    self.flush()?;
                }
                if (ready.readable || ready.hung_up) && self.receive(&mut inbox)? == Read::End {
                    return Ok(());
                }
            }
        }
    }

    fn receive(self: &Arc<Self>, inbox: &mut Inbox<OwnedFd>) -> io::Result<Read> {
        let received = match fdpass::receive(self.sock.as_fd(), inbox.space()) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Read::GoOn),
            Err(error) => return Err(error),
        };
        if received.bytes == 0 {
            return Ok(Read::End);
        }
        if received.extra > 0 || (received.truncated && received.fd.is_some()) {
            return Err(io::Error::other(Violation::TwoHandles));
        }
        inbox.received(received.bytes, received.fd).map_err(io::Error::other)?;
        while let Some((message, handle)) = inbox.next_from_primary().map_err(io::Error::other)? {
            if message.carries_handle() {
                let arrived = handle.is_some();
                self.answer(if arrived { &FromWorker::HandleAck } else { &FromWorker::HandleNack })?;
                if !arrived {
                    continue;
                }
            }
            self.take(message, handle)?;
        }
        if received.truncated && !inbox.is_empty() {
            // The message that lost its descriptor is unfinished and would take that of the next one.
            return Err(io::Error::other(Violation::TwoHandles));
        }
        Ok(Read::GoOn)
    }

    fn take(self: &Arc<Self>, message: FromPrimary<'_>, handle: Option<OwnedFd>) -> io::Result<()> {
        match message {
            FromPrimary::NewConn { key, seq } => self.take_connection(&key, seq, handle),
            FromPrimary::Reply { ack, key, outcome, .. } => {
                let asker = self.state().queries.remove(&ack);
                if let Some(asker) = asker {
                    // An asker that stopped waiting drops the answer, which closes what it opened.
                    let _ = asker.send(self.make_answer(key.into_owned(), outcome, handle));
                }
                Ok(())
            }
            FromPrimary::Disconnect { .. } => {
                // Set before the queries are taken, or one asked in between would wait for ever: a primary answers nobody
                // it has told to leave (Node's neither).
                self.leaving.send_replace(true);
                let (queries, keys) = {
                    let mut state = self.state();
                    let keys: Vec<String> = state.listeners.keys().cloned().collect();
                    (std::mem::take(&mut state.queries), keys)
                };
                drop(queries);
                keys.iter().for_each(|key| self.close(key));
                Ok(())
            }
            FromPrimary::Acknowledge { .. }
            | FromPrimary::HandleAck
            | FromPrimary::HandleNack
            | FromPrimary::Handle(_)
            | FromPrimary::Sockets(_)
            | FromPrimary::Internal { .. }
            | FromPrimary::UnknownAct { .. }
            | FromPrimary::User(_) => Ok(()),
        }
    }

    /// Registers the listener here and not where its asker wakes up: Node's own primary sends the first connection
    /// right behind its reply.
    fn make_answer(self: &Arc<Self>, key: String, outcome: Outcome<'_>, handle: Option<OwnedFd>) -> Answer {
        match (outcome, handle) {
            (Outcome::RoundRobin { sockname }, _) => {
                let (sender, connections) = mpsc::channel(WAITING);
                self.state().listeners.insert(key.clone(), sender);
                let sockname = sockname.and_then(|name| address(&name));
                Answer::HandedOver { membership: self.member(key), sockname, connections }
            }
            (Outcome::Shared { .. }, Some(socket)) => Answer::Socket { membership: self.member(key), socket },
            (Outcome::Shared { .. }, None) => Answer::Failed(io::Error::new(
                io::ErrorKind::InvalidData,
                "cannot listen: the primary's socket did not arrive",
            )),
            (Outcome::HandOff { .. }, _) => Answer::Failed(io::Error::new(
                io::ErrorKind::InvalidData,
                "cannot listen: the primary answered with a hand-off stream that was not asked for",
            )),
            (Outcome::Failed { errno }, _) => Answer::Failed(io::Error::from_raw_os_error(errno.to_os())),
        }
    }

    fn member(self: &Arc<Self>, key: String) -> Membership {
        Membership { link: self.clone(), key }
    }

    /// Accepts a connection for its listener, or refuses it: the listener is closed or has too much waiting.
    fn take_connection(&self, key: &str, ack: i64, handle: Option<OwnedFd>) -> io::Result<()> {
        let permit = {
            let state = self.state();
            state.listeners.get(key).and_then(|listener| listener.clone().try_reserve_owned().ok())
        };
        let accepted = Some(permit.is_some());
        self.say(Room::Answers, |seq| FromWorker::Answer { ack, accepted, seq: Some(seq) })?;
        if let (Some(permit), Some(connection)) = (permit, handle) {
            permit.send(connection);
        }
        Ok(())
    }
}

fn address(name: &SockName<'_>) -> Option<SocketAddr> {
    let ip: IpAddr = name.address.parse().ok()?;
    Some((ip, name.port).into())
}
