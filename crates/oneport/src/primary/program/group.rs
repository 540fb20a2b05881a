//! Who of the sockets of one port gets new connections.
//!
//! Invariant: the order of a group is the kernel's own. The kernel numbers the sockets of a group as they join it (TCP by
//! `listen`, UDP by `bind`) and moves the last one into the place of one that leaves; the primary performs every joining
//! and leaving that it knows of, and before it names numbers it looks for those that left by themselves. No
//! connection is ever sent where none is to go, not even while a socket leaves.
//!
//! Every attachment is a BPF program, and the kernel frees many of them at once badly (Linux 6.18 hangs for good when 1024
//! wait to be freed on one processor: `bpf_prog_pack_free`), so nothing is attached that is attached already.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use oneport_core::{LaneId, PortId};
use oneport_sys::lane::make_beside;
use oneport_sys::listen::door::{listen_shut, shut_door};
use oneport_sys::listen::selector::{Exception, Selection, Spread, attach};
use oneport_sys::listen::{inode, is_listening, start_listening};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use tracing::{debug, warn};

use super::Programs;
use super::lanes::{Lane, LaneKind, Life};
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
    /// A socket of ours that gets them while nobody is chosen: its door is shut, so clients come again a second later.
    keeper: Option<LaneId>,
    /// What the kernel was told last.
    told: Option<Told>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    indexes: Vec<u32>,
    exception: Option<Exception>,
}

impl Group {
    pub(super) fn is_anybody_chosen(&self) -> bool {
        !self.chosen.is_empty()
    }

    fn place(&self, lane: LaneId) -> Option<usize> {
        self.order.iter().position(|of| *of == lane)
    }

    fn index(&self, lane: LaneId) -> Option<u32> {
        u32::try_from(self.place(lane)?).ok()
    }

    fn exception(&self) -> Option<Exception> {
        self.asking.and_then(|(from, lane)| Some(Exception { from, index: self.index(lane)? }))
    }

    /// Those who are chosen, by their numbers; else the keeper.
    fn indexes(&self) -> Vec<u32> {
        let chosen: Vec<u32> = self.chosen.iter().filter_map(|lane| self.index(*lane)).collect();
        if chosen.is_empty() {
            self.keeper.and_then(|keeper| self.index(keeper)).into_iter().collect()
        } else {
            chosen
        }
    }

    fn remove(&mut self, at: usize) {
        self.order.swap_remove(at);
        if self.order.is_empty() {
            // With its last socket went the kernel's group.
            self.told = None;
        }
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

    /// Makes the kernel do what was chosen last.
    pub(super) fn apply(&mut self, port: PortId) {
        self.drop_departed(port);
        self.bury(port);
        let Some(group) = self.groups.get(&port) else { return };
        let told = Told { indexes: group.indexes(), exception: group.exception() };
        if let Err(cause) = self.tell(port, told) {
            warn!(%cause, "cannot choose among the sockets of a port: the kernel's hash does");
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
            group.remove(at);
            group.told = None;
        }
    }

    /// Closes the sockets that are over. While one is closed the last one gets its number, and between the two the kernel
    /// would send connections anywhere; so nobody is named then but those whose numbers stay what they are. Where
    /// there is no such the socket waits for the next occasion: nobody is sent there.
    fn bury(&mut self, port: PortId) {
        loop {
            let Some(group) = self.groups.get(&port) else { return };
            let is_over = |lane: &LaneId| self.lanes.get(lane).is_none_or(|lane| lane.life == Life::Over);
            let Some(last) = group.order.len().checked_sub(1) else { return };
            let Some(at) = group.order.iter().rposition(is_over) else { return };
            if at < last && !self.name_those_who_stay(port) {
                return;
            }
            self.close(port, at);
        }
    }

    /// Before one leaves whose number the last one gets: names all who are chosen but that one. False: there are no others.
    fn name_those_who_stay(&mut self, port: PortId) -> bool {
        let Some(group) = self.groups.get(&port) else { return false };
        let moves = u32::try_from(group.order.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let stay = group.indexes().into_iter().filter(|index| *index != moves);
        let told = Told { indexes: stay.collect(), exception: group.exception() };
        let asked_moves = told.exception.is_some_and(|exception| exception.index == moves);
        !told.indexes.is_empty() && !asked_moves && self.tell(port, told).is_ok()
    }

    /// Shuts a listener that nobody is sent to any more: whoever of its program waits for somebody is woken. It remains a lane,
    /// and may listen again.
    pub(super) fn shut(&mut self, lane: LaneId) -> io::Result<()> {
        let Some(port) = self.port_of(lane) else { return Err(Errno::NOTCONN.into()) };
        self.unwatch(lane);
        self.apply(port);
        if self.groups.get(&port).is_some_and(|group| group.order.last() != Some(&lane)) {
            // Where nobody stays, whom the kernel chooses meanwhile is anybody's guess.
            self.name_those_who_stay(port);
        }
        let shut = match self.socket_of(lane) {
            Some(socket) => shutdown(socket, Shutdown::Both),
            None => Err(Errno::NOTCONN),
        };
        self.apply(port);
        Ok(shut?)
    }

    fn close(&mut self, port: PortId, at: usize) {
        let Some(group) = self.groups.get_mut(&port) else { return };
        let lane = group.order.get(at).and_then(|lane| self.lanes.remove(lane));
        if let Some(lane) = lane {
            // Should somebody hold it all the same, it would stay in the group, and the numbers of the others be wrong.
            let _ = shutdown(&lane.socket, Shutdown::Both);
        }
        group.remove(at);
    }

    fn tell(&mut self, port: PortId, told: Told) -> io::Result<()> {
        let Some(group) = self.groups.get_mut(&port) else { return Ok(()) };
        if told.indexes.is_empty() || group.told.as_ref() == Some(&told) {
            return Ok(());
        }
        // Listeners of multipath TCP, which Go makes by default since 1.24, take no selector (Linux 6.18), but obey the
        // one that a plain one among them has.
        let any = group.keeper.or_else(|| group.order.first().copied());
        let Some(any) = any.and_then(|any| self.lanes.get(&any)) else { return Ok(()) };
        let spread = match any.kind {
            LaneKind::Stream => Spread::AtRandom,
            LaneKind::Datagram => Spread::ByFlow,
        };
        let selection = Selection { indexes: &told.indexes, spread, exception: told.exception };
        attach(any.socket.as_fd(), &selection)?;
        group.told = Some(told);
        Ok(())
    }

    /// Before a stream joins that nobody may be sent to yet: a socket of ours is there first, and gets everybody.
    pub(super) fn keep_door(&mut self, lane: LaneId) {
        let Some(model) = self.lanes.get(&lane).filter(|lane| lane.kind == LaneKind::Stream) else { return };
        let port = model.port;
        if self.groups.get(&port).is_some_and(|group| group.keeper.is_some()) {
            return;
        }
        let made = make_beside(model.socket.as_fd()).and_then(|socket| {
            match shut_door(socket.as_fd()) {
                Ok(()) => start_listening(socket.as_fd(), 1)?,
                Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => listen_shut(socket.as_fd())?,
                Err(cause) => return Err(cause),
            }
            Ok((inode(socket.as_fd())?, socket))
        });
        match made {
            Ok((inode, socket)) => {
                let id = self.next_ghost();
                let (worker, kind, life) = (None, LaneKind::Stream, Life::Lives);
                self.lanes.insert(id, Lane { socket, inode, port, worker, kind, life });
                let group = self.groups.entry(port).or_default();
                group.keeper = Some(id);
                group.order.push(id);
                self.apply(port);
            }
            // Then clients reach whoever listens, though nobody is chosen.
            Err(cause) => debug!(%cause, "cannot keep the door of a port"),
        }
    }

    /// A name for a socket that the core does not know. It counts lanes from below.
    fn next_ghost(&mut self) -> LaneId {
        self.ghosts += 1;
        LaneId(u32::MAX - self.ghosts)
    }

    pub(in crate::primary) fn forget_port(&mut self, port: PortId) {
        self.groups.remove(&port);
        self.lanes.retain(|_, lane| lane.port != port);
    }

    /// A connection from there, and only that, goes to this lane of the port; `None`: none does any more.
    pub(super) fn ask_from(&mut self, port: PortId, asking: Option<(SocketAddr, LaneId)>) {
        if let Some(group) = self.groups.get_mut(&port) {
            group.asking = asking;
        }
        self.apply(port);
    }

    /// Whether new connections go there.
    pub(super) fn is_chosen(&self, lane: LaneId) -> bool {
        let group = self.port_of(lane).and_then(|port| self.groups.get(&port));
        group.is_some_and(|group| group.chosen.contains(&lane))
    }

    /// Whether the kernel can send somebody there.
    pub(super) fn is_in_group(&self, lane: LaneId) -> bool {
        let group = self.port_of(lane).and_then(|port| self.groups.get(&port));
        group.is_some_and(|group| group.order.contains(&lane))
    }

    /// Nobody has it any more, and nobody will: it is closed as soon as that disturbs nobody.
    pub(super) fn end(&mut self, lane: LaneId) -> Option<PortId> {
        self.unwatch(lane);
        let mut ended = self.lanes.remove(&lane)?;
        let port = ended.port;
        let ghost = self.next_ghost();
        let group = self.groups.entry(port).or_default();
        if let Some(place) = group.place(lane).and_then(|at| group.order.get_mut(at)) {
            // Its name may be given to another socket before this one can be closed.
            *place = ghost;
            (ended.life, ended.worker) = (Life::Over, None);
            self.lanes.insert(ghost, ended);
        }
        self.apply(port);
        Some(port)
    }
}

impl Primary {
    pub(in crate::primary) fn choose_lanes(&mut self, port: PortId, lanes: Vec<LaneId>) {
        self.programs.groups.entry(port).or_default().chosen = lanes;
        self.programs.apply(port);
    }
}
