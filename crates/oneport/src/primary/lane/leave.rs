//! Sockets that leave the group of their port.
//!
//! Invariant: no connection is ever sent where none is to go, not even while a socket leaves. The primary performs every
//! leaving that it knows of, and before it names numbers it looks for those that left by themselves.

use std::io;
use std::os::fd::AsFd;

use oneport_core::{LaneId, PortId};
use oneport_sys::listen::is_listening;
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use super::group::{Group, Told};
use super::{Lane, LaneKind, Lanes, Life};

impl Lanes {
    /// Those whose programs shut them are in no group any more.
    pub(super) fn drop_departed(&mut self, port: PortId) {
        let Some(group) = self.groups.get_mut(&port) else { return };
        let lanes = &self.table;
        let listens = |lane: &LaneId| {
            lanes.get(lane).is_some_and(|lane| match lane.kind {
                LaneKind::Stream => is_listening(lane.socket.as_fd()),
                LaneKind::Datagram => true,
            })
        };
        let departed =
            |group: &Group| group.order.iter().position(|lane| !listens(lane) && !group.is_stranger(*lane));
        while let Some(at) = departed(group) {
            group.remove(at);
            group.forget_numbers();
        }
    }

    /// Closes the sockets that are over. While one is closed the last one gets its number, and between the two the kernel
    /// would send connections anywhere; so nobody is named then but those whose numbers stay what they are. Where
    /// there is no such the socket waits for the next occasion: nobody is sent there.
    pub(super) fn bury(&mut self, port: PortId) {
        loop {
            let Some(group) = self.groups.get(&port) else { return };
            let is_over = |lane: &LaneId| {
                !group.is_stranger(*lane) && self.table.get(lane).is_none_or(Lane::can_be_closed)
            };
            let Some(last) = group.order.len().checked_sub(1) else { return };
            let Some(at) = group.order.iter().rposition(is_over) else { return };
            if at < last && !self.name_those_who_stay(port) {
                return;
            }
            self.close(port, at);
        }
    }

    /// Before one leaves whose number the last one gets: names all who are chosen but that one. False: there are no others.
    pub(super) fn name_those_who_stay(&mut self, port: PortId) -> bool {
        let Some(group) = self.groups.get(&port) else { return false };
        let exception = group.exception();
        if group.selector.is_some() && exception.is_none() {
            // The table knows no numbers.
            return true;
        }
        let moves = u32::try_from(group.order.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let stay = group.indexes(&self.places()).into_iter().filter(|index| *index != moves);
        let indexes: Vec<u32> = stay.collect();
        let asked_moves = exception.is_some_and(|exception| exception.index == moves);
        !indexes.is_empty() && !asked_moves && self.tell(port, Told::Numbers { indexes, exception }).is_ok()
    }

    /// Shuts a listener that nobody is sent to any more: whoever of its program waits for somebody is woken. It remains a lane,
    /// and may listen again.
    pub(in crate::primary) fn shut(&mut self, lane: LaneId) -> io::Result<()> {
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
        let lane = group.order.get(at).and_then(|lane| self.table.remove(lane));
        if let Some(lane) = lane {
            Self::unseat(group.selector.as_mut(), lane.seat);
            // Should somebody hold it all the same, it would stay in the group, and the numbers of the others be wrong.
            let _ = shutdown(&lane.socket, Shutdown::Both);
        }
        group.remove(at);
    }

    /// Nobody has it any more, and nobody will: it is closed as soon as that disturbs nobody.
    pub(in crate::primary) fn end(&mut self, lane: LaneId) -> Option<PortId> {
        self.unwatch(lane);
        let mut ended = self.table.remove(&lane)?;
        let port = ended.port;
        let ghost = self.next_ghost();
        let group = self.group_mut(port);
        if let Some(place) = group.place(lane).and_then(|at| group.order.get_mut(at)) {
            // Its name may be given to another socket before this one can be closed.
            *place = ghost;
            (ended.life, ended.worker) = (Life::Over, None);
            self.table.insert(ghost, ended);
        }
        self.apply(port);
        Some(port)
    }

    /// A name for a socket that the core does not know. It counts lanes from below.
    pub(super) fn next_ghost(&mut self) -> LaneId {
        self.ghosts += 1;
        LaneId(u32::MAX - self.ghosts)
    }

    pub(in crate::primary) fn forget_port(&mut self, port: PortId) {
        if let Some(group) = self.groups.remove(&port) {
            self.give_back(&group);
        }
        let of_port = |(id, lane): (&LaneId, &Lane)| (lane.port == port).then_some(*id);
        for id in self.table.iter().filter_map(of_port).collect::<Vec<_>>() {
            self.unwatch(id);
            self.table.remove(&id);
        }
    }
}
