//! The thread that notices sockets nobody accepts from. `close` is not trapped, and a program that has closed its listener
//! while the primary keeps a duplicate would leave its share of new connections waiting for ever; so would one whose
//! socket was replaced where nothing looks any more.
//!
//! Invariant: nothing runs while nothing waits. A lane is watched by epoll until something does; a second later it is looked
//! whether it still does, and only then who holds the socket. A busy server is looked at once in a second or less. Whatever
//! is due at one time is looked at with one reading of the process table.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use oneport_core::{LaneId, PortId, WorkerId};
use oneport_sys::listen::{is_listening, waiting};
use oneport_sys::poll::{Interest, Poller, Readiness};
use oneport_sys::proc;
use oneport_sys::process::Pid;
use oneport_sys::tree::Table;
use tracing::warn;

use super::LaneKind;
use super::line::{self, Orders, Received, WAKER};
use crate::cluster::Commands;
use crate::primary::Command;
use crate::primary::readings::Readings;

/// A connection that waits so long is worth a look; every look after the first comes later, up to the last.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(8);
/// Nobody had the socket: so much later it is looked again before that is believed. A child that came after the table was
/// read, and whose parent was gone before it was looked at, is found then.
const SECOND_LOOK: Duration = Duration::from_millis(50);
/// A worker whose queue was never seen empty for so long, and that used next to no processor time meanwhile, does not accept.
const PATIENCE: Duration = Duration::from_secs(5);
const IDLE_NS: u64 = 2_000_000;

/// What is watched.
#[derive(Debug)]
pub(in crate::primary) struct Post {
    pub(in crate::primary) lane: LaneId,
    pub(in crate::primary) worker: WorkerId,
    pub(in crate::primary) socket: Arc<OwnedFd>,
    pub(in crate::primary) kind: LaneKind,
    pub(in crate::primary) inode: u64,
    /// Who listens.
    pub(in crate::primary) process: Pid,
    pub(in crate::primary) root: Pid,
    pub(in crate::primary) mark: String,
}

/// How a program ended what it lives on without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Nobody of it has the socket any more.
    Dropped,
    /// It was shut: it has left the kernel's group, and whoever was last there has its number.
    Shut,
}

/// The loop's end of the thread.
#[derive(Debug)]
pub(in crate::primary) struct Sentry {
    orders: Orders<Order>,
}

#[derive(Debug)]
enum Order {
    Watch(Post),
    Forget(LaneId, PortId),
}

impl Sentry {
    pub(in crate::primary) fn start(commands: Commands, readings: Readings) -> io::Result<Sentry> {
        let (orders, received, poller) = line::open()?;
        let watch = Watch { orders: received, poller, posts: Vec::new(), commands, readings };
        thread::Builder::new().name("oneport-sentry".into()).spawn(move || watch.run())?;
        Ok(Sentry { orders })
    }

    pub(in crate::primary) fn watch(&self, post: Post) {
        self.orders.give(Order::Watch(post));
    }

    /// Answered by `Unwatched`: until then the thread has the socket.
    pub(in crate::primary) fn forget(&self, lane: LaneId, port: PortId) {
        self.orders.give(Order::Forget(lane, port));
    }
}

struct Watch {
    orders: Received<Order>,
    poller: Poller,
    posts: Vec<(Post, State)>,
    commands: Commands,
    readings: Readings,
}

#[derive(Clone, Copy)]
enum State {
    /// Nothing waited at the last look.
    Quiet,
    Waits(Waits),
}

#[derive(Clone, Copy)]
struct Waits {
    since: Instant,
    look: Instant,
    pause: Duration,
    /// Processor time of the worker when patience ended.
    used: Option<u64>,
    told: bool,
    /// Nobody had it at the last look.
    missed: bool,
}

/// What a look came to.
enum Seen {
    /// It has to be looked at again.
    Waits(Waits),
    Empty,
    Dropped,
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
                } else if let Some(at) = self.find(ready.token) {
                    self.begins_to_wait(at, ready.hung_up);
                }
            }
            self.look(Instant::now());
        }
    }

    fn next_look(&self) -> Option<Instant> {
        let looks = self.posts.iter().filter_map(|(_, state)| match state {
            State::Quiet => None,
            State::Waits(Waits { look, .. }) => Some(*look),
        });
        looks.min()
    }

    /// False: nobody orders any more.
    fn take_orders(&mut self) -> bool {
        self.orders.clear();
        loop {
            match self.orders.next() {
                Ok(Order::Watch(post)) => {
                    self.forget(post.lane);
                    match self.poller.add(post.socket.as_fd(), token(&post), Interest::READ) {
                        Ok(()) => self.posts.push((post, State::Quiet)),
                        Err(cause) => warn!(%cause, "cannot watch a queue"),
                    }
                }
                Ok(Order::Forget(lane, port)) => {
                    self.forget(lane);
                    self.commands.send(Command::Unwatched { port });
                }
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn find(&self, ready: u64) -> Option<usize> {
        self.posts.iter().position(|(post, _)| token(post) == ready)
    }

    fn forget(&mut self, lane: LaneId) {
        if let Some(at) = self.posts.iter().position(|(post, _)| post.lane == lane) {
            self.leave(at);
        }
    }

    fn leave(&mut self, at: usize) {
        let (post, _) = self.posts.swap_remove(at);
        // Closed in a moment, unless somebody else holds it: then it must not report.
        let _ = self.poller.remove(post.socket.as_fd());
    }

    /// From now on it is looked at in time. Only its being shut is still heard of at once.
    fn begins_to_wait(&mut self, at: usize, hung_up: bool) {
        let Some((post, state)) = self.posts.get_mut(at) else { return };
        if hung_up && post.is_shut() {
            let Post { worker, lane, .. } = *post;
            self.leave(at);
            self.commands.send(Command::ClosedWhileAlive { worker, lane, how: Closing::Shut });
            return;
        }
        let silenced = self.poller.modify(post.socket.as_fd(), token(post), Interest::NONE);
        if hung_up || silenced.is_err() {
            // Errors are reported for ever.
            let _ = self.poller.remove(post.socket.as_fd());
        }
        match state {
            State::Quiet => {
                let now = Instant::now();
                let (look, pause) = (now + FIRST_LOOK, FIRST_LOOK);
                *state =
                    State::Waits(Waits { since: now, look, pause, used: None, told: false, missed: false });
            }
            State::Waits(_) => {}
        }
    }

    fn look(&mut self, now: Instant) {
        let mut tables = Tables { readings: &self.readings, read: None };
        let mut at = 0;
        while let Some((post, state)) = self.posts.get_mut(at) {
            let due = match *state {
                State::Waits(waits) if waits.look <= now => waits,
                State::Waits(_) | State::Quiet => {
                    at += 1;
                    continue;
                }
            };
            match post.look(due, now, &mut tables) {
                Seen::Waits(waits) => {
                    if waits.told && !due.told {
                        let (worker, lane, after) =
                            (post.worker, post.lane, now.saturating_duration_since(due.since));
                        self.commands.send(Command::NotAccepting { worker, lane, after });
                    }
                    *state = State::Waits(waits);
                    at += 1;
                }
                Seen::Empty if watch_again(&self.poller, post).is_ok() => {
                    *state = State::Quiet;
                    at += 1;
                }
                Seen::Empty => _ = self.posts.swap_remove(at),
                Seen::Dropped => {
                    let (post, _) = self.posts.swap_remove(at);
                    let _ = self.poller.remove(post.socket.as_fd());
                    let Post { worker, lane, .. } = post;
                    self.commands.send(Command::ClosedWhileAlive { worker, lane, how: Closing::Dropped });
                }
            }
        }
    }
}

fn token(post: &Post) -> u64 {
    u64::from(post.lane.0)
}

fn watch_again(poller: &Poller, post: &Post) -> io::Result<()> {
    let (socket, token) = (post.socket.as_fd(), token(post));
    // One that reported an error is not in the set any more.
    poller.modify(socket, token, Interest::READ).or_else(|_| poller.add(socket, token, Interest::READ))
}

/// The process table as it was in this pass, if somebody needed it.
struct Tables<'a> {
    readings: &'a Readings,
    read: Option<Arc<Table>>,
}

impl Tables<'_> {
    fn members(&mut self, post: &Post) -> Vec<Pid> {
        let table = self.read.get_or_insert_with(|| self.readings.table());
        table.members(post.root, &post.mark)
    }
}

impl Post {
    /// No datagram socket is taken out of its group by being shut, and an error is no end.
    fn is_shut(&self) -> bool {
        match self.kind {
            LaneKind::Stream => !is_listening(self.socket.as_fd()),
            LaneKind::Datagram => false,
        }
    }

    fn look(&self, before: Waits, now: Instant, tables: &mut Tables<'_>) -> Seen {
        if !waiting(self.socket.as_fd()) {
            return Seen::Empty;
        }
        if !self.is_held(tables) {
            return if before.missed {
                Seen::Dropped
            } else {
                Seen::Waits(Waits { look: now + SECOND_LOOK, missed: true, ..before })
            };
        }
        let waited = now.saturating_duration_since(before.since);
        let spent = if waited >= PATIENCE && !before.told { self.processor_time(tables) } else { None };
        let stuck = matches!((before.used, spent), (Some(before), Some(after)) if after.saturating_sub(before) < IDLE_NS);
        let pause = if spent.is_some() { FIRST_LOOK } else { (before.pause * 2).min(LAST_LOOK) };
        let told = before.told || stuck;
        Seen::Waits(Waits { look: now + pause, pause, used: spent, told, missed: false, since: before.since })
    }

    /// Whether the worker still has the socket: first the process that listens, which nearly always does.
    fn is_held(&self, tables: &mut Tables<'_>) -> bool {
        let holds = |pid: Pid| proc::may_hold(pid, self.inode);
        holds(self.process) || tables.members(self).into_iter().any(holds)
    }

    fn processor_time(&self, tables: &mut Tables<'_>) -> Option<u64> {
        let members = tables.members(self);
        members.into_iter().map(|pid| proc::cpu_ns(pid).ok()).sum()
    }
}
