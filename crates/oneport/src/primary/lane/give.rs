//! Lanes of workers with a channel: the primary makes their sockets, and hands what nobody accepts there to somebody else.
//!
//! The primary itself lets each socket listen, so it knows the kernel's numbers; nobody is sent there before the core says
//! so. The worker's own `listen` changes the length of its queue at most.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use oneport_core::{Event as Core, LaneId, Origin, PortId, WorkerId};
use oneport_sys::accept::{Accepted, accept};
use oneport_sys::foreign::Blocking;
use oneport_sys::lane::{make_beside, make_udp, set_blocking};
use oneport_sys::listen::{self, V6};
use tracing::debug;

use super::retire::LONGEST_QUEUE;
use super::{Lane, LaneKind};
use crate::primary::Primary;

/// How much of what waited was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::primary) enum Taken {
    All,
    /// Descriptors did not suffice for the rest.
    Part,
}

impl Primary {
    /// A worker's own socket on a port, listening, as a copy for the worker.
    pub(in crate::primary) fn give_lane_by_channel(
        &mut self,
        worker: WorkerId,
        port: PortId,
        lane: LaneId,
        origin: Origin,
        backlog: u32,
    ) -> io::Result<OwnedFd> {
        match origin {
            Origin::Adopted => self.lanes.adopt(lane, worker),
            Origin::Fresh => {
                let (socket, kind) = self.make_for(port)?;
                let copy = socket.try_clone()?;
                let inode = listen::inode(socket.as_fd())?;
                let slot = self.handle(worker).slot();
                self.add_lane(lane, Lane::new(socket, inode, port, Some(worker), slot, kind));
                match kind {
                    LaneKind::Stream => self.join_group(lane, backlog)?,
                    LaneKind::Datagram => {}
                }
                Ok(copy)
            }
        }
    }

    fn make_for(&self, port: PortId) -> io::Result<(OwnedFd, LaneKind)> {
        let keeper = self.lanes.groups.get(&port).and_then(|group| group.keeper());
        if let Some(keeper) = keeper.and_then(|keeper| self.lanes.socket_of(keeper)) {
            return Ok((make_beside(keeper)?, LaneKind::Stream));
        }
        let local = self.ports.get(&port).and_then(|socket| socket.local());
        let v6 = if self.ports.get(&port).is_some_and(|socket| socket.endpoint().ipv6_only) {
            V6::Only
        } else {
            V6::Dual
        };
        Ok((make_udp(local.ok_or(io::ErrorKind::AddrNotAvailable)?, v6)?, LaneKind::Datagram))
    }

    /// The worker says that it listens there.
    pub(in crate::primary) fn lanes_listen(&mut self, worker: WorkerId, at: impl Fn(PortId) -> bool) {
        for (lane, _) in self.lanes.lanes_at(worker, at) {
            self.pending.push_back(Core::LaneListens { worker, lane });
            self.watch_load(worker, lane);
            if let Some(port) = self.lanes.port_of(lane) {
                self.look_for_strangers(port);
            }
        }
    }

    /// Accepts what waits in a lane whose worker does not, as connections of its port: as much of it as descriptors suffice for.
    pub(in crate::primary) fn take_over(&mut self, lane: LaneId) -> Taken {
        let Some((socket, LaneKind::Stream, _)) = self.lanes.copy_of(lane) else { return Taken::All };
        let Some(port) = self.lanes.port_of(lane) else { return Taken::All };
        // The flag is the worker's as well, who needs it as we do.
        if set_blocking(socket.as_fd(), Blocking::Never).is_err() {
            return Taken::All;
        }
        for _ in 0..LONGEST_QUEUE {
            if !self.has_room() {
                return if listen::waiting(socket.as_fd()) { Taken::Part } else { Taken::All };
            }
            match accept(socket.as_fd()) {
                Accepted::Connection(connection) => {
                    let conn = self.keep(connection);
                    self.pending.push_back(Core::Accepted { port, conn });
                }
                Accepted::Skipped => {}
                Accepted::Empty => return Taken::All,
                Accepted::Exhausted(_) => return Taken::Part,
                // It does not listen any more.
                Accepted::Failed(_) => return Taken::All,
            }
        }
        Taken::Part
    }

    /// A worker makes no progress while connections wait in its lane: others may get them.
    pub(in crate::primary) fn rescue(&mut self, lane: LaneId, at_rest: &[LaneId]) {
        if let Some((worker, port)) = self.lanes.tenant_of(lane) {
            debug!(worker = worker.0, "makes no progress while connections wait");
            let tenants = at_rest.iter().filter_map(|lane| self.lanes.tenant_of(*lane));
            let at_rest = tenants.map(|(worker, _)| worker).collect();
            self.pending.push_back(Core::Stalls { worker, port, lane, at_rest });
        }
    }

    /// Whether what the primary accepts on this port can be handed to its workers.
    pub(super) fn hands_off(&self, port: PortId) -> bool {
        self.ports.get(&port).is_some_and(|socket| socket.hands_off())
    }
}
