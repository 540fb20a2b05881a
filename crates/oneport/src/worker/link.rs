//! The worker's end of the channel, as the program uses it: questions, words, and what is registered for the answers.
//! Reading is in `reader`. Invariants: nobody waits for the primary while holding the state, so that the reading
//! thread always gets on; a membership that nobody holds any more is closed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use oneport_sys::poll::{Interest, Poller};
use oneport_sys::startup::{take_channel, worker_env};
use oneport_wire::node::env;
use oneport_wire::node::message::{FromWorker, Query};
use tokio::sync::{mpsc, oneshot, watch};

use super::outbox::{Outbox, Room};

/// What a query was answered with.
#[derive(Debug)]
pub(super) enum Answer {
    /// Connections will be handed over; some may be in there already.
    HandedOver { membership: Membership, sockname: Option<SocketAddr>, connections: mpsc::Receiver<OwnedFd> },
    /// The socket itself.
    Socket { membership: Membership, socket: OwnedFd },
    /// No.
    Failed(io::Error),
}

/// Being one of a port's listeners; dropping it tells the primary.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) link: Arc<Link>,
    pub(super) key: String,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.link.close(&self.key);
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    next_seq: i64,
    outbox: Outbox,
    pub(super) queries: HashMap<i64, oneshot::Sender<Answer>>,
    pub(super) listeners: HashMap<String, mpsc::Sender<OwnedFd>>,
    pub(super) ended: bool,
}

/// The one link of this process.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) sock: OwnedFd,
    /// Watches `sock` for the reading thread; for room to write too while something waits.
    pub(super) poller: Poller,
    state: Mutex<State>,
    /// Whether this worker was told to leave, or lost its primary.
    pub(super) leaving: watch::Sender<bool>,
}

/// The link to the primary; `None` when this process runs alone.
pub(super) fn link() -> io::Result<Option<Arc<Link>>> {
    /// An `io::Error` cannot be cloned; its kind and words can.
    type Made = Result<Option<Arc<Link>>, (io::ErrorKind, String)>;
    static LINK: OnceLock<Made> = OnceLock::new();
    let made = LINK.get_or_init(|| open().map_err(|error| (error.kind(), error.to_string())));
    made.clone().map_err(|(kind, text)| io::Error::new(kind, text))
}

fn open() -> io::Result<Option<Arc<Link>>> {
    // A child that was merely forked has a channel too, but nobody there who answers for servers.
    let Some(found) = worker_env().filter(|env| env.unique_id.is_some()) else { return Ok(None) };
    if let Some(mode) = found.serialization.as_deref().filter(|mode| *mode != env::SERIALIZATION_JSON) {
        let text = format!("cannot talk to primary: it insists on `{mode}` serialization, not `json`");
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    let Some(sock) = take_channel()? else { return Ok(None) };
    Link::start(sock).map(Some)
}

impl Link {
    /// Says `online` and starts the reading thread.
    pub(super) fn start(sock: OwnedFd) -> io::Result<Arc<Link>> {
        let poller = Poller::new()?;
        poller.add(sock.as_fd(), 0, Interest::READ)?;
        let link =
            Arc::new(Link { sock, poller, state: Mutex::default(), leaving: watch::Sender::new(false) });
        link.say(Room::Calls, |seq| FromWorker::Online { seq: Some(seq) })?;
        let reader = link.clone();
        thread::Builder::new().name("oneport-worker".into()).spawn(move || reader.read())?;
        Ok(link)
    }

    /// Held only for moments: neither a wait nor the drop of a [`Membership`] belongs inside.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked while holding this left whole entries behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one message under the next number, or lets it wait. `WouldBlock` when too much waits.
    pub(super) fn say(&self, room: Room, message: impl FnOnce(i64) -> FromWorker<'static>) -> io::Result<()> {
        let mut state = self.state();
        let seq = state.take_seq();
        self.post(&mut state, room, &message(seq))
    }

    /// As [`say`](Self::say), for a message without a number.
    pub(super) fn answer(&self, message: &FromWorker<'_>) -> io::Result<()> {
        self.post(&mut self.state(), Room::Answers, message)
    }

    fn post(&self, state: &mut State, room: Room, message: &FromWorker<'_>) -> io::Result<()> {
        if state.ended {
            return Err(primary_gone());
        }
        let others_wait = !state.outbox.is_empty();
        state.outbox.push(message, room)?;
        if others_wait {
            return Ok(()); // the reading thread is told when there is room
        }
        state.outbox.flush(self.sock.as_fd())?;
        if !state.outbox.is_empty() {
            // Also seen by a wait that began before (epoll_ctl(2)).
            self.poller.modify(self.sock.as_fd(), 0, Interest::BOTH)?;
        }
        Ok(())
    }

    /// Writes what waits, once there is room.
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut state = self.state();
        state.outbox.flush(self.sock.as_fd())?;
        if state.outbox.is_empty() {
            self.poller.modify(self.sock.as_fd(), 0, Interest::READ)?;
        }
        Ok(())
    }

    /// Asks for a handle and waits for the answer. Cancellation safe: an answer nobody waits for is closed.
    /// `WouldBlock` when too much waits for the primary to read.
    pub(super) async fn query(&self, query: Query<'static>) -> io::Result<Answer> {
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.state();
            if *self.leaving.borrow() {
                return Err(primary_gone());
            }
            let seq = state.take_seq();
            self.post(&mut state, Room::Calls, &FromWorker::Query { seq, query })?;
            state.queries.insert(seq, sender);
        }
        answer.await.map_err(|_| primary_gone())
    }

    /// Comes once this worker was told to leave, or lost its primary. Cancellation safe.
    pub(super) async fn leave(&self) {
        // The sender lives as long as this link: waiting cannot fail.
        let _ = self.leaving.subscribe().wait_for(|leaving| *leaving).await;
    }

    /// Says that a listener accepts connections.
    pub(super) fn listening(&self, query: Query<'static>) -> io::Result<()> {
        self.say(Room::Calls, |seq| FromWorker::Listening { seq: Some(seq), query })
    }

    /// Says that a listener is closed.
    pub(super) fn close(&self, key: &str) {
        self.state().listeners.remove(key);
        let key = Cow::Owned(key.to_owned());
        // The primary is gone, or reads nothing: then it learns from the refusal of what it hands over.
        let _ = self.say(Room::Answers, |seq| FromWorker::Close { key, seq: Some(seq) });
    }
}

impl State {
    fn take_seq(&mut self) -> i64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }
}

fn primary_gone() -> io::Error {
    io::Error::new(
        io::ErrorKind::BrokenPipe,
        "cannot reach primary: it has ended, or told this worker to leave",
    )
}
