//! The worker's end of the channel: one thread reads it and passes answers and connections on.
//!
//! Every descriptor is acknowledged in the order in which it came, before anybody touches it: that is what lets
//! a primary give a connection to somebody else when this process dies. When the primary goes away, or once
//! everything is closed after its `disconnect`, listeners end: `accept` then fails with `BrokenPipe`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use oneport_sys::fdpass;
use oneport_sys::poll::{Interest, Poller, Readiness};
use oneport_sys::startup::{take_channel, worker_env};
use oneport_wire::node::inbox::Inbox;
use oneport_wire::node::message::{FromPrimary, FromWorker, Outcome, Query};
use oneport_wire::node::{MAX_LINE, env};
use tokio::sync::{mpsc, oneshot, watch};

/// Connections of one listener that may wait for `accept`; more are refused, so that a sibling gets them.
const WAITING: usize = 64;

/// What a query was answered with.
pub(super) enum Answer {
    /// Connections will be handed over.
    HandedOver { key: String, sockname: Option<std::net::SocketAddr>, connections: mpsc::Receiver<OwnedFd> },
    /// The socket itself.
    Socket { key: String, socket: OwnedFd },
    /// No.
    Failed(io::Error),
}

#[derive(Debug, Default)]
struct State {
    next_seq: i64,
    queries: HashMap<i64, oneshot::Sender<(FromPrimary<'static>, Option<OwnedFd>)>>,
    listeners: HashMap<String, mpsc::Sender<OwnedFd>>,
    ended: bool,
}

/// The one link of this process.
#[derive(Debug)]
pub(super) struct Link {
    sock: OwnedFd,
    state: Mutex<State>,
    /// Whether this worker was told to leave, or lost its primary.
    leaving: watch::Sender<bool>,
}

/// The link to the primary; `None` when this process runs alone.
pub(super) fn link() -> io::Result<Option<Arc<Link>>> {
    /// An `io::Error` cannot be cloned; its kind and words can.
    type Made = Result<Option<Arc<Link>>, (io::ErrorKind, String)>;
    static LINK: OnceLock<Made> = OnceLock::new();
    let made = LINK.get_or_init(|| Link::open().map_err(|error| (error.kind(), error.to_string())));
    made.clone().map_err(|(kind, text)| io::Error::new(kind, text))
}

impl Link {
    fn open() -> io::Result<Option<Arc<Link>>> {
        let Some(found) = worker_env() else { return Ok(None) };
        if let Some(mode) = found.serialization.as_deref().filter(|mode| *mode != env::SERIALIZATION_JSON) {
            let text = format!("cannot talk to primary: it insists on `{mode}` serialization, not `json`");
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let Some(sock) = take_channel()? else { return Ok(None) };
        let link = Arc::new(Link { sock, state: Mutex::default(), leaving: watch::Sender::new(false) });
        link.say(|seq| FromWorker::Online { seq: Some(seq) })?;
        let reader = link.clone();
        thread::Builder::new().name("oneport-worker".into()).spawn(move || reader.read())?;
        Ok(Some(link))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked while holding this left whole entries behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one message under the next number. Waits while the primary does not read.
    fn say(&self, message: impl FnOnce(i64) -> FromWorker<'static>) -> io::Result<i64> {
        let mut state = self.state();
        let seq = state.next_seq;
        state.next_seq += 1;
        self.write(&message(seq))?;
        Ok(seq)
    }

    fn write(&self, message: &FromWorker<'_>) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(128);
        message.encode(&mut bytes);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match fdpass::send(self.sock.as_fd(), rest, None) {
                Ok(n) => rest = &rest[n..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(&self.sock, Interest::WRITE)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Asks for a handle and waits for the answer. Cancellation safe: an answer nobody waits for is closed.
    pub(super) async fn query(&self, query: Query<'static>) -> io::Result<Answer> {
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.state();
            if state.ended {
                return Err(primary_gone());
            }
            let seq = state.next_seq;
            state.next_seq += 1;
            state.queries.insert(seq, sender);
            self.write(&FromWorker::Query { seq, query })?;
        }
        let (reply, socket) = answer.await.map_err(|_| primary_gone())?;
        let FromPrimary::Reply { key, outcome, .. } = reply else { return Err(primary_gone()) };
        let key = key.into_owned();
        Ok(match (outcome, socket) {
            (Outcome::RoundRobin { sockname }, _) => {
                let (sender, connections) = mpsc::channel(WAITING);
                self.state().listeners.insert(key.clone(), sender);
                let sockname = sockname.and_then(|name| {
                    let ip: std::net::IpAddr = name.address.parse().ok()?;
                    Some((ip, name.port).into())
                });
                Answer::HandedOver { key, sockname, connections }
            }
            (Outcome::Shared { .. }, Some(socket)) => Answer::Socket { key, socket },
            (Outcome::Shared { .. }, None) => Answer::Failed(io::Error::new(
                io::ErrorKind::InvalidData,
                "the primary's socket did not arrive",
            )),
            (Outcome::Failed { errno }, _) => Answer::Failed(io::Error::from_raw_os_error(errno.to_os())),
        })
    }

    /// Comes once this worker was told to leave, or lost its primary. Cancellation safe.
    pub(super) async fn leave(&self) {
        // The sender lives as long as this link: waiting cannot fail.
        let _ = self.leaving.subscribe().wait_for(|leaving| *leaving).await;
    }

    /// Says that a listener accepts connections.
    pub(super) fn listening(&self, query: Query<'static>) -> io::Result<()> {
        self.say(|seq| FromWorker::Listening { seq: Some(seq), query }).map(|_| ())
    }

    /// Says that a listener is closed.
    pub(super) fn close(&self, key: &str) {
        self.state().listeners.remove(key);
        let key = Cow::Owned(key.to_owned());
        // The primary is gone: then nobody needs to know.
        let _ = self.say(|seq| FromWorker::Close { key, seq: Some(seq) });
    }

    fn read(&self) {
        let mut inbox = Inbox::<OwnedFd>::new(MAX_LINE);
        // Any end is the same end: nothing more will come.
        let _ = self.read_until_end(&mut inbox);
        let mut state = self.state();
        state.ended = true;
        state.queries.clear();
        state.listeners.clear();
        self.leaving.send_replace(true);
    }

    fn read_until_end(&self, inbox: &mut Inbox<OwnedFd>) -> io::Result<()> {
        loop {
            wait(&self.sock, Interest::READ)?;
            let received = fdpass::receive(self.sock.as_fd(), inbox.space())?;
            if received.bytes == 0 {
                return Ok(());
            }
            inbox.received(received.bytes, received.fd).map_err(io::Error::other)?;
            while let Some((message, handle)) = inbox.next_from_primary().map_err(io::Error::other)? {
                if message.carries_handle() {
                    let arrived = handle.is_some();
                    self.write(if arrived { &FromWorker::HandleAck } else { &FromWorker::HandleNack })?;
                    if !arrived {
                        continue;
                    }
                }
                self.take(message, handle)?;
            }
        }
    }

    fn take(&self, message: FromPrimary<'_>, handle: Option<OwnedFd>) -> io::Result<()> {
        match message {
            FromPrimary::NewConn { key, seq } => self.take_connection(&key, seq, handle),
            FromPrimary::Reply { ack, seq, key, outcome, .. } => {
                if let Some(asker) = self.state().queries.remove(&ack) {
                    let key = Cow::Owned(key.into_owned());
                    let outcome = owned(outcome);
                    // An asker that stopped waiting drops the socket.
                    let _ = asker.send((FromPrimary::Reply { ack, seq, key, data: None, outcome }, handle));
                }
                Ok(())
            }
            FromPrimary::Disconnect { .. } => {
                let keys: Vec<String> = self.state().listeners.keys().cloned().collect();
                keys.iter().for_each(|key| self.close(key));
                self.leaving.send_replace(true);
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

    /// Accepts a connection for its listener, or refuses it: the listener is closed or has too much waiting.
    fn take_connection(&self, key: &str, ack: i64, handle: Option<OwnedFd>) -> io::Result<()> {
        let permit = {
            let state = self.state();
            state.listeners.get(key).and_then(|listener| listener.clone().try_reserve_owned().ok())
        };
        let accepted = Some(permit.is_some());
        self.say(|seq| FromWorker::Answer { ack, accepted, seq: Some(seq) })?;
        if let (Some(permit), Some(connection)) = (permit, handle) {
            permit.send(connection);
        }
        Ok(())
    }
}

fn owned(outcome: Outcome<'_>) -> Outcome<'static> {
    match outcome {
        Outcome::RoundRobin { sockname } => Outcome::RoundRobin {
            sockname: sockname.map(|name| oneport_wire::node::message::SockName {
                address: Cow::Owned(name.address.into_owned()),
                family: name.family,
                port: name.port,
            }),
        },
        Outcome::Shared { kind } => Outcome::Shared { kind },
        Outcome::Failed { errno } => Outcome::Failed { errno },
    }
}

fn wait(sock: &OwnedFd, interest: Interest) -> io::Result<()> {
    let poller = Poller::new()?;
    poller.add(sock.as_fd(), 0, interest)?;
    let mut readiness = Readiness::new();
    while readiness.is_empty() {
        poller.wait(&mut readiness, None)?;
    }
    Ok(())
}

fn primary_gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "cannot reach primary: it has ended")
}
