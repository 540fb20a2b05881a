//! The owner's handle on a primary. The primary itself runs on a thread of its own, so it fits any runtime and
//! none; commands go in through a queue, events come out through another.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use oneport_core::WorkerId;
use oneport_sys::waker::Waker;
use tokio::sync::mpsc as events;

use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::primary::{Command, Primary};
use crate::settings::Settings;

/// Events of kinds that a worker can cause at will which may wait for the owner; above it the channels of those that
/// cause more are not read.
pub(crate) const STRANGERS_WORDS: usize = 1024;

/// A primary and its workers (Node's `cluster` in the primary).
///
/// Cloning gives another handle on the same primary. When the last handle and the [`Events`] are dropped the
/// primary ends its workers at once.
#[derive(Clone, Debug)]
pub struct Cluster {
    commands: Commands,
    roster: Roster,
}

/// The processes of living workers. Held while one is born, so that nobody takes a newborn for a stranger.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster(Arc<Mutex<HashSet<i32>>>);

impl Roster {
    pub(crate) fn hold(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way into a primary's thread.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    sender: mpsc::Sender<Command>,
    waker: Arc<Waker>,
}

impl Commands {
    pub(crate) fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    pub(crate) fn send(&self, command: Command) -> bool {
        let sent = self.sender.send(command).is_ok();
        // A wake that fails (no descriptor any more) finds a primary that has ended.
        let _ = self.waker.wake();
        sent
    }
}

/// Such events under way to the owner, counted so that a chatty worker is slowed and not buffered.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    pub(crate) waiting: AtomicUsize,
    pub(crate) throttled: AtomicBool,
}

/// What happens in a [`Cluster`], in order.
#[derive(Debug)]
pub struct Events {
    receiver: events::UnboundedReceiver<Event>,
    backlog: Arc<Backlog>,
    commands: Commands,
}

impl Cluster {
    /// Starts a primary without workers; [`scale`](Cluster::scale) gives it some.
    ///
    /// # Errors
    /// When descriptors or threads run out, or the working directory cannot be used.
    pub fn start(settings: Settings) -> Result<(Cluster, Events)> {
        if let Some(cwd) = &settings.cwd {
            std::fs::read_dir(cwd).map_err(|cause| Kind::UseDirectory(cwd.clone(), cause))?;
        }
        let waker = Arc::new(Waker::new().map_err(Kind::StartPrimary)?);
        let (sender, receiver) = mpsc::channel();
        let (events, received) = events::unbounded_channel();
        let backlog = Arc::new(Backlog::default());
        let commands = Commands { sender, waker };
        let roster = Roster::default();
        let primary =
            Primary::new(settings, receiver, commands.clone(), events, backlog.clone(), roster.clone())
                .map_err(Kind::StartPrimary)?;
        thread::Builder::new()
            .name("oneport-primary".into())
            .spawn(move || primary.run())
            .map_err(Kind::StartPrimary)?;
        Ok((Cluster { commands: commands.clone(), roster }, Events { receiver: received, backlog, commands }))
    }

    /// Keeps this many supervised workers: starts missing ones, asks surplus ones to leave.
    ///
    /// # Errors
    /// When the primary has ended, as for every call here.
    pub fn scale(&self, workers: u32) -> Result<()> {
        self.command(Command::Core(oneport_core::Event::Scale(workers)))
    }

    /// Replaces every supervised worker, the new one first; see [`Event::ReloadDone`] and
    /// [`Event::ReloadAborted`] for the outcome. One asked for while another runs follows it.
    ///
    /// # Errors
    /// When the primary has ended.
    pub fn reload(&self) -> Result<()> {
        self.command(Command::Core(oneport_core::Event::Reload))
    }

    /// Ends everything in order: no more accepting, what was accepted is served, workers leave
    /// (Node's `cluster.disconnect()`). [`Event::Stopped`] comes when the *last* worker is gone.
    ///
    /// # Errors
    /// When the primary has ended.
    pub fn stop(&self) -> Result<()> {
        self.command(Command::Core(oneport_core::Event::Stop))
    }

    /// Ends everything now.
    ///
    /// # Errors
    /// When the primary has ended.
    pub fn stop_now(&self) -> Result<()> {
        self.command(Command::Core(oneport_core::Event::StopNow))
    }

    /// Asks one worker to leave in order (Node's `worker.disconnect()`). A supervised slot gets a new one.
    ///
    /// # Errors
    /// When the primary has ended.
    pub fn disconnect(&self, worker: WorkerId) -> Result<()> {
        self.command(Command::Core(oneport_core::Event::Leave { worker }))
    }

    /// Ends one worker and everything it started, now.
    ///
    /// # Errors
    /// When the primary has ended.
    pub fn kill(&self, worker: WorkerId) -> Result<()> {
        self.command(Command::Core(oneport_core::Event::Kill { worker }))
    }

    /// Sends a message to a worker's program (Node's `worker.send()`), as JSON text. A worker that does not
    /// read lets at most 16 MiB wait; what is more is dropped and logged.
    ///
    /// # Errors
    /// When the primary has ended, or the text is not JSON.
    pub fn send(&self, worker: WorkerId, json: impl Into<String>) -> Result<()> {
        self.command(Command::Send { worker, json: json.into() })
    }

    /// Calls `act` unless `pid` is a living worker of this cluster, and keeps workers from being born meanwhile.
    /// For programs that are PID 1 or a subreaper and wait for orphans: a worker belongs to its primary.
    pub fn unless_worker(&self, pid: i32, act: impl FnOnce()) {
        let held = self.roster.hold();
        if !held.contains(&pid) {
            act();
        }
    }

    fn command(&self, command: Command) -> Result<()> {
        if self.commands.send(command) { Ok(()) } else { Err(Error::from(Kind::PrimaryEnded)) }
    }
}

impl Events {
    /// The next event; `None` after [`Event::Stopped`]. Cancellation safe.
    pub async fn recv(&mut self) -> Option<Event> {
        let event = self.receiver.recv().await;
        self.taken(event)
    }

    /// The next event, blocking this thread. Not from within an async runtime.
    pub fn blocking_recv(&mut self) -> Option<Event> {
        let event = self.receiver.blocking_recv();
        self.taken(event)
    }

    fn taken(&self, event: Option<Event>) -> Option<Event> {
        if event.as_ref().is_some_and(Event::is_strangers_word) {
            let left = self.backlog.waiting.fetch_sub(1, Ordering::AcqRel) - 1;
            if left <= STRANGERS_WORDS / 2 && self.backlog.throttled.swap(false, Ordering::AcqRel) {
                self.commands.send(Command::Unthrottle);
            }
        }
        event
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.commands.send(Command::OwnerLeft);
    }
}
