//! The sockets of programs, one or more per worker and port: the table of them.
//!
//! What does not live here: when a lane comes or goes (the core's matter), who gets new connections (`group`), and emptying
//! (`retire`). Invariant: what is in the table is held by the primary, so no program's end closes it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oneport_core::{LaneId, PortId, WorkerId};
use oneport_sys::listen::{bind_here, bound_to, set_reuse_port, start_listening};
use rustix::io::Errno;

use super::Programs;
use super::group::Group;
use crate::primary::Primary;
use crate::program::Ports;

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
    pub(super) life: Life,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Lives,
    /// Its program closed or shut it, and may take it up again.
    Closed,
    /// To be closed.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneKind {
    Stream,
    Datagram,
}

impl Programs {
    pub(super) fn lane_of(&self, inode: u64) -> Option<LaneId> {
        let found = self.lanes.iter().find(|(_, lane)| lane.inode == inode && lane.life != Life::Over);
        found.map(|(id, _)| *id)
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

    /// The names of all sockets.
    pub(super) fn inodes(&self) -> impl Iterator<Item = u64> {
        self.lanes.values().map(|lane| lane.inode)
    }

    /// A copy of the socket, what it is, and its name.
    pub(super) fn copy_of(&self, lane: LaneId) -> Option<(OwnedFd, LaneKind, u64)> {
        let lane = self.lanes.get(&lane)?;
        Some((lane.socket.try_clone().ok()?, lane.kind, lane.inode))
    }

    /// Who has it, and where it is.
    pub(super) fn tenant_of(&self, lane: LaneId) -> Option<(WorkerId, PortId)> {
        let lane = self.lanes.get(&lane)?;
        Some((lane.worker?, lane.port))
    }

    /// A kept lane has somebody again.
    pub(super) fn adopt(&mut self, lane: LaneId, worker: WorkerId) -> io::Result<OwnedFd> {
        let lane = self.lanes.get_mut(&lane).ok_or(io::ErrorKind::NotFound)?;
        (lane.worker, lane.life) = (Some(worker), Life::Lives);
        lane.socket.try_clone()
    }

    /// Its program has closed it. False: that was known.
    pub(super) fn note_closed(&mut self, lane: LaneId) -> bool {
        let Some(lane) = self.lanes.get_mut(&lane).filter(|lane| lane.life == Life::Lives) else {
            return false;
        };
        lane.life = Life::Closed;
        true
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

    pub(super) fn unwatch(&self, lane: LaneId) {
        if let Some(sentry) = &self.sentry {
            sentry.forget(lane);
        }
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
        let Some(port) = self.programs.port_of(id) else {
            return Err(io::Error::from_raw_os_error(Errno::BADF.raw_os_error()));
        };
        self.bind_again(id, port)?;
        // One that was shut, and was not missed yet, joins behind all others.
        self.programs.apply(port);
        if !self.programs.groups.get(&port).is_some_and(Group::is_anybody_chosen) {
            self.programs.keep_door(id);
        }
        let Some(lane) = self.programs.lanes.get_mut(&id) else { return Ok(()) };
        start_listening(lane.socket.as_fd(), backlog)?;
        lane.life = Life::Lives;
        self.programs.joined(id, port);
        self.programs.apply(port);
        Ok(())
    }

    /// One that was shut has lost a port that the kernel chose, and would get another one.
    fn bind_again(&self, id: LaneId, port: PortId) -> io::Result<()> {
        let agreed = self.ports.get(&port).and_then(|socket| socket.local());
        let (Some(socket), Some(agreed)) = (self.programs.socket_of(id), agreed) else { return Ok(()) };
        match (bound_to(socket)?, self.settings.program.ports) {
            (None, Ports::Wished) => {
                set_reuse_port(socket)?;
                bind_here(socket, agreed)
            }
            (Some(_), Ports::Wished | Ports::Scratch) | (None, Ports::Scratch) => Ok(()),
        }
    }
}
