//! The thread that reads the worker's end of the channel and passes on what comes.
//!
//! Every descriptor is acknowledged in the order in which it came, before anybody touches it: that is what lets
//! a primary give a connection to somebody else when this process dies. When the primary goes away, or once
//! everything is closed after its `disconnect`, listeners end: `accept` then fails with `BrokenPipe`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oneport_sys::fdpass;
use oneport_sys::poll::Readiness;
use oneport_sys::proc::open_sockets;
use oneport_sys::process::own_pid;
use oneport_wire::Violation;
use oneport_wire::node::MAX_LINE;
use oneport_wire::node::inbox::Inbox;
use oneport_wire::node::message::{FromPrimary, FromWorker, HandleEnvelope, SocketNote};

use super::leave::End;
use super::link::Link;
use crate::{Handle, Message};

/// How often the end of passed-on connections is looked for, while the primary waits for it.
const LOOK: Duration = Duration::from_millis(100);

/// What came of a read.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    GoOn,
    End,
}

impl Link {
    /// Until the channel is closed, from either side.
    pub(super) fn read(self: Arc<Self>) {
        let end = self.read_until_end().err().unwrap_or(End::Closed);
        self.finish(end);
    }

    fn read_until_end(self: &Arc<Self>) -> Result<(), End> {
        let mut inbox = Inbox::<OwnedFd>::new(MAX_LINE);
        let mut readiness = Readiness::new();
        let mut look: Option<Instant> = None;
        loop {
            let timeout = look.map(|look| look.saturating_duration_since(Instant::now()));
            self.poller.wait(&mut readiness, timeout)?;
            for ready in readiness.iter() {
                if ready.writable {
                    self.flush()?;
                }
                if (ready.readable || ready.hung_up) && self.receive(&mut inbox)? == Read::End {
                    return Ok(());
                }
            }
            look = self.look_after_sockets(look)?;
        }
    }

    fn receive(self: &Arc<Self>, inbox: &mut Inbox<OwnedFd>) -> Result<Read, End> {
        let received = match fdpass::receive(self.sock.as_fd(), inbox.space()) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Read::GoOn),
            Err(error) => return Err(error.into()),
        };
        if received.bytes == 0 {
            return Ok(Read::End);
        }
        if received.extra > 0 || (received.truncated && received.fd.is_some()) {
            return Err(Violation::TwoHandles.into());
        }
        inbox.received(received.bytes, received.fd)?;
        while let Some((message, handle)) = inbox.next_from_primary()? {
            if message.carries_handle() {
                let arrived = handle.is_some();
                said(self.answer(if arrived { &FromWorker::HandleAck } else { &FromWorker::HandleNack }))?;
            }
            self.take(message, handle)?;
        }
        if received.truncated && !inbox.is_empty() {
            // The message that lost its descriptor is unfinished and would take that of the next one.
            return Err(Violation::TwoHandles.into());
        }
        Ok(Read::GoOn)
    }

    fn take(self: &Arc<Self>, message: FromPrimary<'_>, handle: Option<OwnedFd>) -> Result<(), End> {
        match message {
            FromPrimary::NewConn { key, seq } => {
                // Without its handle it was answered with NACK: the primary gives it to somebody else.
                if let Some(connection) = handle {
                    said(self.take_connection(&key, seq, connection))?;
                }
            }
            FromPrimary::Reply { ack, key, outcome, .. } => self.replied(ack, &key, outcome, handle),
            FromPrimary::Disconnect { .. } => self.told_to_leave(),
            FromPrimary::Acknowledge { ack, .. } => self.acknowledged(ack),
            FromPrimary::HandleAck => {
                let arrived = self.state().outbox.acked();
                drop(arrived);
                self.flush()?;
            }
            FromPrimary::HandleNack => {
                self.state().outbox.nacked();
                self.flush()?;
            }
            FromPrimary::Handle(envelope) => {
                // Without its handle it was answered with NACK, and comes again.
                if let Some(fd) = handle {
                    self.take_handle(&envelope, fd);
                }
            }
            FromPrimary::Sockets(note) => said(self.take_note(note))?,
            FromPrimary::User(json) => self.deliver(Ok(Message::received(json.get().to_owned(), None))),
            FromPrimary::Internal { .. } | FromPrimary::UnknownAct { .. } => (),
        }
        Ok(())
    }

    fn take_handle(&self, envelope: &HandleEnvelope<'_>, fd: OwnedFd) {
        if let Some(key) = &envelope.key
            && let Ok(stat) = rustix::fs::fstat(&fd)
        {
            let open = || open_sockets(own_pid());
            self.state().passed_on.remember(key.clone().into_owned(), stat.st_ino, open);
        }
        let handle = Handle::received(&envelope.kind, fd);
        self.deliver(handle.map(|handle| Message::received(envelope.message.get().to_owned(), Some(handle))));
    }

    fn deliver(&self, message: io::Result<Message>) {
        self.state().mailbox.push(message);
        self.arrived.notify_one();
    }

    fn take_note(&self, note: SocketNote<'_>) -> io::Result<()> {
        match note {
            SocketNote::GetCount { key } => {
                let open = open_sockets(own_pid());
                let count = self.state().passed_on.count(&key, &open);
                let key = key.into_owned().into();
                self.answer(&FromWorker::Sockets(SocketNote::Count { key, count }))
            }
            SocketNote::NotifyClose { key } => {
                self.state().passed_on.await_end(key.into_owned());
                Ok(())
            }
            // Answers to questions that this side never asks: its servers pass nothing on by themselves.
            SocketNote::Count { .. } | SocketNote::AllClosed { .. } => Ok(()),
        }
    }

    /// Tells the primary which of its servers have no connection left here; answers when to look again, if at all.
    fn look_after_sockets(&self, due: Option<Instant>) -> io::Result<Option<Instant>> {
        let now = Instant::now();
        if !self.state().passed_on.awaits() {
            return Ok(None);
        }
        if due.is_some_and(|due| now < due) {
            return Ok(due);
        }
        let open = open_sockets(own_pid());
        let closed = self.state().passed_on.all_closed(&open);
        for key in closed {
            let note = FromWorker::Sockets(SocketNote::AllClosed { key: key.into() });
            said(self.answer(&note))?;
        }
        Ok(self.state().passed_on.awaits().then_some(now + LOOK))
    }
}

/// What was said to a primary that has gone may be lost; what it said before is still to be heard.
fn said(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Ok(()) | Err(_) => outcome,
    }
}
