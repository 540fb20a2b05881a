//! The thread that measures how loaded lanes are: it feeds counts where the kernel does not count, weighs where it does not
//! choose, and notices workers that make no progress.
//!
//! Invariant: nothing runs while nothing arrives. Lanes are watched by epoll until something waits in one; from then on all are
//! looked at once in a period, until nothing has happened for a while.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use oneport_core::{LaneId, PortId};
use oneport_sys::bpf::Unit;
use oneport_sys::poll::{Interest, Poller, Readiness};
use oneport_sys::process::Pid;
use tracing::warn;

use super::line::{self, Orders, Received, WAKER};
use super::share::Share;
use super::watched::{Use, Watched};
use crate::cluster::Commands;
use crate::primary::Command;
use crate::primary::readings::Readings;

/// How many of the next connections each lane of a port gets.
pub(in crate::primary) type Weights = Vec<(LaneId, u32)>;

/// How often lanes are looked at while something happens: where counts depend on it, and where only a worker that makes no
/// progress is looked for.
const FEEDING: Duration = Duration::from_millis(2);
const WATCHING: Duration = Duration::from_millis(5);
/// How much longer a period is at saturation.
const SATURATED: u32 = 4;
/// So many lanes are looked at in one period.
const CROWD: usize = 64;
/// Looks in a row at which nothing was going on, before the thread sleeps again.
const QUIET_LOOKS: u32 = 20;
/// How often it is looked which processes a program consists of.
const TREES: Duration = Duration::from_secs(1);
/// How often it is looked who else listens, while something happens.
const STRANGERS: Duration = Duration::from_secs(10);

/// What is measured.
#[derive(Debug)]
pub(in crate::primary) struct Post {
    pub(in crate::primary) lane: LaneId,
    pub(in crate::primary) port: PortId,
    pub(in crate::primary) socket: Arc<OwnedFd>,
    /// Its lane in the kernel's table.
    pub(in crate::primary) unit: Option<Unit>,
    pub(in crate::primary) root: Pid,
    /// By which its descendants are found, where these serve as well.
    pub(in crate::primary) mark: Option<String>,
    /// Whether others can be given what waits there.
    pub(in crate::primary) rescues: bool,
    /// Whether its listener may be one whose connections are not counted: its program makes it in whatever cgroup it is in.
    pub(in crate::primary) elsewhere: bool,
}

/// The loop's end of the thread.
#[derive(Debug)]
pub(in crate::primary) struct Gauge {
    orders: Orders<Order>,
}

#[derive(Debug)]
enum Order {
    Watch(Post, Use),
    Forget(LaneId, PortId),
    Chosen(PortId, Vec<LaneId>),
    Weigh(PortId),
    Fade,
}

impl Gauge {
    pub(in crate::primary) fn start(commands: Commands, readings: Readings) -> io::Result<Gauge> {
        let (orders, received, poller) = line::open()?;
        let measuring = Measuring {
            orders: received,
            poller,
            watched: Vec::new(),
            shares: Vec::new(),
            commands,
            readings,
            faded: Instant::now(),
            looked: Instant::now(),
            trees: Instant::now(),
        };
        thread::Builder::new().name("oneport-gauge".into()).spawn(move || measuring.run())?;
        Ok(Gauge { orders })
    }

    pub(in crate::primary) fn watch(&self, post: Post, used: Use) {
        self.orders.give(Order::Watch(post, used));
    }

    /// Answered by `Unwatched`.
    pub(in crate::primary) fn forget(&self, lane: LaneId, port: PortId) {
        self.orders.give(Order::Forget(lane, port));
    }

    pub(in crate::primary) fn chosen(&self, port: PortId, lanes: Vec<LaneId>) {
        self.orders.give(Order::Chosen(port, lanes));
    }

    /// The kernel does not choose on this port any more: from now on its lanes are weighed.
    pub(in crate::primary) fn weigh(&self, port: PortId) {
        self.orders.give(Order::Weigh(port));
    }

    /// A newcomer was given a handicap, which is lowered with time from now on.
    pub(in crate::primary) fn fade(&self) {
        self.orders.give(Order::Fade);
    }
}

pub(super) struct Measuring {
    orders: Received<Order>,
    poller: Poller,
    pub(super) watched: Vec<Watched>,
    /// How the next connections of ports are shared, where that is weighed.
    pub(super) shares: Vec<(PortId, Share)>,
    pub(super) commands: Commands,
    readings: Readings,
    /// When handicaps of weighed lanes were lowered last.
    faded: Instant,
    trees: Instant,
    /// When it was looked for strangers last.
    looked: Instant,
}

impl Measuring {
    fn run(mut self) {
        let mut readiness = Readiness::new();
        let mut quiet = QUIET_LOOKS;
        loop {
            let active = quiet < QUIET_LOOKS;
            let timeout = active.then(|| self.period());
            if let Err(cause) = self.poller.wait(&mut readiness, timeout) {
                return warn!(%cause, "cannot measure loads");
            }
            // Before there are newcomers: time that was slept away is not theirs.
            self.fade();
            let mut arrives = false;
            for ready in readiness.iter() {
                if ready.token != WAKER {
                    arrives = true;
                    if ready.hung_up {
                        self.unhear(ready.token);
                    }
                } else if !self.take_orders(active) {
                    return;
                }
            }
            if arrives {
                self.listen_for(Interest::NONE);
                self.look();
                quiet = 0;
            } else if active {
                quiet = if self.look() { 0 } else { quiet + 1 };
                if quiet == QUIET_LOOKS {
                    self.listen_for(Interest::READ);
                }
            }
        }
    }

    /// Longer for a crowd and at saturation, so that looking costs no more than a hundredth of a processor or two.
    fn period(&self) -> Duration {
        let each = if self.watched.iter().all(Watched::is_counted) { WATCHING } else { FEEDING };
        let crowd = 1 + u32::try_from(self.watched.len() / CROWD).unwrap_or(u32::MAX);
        // Where everybody has more than he can take it makes no difference who gets the next.
        let saturated =
            !self.watched.is_empty() && !self.watched.iter().any(|watched| watched.load.is_idle());
        each * crowd * if saturated { SATURATED } else { 1 }
    }

    /// While something happens arrivals are no news.
    fn listen_for(&self, interest: Interest) {
        for Watched { post, .. } in &self.watched {
            // One that was shut is not heard any more.
            let _ = self.poller.modify(post.socket.as_fd(), token(post), interest);
        }
    }

    /// A listener that was shut hangs up for ever, whatever is asked for.
    fn unhear(&self, of: u64) {
        if let Some(watched) = self.watched.iter().find(|watched| token(&watched.post) == of) {
            let _ = self.poller.remove(watched.post.socket.as_fd());
        }
    }

    /// False: nobody orders any more.
    fn take_orders(&mut self, active: bool) -> bool {
        self.orders.clear();
        loop {
            match self.orders.next() {
                Ok(Order::Watch(post, used)) => self.watch(post, used, active),
                Ok(Order::Forget(lane, port)) => {
                    self.leave(lane);
                    if !self.watched.iter().any(|watched| watched.post.port == port) {
                        self.shares.retain(|(of, _)| *of != port);
                    }
                    self.commands.send(Command::Unwatched { port });
                }
                Ok(Order::Chosen(port, lanes)) => self.share_mut(port).choose(lanes),
                Ok(Order::Weigh(port)) => {
                    let there = self.watched.iter_mut().filter(|watched| watched.post.port == port);
                    there.for_each(Watched::weigh);
                }
                // It woke us.
                Ok(Order::Fade) => self.fade(),
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn watch(&mut self, post: Post, used: Use, active: bool) {
        self.leave(post.lane);
        let interest = if active { Interest::NONE } else { Interest::READ };
        if let Err(cause) = self.poller.add(post.socket.as_fd(), token(&post), interest) {
            return warn!(%cause, "cannot measure the load of a worker");
        }
        let mut watched = Watched::new(post, used);
        watched.fade(Instant::now());
        // Whoever was watched there before may have hung.
        watched.goes_on();
        self.watched.push(watched);
    }

    fn leave(&mut self, lane: LaneId) {
        if let Some(at) = self.watched.iter().position(|watched| watched.post.lane == lane) {
            let mut watched = self.watched.swap_remove(at);
            watched.goes_on();
            let _ = self.poller.remove(watched.post.socket.as_fd());
        }
    }

    fn share_mut(&mut self, port: PortId) -> &mut Share {
        let at = self.shares.iter().position(|(of, _)| *of == port).unwrap_or_else(|| {
            self.shares.push((port, Share::default()));
            self.shares.len() - 1
        });
        &mut self.shares[at].1
    }

    /// Whether anything is going on.
    fn look(&mut self) -> bool {
        let now = Instant::now();
        self.look_at_trees(now);
        let mut busy = false;
        for watched in &mut self.watched {
            // Whether one that hung goes on is seen by looking.
            busy |= watched.look(now) || watched.is_hung();
        }
        self.find_uncounted();
        self.weigh();
        self.rescue(now);
        self.look_around(now);
        busy
    }

    fn find_uncounted(&mut self) {
        for watched in &mut self.watched {
            if watched.is_unseen() {
                self.commands.send(Command::Uncounted { port: watched.post.port });
            }
        }
    }

    fn look_around(&mut self, now: Instant) {
        if now.saturating_duration_since(self.looked) < STRANGERS {
            return;
        }
        self.looked = now;
        let ports: BTreeSet<PortId> = self.watched.iter().map(|watched| watched.post.port).collect();
        for port in ports {
            self.commands.send(Command::LookAround { port });
        }
    }

    fn weigh(&mut self) {
        for (port, share) in &mut self.shares {
            let here: Vec<&Watched> = self
                .watched
                .iter()
                .filter(|watched| watched.post.port == *port && watched.is_weighed())
                .collect();
            let goes_on = |watched: &&Watched| !watched.is_hung() && share.has(watched.post.lane);
            let all_hang = !here.iter().any(goes_on);
            let of = |watched: &&Watched| (watched.post.lane, watched.load.open());
            let loads: Vec<(LaneId, u32)> =
                here.iter().filter(|watched| all_hang || !watched.is_hung()).map(of).collect();
            if let Some(weights) = share.next(&loads) {
                self.commands.send(Command::Weigh { port: *port, weights });
            }
        }
    }

    /// Lowers the handicaps of newcomers. Nobody wakes for that alone: it is made up for at the next occasion.
    fn fade(&mut self) {
        let now = Instant::now();
        self.watched.iter_mut().for_each(|watched| watched.fade(now));
        let steps = now.saturating_duration_since(self.faded).as_secs();
        if steps > 0 {
            self.faded += Duration::from_secs(steps);
            self.shares.iter_mut().for_each(|(_, share)| share.fade(steps));
        }
    }

    /// A program's descriptors are those of all processes that it consists of.
    fn look_at_trees(&mut self, now: Instant) {
        let has_tree = |watched: &Watched| watched.post.mark.is_some() && !watched.is_counted();
        if now < self.trees || !self.watched.iter().any(has_tree) {
            return;
        }
        self.trees = now + TREES;
        let table = self.readings.table();
        for Watched { post, load, .. } in self.watched.iter_mut().filter(|watched| has_tree(watched)) {
            let Some(mark) = &post.mark else { continue };
            load.consists_of(table.members(post.root, mark));
        }
    }
}

fn token(post: &Post) -> u64 {
    u64::from(post.lane.0)
}
