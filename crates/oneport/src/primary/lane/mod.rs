//! Lanes: the sockets of workers that have one of their own on a port. The table of them.
//!
//! What does not live here: when a lane comes or goes (the core's matter), who gets new connections (`group`), emptying
//! (`retire`), and who looks whether anybody accepts (`sentry`). Invariant: what is in the table is held by the primary, so no
//! worker's end closes it.

mod apply;
mod door;
mod gauge;
mod give;
mod group;
mod handicap;
mod kernel;
mod leave;
mod line;
mod load;
mod rescue;
mod retire;
mod sentry;
mod share;
mod strangers;
mod told;
mod watched;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use oneport_core::{LaneId, Policy, PortId, Slot, WorkerId};
use oneport_sys::listen::{bind_here, bound_to, set_reuse_port, start_listening};
use rustix::io::Errno;
use tracing::warn;

use self::gauge::Gauge;
pub(super) use self::gauge::Weights;
use self::group::{Group, Manner};
use self::kernel::{Kernel, Seat};
pub(super) use self::sentry::{Closing, Post, Sentry};
pub(super) use self::strangers::Somebody;
use self::told::Rescued;
use self::watched::Use;
use super::ids::IdMap;
use crate::primary::Primary;
use crate::program::Ports;
use crate::settings::TierChoice;

/// One socket.
#[derive(Debug)]
pub(in crate::primary) struct Lane {
    /// Our duplicate of the program's own, or the one it was given. Threads that look at it share this one: the socket
    /// leaves the kernel's group with its last descriptor.
    pub(in crate::primary) socket: Arc<OwnedFd>,
    pub(in crate::primary) inode: u64,
    pub(in crate::primary) port: PortId,
    /// Who has it; nobody, if it is kept for the next one of its slot.
    pub(in crate::primary) worker: Option<WorkerId>,
    /// The place whose workers may have it one after the other.
    pub(in crate::primary) slot: Option<Slot>,
    pub(in crate::primary) kind: LaneKind,
    pub(in crate::primary) life: Life,
    /// Its place in the selector of its group, if that has one.
    pub(in crate::primary) seat: Option<Seat>,
}

impl Lane {
    pub(in crate::primary) fn new(
        socket: OwnedFd,
        inode: u64,
        port: PortId,
        worker: Option<WorkerId>,
        slot: Option<Slot>,
        kind: LaneKind,
    ) -> Lane {
        Lane { socket: Arc::new(socket), inode, port, worker, slot, kind, life: Life::Lives, seat: None }
    }

    /// Whether it is over, and closing it takes it out of the kernel's group at once. A stream is taken out by being shut; a
    /// datagram socket stays, and has a number, as long as a thread of ours has it.
    fn can_be_closed(&self) -> bool {
        let is_ours_alone = match self.kind {
            LaneKind::Stream => true,
            LaneKind::Datagram => Arc::strong_count(&self.socket) == 1,
        };
        self.life == Life::Over && is_ours_alone
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::primary) enum Life {
    Lives,
    /// Its program closed or shut it, and may take it up again.
    Closed,
    /// To be closed.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::primary) enum LaneKind {
    Stream,
    Datagram,
}

/// All of them.
#[derive(Debug, Default)]
pub(in crate::primary) struct Lanes {
    pub(in crate::primary) table: IdMap<LaneId, Lane>,
    pub(in crate::primary) groups: IdMap<PortId, Group>,
    /// Sockets so far that the core does not know.
    ghosts: u32,
    pub(in crate::primary) sentry: Option<Sentry>,
    gauge: Option<Gauge>,
    kernel: Kernel,
    /// Ports on which the kernel cannot choose, and why, until that is told.
    fallen: Vec<(PortId, String)>,
    pub(in crate::primary) rescued: Rescued,
    choice: TierChoice,
    manner: Manner,
    /// How many slots the app has.
    slots: usize,
}

impl Lanes {
    pub(in crate::primary) fn new(policy: Policy, choice: TierChoice) -> Lanes {
        let manner = match policy {
            Policy::RoundRobin | Policy::Shared | Policy::Hash => Manner::Evenly,
            Policy::Least => Manner::Least,
            Policy::Sticky => Manner::ByAddress,
        };
        Lanes { choice, manner, ..Lanes::default() }
    }

    /// What measuring the load of lanes of this port is for; `None`: it does not count.
    fn use_of(&self, port: PortId) -> Option<Use> {
        let group = self.groups.get(&port)?;
        if group.is_weighted() {
            return Some(Use::Weighed);
        }
        group.selector.as_ref()?;
        self.kernel.fed().cloned().map(Use::Fed).or_else(|| self.kernel.table().cloned().map(Use::Counted))
    }

    /// The app has so many slots from now on.
    pub(in crate::primary) fn set_slots(&mut self, slots: u32) {
        self.slots = slots as usize;
    }

    /// And at least so many.
    pub(in crate::primary) fn reserve_slots(&mut self, slots: u32) {
        self.slots = self.slots.max(slots as usize);
    }

    pub(in crate::primary) fn lane_of(&self, inode: u64) -> Option<LaneId> {
        let found = self.table.iter().find(|(_, lane)| lane.inode == inode && lane.life != Life::Over);
        found.map(|(id, _)| *id)
    }

    pub(in crate::primary) fn port_of(&self, lane: LaneId) -> Option<PortId> {
        self.table.get(&lane).map(|lane| lane.port)
    }

    pub(in crate::primary) fn lanes_at(
        &self,
        worker: WorkerId,
        at: impl Fn(PortId) -> bool,
    ) -> Vec<(LaneId, u64)> {
        let there = self.table.iter().filter(|(_, lane)| lane.worker == Some(worker) && at(lane.port));
        there.map(|(id, lane)| (*id, lane.inode)).collect()
    }

    pub(in crate::primary) fn lanes_of(&self, worker: WorkerId) -> impl Iterator<Item = &Lane> {
        self.table.values().filter(move |lane| lane.worker == Some(worker))
    }

    pub(in crate::primary) fn socket_of(&self, lane: LaneId) -> Option<BorrowedFd<'_>> {
        self.table.get(&lane).map(|lane| lane.socket.as_fd())
    }

    /// The names of all sockets.
    pub(in crate::primary) fn inodes(&self) -> impl Iterator<Item = u64> {
        self.table.values().map(|lane| lane.inode)
    }

    /// The socket for a thread that looks at it, what it is, and its name.
    pub(in crate::primary) fn copy_of(&self, lane: LaneId) -> Option<(Arc<OwnedFd>, LaneKind, u64)> {
        let lane = self.table.get(&lane)?;
        Some((lane.socket.clone(), lane.kind, lane.inode))
    }

    /// Who has it, and where it is.
    pub(in crate::primary) fn tenant_of(&self, lane: LaneId) -> Option<(WorkerId, PortId)> {
        let lane = self.table.get(&lane)?;
        Some((lane.worker?, lane.port))
    }

    /// A kept lane has somebody again.
    pub(in crate::primary) fn adopt(&mut self, lane_id: LaneId, worker: WorkerId) -> io::Result<OwnedFd> {
        let lane = self.table.get_mut(&lane_id).ok_or(io::ErrorKind::NotFound)?;
        (lane.worker, lane.life) = (Some(worker), Life::Lives);
        let (socket, port) = (lane.socket.try_clone()?, lane.port);
        // Its connections are counted apart from its predecessor's.
        self.seat(lane_id, port);
        self.open_lanes(port);
        Ok(socket)
    }

    /// Its program has closed it. False: that was known.
    pub(in crate::primary) fn note_closed(&mut self, lane: LaneId) -> bool {
        let Some(lane) = self.table.get_mut(&lane).filter(|lane| lane.life == Life::Lives) else {
            return false;
        };
        lane.life = Life::Closed;
        true
    }

    /// And now it has not.
    pub(in crate::primary) fn give_up(&mut self, lane: LaneId) {
        if let Some(lane) = self.table.get_mut(&lane) {
            lane.worker = None;
        }
    }

    pub(in crate::primary) fn forget_tenant(&mut self, worker: WorkerId) {
        let theirs = self.table.iter_mut().filter(|(_, lane)| lane.worker == Some(worker));
        let left: Vec<LaneId> = theirs.map(|(id, lane)| (*id, lane.worker = None).0).collect();
        for lane in left {
            // Whoever adopts it is watched in its turn.
            self.unwatch(lane);
        }
    }

    pub(in crate::primary) fn unwatch(&self, lane: LaneId) {
        let Some(port) = self.port_of(lane) else { return };
        if let Some(sentry) = &self.sentry {
            sentry.forget(lane, port);
        }
        if let Some(gauge) = &self.gauge {
            gauge.forget(lane, port);
        }
    }
}

impl Primary {
    /// A worker listens in its lane: from now on it is known how loaded it is, where that counts.
    pub(in crate::primary) fn watch_load(&mut self, worker: WorkerId, lane: LaneId) {
        let Some((socket, LaneKind::Stream, _)) = self.lanes.copy_of(lane) else { return };
        let (Some(port), Some((root, mark))) = (self.lanes.port_of(lane), self.tree_of(worker)) else {
            return;
        };
        let unit = self.lanes.table.get(&lane).and_then(|lane| lane.seat).map(|seat| seat.unit);
        let Some(used) = self.lanes.use_of(port) else { return };
        if self.lanes.gauge.is_none() {
            match Gauge::start(self.own_commands.clone(), self.readings.clone()) {
                Ok(gauge) => self.lanes.gauge = Some(gauge),
                Err(cause) => return warn!(%cause, "cannot measure loads"),
            }
        }
        let rescues = self.hands_off(port);
        let mark = (!rescues).then_some(mark);
        let elsewhere = mark.is_some() && self.lanes.kernel.counts_in_cgroup();
        let Some(gauge) = &self.lanes.gauge else { return };
        gauge.watch(gauge::Post { lane, port, socket, unit, root, mark, rescues, elsewhere }, used);
        self.lanes.tell_gauge(port);
    }

    /// A lane that is bound.
    pub(in crate::primary) fn add_lane(&mut self, id: LaneId, lane: Lane) {
        let (port, kind) = (lane.port, lane.kind);
        self.lanes.table.insert(id, lane);
        match kind {
            LaneKind::Stream => {}
            LaneKind::Datagram => {
                self.lanes.joined(id, port);
                self.lanes.apply(port);
            }
        }
    }

    /// Lets a lane listen. Nobody is sent there before it is chosen.
    pub(in crate::primary) fn join_group(&mut self, id: LaneId, backlog: u32) -> io::Result<()> {
        let Some(port) = self.lanes.port_of(id) else {
            return Err(io::Error::from_raw_os_error(Errno::BADF.raw_os_error()));
        };
        self.bind_again(id, port)?;
        // One that was shut, and was not missed yet, joins behind all others.
        self.lanes.apply(port);
        if !self.lanes.groups.get(&port).is_some_and(Group::is_anybody_chosen) {
            self.lanes.keep_door(id);
        }
        self.look_for_strangers(port);
        let Some(lane) = self.lanes.table.get_mut(&id) else { return Ok(()) };
        start_listening(lane.socket.as_fd(), backlog)?;
        lane.life = Life::Lives;
        self.lanes.joined(id, port);
        self.lanes.apply(port);
        Ok(())
    }

    /// One that was shut has lost a port that the kernel chose, and would get another one.
    fn bind_again(&self, id: LaneId, port: PortId) -> io::Result<()> {
        let agreed = self.ports.get(&port).and_then(|socket| socket.local());
        let (Some(socket), Some(agreed)) = (self.lanes.socket_of(id), agreed) else { return Ok(()) };
        match (bound_to(socket)?, self.settings.program.ports) {
            (None, Ports::Wished) => {
                set_reuse_port(socket)?;
                bind_here(socket, agreed)
            }
            (Some(_), Ports::Wished | Ports::Scratch) | (None, Ports::Scratch) => Ok(()),
        }
    }
}
