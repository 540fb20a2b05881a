//! The thread that notices sockets nobody accepts from. `close` is not trapped, and a program that has closed its listener
//! while the primary keeps a duplicate would leave its share of new connections waiting for ever; so would one whose
//! socket was replaced where nothing looks any more.
//!
//! Invariant: nothing runs while no connection waits. A lane is watched by epoll until one does; a second later it is looked
//! whether it still does, and only then who holds the socket. A busy server is looked at once in a second or less.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use oneport_core::{Event as Core, LaneId, WorkerId};
use oneport_sys::listen::waiting;
use oneport_sys::poll::{Interest, Poller, Readiness};
use oneport_sys::process::Pid;
use oneport_sys::waker::Waker;
use oneport_sys::{proc, tree};
use tracing::warn;

use super::super::Command;
use crate::cluster::Commands;

/// A connection that waits so long is worth a look; every look after the first comes later, up to the last.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(8);
/// A worker whose queue was never seen empty for so long, and that used next to no processor time meanwhile, does not accept.
const PATIENCE: Duration = Duration::from_secs(5);
const IDLE_NS: u64 = 2_000_000;
const WAKER: u64 = u64::MAX;

/// What is watched.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) lane: LaneId,
    pub(super) worker: WorkerId,
    pub(super) socket: OwnedFd,
    pub(super) inode: u64,
    /// Who listens.
    pub(super) process: Pid,
    pub(super) root: Pid,
    pub(super) mark: String,
}

/// The loop's end of the thread.
#[derive(Debug)]
pub(super) struct Sentry {
    orders: mpsc::Sender<Order>,
    waker: Arc<Waker>,
}

enum Order {
    Watch(Post),
    Forget(LaneId),
}

impl Sentry {
    pub(super) fn start(commands: Commands) -> io::Result<Sentry> {
        let (orders, received) = mpsc::channel();
        let waker = Arc::new(Waker::new()?);
        let poller = Poller::new()?;
        poller.add(waker.as_fd(), WAKER, Interest::READ)?;
        let watch = Watch { orders: received, waker: waker.clone(), poller, posts: Vec::new(), commands };
        thread::Builder::new().name("oneport-sentry".into()).spawn(move || watch.run())?;
        Ok(Sentry { orders, waker })
    }

    pub(super) fn watch(&self, post: Post) {
        self.order(Order::Watch(post));
    }

    pub(super) fn forget(&self, lane: LaneId) {
        self.order(Order::Forget(lane));
    }

    fn order(&self, order: Order) {
        // The thread lives as long as this end.
        let _ = self.orders.send(order);
        let _ = self.waker.wake();
    }
}

impl Drop for Sentry {
    fn drop(&mut self) {
        // So that the thread sees that nobody orders any more.
        (self.orders, _) = mpsc::channel();
        let _ = self.waker.wake();
    }
}

struct Watch {
    orders: mpsc::Receiver<Order>,
    waker: Arc<Waker>,
    poller: Poller,
    posts: Vec<(Post, State)>,
    commands: Commands,
}

#[derive(Clone, Copy)]
enum State {
    /// Nothing waited at the last look.
    Quiet,
    Waits {
        since: Instant,
        look: Instant,
        pause: Duration,
        /// Processor time of the worker when patience ended.
        used: Option<u64>,
        told: bool,
    },
}

impl Watch {
    fn run(mut self) {
        let mut readiness = Readiness::new();
        loop {
            let now = Instant::now();
            let timeout = self.next_look().map(|look| look.saturating_duration_since(now));
            if let Err(cause) = self.poller.wait(&mut readiness, timeout) {
                return warn!(%cause, "cannot watch queues");
            }
            for ready in readiness.iter() {
                if ready.token == WAKER {
                    if !self.take_orders() {
                        return;
                    }
                } else {
                    self.begins_to_wait(ready.token, ready.hung_up);
                }
            }
            self.look(Instant::now());
        }
    }

    fn next_look(&self) -> Option<Instant> {
        let looks = self.posts.iter().filter_map(|(_, state)| match state {
            State::Quiet => None,
            State::Waits { look, .. } => Some(*look),
        });
        looks.min()
    }

    /// False: nobody orders any more.
    fn take_orders(&mut self) -> bool {
        // Should it not clear, the next wait returns at once and finds no order; nothing is lost.
        let _ = self.waker.clear();
        loop {
            match self.orders.try_recv() {
                Ok(Order::Watch(post)) => {
                    self.forget(post.lane);
                    match self.poller.add(post.socket.as_fd(), u64::from(post.lane.0), Interest::READ) {
                        Ok(()) => self.posts.push((post, State::Quiet)),
                        Err(cause) => warn!(%cause, "cannot watch a queue"),
                    }
                }
                Ok(Order::Forget(lane)) => self.forget(lane),
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn forget(&mut self, lane: LaneId) {
        if let Some(at) = self.posts.iter().position(|(post, _)| post.lane == lane) {
            let (post, _) = self.posts.swap_remove(at);
            // Closed in a moment, unless somebody else holds it: then it must not report.
            let _ = self.poller.remove(post.socket.as_fd());
        }
    }

    fn begins_to_wait(&mut self, token: u64, hung_up: bool) {
        let Some((post, state)) = self.posts.iter_mut().find(|(post, _)| u64::from(post.lane.0) == token)
        else {
            return;
        };
        let lane = post.lane;
        let now = Instant::now();
        let silenced = self.poller.modify(post.socket.as_fd(), token, Interest::NONE);
        *state =
            State::Waits { since: now, look: now + FIRST_LOOK, pause: FIRST_LOOK, used: None, told: false };
        // A socket that was shut reports it for ever, and has left the kernel's group: the numbers of the others are other
        // ones now, and wrong ones send clients anywhere.
        if hung_up {
            self.commands.send(Command::ClosedWhileAlive { lane });
        }
        if hung_up || silenced.is_err() {
            self.forget(lane);
        }
    }

    fn look(&mut self, now: Instant) {
        let mut closed = Vec::new();
        for (post, state) in &mut self.posts {
            let State::Waits { since, look, pause, used, told } = *state else { continue };
            if look > now {
                continue;
            }
            if !waiting(post.socket.as_fd()) {
                *state = State::Quiet;
                if self.poller.modify(post.socket.as_fd(), u64::from(post.lane.0), Interest::READ).is_err() {
                    closed.push((post.lane, None));
                }
                continue;
            }
            if !post.is_held() {
                closed.push((post.lane, Some(post.worker)));
                continue;
            }
            let waited = now.saturating_duration_since(since);
            let spent = if waited >= PATIENCE && !told { post.processor_time() } else { None };
            let stuck = matches!((used, spent), (Some(before), Some(after)) if after.saturating_sub(before) < IDLE_NS);
            if stuck {
                self.commands.send(Command::NotAccepting { lane: post.lane, after: waited });
            }
            let pause = if spent.is_some() { FIRST_LOOK } else { (pause * 2).min(LAST_LOOK) };
            *state = State::Waits { since, look: now + pause, pause, used: spent, told: told || stuck };
        }
        for (lane, worker) in closed {
            self.forget(lane);
            if worker.is_some() {
                self.commands.send(Command::Core(Core::LaneClosed { lane }));
                self.commands.send(Command::ClosedWhileAlive { lane });
            }
        }
    }
}

impl Post {
    /// Whether the worker still has the socket: first the process that listens, which nearly always does.
    fn is_held(&self) -> bool {
        let holds = |pid: Pid| proc::may_hold(pid, self.inode);
        holds(self.process) || tree::members(self.root, &self.mark).into_iter().any(holds)
    }

    fn processor_time(&self) -> Option<u64> {
        let members = tree::members(self.root, &self.mark);
        members.into_iter().map(|pid| proc::cpu_ns(pid).ok()).sum()
    }
}
