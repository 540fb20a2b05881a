//! The thread that receives trapped calls and looks into the callers: their memory and descriptors may be slow to read
//! (a page that has to come from a slow disk, another process's lock), and the loop must not wait for that.
//!
//! What does not live here: the look itself (`insight`), and what a call means (`bind`, `listen`). Invariant: whatever was learnt of a caller by number is
//! passed on only if it still waited afterwards, and what is on its way to the loop has a permit of the gate.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use oneport_core::WorkerId;
use oneport_sys::foreign::{Home, Name};
use oneport_sys::poll::{Interest, Poller, Readiness};
use oneport_sys::seccomp::Listener;
use oneport_sys::waker::Waker;
use tracing::warn;

use super::super::Command;
use super::call::{Caller, answer, pass};
use super::gate::{Gate, Permit};
use super::insight::{Fate, Looked, Shortage, fate, look};
use super::stopwatch::{Lasting, Spans, Stopwatch};
use crate::cluster::Commands;

/// A look takes microseconds; one that needs a page from a slow disk, a part of a second.
const PATIENCE: Spans =
    Spans { long: Duration::from_millis(200), too_long: Duration::from_secs(LONGEST_LOOK) };
/// In seconds.
pub(super) const LONGEST_LOOK: u64 = 10;
const WAKER: u64 = u64::MAX;

/// A trapped call with what was seen of its caller.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(super) caller: Caller,
    pub(super) wish: Wish,
    _permit: Permit,
}

/// A call that could not be looked into, and was let through.
#[derive(Debug)]
pub(crate) struct Unseen {
    pub(super) worker: WorkerId,
    pub(super) error: io::Error,
    _permit: Permit,
}

/// What the caller wants.
#[derive(Debug)]
pub(super) enum Wish {
    Bind(Name),
    Listen { backlog: i32 },
    Shutdown,
}

/// Whether duplicates are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::primary) enum Taking {
    Sockets,
    /// Where `pidfd_getfd` is not allowed.
    Nothing,
}

/// The loop's end of the thread.
#[derive(Debug)]
pub(in crate::primary) struct Looker {
    orders: mpsc::Sender<Order>,
    waker: Arc<Waker>,
    commands: Commands,
}

enum Order {
    Watch(WorkerId, Arc<Listener>, Taking),
    Forget(WorkerId),
}

impl Looker {
    pub(in crate::primary) fn start(commands: Commands) -> io::Result<Looker> {
        let (orders, received) = mpsc::channel();
        let waker = Arc::new(Waker::new()?);
        let poller = Poller::new()?;
        poller.add(waker.as_fd(), WAKER, Interest::READ)?;
        let watching = commands.clone();
        let stopwatch = Stopwatch::start(PATIENCE, move |worker, lasting| match lasting {
            Lasting::Long => warn!(worker = worker.0, "a look into a caller takes long; all others wait"),
            Lasting::TooLong => _ = watching.send(Command::Unreadable { worker }),
        })?;
        let thread = Thread {
            orders: received,
            waker: waker.clone(),
            poller,
            watched: Vec::new(),
            gate: Arc::new(Gate::default()),
            stopwatch,
            home: Home::of_this_thread(),
            shortage: Shortage::None,
            commands: commands.clone(),
        };
        thread::Builder::new().name("oneport-look".into()).spawn(move || thread.run())?;
        Ok(Looker { orders, waker, commands })
    }

    /// Where the thread has ended another one begins: those it had are lost, those who come later are not.
    pub(in crate::primary) fn watch(
        &mut self,
        worker: WorkerId,
        listener: Arc<Listener>,
        taking: Taking,
    ) -> io::Result<()> {
        if let Err(order) = self.order(Order::Watch(worker, listener, taking)) {
            *self = Looker::start(self.commands.clone())?;
            self.order(order).map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        Ok(())
    }

    /// Nobody is to be asked about its calls any more: they pass.
    pub(in crate::primary) fn forget(&self, worker: WorkerId) {
        // A thread that has ended has forgotten everybody.
        let _ = self.order(Order::Forget(worker));
    }

    /// What the thread does not take, because it could not wait any more, comes back.
    fn order(&self, order: Order) -> Result<(), Order> {
        self.orders.send(order).map_err(|mpsc::SendError(order)| order)?;
        let _ = self.waker.wake();
        Ok(())
    }
}

impl Drop for Looker {
    fn drop(&mut self) {
        // So that the thread sees that nobody orders any more.
        (self.orders, _) = mpsc::channel();
        let _ = self.waker.wake();
    }
}

struct Watched {
    worker: WorkerId,
    listener: Arc<Listener>,
    taking: Taking,
    tenure: Tenure,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tenure {
    Lives,
    /// What may be left of it (children that serve their last connection) is under the filter as long as it lives: without
    /// anybody to answer, all its calls would fail with `ENOSYS`.
    Buried,
}

struct Thread {
    orders: mpsc::Receiver<Order>,
    waker: Arc<Waker>,
    poller: Poller,
    watched: Vec<Watched>,
    gate: Arc<Gate>,
    stopwatch: Stopwatch,
    home: Home,
    /// At the last look: it is told once.
    shortage: Shortage,
    commands: Commands,
}

impl Thread {
    fn run(mut self) {
        let mut readiness = Readiness::new();
        loop {
            if let Err(cause) = self.poller.wait(&mut readiness, None) {
                return warn!(%cause, "cannot wait for trapped calls");
            }
            for ready in readiness.iter() {
                if ready.token == WAKER {
                    if self.take_orders() == Owner::Gone {
                        return;
                    }
                } else if let Some(at) = self.find(ready.token) {
                    self.receive(at);
                    // No process under this filter is left: hung up for ever. By now it may be gone, and others have moved.
                    if ready.hung_up
                        && let Some(at) = self.find(ready.token)
                    {
                        self.stop_watching(at);
                    }
                }
            }
        }
    }

    fn take_orders(&mut self) -> Owner {
        // Should it not clear, the next wait returns at once and finds no order; nothing is lost.
        let _ = self.waker.clear();
        loop {
            match self.orders.try_recv() {
                Ok(Order::Watch(worker, listener, taking)) => {
                    let token = u64::from(worker.0);
                    match self.poller.add(listener.as_fd(), token, Interest::READ) {
                        Ok(()) => {
                            self.watched.push(Watched { worker, listener, taking, tenure: Tenure::Lives })
                        }
                        // Dropped: the worker's calls fail with ENOSYS, which it reports.
                        Err(cause) => warn!(%cause, worker = worker.0, "cannot watch trapped calls"),
                    }
                }
                Ok(Order::Forget(worker)) => {
                    let mut watched = self.watched.iter_mut();
                    if let Some(watched) = watched.find(|watched| watched.worker == worker) {
                        watched.tenure = Tenure::Buried;
                    }
                }
                Err(mpsc::TryRecvError::Empty) => return Owner::Here,
                Err(mpsc::TryRecvError::Disconnected) => return Owner::Gone,
            }
        }
    }

    fn find(&self, token: u64) -> Option<usize> {
        self.watched.iter().position(|watched| u64::from(watched.worker.0) == token)
    }

    fn stop_watching(&mut self, at: usize) {
        let watched = self.watched.swap_remove(at);
        // It may be closed elsewhere in a moment; gone from the set either way.
        let _ = self.poller.remove(watched.listener.as_fd());
    }

    /// One call: others have their turn before the next of this worker.
    fn receive(&mut self, at: usize) {
        let Some(watched) = self.watched.get(at) else { return };
        let call = match watched.listener.receive() {
            Ok(Some(call)) => call,
            Ok(None) => return,
            Err(cause) => {
                warn!(%cause, worker = watched.worker.0, "cannot receive trapped calls");
                return self.stop_watching(at);
            }
        };
        match watched.tenure {
            Tenure::Lives => {}
            Tenure::Buried => return pass(&watched.listener, call.id),
        }
        let looking = self.stopwatch.begin(watched.worker);
        let looked = look(watched.worker, &watched.listener, watched.taking, call, self.home);
        drop(looking);
        let (worker, listener) = (watched.worker, &watched.listener);
        if !listener.is_waiting(call.id) {
            return;
        }
        let shortage = match looked {
            Ok(Looked::Worth(caller, wish)) => {
                let seen = Seen { caller: *caller, wish, _permit: Gate::enter(&self.gate) };
                self.commands.send(Command::Called(Box::new(seen)));
                Shortage::None
            }
            Ok(Looked::NotOurs) => {
                pass(listener, call.id);
                Shortage::None
            }
            Err(error) => match fate(&error) {
                Fate::LetThrough => {
                    pass(listener, call.id);
                    let unseen = Unseen { worker, error, _permit: Gate::enter(&self.gate) };
                    self.commands.send(Command::Unseen(unseen));
                    Shortage::None
                }
                Fate::Fails(shortage) => {
                    if shortage != self.shortage && shortage == Shortage::Ours {
                        warn!(%error, worker = worker.0, "cannot look into trapped calls");
                    }
                    answer(listener, call.id, Err(error));
                    shortage
                }
            },
        };
        self.shortage = shortage;
    }
}

#[derive(PartialEq, Eq)]
enum Owner {
    Here,
    Gone,
}
