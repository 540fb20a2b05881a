//! The sockets of programs, one or more per worker and port, and who of them gets new connections.
//!
//! What does not live here: when a lane comes or goes (the core's matter), and emptying (`retire`). Invariant: the order of a
//! group is the kernel's own. The kernel numbers the sockets of a group as they join it (TCP by `listen`, UDP by `bind`)
//! and moves the last one into the place of one that leaves; the primary performs every joining and leaving that
//! it knows of, and before it names numbers it looks for those that left by themselves.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oneport_core::{LaneId, PortId, WorkerId};
use oneport_sys::listen::door::{open_door, shut_door};
use oneport_sys::listen::selector::{Exception, Selection, Spread, attach};
use oneport_sys::listen::{is_listening, start_listening};
use rustix::io::Errno;
use tracing::{debug, warn};

use super::Programs;
use crate::primary::Primary;

/// One socket.
#[derive(Debug)]
pub(super) struct Lane {
    /// Our duplicate of the program's own, or the one it was given.
    pub(super) socket: OwnedFd,
    pub(super) inode: u64,
    pub(super) port: PortId,
    /// Who has it; nobody, if it is kept for the next one of its slot.
    pub(super) worker: Option<WorkerId>,
    pub(super) kind: LaneKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneKind {
    Stream,
    Datagram,
}

/// All sockets of one port.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// In the kernel's order.
    order: Vec<LaneId>,
    /// Who gets new connections.
    chosen: Vec<LaneId>,
    /// One connection that goes elsewhere: a question whether a lane is ready.
    asking: Option<(SocketAddr, LaneId)>,
}

impl Programs {
    pub(super) fn lane_of(&self, inode: u64) -> Option<LaneId> {
        self.lanes.iter().find(|(_, lane)| lane.inode == inode).map(|(id, _)| *id)
    }

    pub(super) fn port_of(&self, lane: LaneId) -> Option<PortId> {
        self.lanes.get(&lane).map(|lane| lane.port)
    }

    pub(super) fn lanes_at(&self, worker: WorkerId, at: impl Fn(PortId) -> bool) -> Vec<(LaneId, u64)> {
        let there = self.lanes.iter().filter(|(_, lane)| lane.worker == Some(worker) && at(lane.port));
        there.map(|(id, lane)| (*id, lane.inode)).collect()
    }

    pub(super) fn lanes_of(&self, worker: WorkerId) -> impl Iterator<Item = &Lane> {
        self.lanes.values().filter(move |lane| lane.worker == Some(worker))
    }

    pub(super) fn socket_of(&self, lane: LaneId) -> Option<BorrowedFd<'_>> {
        self.lanes.get(&lane).map(|lane| lane.socket.as_fd())
    }

    /// A copy of a stream's socket, and its name.
    pub(super) fn stream_of(&self, lane: LaneId) -> Option<(OwnedFd, u64)> {
        let lane = self.lanes.get(&lane).filter(|lane| lane.kind == LaneKind::Stream)?;
        Some((lane.socket.try_clone().ok()?, lane.inode))
    }

    /// Who has it, and where it is.
    pub(super) fn tenant_of(&self, lane: LaneId) -> Option<(WorkerId, PortId)> {
        let lane = self.lanes.get(&lane)?;
        Some((lane.worker?, lane.port))
    }

    /// A kept lane has somebody again.
    pub(super) fn adopt(&mut self, lane: LaneId, worker: WorkerId) -> io::Result<OwnedFd> {
        let lane = self.lanes.get_mut(&lane).ok_or(io::ErrorKind::NotFound)?;
        lane.worker = Some(worker);
        lane.socket.try_clone()
    }

    /// And now it has not.
    pub(super) fn give_up(&mut self, lane: LaneId) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.worker = None;
        }
    }

    pub(in crate::primary) fn forget_tenant(&mut self, worker: WorkerId) {
        let theirs = self.lanes.iter_mut().filter(|(_, lane)| lane.worker == Some(worker));
        let left: Vec<LaneId> = theirs.map(|(id, lane)| (*id, lane.worker = None).0).collect();
        for lane in left {
            // Whoever adopts it is watched in its turn.
            self.unwatch(lane);
        }
    }

    /// It has joined the kernel's group of its port.
    fn joined(&mut self, lane: LaneId, port: PortId) {
        let group = self.groups.entry(port).or_default();
        if !group.order.contains(&lane) {
            group.order.push(lane);
        }
    }

    /// It has left, and the last one has its number now.
    fn left(&mut self, lane: LaneId, port: PortId) {
        let Some(group) = self.groups.get_mut(&port) else { return };
        if let Some(at) = group.order.iter().position(|of| *of == lane) {
            group.order.swap_remove(at);
        }
    }

    /// Those whose programs shut them are in no group any more.
    fn drop_departed(&mut self, port: PortId) {
        let Some(group) = self.groups.get_mut(&port) else { return };
        let lanes = &self.lanes;
        let listens = |lane: &LaneId| {
            lanes.get(lane).is_some_and(|lane| match lane.kind {
                LaneKind::Stream => is_listening(lane.socket.as_fd()),
                LaneKind::Datagram => true,
            })
        };
        while let Some(at) = group.order.iter().position(|lane| !listens(lane)) {
            group.order.swap_remove(at);
        }
    }

    /// Makes the kernel do what was chosen last.
    pub(super) fn apply(&mut self, port: PortId) {
        self.drop_departed(port);
        let Some(group) = self.groups.get(&port) else { return };
        let place = |lane: &LaneId| group.order.iter().position(|of| of == lane);
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let indexes: Vec<u32> = group.chosen.iter().filter_map(place).map(number).collect();
        let sockets = group.order.iter().filter_map(|lane| self.lanes.get(lane));
        for lane in sockets.clone().filter(|lane| lane.kind == LaneKind::Stream) {
            // Where nobody is to be chosen every other selection would be wrong.
            let door = if indexes.is_empty() { shut_door } else { open_door };
            if let Err(cause) = door(lane.socket.as_fd()) {
                debug!(%cause, "cannot move the door of a socket");
            }
        }
        let Some(any) = sockets.clone().next() else { return };
        let exception = group
            .asking
            .as_ref()
            .and_then(|(from, lane)| Some(Exception { from: *from, index: number(place(lane)?) }));
        if indexes.is_empty() && exception.is_none() {
            return;
        }
        let spread = match any.kind {
            LaneKind::Stream => Spread::AtRandom,
            LaneKind::Datagram => Spread::ByFlow,
        };
        let selection = Selection { indexes: &indexes, spread, exception };
        if let Err(cause) = attach(any.socket.as_fd(), &selection) {
            warn!(%cause, "cannot choose among the sockets of a port: the kernel's hash does");
        }
    }

    fn unwatch(&self, lane: LaneId) {
        if let Some(sentry) = &self.sentry {
            sentry.forget(lane);
        }
    }

    /// Takes a lane out of its group and of the table.
    pub(super) fn take(&mut self, lane: LaneId) -> Option<Lane> {
        let taken = self.lanes.remove(&lane)?;
        self.unwatch(lane);
        self.left(lane, taken.port);
        Some(taken)
    }

    pub(in crate::primary) fn forget_port(&mut self, port: PortId) {
        self.groups.remove(&port);
    }

    /// From now on a connection from there, and only that, goes to this lane.
    pub(super) fn ask_from(&mut self, from: Option<SocketAddr>, lane: LaneId) {
        let Some(port) = self.port_of(lane) else { return };
        if let Some(group) = self.groups.get_mut(&port) {
            group.asking = from.map(|from| (from, lane));
        }
        self.apply(port);
    }
}

impl Primary {
    /// A lane that is bound.
    pub(super) fn add_lane(&mut self, id: LaneId, lane: Lane) {
        let (port, kind) = (lane.port, lane.kind);
        self.programs.lanes.insert(id, lane);
        match kind {
            LaneKind::Stream => {}
            LaneKind::Datagram => {
                self.programs.joined(id, port);
                self.programs.apply(port);
            }
        }
    }

    /// Lets a lane listen. Nobody is sent there before it is chosen.
    pub(super) fn join_group(&mut self, id: LaneId, backlog: u32) -> io::Result<()> {
        let Some(lane) = self.programs.lanes.get(&id) else {
            return Err(io::Error::from_raw_os_error(Errno::BADF.raw_os_error()));
        };
        let port = lane.port;
        let chosen = self.programs.groups.get(&port).is_some_and(|group| !group.chosen.is_empty());
        if !chosen && !is_listening(lane.socket.as_fd()) {
            // It would be the only one, and whoever comes would be sent to it.
            if let Err(cause) = shut_door(lane.socket.as_fd()) {
                debug!(%cause, "cannot shut the door of a socket");
            }
        }
        start_listening(lane.socket.as_fd(), backlog)?;
        self.programs.joined(id, port);
        self.programs.apply(port);
        Ok(())
    }

    pub(in crate::primary) fn choose_lanes(&mut self, port: PortId, lanes: Vec<LaneId>) {
        self.programs.groups.entry(port).or_default().chosen = lanes;
        self.programs.apply(port);
    }
}
