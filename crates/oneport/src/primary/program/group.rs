//! Who of the sockets of one port gets new connections.
//!
//! Invariant: the order of a group is the kernel's own. The kernel numbers the sockets of a group as they join it (TCP by
//! `listen`, UDP by `bind`) and moves the last one into the place of one that leaves; the primary performs every joining
//! and leaving that it knows of, and before it names numbers it looks for those that left by themselves.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use oneport_core::{LaneId, PortId};
use oneport_sys::lane::make_tcp;
use oneport_sys::listen::selector::{Exception, Selection, Spread, attach};
use oneport_sys::listen::{V6, bound_to, inode, is_listening, only_v6, start_listening};
use rustix::io::Errno;
use tracing::warn;

use super::Programs;
use super::lanes::{Door, Lane, LaneKind};
use crate::primary::Primary;

/// All sockets of one port.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// In the kernel's order.
    order: Vec<LaneId>,
    /// Who gets new connections.
    chosen: Vec<LaneId>,
    /// One connection that goes elsewhere: a question whether a lane is well.
    asking: Option<(SocketAddr, LaneId)>,
    /// A socket of ours that takes the selector where no program's does.
    helper: Option<LaneId>,
}

impl Group {
    pub(super) fn is_anybody_chosen(&self) -> bool {
        !self.chosen.is_empty()
    }

    fn index(&self, lane: LaneId) -> Option<u32> {
        u32::try_from(self.order.iter().position(|of| *of == lane)?).ok()
    }
}

impl Programs {
    /// It has joined the kernel's group of its port.
    pub(super) fn joined(&mut self, lane: LaneId, port: PortId) {
        let group = self.groups.entry(port).or_default();
        if !group.order.contains(&lane) {
            group.order.push(lane);
        }
    }

    /// It has left, and the last one has its number now.
    pub(super) fn left(&mut self, lane: LaneId, port: PortId) {
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
        self.move_doors(port);
        match self.select(port) {
            Err(cause) if cause.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {
                let helped = self.help(port).and_then(|()| self.select(port));
                if let Err(cause) = helped {
                    warn!(%cause, "cannot choose among the sockets of a port: the kernel's hash does");
                }
            }
            Err(cause) => warn!(%cause, "cannot choose among the sockets of a port: the kernel's hash does"),
            Ok(()) => {}
        }
    }

    /// Where nobody is to be chosen every selection would be wrong.
    fn move_doors(&mut self, port: PortId) {
        let Some(group) = self.groups.get(&port) else { return };
        let anybody = group.chosen.iter().any(|lane| group.order.contains(lane));
        for id in &group.order {
            let door = match group.asking {
                _ if anybody && group.helper != Some(*id) => Door::Open,
                Some((from, asked)) if asked == *id => Door::ShutBut(from),
                Some(_) | None => Door::Shut,
            };
            if let Some(lane) = self.lanes.get_mut(id) {
                lane.move_door(door);
            }
        }
    }

    fn select(&self, port: PortId) -> io::Result<()> {
        let Some(group) = self.groups.get(&port) else { return Ok(()) };
        let exception =
            group.asking.and_then(|(from, lane)| Some(Exception { from, index: group.index(lane)? }));
        let mut indexes: Vec<u32> = group.chosen.iter().filter_map(|lane| group.index(*lane)).collect();
        if indexes.is_empty() {
            // Its door is shut, where those of the others cannot be. That of who is asked lets in nobody else.
            let shut = group.helper.and_then(|helper| group.index(helper));
            indexes.extend(shut.or(exception.map(|Exception { index, .. }| index)));
        }
        let any = group.helper.or_else(|| group.order.first().copied());
        let Some(any) = any.and_then(|any| self.lanes.get(&any)).filter(|_| !indexes.is_empty()) else {
            return Ok(());
        };
        let spread = match any.kind {
            LaneKind::Stream => Spread::AtRandom,
            LaneKind::Datagram => Spread::ByFlow,
        };
        attach(any.socket.as_fd(), &Selection { indexes: &indexes, spread, exception })
    }

    /// Listeners of multipath TCP, which Go makes by default since 1.24, take neither selector nor door (Linux 6.18), but
    /// obey the selector that a plain one among them has.
    fn help(&mut self, port: PortId) -> io::Result<()> {
        let Some(group) = self.groups.get_mut(&port) else { return Ok(()) };
        let first = group.order.first().and_then(|first| self.lanes.get(first));
        let Some(first) = first.filter(|_| group.helper.is_none()) else { return Ok(()) };
        let Some(address) = bound_to(first.socket.as_fd())? else { return Ok(()) };
        let v6 = if only_v6(first.socket.as_fd()) { V6::Only } else { V6::Dual };
        let socket = make_tcp(address, v6)?;
        // The core counts lanes from below.
        let id = LaneId(u32::MAX - port.0);
        let inode = inode(socket.as_fd())?;
        let kind = LaneKind::Stream;
        let mut lane = Lane { socket, inode, port, worker: None, kind, door: Door::Open };
        lane.move_door(Door::Shut);
        start_listening(lane.socket.as_fd(), 1)?;
        group.helper = Some(id);
        group.order.push(id);
        self.lanes.insert(id, lane);
        Ok(())
    }

    pub(in crate::primary) fn forget_port(&mut self, port: PortId) {
        if let Some(helper) = self.groups.remove(&port).and_then(|group| group.helper) {
            self.lanes.remove(&helper);
        }
    }

    /// A connection from there, and only that, goes to this lane of the port; `None`: none does any more.
    pub(super) fn ask_from(&mut self, port: PortId, asking: Option<(SocketAddr, LaneId)>) {
        if let Some(group) = self.groups.get_mut(&port) {
            group.asking = asking;
        }
        self.apply(port);
    }

    /// Whether the kernel can send somebody there.
    pub(super) fn is_in_group(&self, lane: LaneId) -> bool {
        let group = self.port_of(lane).and_then(|port| self.groups.get(&port));
        group.is_some_and(|group| group.order.contains(&lane))
    }
}

impl Primary {
    pub(in crate::primary) fn choose_lanes(&mut self, port: PortId, lanes: Vec<LaneId>) {
        self.programs.groups.entry(port).or_default().chosen = lanes;
        self.programs.apply(port);
    }
}
