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
use oneport_sys::bpf::{Table, Unit};
use oneport_sys::lane::queue_length;
use oneport_sys::poll::{Interest, Poller, Readiness};
use oneport_sys::proc::OpenFiles;
use oneport_sys::process::Pid;
use tracing::warn;

use super::line::{self, Orders, Received, WAKER};
use super::load::Load;
use super::share::{self, Share};
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
/// A lane that was chosen so often, and where no connection was ever counted, is one that the counter does not see.
const UNCOUNTED: u32 = 64;
/// Looks in a row at which nothing was going on, before the thread sleeps again.
const QUIET_LOOKS: u32 = 20;
/// How often newcomers lose some of what they count as having.
const FADING: Duration = Duration::from_secs(1);
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
}

/// What is done with what is measured.
#[derive(Clone, Debug)]
pub(in crate::primary) enum Use {
    /// The kernel counts and chooses.
    Counted(Arc<Table>),
    /// The kernel chooses by what is fed.
    Fed(Arc<Table>),
    /// The kernel chooses by chance, with these weights.
    Weighed,
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
}

impl Gauge {
    pub(in crate::primary) fn start(commands: Commands, readings: Readings) -> io::Result<Gauge> {
        let (orders, received, poller) = line::open()?;
        let measuring = Measuring {
            orders: received,
            poller,
            posts: Vec::new(),
            shares: Vec::new(),
            commands,
            readings,
            fades: Instant::now() + FADING,
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
}

struct Measuring {
    orders: Received<Order>,
    poller: Poller,
    posts: Vec<(Post, Use, Load)>,
    /// How the next connections of ports are shared, where that is weighed.
    shares: Vec<(PortId, Share)>,
    commands: Commands,
    readings: Readings,
    fades: Instant,
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
            let timeout = if active { Some(self.period()) } else { self.until_fading() };
            if let Err(cause) = self.poller.wait(&mut readiness, timeout) {
                return warn!(%cause, "cannot measure loads");
            }
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
            self.fade();
        }
    }

    /// Longer for a crowd and at saturation, so that looking costs no more than a hundredth of a processor or two.
    fn period(&self) -> Duration {
        let is_counted = |used: &Use| matches!(used, Use::Counted(_));
        let each = if self.posts.iter().all(|(_, used, _)| is_counted(used)) { WATCHING } else { FEEDING };
        let crowd = 1 + u32::try_from(self.posts.len() / CROWD).unwrap_or(u32::MAX);
        // Where everybody has more than he can take it makes no difference who gets the next.
        let saturated = !self.posts.is_empty() && !self.posts.iter().any(|(_, _, load)| load.is_idle());
        each * crowd * if saturated { SATURATED } else { 1 }
    }

    /// While something happens arrivals are no news.
    fn listen_for(&self, interest: Interest) {
        for (post, _, _) in &self.posts {
            // One that was shut is not heard any more.
            let _ = self.poller.modify(post.socket.as_fd(), token(post), interest);
        }
    }

    /// A listener that was shut hangs up for ever, whatever is asked for.
    fn unhear(&self, of: u64) {
        if let Some((post, _, _)) = self.posts.iter().find(|(post, _, _)| token(post) == of) {
            let _ = self.poller.remove(post.socket.as_fd());
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
                    if !self.posts.iter().any(|(post, _, _)| post.port == port) {
                        self.shares.retain(|(of, _)| *of != port);
                    }
                    self.commands.send(Command::Unwatched { port });
                }
                Ok(Order::Chosen(port, lanes)) => self.share_mut(port).choose(lanes),
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
        let load = Load::of(OpenFiles::of(post.root).ok().into_iter().collect(), post.root);
        self.posts.push((post, used, load));
    }

    fn leave(&mut self, lane: LaneId) {
        if let Some(at) = self.posts.iter().position(|(post, _, _)| post.lane == lane) {
            let (post, _, _) = self.posts.swap_remove(at);
            let _ = self.poller.remove(post.socket.as_fd());
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
        for (post, used, load) in &mut self.posts {
            let table = match used {
                Use::Counted(table) => Some(&**table),
                Use::Fed(_) | Use::Weighed => None,
            };
            let established = post.unit.zip(table).map(|(unit, table)| table.lane(unit).established());
            let queue = || queue_length(post.socket.as_fd()).unwrap_or(0);
            busy |= load.look(queue, established, now);
            match (&*used, post.unit) {
                (Use::Fed(table), Some(unit)) => table.lane(unit).feed(load.open()),
                (Use::Fed(_), None) | (Use::Counted(_) | Use::Weighed, _) => {}
            }
        }
        self.find_uncounted();
        self.weigh();
        self.rescue(now);
        self.look_around(now);
        busy
    }

    /// A listener that was made in another cgroup than ours. With nothing open it would be sent everybody.
    fn find_uncounted(&self) {
        let unseen = |(post, used, load): &&(Post, Use, Load)| match (used, post.unit) {
            (Use::Counted(table), Some(unit)) => {
                let lane = table.lane(unit);
                // Chosen it is for every SYN: many clients far away, or a flood of SYNs, have established nothing yet.
                let suspect = lane.selected() >= UNCOUNTED && lane.established() == 0;
                suspect && load.has_some() && lane.established() == 0
            }
            (Use::Counted(_), None) | (Use::Fed(_) | Use::Weighed, _) => false,
        };
        if let Some((post, _, _)) = self.posts.iter().find(unseen) {
            self.commands.send(Command::Uncounted { port: post.port });
        }
    }

    fn look_around(&mut self, now: Instant) {
        if now.saturating_duration_since(self.looked) < STRANGERS {
            return;
        }
        self.looked = now;
        let ports: BTreeSet<PortId> = self.posts.iter().map(|(post, _, _)| post.port).collect();
        for port in ports {
            self.commands.send(Command::LookAround { port });
        }
    }

    fn weigh(&mut self) {
        for (port, share) in &mut self.shares {
            let weighed = self
                .posts
                .iter()
                .filter(|(post, used, _)| post.port == *port && matches!(used, Use::Weighed));
            let loads: Vec<(LaneId, u32)> = weighed.map(|(post, _, load)| (post.lane, load.open())).collect();
            if let Some(weights) = share.next(&loads) {
                self.commands.send(Command::Weigh { port: *port, weights });
            }
        }
    }

    /// Only where a sibling has nothing to do: at saturation everybody waits alike.
    fn rescue(&mut self, now: Instant) {
        for at in 0..self.posts.len() {
            let Some((post, _, load)) = self.posts.get(at) else { return };
            let (port, lane) = (post.port, post.lane);
            if !post.rescues || !load.is_stuck(now) {
                continue;
            }
            let idle = |(other, _, load): &(Post, Use, Load)| {
                other.port == port && other.lane != lane && load.is_idle()
            };
            if self.posts.iter().any(idle) {
                self.commands.send(Command::Rescue { lane });
                if let Some((_, _, load)) = self.posts.get_mut(at) {
                    load.was_rescued(now);
                }
            }
        }
    }

    /// When a newcomer's handicap is to be lowered next; `None`: there is none.
    fn until_fading(&self) -> Option<Duration> {
        let has_bias = |(post, used, _): &(Post, Use, Load)| match (used, post.unit) {
            (Use::Counted(table) | Use::Fed(table), Some(unit)) => table.lane(unit).bias() > 0,
            (Use::Counted(_) | Use::Fed(_), None) | (Use::Weighed, _) => false,
        };
        let needed = self.posts.iter().any(has_bias) || self.shares.iter().any(|(_, share)| share.has_bias());
        needed.then(|| self.fades.saturating_duration_since(Instant::now()))
    }

    fn fade(&mut self) {
        let now = Instant::now();
        if now < self.fades {
            return;
        }
        self.fades = now + FADING;
        for (post, used, _) in &self.posts {
            match (used, post.unit) {
                (Use::Counted(table) | Use::Fed(table), Some(unit)) => {
                    let lane = table.lane(unit);
                    if lane.bias() > 0 {
                        lane.set_bias(share::faded(lane.bias()));
                    }
                }
                (Use::Counted(_) | Use::Fed(_), None) | (Use::Weighed, _) => {}
            }
        }
        for (_, share) in &mut self.shares {
            share.fade();
        }
    }

    /// A program's descriptors are those of all processes that it consists of.
    fn look_at_trees(&mut self, now: Instant) {
        let has_tree =
            |(post, used, _): &(Post, Use, Load)| post.mark.is_some() && !matches!(used, Use::Counted(_));
        if now < self.trees || !self.posts.iter().any(has_tree) {
            return;
        }
        self.trees = now + TREES;
        let table = self.readings.table();
        for (post, _, load) in self.posts.iter_mut().filter(|entry| has_tree(entry)) {
            let Some(mark) = &post.mark else { continue };
            load.consists_of(table.members(post.root, mark));
        }
    }
}

fn token(post: &Post) -> u64 {
    u64::from(post.lane.0)
}
