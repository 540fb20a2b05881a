//! The worker's end of the channel, as the rest of this module uses it: its state, and what is said on it. Reading is
//! in `reader`, the listeners' part of the state in `member`, leaving in `leave`.
//!
//! Invariants: nobody waits for the primary while holding the state, so that the reading thread always gets on; the
//! channel is closed by shutting it down, never its descriptor, which other threads may be using.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use oneport_sys::poll::{Interest, Poller};
use oneport_sys::startup::{take_channel, worker_env};
use oneport_wire::node::env;
use oneport_wire::node::message::FromWorker;
use tokio::sync::{Notify, watch};

use super::index::Indexes;
use super::leave::{End, Stage};
use super::mailbox::Mailbox;
use super::member::{Asked, Member};
use super::outbox::{Outbox, Room};
use crate::passed_on::PassedOn;

/// What this process is to whoever started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A worker of a cluster: its primary answers for servers.
    Worker,
    /// A child with a channel and no more (`child_process.fork`).
    Child,
}

#[derive(Debug, Default)]
pub(super) struct State {
    next_seq: i64,
    pub(super) outbox: Outbox,
    pub(super) queries: HashMap<i64, Asked>,
    pub(super) members: HashMap<String, Member>,
    pub(super) indexes: Indexes,
    pub(super) mailbox: Mailbox,
    pub(super) passed_on: PassedOn,
    /// Whether the primary told this worker to leave, or this worker told its primary that it leaves.
    pub(super) intended: bool,
    /// The primary said so.
    pub(super) told: bool,
    /// The number under which the primary acknowledges that this worker leaves by itself.
    pub(super) farewell: Option<i64>,
    /// Nothing more is accepted for sending, and the channel is shut once what waits is written.
    pub(super) closing: bool,
    pub(super) end: Option<End>,
}

/// The one link of this process.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) sock: OwnedFd,
    /// Watches `sock` for the reading thread; for room to write too while something waits.
    pub(super) poller: Poller,
    state: Mutex<State>,
    pub(super) stage: watch::Sender<Stage>,
    /// Told when a message came.
    pub(super) arrived: Notify,
    /// Told when nothing waits to be written any more.
    pub(super) written: Notify,
    /// Whether the program sends, receives or asks when to leave: then it closes the channel itself.
    pub(super) converses: AtomicBool,
    /// Whether the program receives or asks when to leave: then it notices the end of its primary.
    pub(super) notices: AtomicBool,
}

/// Whether this process is a worker of a cluster, with an id that is not empty (Node's condition).
pub(super) fn is_worker() -> bool {
    worker_env().and_then(|found| found.unique_id.as_deref()).is_some_and(|id| !id.is_empty())
}

/// The link to whoever asked for servers can be asked; `None` when this process listens for itself.
pub(super) fn primary() -> io::Result<Option<Arc<Link>>> {
    if is_worker() { link() } else { Ok(None) }
}

/// The link to whoever started this process; `None` when it runs alone.
pub(super) fn link() -> io::Result<Option<Arc<Link>>> {
    /// An `io::Error` cannot be cloned; its kind and words can.
    type Made = Result<Option<Arc<Link>>, (io::ErrorKind, String)>;
    static LINK: OnceLock<Made> = OnceLock::new();
    let made = LINK.get_or_init(|| open().map_err(|error| (error.kind(), error.to_string())));
    made.clone().map_err(|(kind, text)| io::Error::new(kind, text))
}

fn open() -> io::Result<Option<Arc<Link>>> {
    let Some(found) = worker_env() else { return Ok(None) };
    if let Some(mode) = found.serialization.as_deref().filter(|mode| *mode != env::SERIALIZATION_JSON) {
        let text = format!("cannot talk to primary: it insists on `{mode}` serialization, not `json`");
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    let Some(sock) = take_channel()? else { return Ok(None) };
    Link::start(sock, if is_worker() { Role::Worker } else { Role::Child }).map(Some)
}

impl Link {
    /// Starts the reading thread; a worker says `online` first.
    pub(super) fn start(sock: OwnedFd, role: Role) -> io::Result<Arc<Link>> {
        let poller = Poller::new()?;
        poller.add(sock.as_fd(), 0, Interest::READ)?;
        let link = Arc::new(Link {
            sock,
            poller,
            state: Mutex::default(),
            stage: watch::Sender::new(Stage::Serving),
            arrived: Notify::new(),
            written: Notify::new(),
            converses: AtomicBool::new(false),
            notices: AtomicBool::new(false),
        });
        match role {
            Role::Worker => link.say(Room::Calls, |seq| FromWorker::Online { seq: Some(seq) })?,
            Role::Child => (),
        }
        let reader = link.clone();
        thread::Builder::new().name("oneport-worker".into()).spawn(move || reader.read())?;
        Ok(link)
    }

    /// Held only for moments: neither a wait nor the drop of a membership belongs inside.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked while holding this left whole entries behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one message under the next number, or lets it wait. `WouldBlock` when too much waits.
    pub(super) fn say(&self, room: Room, message: impl FnOnce(i64) -> FromWorker<'static>) -> io::Result<()> {
        self.say_in(&mut self.state(), room, message)
    }

    /// As [`say`](Self::say), for whoever holds the state.
    pub(super) fn say_in(
        &self,
        state: &mut State,
        room: Room,
        message: impl FnOnce(i64) -> FromWorker<'static>,
    ) -> io::Result<()> {
        let seq = state.take_seq();
        self.post(state, |outbox| outbox.push(&message(seq), room))
    }

    /// As [`say`](Self::say), for a message without a number.
    pub(super) fn answer(&self, message: &FromWorker<'_>) -> io::Result<()> {
        self.post(&mut self.state(), |outbox| outbox.push(message, Room::Answers))
    }

    /// Puts something into the outbox and writes what can be written.
    pub(super) fn post(
        &self,
        state: &mut State,
        put: impl FnOnce(&mut Outbox) -> io::Result<()>,
    ) -> io::Result<()> {
        if state.closing || state.end.is_some() {
            return Err(state.gone());
        }
        let others_wait = !state.outbox.is_written();
        put(&mut state.outbox)?;
        if others_wait {
            return Ok(()); // the reading thread is told when there is room
        }
        state.outbox.flush(self.sock.as_fd()).map_err(|_| state.gone())?;
        if !state.outbox.is_written() {
            // Also seen by a wait that began before (epoll_ctl(2)).
            self.poller.modify(self.sock.as_fd(), 0, Interest::BOTH)?;
        }
        Ok(())
    }

    /// Writes what waits, once there is room or an answer. A primary that reads no more may have said something before:
    /// that is no error here, and the end is left to reading.
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut state = self.state();
        let _ = state.outbox.flush(self.sock.as_fd());
        let interest = if state.outbox.is_written() { Interest::READ } else { Interest::BOTH };
        self.poller.modify(self.sock.as_fd(), 0, interest)?;
        self.shut_if_done(&state);
        if state.outbox.is_idle() {
            self.written.notify_waiters();
        }
        Ok(())
    }

    /// Notes that the program uses the channel itself.
    pub(super) fn converse(&self) {
        self.converses.store(true, Ordering::Relaxed);
    }

    /// Notes that the program will notice the end.
    pub(super) fn notice(&self) {
        self.notices.store(true, Ordering::Relaxed);
        self.converse();
    }
}

impl State {
    pub(super) fn take_seq(&mut self) -> i64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    /// Why nothing can be said any more.
    pub(super) fn gone(&self) -> io::Error {
        match &self.end {
            Some(End::Breach(violation)) => {
                io::Error::new(io::ErrorKind::InvalidData, format!("cannot talk to primary: {violation}"))
            }
            Some(End::Closed) | None => io::Error::new(
                io::ErrorKind::BrokenPipe,
                "cannot reach primary: it has ended, or told this worker to leave",
            ),
        }
    }
}
