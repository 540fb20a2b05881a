//! The owner's handle on a primary. The primary itself runs on a thread of its own, so it fits any runtime and
//! none; commands go in through a queue, events come out through another.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;

use futures_core::Stream;
use oneport_core::{Attach, Policy, ReloadTerms, Settings as Conduct, Slot, WorkerId};
use oneport_sys::waker::Waker;
use tokio::sync::mpsc as events;
use tokio::sync::oneshot;

use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::fork::Worker;
use crate::primary::{Command, Primary};
use crate::settings::Settings;

/// What of events of kinds that a worker can cause at will may wait for the owner, by [`Event::weight`]; above it the
/// channels of those that cause more are not read.
pub(crate) const STRANGERS_WORDS: usize = 1024;

/// A primary and its workers (Node's `cluster` in the primary).
///
/// Workers come in two ways, which may be mixed: [`fork`](Self::fork) starts one, and what happens when it ends is
/// the owner's decision, as in Node; [`scale`](Self::scale) keeps a number of supervised ones, which are restarted,
/// and replaced without a gap by [`reload`](Self::reload).
///
/// Cloning gives another handle on the same primary. When the last handle and the [`Events`] are dropped the
/// primary ends its workers at once. With the [`Events`] alone dropped it goes on, and tells nobody.
#[derive(Clone, Debug)]
pub struct Cluster {
    commands: Commands,
    roster: Roster,
    shared: Shared,
    _owner: Arc<Owner>,
}

/// Resolves when the last worker is gone after [`Cluster::disconnect`] (the callback of Node's
/// `cluster.disconnect()`). Needs no runtime of its own. Dropping it changes nothing.
#[derive(Debug)]
pub struct AllGone(oneshot::Receiver<()>);

impl Future for AllGone {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // The sender is dropped only when the primary has ended, and then they are gone as well.
        Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}

/// The processes of living workers. Held while one is born, so that nobody takes a newborn for a stranger.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster(Arc<Mutex<HashSet<i32>>>);

impl Roster {
    pub(crate) fn hold(&self) -> MutexGuard<'_, HashSet<i32>> {
        lock(&self.0)
    }
}

/// What the primary's thread keeps for its owner to look at.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    workers: Arc<Mutex<BTreeMap<WorkerId, Worker>>>,
    settings: Arc<Mutex<Settings>>,
}

impl Shared {
    pub(crate) fn workers(&self) -> MutexGuard<'_, BTreeMap<WorkerId, Worker>> {
        lock(&self.workers)
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

/// Held by every handle and the events: with the last of them goes the primary.
#[derive(Debug)]
struct Owner(Commands);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.send(Command::OwnerLeft);
    }
}

/// Such events under way to the owner, counted so that a chatty worker is slowed and not buffered.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    pub(crate) waiting: AtomicUsize,
    pub(crate) throttled: AtomicBool,
    /// Nobody will take any.
    pub(crate) abandoned: AtomicBool,
}

/// What happens in a [`Cluster`], in order. Also a [`Stream`].
#[derive(Debug)]
pub struct Events {
    receiver: events::UnboundedReceiver<Event>,
    backlog: Arc<Backlog>,
    commands: Commands,
    _owner: Arc<Owner>,
}

impl Cluster {
    /// Starts a primary without workers, from these settings; [`fork`](Self::fork) and [`scale`](Self::scale) give it
    /// some. The first event is [`Event::Setup`].
    ///
    /// # Errors
    /// When descriptors or threads run out, the working directory cannot be used, or programs cannot be run as
    /// [`Settings::program`] says.
    pub fn start(settings: Settings) -> Result<(Cluster, Events)> {
        check(&settings)?;
        let waker = Arc::new(Waker::new().map_err(Kind::StartPrimary)?);
        let (sender, receiver) = mpsc::channel();
        let (events, received) = events::unbounded_channel();
        let backlog = Arc::new(Backlog::default());
        let commands = Commands { sender, waker };
        let roster = Roster::default();
        let shared = Shared { workers: Arc::default(), settings: Arc::new(Mutex::new(settings.clone())) };
        // The primary first tells the settings, as after each later change.
        let _ = events.send(Event::Setup { settings: Box::new(settings.clone()) });
        let owned = (backlog.clone(), roster.clone(), shared.clone());
        let primary =
            Primary::new(settings, receiver, commands.clone(), events, owned).map_err(Kind::StartPrimary)?;
        thread::Builder::new()
            .name("oneport-primary".into())
            .spawn(move || primary.run())
            .map_err(Kind::StartPrimary)?;
        let owner = Arc::new(Owner(commands.clone()));
        let events =
            Events { receiver: received, backlog, commands: commands.clone(), _owner: owner.clone() };
        Ok((Cluster { commands, roster, shared, _owner: owner }, events))
    }

    /// Changes how later workers are started (Node's `cluster.setupPrimary()`); those that run stay as they are.
    /// Begin with [`settings`](Self::settings) to change some and keep the rest. The `conduct` is fixed when the
    /// cluster starts, like Node's scheduling policy: what is said about it here is not used.
    ///
    /// # Errors
    /// When the working directory cannot be used, programs cannot be run as [`Settings::program`] says, or the primary has
    /// ended.
    pub fn setup_primary(&self, settings: Settings) -> Result<()> {
        let mut current = lock(&self.shared.settings);
        let settings = Settings { conduct: current.conduct.clone(), ..settings };
        check(&settings)?;
        *current = settings.clone();
        // Sent before the lock is let go, so that two calls arrive in the order in which they count.
        self.command(Command::Setup(Box::new(settings)))
    }

    /// What the next worker would be started with (Node's `cluster.settings`).
    pub fn settings(&self) -> Settings {
        lock(&self.shared.settings).clone()
    }

    /// Who gets the next connection (Node's `cluster.schedulingPolicy`).
    pub fn scheduling_policy(&self) -> Policy {
        lock(&self.shared.settings).conduct.policy
    }

    /// Starts one worker (Node's `cluster.fork(env)`), with these variables over those of the settings. It is not
    /// restarted when it ends. Takes about as long as starting a process (a millisecond).
    ///
    /// A program that cannot be started is not an error of this call: [`Event::Error`] and [`Event::Exit`] tell it.
    ///
    /// # Errors
    /// When the primary has ended, or everything is being ended.
    pub fn fork(&self, env: &[(&str, &str)]) -> Result<Worker> {
        let (reply, forked) = mpsc::sync_channel(1);
        let env = env.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        self.command(Command::Fork { env, reply })?;
        match forked.recv() {
            Ok(Some(worker)) => Ok(worker),
            Ok(None) => Err(Error::from(Kind::Fork)),
            Err(_) => Err(Error::from(Kind::PrimaryEnded)),
        }
    }

    /// The living workers, by their numbers (Node's `cluster.workers`). One leaves the list just before its
    /// [`Event::Exit`].
    pub fn workers(&self) -> Vec<Worker> {
        self.shared.workers().values().cloned().collect()
    }

    /// One of them.
    pub fn worker(&self, id: WorkerId) -> Option<Worker> {
        self.shared.workers().get(&id).cloned()
    }

    /// Asks every worker to leave in order (Node's `cluster.disconnect()`): no more accepting, what was accepted
    /// is served, supervised slots are given up. The order is given at once; the future resolves when the *last*
    /// worker is gone (Node calls back when the first one is), and may be dropped. The primary lives on, and may start
    /// workers again afterwards.
    ///
    /// # Errors
    /// When the primary has ended.
    pub fn disconnect(&self) -> Result<AllGone> {
        let (done, all_gone) = oneshot::channel();
        self.command(Command::DisconnectAll { done })?;
        Ok(AllGone(all_gone))
    }

    /// Keeps this many supervised workers: starts missing ones, asks surplus ones to leave.
    ///
    /// # Errors
    /// When the primary has ended, as for every call here; and for more than [`crate::MOST_TRAPPED`] copies of a program
    /// whose calls are trapped.
    pub fn scale(&self, workers: u32) -> Result<()> {
        self.check_copies(workers)?;
        self.command(Command::Core(oneport_core::Event::Scale(workers)))
    }

    /// Changes how workers are treated from now on: time limits, restarts, how many a reload replaces at a time. Policy,
    /// attaching, credits, the bounds of queue and ports and what makes a worker ready are fixed when the cluster starts: what
    /// is said about them here is not used.
    ///
    /// # Errors
    /// When the primary has ended.
    pub fn treat(&self, conduct: Conduct) -> Result<()> {
        let mut current = lock(&self.shared.settings);
        let Conduct { policy, attach, credits, queue, ports, readiness, .. } = current.conduct;
        current.conduct = Conduct { policy, attach, credits, queue, ports, readiness, ..conduct };
        let event = oneport_core::Event::Treat(Box::new(current.conduct.clone()));
        self.command(Command::Core(event))
    }

    /// Makes at least this many slots; those that come stay empty until [`start_slots`](Self::start_slots).
    ///
    /// # Errors
    /// As [`scale`](Self::scale).
    pub fn reserve_slots(&self, slots: u32) -> Result<()> {
        self.check_copies(slots)?;
        self.command(Command::Core(oneport_core::Event::Reserve(slots)))
    }

    fn check_copies(&self, workers: u32) -> Result<()> {
        let settings = self.settings();
        if settings.conduct.attach == Attach::Program {
            settings.program.check_copies(workers).map_err(Kind::UseProgram)?;
        }
        Ok(())
    }

    /// Asks the workers of these slots to leave; nobody follows them until [`start_slots`](Self::start_slots).
    ///
    /// # Errors
    /// When the primary has ended.
    pub fn stop_slots(&self, slots: &[Slot]) -> Result<()> {
        self.command(Command::Core(oneport_core::Event::StopSlots(slots.to_vec())))
    }

    /// Fills those of these slots that are empty: stopped ones, those that were given up, and those that wait for the
    /// pause before a restart.
    ///
    /// # Errors
    /// When the primary has ended.
    pub fn start_slots(&self, slots: &[Slot]) -> Result<()> {
        self.command(Command::Core(oneport_core::Event::StartSlots(slots.to_vec())))
    }

    /// As [`reload`](Self::reload), of some slots or in a certain manner. One asked for while another runs becomes a
    /// whole reload that follows it.
    ///
    /// # Errors
    /// When the primary has ended.
    pub fn reload_with(&self, terms: ReloadTerms) -> Result<()> {
        self.command(Command::Core(oneport_core::Event::ReloadSome(terms)))
    }

    /// Replaces every supervised worker, the new one first; see [`Event::ReloadDone`] and
    /// [`Event::ReloadAborted`] for the outcome. One asked for while another runs follows it.
    ///
    /// # Errors
    /// When the primary has ended.
    pub fn reload(&self) -> Result<()> {
        self.command(Command::Core(oneport_core::Event::Reload))
    }

    /// Ends everything in order: as [`disconnect`](Self::disconnect), and then the primary itself.
    /// [`Event::Stopped`] comes when the last worker is gone.
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

    /// Calls `act` unless `pid` is a living worker of this cluster, and keeps workers from being born meanwhile.
    /// For programs that are PID 1 or a subreaper and wait for orphans: a worker belongs to its primary. `act` must not
    /// call this cluster, which would wait for itself.
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

    /// The next event, without waiting.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] when there is none yet, [`TryRecvError::Over`] after [`Event::Stopped`].
    pub fn try_recv(&mut self) -> std::result::Result<Event, TryRecvError> {
        let event = self.receiver.try_recv().map_err(|error| match error {
            events::error::TryRecvError::Empty => TryRecvError::Empty,
            events::error::TryRecvError::Disconnected => TryRecvError::Over,
        })?;
        self.taken(Some(event)).ok_or(TryRecvError::Over)
    }

    fn taken(&self, event: Option<Event>) -> Option<Event> {
        let weight = event.as_ref().map_or(0, Event::weight);
        if weight > 0 {
            let left = self.backlog.waiting.fetch_sub(weight, Ordering::AcqRel) - weight;
            if left <= STRANGERS_WORDS / 2 && self.backlog.throttled.swap(false, Ordering::AcqRel) {
                self.commands.send(Command::Unthrottle);
            }
        }
        event
    }
}

/// Why [`Events::try_recv`] has no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TryRecvError {
    /// There is none yet.
    #[error("no event yet")]
    Empty,
    /// The cluster has ended.
    #[error("the cluster has ended")]
    Over,
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.receiver.poll_recv(cx).map(|event| self.taken(event))
    }
}

impl Drop for Events {
    /// What waits is dropped; workers that were held back because of it go on.
    fn drop(&mut self) {
        self.backlog.abandoned.store(true, Ordering::Release);
        self.commands.send(Command::Unthrottle);
    }
}

fn check(settings: &Settings) -> Result<()> {
    match settings.conduct.attach {
        Attach::Program => {
            let checked =
                settings.program.check(&settings.conduct, settings.extra_pipes, settings.child_channel);
            checked.map_err(Kind::UseProgram)?;
        }
        Attach::Channel | Attach::Nothing => {}
    }
    match &settings.cwd {
        Some(cwd) => {
            std::fs::read_dir(cwd).map_err(|cause| Kind::UseDirectory(cwd.clone(), cause))?;
            Ok(())
        }
        None => Ok(()),
    }
}

/// A thread that panicked while holding one of these left it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
