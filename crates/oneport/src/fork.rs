//! The owner's handle on one worker (Node's `Worker` in the primary). What it says about the worker was noted by the
//! primary's thread; what it does goes to that thread as a command.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use oneport_core::{Slot, WorkerId};
use oneport_sys::listen::set_nonblocking;
use oneport_sys::process::Signal;
use oneport_wire::node::MAX_LINE;
use oneport_wire::node::message::Json;
use serde::Serialize;

use crate::cluster::Commands;
use crate::error::{Error, Kind, Result};
use crate::event::Address;
use crate::handle::Handle;
use crate::message::spell;
use crate::primary::Command;

/// Bytes of messages that may wait for a worker that does not read them.
pub(crate) const OUTBOX_FULL: usize = 16 * 1024 * 1024;
/// What the words around a message may take of a line.
const ENVELOPE: usize = 1024;
/// Handles that may be on their way to a worker, not yet acknowledged.
pub(crate) const HANDLES_FULL: usize = 256;

/// A worker in a few words, as lists and logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerRef {
    /// 1, 2, 3 ... (Node's `worker.id`).
    pub id: WorkerId,
    /// Its place, if it is supervised.
    pub slot: Option<Slot>,
    /// Its process; 0 when it could not be started.
    pub pid: i32,
}

/// Where a worker stands (Node's `worker.state`). [`crate::Event::Moved`] tells finer steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Started, and not heard of (Node's `none`).
    Starting,
    /// It booted.
    Online,
    /// One of its servers listens.
    Listening,
    /// Its channel is closed. One that merely has a [`ChildChannel`](crate::ChildChannel) stays what it was.
    Disconnected,
    /// Its process has ended.
    Dead,
}

/// A worker of a [`crate::Cluster`] (Node's `Worker` in the primary).
///
/// Clones are the same worker. It may be kept for as long as one likes; once the worker is gone it answers with
/// what was known last, and orders are refused.
#[derive(Clone)]
pub struct Worker(Arc<Known>);

struct Known {
    id: WorkerId,
    slot: Option<Slot>,
    pid: AtomicI32,
    state: AtomicU8,
    dead: AtomicBool,
    connected: AtomicBool,
    left: Mutex<Option<bool>>,
    addresses: Mutex<Vec<Address>>,
    /// Bytes of messages not yet written to its channel, and handles not yet acknowledged.
    waiting: AtomicUsize,
    handles: AtomicUsize,
    commands: Commands,
}

/// Addresses remembered per worker: as many as an app may open ports.
const MOST_ADDRESSES: usize = 256;

impl Worker {
    pub(crate) fn new(id: WorkerId, slot: Option<Slot>, connected: bool, commands: Commands) -> Worker {
        Worker(Arc::new(Known {
            id,
            slot,
            pid: AtomicI32::new(0),
            state: AtomicU8::new(State::Starting as u8),
            dead: AtomicBool::new(false),
            connected: AtomicBool::new(connected),
            left: Mutex::default(),
            addresses: Mutex::default(),
            waiting: AtomicUsize::new(0),
            handles: AtomicUsize::new(0),
            commands,
        }))
    }

    /// 1, 2, 3 ... in order of birth, never used again in this cluster (Node's `worker.id`).
    pub fn id(&self) -> WorkerId {
        self.0.id
    }

    /// Its place, if it is supervised; successors have the same. Workers of [`fork`](crate::Cluster::fork) have none.
    pub fn slot(&self) -> Option<Slot> {
        self.0.slot
    }

    /// Its process (Node's `worker.process.pid`); 0 when it could not be started.
    pub fn pid(&self) -> i32 {
        self.0.pid.load(Ordering::Acquire)
    }

    /// The three above together.
    pub fn name(&self) -> WorkerRef {
        WorkerRef { id: self.id(), slot: self.slot(), pid: self.pid() }
    }

    /// Where it stands (Node's `worker.state`).
    pub fn state(&self) -> State {
        match self.0.state.load(Ordering::Acquire) {
            0 => State::Starting,
            1 => State::Online,
            2 => State::Listening,
            3 => State::Disconnected,
            _ => State::Dead,
        }
    }

    /// Whether its channel is open (Node's `worker.isConnected()`).
    pub fn is_connected(&self) -> bool {
        self.0.connected.load(Ordering::Acquire)
    }

    /// Whether its process has ended (Node's `worker.isDead()`).
    pub fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::Acquire)
    }

    /// `None` while nothing was asked for; `Some(true)` as soon as it was asked to leave, or said that it leaves;
    /// `Some(false)` when it ended without (Node's `worker.exitedAfterDisconnect`).
    pub fn exited_after_disconnect(&self) -> Option<bool> {
        *self.0.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it has listened, in order.
    pub fn addresses(&self) -> Vec<Address> {
        self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a message to its program (Node's `worker.send()`), in order with others. Does not wait: what its channel
    /// does not take yet waits in the primary.
    ///
    /// # Errors
    /// By [`Error::io_error`]'s kind: `InvalidInput` when the value cannot be spelled as JSON or is longer than 16 MiB,
    /// `BrokenPipe` when the channel is closed, `WouldBlock` when 16 MiB wait already for a worker that does not read.
    /// What was sent and not written when the worker ended is told as one [`crate::Event::Error`] before its
    /// [`crate::Event::Exit`].
    pub fn send(&self, message: &(impl Serialize + ?Sized)) -> Result<()> {
        self.post(self.text(spell(message).map_err(Kind::SpellMessage)?)?, None)
    }

    /// As [`send`](Self::send), with a handle: the worker's program gets the same open socket. It is closed here
    /// when the worker has confirmed it; to keep it, pass a clone ([`Handle::try_clone`]; Node's `keepOpen`).
    ///
    /// # Errors
    /// As [`send`](Self::send), and `WouldBlock` when 256 handles are on their way already. The handle is closed then: send
    /// a clone to be able to try again.
    pub fn send_handle(&self, message: &(impl Serialize + ?Sized), handle: impl Into<Handle>) -> Result<()> {
        let (text, handle) = (spell(message).map_err(Kind::SpellMessage)?, handle.into());
        // Node never sets it on what it receives, and a blocking one would stop its event loop.
        set_nonblocking(handle.as_fd()).map_err(|cause| Kind::Send(self.id(), cause))?;
        self.post(self.text(text)?, Some(handle))
    }

    /// As [`send`](Self::send), for a text that is JSON already.
    ///
    /// # Errors
    /// As [`send`](Self::send), and when the text is not JSON.
    pub fn send_json(&self, json: impl Into<String>) -> Result<()> {
        self.post(self.text(json.into())?, None)
    }

    fn text(&self, json: String) -> Result<Json<'static>> {
        if json.len() > MAX_LINE - ENVELOPE {
            return Err(self.refused(io::ErrorKind::InvalidInput, "it is longer than 16 MiB"));
        }
        Json::parse(json).map_err(|_| self.refused(io::ErrorKind::InvalidInput, "it is not JSON"))
    }

    fn refused(&self, kind: io::ErrorKind, why: &str) -> Error {
        Error::from(Kind::Send(self.id(), io::Error::new(kind, why)))
    }

    fn post(&self, message: Json<'static>, handle: Option<Handle>) -> Result<()> {
        if !self.is_connected() {
            return Err(self.refused(io::ErrorKind::BrokenPipe, "its channel is closed"));
        }
        if self.waiting() >= OUTBOX_FULL {
            return Err(self.refused(io::ErrorKind::WouldBlock, "16 MiB wait already, and it does not read"));
        }
        if handle.is_some() && self.0.handles.fetch_add(1, Ordering::AcqRel) >= HANDLES_FULL {
            self.handles_settled(1);
            return Err(
                self.refused(io::ErrorKind::WouldBlock, "256 handles wait for its confirmation already")
            );
        }
        let (bytes, handles) = (message.get().len(), usize::from(handle.is_some()));
        self.0.waiting.fetch_add(bytes, Ordering::AcqRel);
        let sent = self.order(Command::Send { worker: self.id(), message, handle });
        if sent.is_err() {
            self.written(bytes);
            self.handles_settled(handles);
        }
        sent
    }

    /// Bytes of messages that wait for it to read (Node's `send()` returns `false` above 131,072).
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Acquire)
    }

    /// Asks it to leave in order (Node's `worker.disconnect()`): it gets nothing new, finishes what it has, and ends.
    /// A supervised slot gets a new one.
    ///
    /// # Errors
    /// When the primary has ended, as for every order.
    pub fn disconnect(&self) -> Result<()> {
        self.order(Command::Core(oneport_core::Event::Leave { worker: self.id() }))
    }

    /// Sends its process a signal (Node's `worker.kill(signal)`). What it does then is its own matter; a supervised
    /// slot gets a new worker when it ends.
    ///
    /// # Errors
    /// When the primary has ended. A process that has ended needs no signal: no error.
    pub fn kill(&self, signal: Signal) -> Result<()> {
        self.order(Command::Signal { worker: self.id(), signal })
    }

    /// Says in its stead that it is ready (what a worker with a channel says as PM2's `ready`). Means something only under
    /// [`crate::Readiness::Message`].
    ///
    /// # Errors
    /// When the primary has ended.
    pub fn mark_ready(&self) -> Result<()> {
        self.order(Command::Core(oneport_core::Event::Ready { worker: self.id() }))
    }

    /// Ends it and everything it started ([`TreeRule`](crate::TreeRule) permitting), now.
    ///
    /// # Errors
    /// When the primary has ended.
    pub fn end_now(&self) -> Result<()> {
        self.order(Command::Core(oneport_core::Event::Kill { worker: self.id() }))
    }

    fn order(&self, command: Command) -> Result<()> {
        if self.0.commands.send(command) { Ok(()) } else { Err(Error::from(Kind::PrimaryEnded)) }
    }
}

/// What the primary's thread notes.
impl Worker {
    pub(crate) fn born(&self, pid: i32) {
        self.0.pid.store(pid, Ordering::Release);
    }

    /// It goes only forward.
    pub(crate) fn reached(&self, state: State) {
        self.0.state.fetch_max(state as u8, Ordering::AcqRel);
    }

    /// Its channel is closed, and what it was with it. False if that was known.
    pub(crate) fn disconnected(&self) -> bool {
        self.reached(State::Disconnected);
        self.hung_up()
    }

    /// Its channel is closed. False if that was known.
    pub(crate) fn hung_up(&self) -> bool {
        self.0.connected.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn died(&self) {
        self.0.dead.store(true, Ordering::Release);
    }

    pub(crate) fn leaves(&self, asked: Option<bool>) {
        *self.0.left.lock().unwrap_or_else(PoisonError::into_inner) = asked;
    }

    pub(crate) fn listens(&self, address: &Address) {
        self.reached(State::Listening);
        let mut addresses = self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.len() < MOST_ADDRESSES && !addresses.contains(address) {
            addresses.push(address.clone());
        }
    }

    pub(crate) fn written(&self, bytes: usize) {
        self.0.waiting.fetch_sub(bytes, Ordering::AcqRel);
    }

    pub(crate) fn handles_settled(&self, handles: usize) {
        self.0.handles.fetch_sub(handles, Ordering::AcqRel);
    }
}

impl PartialEq for Worker {
    fn eq(&self, other: &Worker) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Worker {}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WorkerRef { id, slot, pid } = self.name();
        let mut shown = f.debug_struct("Worker");
        shown.field("id", &id).field("slot", &slot).field("pid", &pid);
        shown.field("state", &self.state()).finish_non_exhaustive()
    }
}
