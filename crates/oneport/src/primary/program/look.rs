//! The thread that receives trapped calls and looks into the callers: their memory and descriptors may be slow to read
//! (a page that has to come from a slow disk, another process's lock), and the loop must not wait for that.
//!
//! What does not live here: what a call means (`bind`, `listen`). Invariant: whatever was learnt of a caller by number is
//! passed on only if it still waited afterwards; at most `MOST_AT_ONCE` calls are on their way to the loop.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;

use oneport_core::WorkerId;
use oneport_sys::foreign::{self, Name, Protocol};
use oneport_sys::poll::{Interest, Poller, Readiness};
use oneport_sys::seccomp::{Call, Kind, Listener};
use oneport_sys::waker::Waker;
use tracing::warn;

use super::super::Command;
use super::call::{Answering, Caller, answer, pass};
use crate::cluster::Commands;

/// Calls on their way to the loop.
const MOST_AT_ONCE: usize = 64;
const WAKER: u64 = u64::MAX;

/// A trapped call with what was seen of its caller.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(super) caller: Caller,
    pub(super) wish: Wish,
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
        let thread = Thread {
            orders: received,
            waker: waker.clone(),
            poller,
            watched: Vec::new(),
            gate: Arc::new(Gate::default()),
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
}

struct Thread {
    orders: mpsc::Receiver<Order>,
    waker: Arc<Waker>,
    poller: Poller,
    watched: Vec<Watched>,
    gate: Arc<Gate>,
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
                        Ok(()) => self.watched.push(Watched { worker, listener, taking }),
                        // Dropped: the worker's calls fail with ENOSYS, which it reports.
                        Err(cause) => warn!(%cause, worker = worker.0, "cannot watch trapped calls"),
                    }
                }
                Ok(Order::Forget(worker)) => {
                    if let Some(at) = self.find(u64::from(worker.0)) {
                        self.stop_watching(at);
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
        let looked = look(watched, call, &self.gate);
        let (worker, listener) = (watched.worker, &watched.listener);
        if !listener.is_waiting(call.id) {
            return;
        }
        match looked {
            Ok(Looked::Worth(seen)) => _ = self.commands.send(Command::Called(seen)),
            Ok(Looked::NotOurs) => pass(listener, call.id),
            // What the kernel itself would answer to such an address.
            Err(error) if is_callers_fault(&error) => answer(listener, call.id, Err(error)),
            Err(error) => {
                pass(listener, call.id);
                self.commands.send(Command::Unseen { worker, error });
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Owner {
    Here,
    Gone,
}

enum Looked {
    Worth(Box<Seen>),
    /// No socket that could ever be the app's.
    NotOurs,
}

fn look(watched: &Watched, call: Call, gate: &Arc<Gate>) -> io::Result<Looked> {
    let (fd, wish) = match call.kind {
        Kind::Bind { fd, address, length } => {
            (fd, Wish::Bind(foreign::read_address(call.thread, address, length)?))
        }
        Kind::Listen { fd, backlog } => (fd, Wish::Listen { backlog }),
        Kind::Shutdown { fd, how: _ } => (fd, Wish::Shutdown),
    };
    let process = foreign::process_of(call.thread)?;
    let protocol = match foreign::protocol_of(process, fd) {
        Ok(Protocol::Other(_)) => return Ok(Looked::NotOurs),
        Ok(protocol) => protocol,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
        // No descriptor, or no socket: the kernel says it best.
        Err(_) => return Ok(Looked::NotOurs),
    };
    let Ok(inode) = foreign::socket_inode(process, fd) else { return Ok(Looked::NotOurs) };
    let socket = match watched.taking {
        Taking::Sockets => {
            let thread = foreign::open_thread(call.thread)?;
            Some(foreign::take_fd(thread.as_fd(), fd)?)
        }
        Taking::Nothing => None,
    };
    let answering = Answering::Trap { listener: watched.listener.clone(), call: call.id };
    let caller = Caller { worker: watched.worker, process, fd, inode, protocol, socket, answering };
    Ok(Looked::Worth(Box::new(Seen { caller, wish, _permit: Gate::enter(gate) })))
}

fn is_callers_fault(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::INVAL, Errno::FAULT].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Counts the calls on their way.
#[derive(Debug, Default)]
struct Gate {
    inside: Mutex<usize>,
    left: Condvar,
}

/// Held by a call until the loop is done with it.
#[derive(Debug)]
struct Permit(Arc<Gate>);

impl Gate {
    fn enter(gate: &Arc<Gate>) -> Permit {
        let inside = gate.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let mut inside = gate
            .left
            .wait_while(inside, |inside| *inside >= MOST_AT_ONCE)
            .unwrap_or_else(PoisonError::into_inner);
        *inside += 1;
        drop(inside);
        Permit(gate.clone())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.0.inside.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.left.notify_one();
    }
}
