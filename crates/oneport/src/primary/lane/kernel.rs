//! Choosing by the fewest open connections: what is loaded into the kernel for that, and which lane of it each socket has.
//!
//! What does not live here: whom the core lets be chosen (`group`), counting from outside (`gauge`). Invariant: a group that
//! cannot have a selector has none at all, and is weighted from outside (tier C).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use oneport_core::{LaneId, PortId, WorkerId};
use oneport_sys::bpf::{Counter, Key, Loaded, MOST_LANES, Refused, Selector, Table, Tier, Unit, grant};
use rustix::io::Errno;
use tracing::{info, warn};

use super::group::{Group, Manner};
use super::{LaneKind, Lanes};
use crate::primary::Primary;
use crate::settings::TierChoice;

/// Where a socket is in its group's selector.
#[derive(Clone, Copy, Debug)]
pub(in crate::primary) struct Seat {
    pub(in crate::primary) key: Key,
    /// Where its worker's connections are counted.
    pub(in crate::primary) unit: Unit,
}

/// What the primary has for all ports together.
#[derive(Debug, Default)]
pub(in crate::primary) enum Kernel {
    /// Nobody has asked yet.
    #[default]
    Untried,
    Loaded(Loaded),
    /// It cannot be had.
    Without,
}

impl Kernel {
    /// Loads the best that may be used, once.
    fn loaded(&mut self, choice: TierChoice) -> Option<&mut Loaded> {
        if let Kernel::Untried = self {
            *self = load(choice).map_or(Kernel::Without, Kernel::Loaded);
        }
        match self {
            Kernel::Loaded(loaded) => Some(loaded),
            Kernel::Untried | Kernel::Without => None,
        }
    }

    /// The table, where its counts are to be fed.
    pub(super) fn fed(&self) -> Option<&Arc<Table>> {
        match self {
            Kernel::Loaded(loaded) => (loaded.tier() == Tier::B).then(|| loaded.table()),
            Kernel::Untried | Kernel::Without => None,
        }
    }

    /// Whether only connections of listeners of one cgroup are counted.
    pub(super) fn counts_in_cgroup(&self) -> bool {
        match self {
            Kernel::Loaded(loaded) => loaded.counter() == Some(Counter::Cgroup),
            Kernel::Untried | Kernel::Without => false,
        }
    }

    pub(super) fn table(&self) -> Option<&Arc<Table>> {
        match self {
            Kernel::Loaded(loaded) => Some(loaded.table()),
            Kernel::Untried | Kernel::Without => None,
        }
    }
}

/// Why a socket has no place among those that the kernel chooses from.
fn unseated(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC) => {
            format!("{MOST_LANES} sockets and predecessors with open connections are the most")
        }
        // No array of sockets takes such a listener (Linux 6.18).
        Some(Errno::INVAL | Errno::OPNOTSUPP) => "a socket of multipath TCP is among its sockets".to_owned(),
        Some(_) | None => format!("cannot take a socket in: {error}"),
    }
}

fn load(choice: TierChoice) -> Option<Loaded> {
    let tiers: &[Tier] = match choice {
        TierChoice::Best => &[Tier::A, Tier::B],
        TierChoice::A => &[Tier::A],
        TierChoice::B => &[Tier::B],
        TierChoice::C => &[],
    };
    if tiers.contains(&Tier::A) {
        match grant::inherited() {
            Some(Ok(given)) => {
                info!("the kernel chooses, by what this process was given");
                return Some(given);
            }
            Some(Err(error)) => warn!(%error, "cannot use what this process was given"),
            None => {}
        }
    }
    for tier in tiers {
        match Loaded::load(*tier) {
            Ok(loaded) => {
                info!(?tier, counter = ?loaded.counter(), "the kernel chooses");
                return Some(loaded);
            }
            Err(Refused { tier, what, error }) => info!(?tier, %error, "cannot {what}"),
        }
    }
    None
}

impl Primary {
    /// The kernel cannot choose on this port after all: from now on it is weighed from outside.
    pub(in crate::primary) fn place_from_outside(&mut self, port: PortId) {
        if self.lanes.groups.get(&port).is_none_or(Group::is_weighted) {
            return;
        }
        self.lanes.strip(port, "its workers have made their sockets in another cgroup".to_owned());
    }
}

impl Lanes {
    /// What keeps connections counted: whoever has it makes that go on when the primary is gone.
    pub(in crate::primary) fn counting(&mut self) -> Option<BorrowedFd<'_>> {
        let wanted = self.manner == Manner::Least;
        let loaded = if wanted { self.kernel.loaded(self.choice) } else { None };
        loaded.and_then(|loaded| loaded.link())
    }

    /// Gives the group of a port a selector, if it is one that is to have it and can.
    pub(super) fn equip(&mut self, port: PortId) {
        let choice = self.choice;
        let Some(group) = self.groups.get_mut(&port).filter(|group| group.wants_selector()) else { return };
        let Some(loaded) = self.kernel.loaded(choice) else { return group.do_without() };
        match loaded.selector() {
            Ok(selector) => group.selector = Some(selector),
            Err(Refused { what, error, .. }) => {
                group.do_without();
                self.fallen.push((port, format!("cannot {what}: {error}")));
            }
        }
    }

    /// A socket has joined: it gets a seat, not open yet. Where that cannot be, the group goes without.
    pub(super) fn seat(&mut self, id: LaneId, port: PortId) {
        let Some(lane) = self.table.get_mut(&id).filter(|lane| lane.kind == LaneKind::Stream) else { return };
        let Some(selector) = self.groups.get_mut(&port).and_then(|group| group.selector.as_mut()) else {
            return;
        };
        let socket = lane.socket.as_fd();
        let key = match lane.seat.take() {
            // It was shut and listens again, and the kernel has taken it out; or it has a new worker.
            Some(Seat { key, unit }) => {
                selector.end(unit);
                selector.put(key, socket).map(|()| key)
            }
            None => selector.add(socket),
        };
        let seat = key.and_then(|key| {
            let unit = selector.begin(key, socket).inspect_err(|_| selector.remove(key))?;
            Ok(Seat { key, unit })
        });
        match seat {
            Ok(seat) => lane.seat = Some(seat),
            Err(error) => self.strip(port, unseated(&error)),
        }
    }

    /// The keeper gets what nobody is open for.
    pub(super) fn seat_keeper(&mut self, port: PortId, keeper: LaneId) {
        let (Some(lane), Some(group)) = (self.table.get(&keeper), self.groups.get_mut(&port)) else { return };
        let Some(selector) = group.selector.as_mut() else { return };
        if let Err(error) = selector.add_keeper(lane.socket.as_fd()) {
            self.strip(port, unseated(&error));
        }
    }

    /// A socket leaves its group.
    pub(super) fn unseat(selector: Option<&mut Selector>, seat: Option<Seat>) {
        if let (Some(selector), Some(Seat { key, unit })) = (selector, seat) {
            selector.end(unit);
            selector.remove(key);
        }
    }

    /// The selector of a port goes, and who listens there is weighed from now on.
    fn strip(&mut self, port: PortId, cause: String) {
        let Some(group) = self.groups.get_mut(&port) else { return };
        self.fallen.push((port, cause));
        // Its lanes are nobody else's from now on: sockets that listen still count there.
        group.do_without();
        for lane in self.table.values_mut().filter(|lane| lane.port == port) {
            lane.seat = None;
        }
        if let Some(gauge) = &self.gauge {
            gauge.weigh(port);
        }
        self.tell_gauge(port);
        self.apply(port);
    }

    /// The port is closed.
    pub(super) fn give_back(&mut self, group: &Group) {
        if let (Some(selector), Kernel::Loaded(loaded)) = (&group.selector, &mut self.kernel) {
            loaded.give_back(selector);
        }
    }

    /// A connection that waited in one lane was accepted and goes to the worker of another one.
    pub(in crate::primary) fn hand_over(&self, port: PortId, connection: BorrowedFd<'_>, to: WorkerId) {
        let Some(selector) = self.groups.get(&port).and_then(|group| group.selector.as_ref()) else { return };
        let seat = self.lanes_of(to).find(|lane| lane.port == port).and_then(|lane| lane.seat);
        if let Some(Seat { unit, .. }) = seat {
            selector.hand_over(connection, unit);
        }
    }
}
