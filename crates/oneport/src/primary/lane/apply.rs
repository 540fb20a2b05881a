//! Makes the kernel do what is chosen for a port: by numbers, or by what the table says.
//!
//! Every attachment is a BPF program, and the kernel frees many of them at once badly (Linux 6.18 hangs for good when 1024
//! wait to be freed on one processor: `bpf_prog_pack_free`), so nothing is attached that is attached already.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use oneport_core::{LaneId, PortId};
use oneport_sys::listen::selector::{Selection, Spread, attach};
use tracing::warn;

use super::group::{Group, Manner, Places, Told};
use super::kernel::Seat;
use super::{LaneKind, Lanes};
use crate::primary::Primary;

impl Lanes {
    /// It has joined the kernel's group of its port.
    pub(in crate::primary) fn joined(&mut self, lane: LaneId, port: PortId) {
        let group = self.group_mut(port);
        if !group.order.contains(&lane) {
            group.order.push(lane);
        }
        self.equip(port);
        self.seat(lane, port);
    }

    pub(super) fn group_mut(&mut self, port: PortId) -> &mut Group {
        let manner = self.manner;
        self.groups.entry(port).or_insert_with(|| Group { manner, ..Group::default() })
    }

    /// Makes the kernel do what was chosen last.
    pub(in crate::primary) fn apply(&mut self, port: PortId) {
        self.drop_departed(port);
        self.bury(port);
        self.open_lanes(port);
        let Some(group) = self.groups.get(&port) else { return };
        let told = match (&group.selector, group.exception()) {
            (Some(_), None) => Told::ByTable,
            (Some(_) | None, exception) => {
                Told::Numbers { indexes: group.indexes(&self.places()), exception }
            }
        };
        if let Err(cause) = self.tell(port, told) {
            warn!(%cause, "cannot choose among the sockets of a port: the kernel's hash does");
        }
    }

    /// Says in the table who is chosen. A newcomer counts as having as many connections as the others have on average: it
    /// would get every new one otherwise, until it has.
    pub(super) fn open_lanes(&mut self, port: PortId) {
        let Some(group) = self.groups.get(&port) else { return };
        let Some(table) = self.kernel.table().filter(|_| group.selector.is_some()) else { return };
        let seated = |id: &LaneId| Some((*id, self.table.get(id)?.seat?));
        let seats: Vec<(LaneId, Seat)> = group.order.iter().filter_map(seated).collect();
        let load = |unit| i64::from(table.lane(unit).open()) + i64::from(table.lane(unit).bias());
        let open: Vec<i64> = seats
            .iter()
            .filter(|(_, seat)| table.lane(seat.unit).is_open())
            .map(|(_, seat)| load(seat.unit))
            .collect();
        let mean = open.iter().sum::<i64>().checked_div(open.len() as i64).unwrap_or(0);
        let mut handicapped = false;
        for (id, seat) in &seats {
            let lane = table.lane(seat.unit);
            match (group.chosen.contains(id), lane.is_open()) {
                (true, false) => {
                    if !open.is_empty() {
                        let bias = u32::try_from(mean - i64::from(lane.open())).unwrap_or(0);
                        lane.set_bias(bias);
                        handicapped |= bias > 0;
                    }
                    lane.open_up();
                }
                (false, true) => lane.shut(),
                (true, true) | (false, false) => {}
            }
        }
        if let Some(gauge) = self.gauge.as_ref().filter(|_| handicapped) {
            gauge.fade();
        }
    }

    pub(super) fn places(&self) -> Places<'_> {
        Places { slots: self.slots, table: &self.table }
    }

    pub(super) fn tell(&mut self, port: PortId, told: Told) -> io::Result<()> {
        let Some(group) = self.groups.get_mut(&port) else { return Ok(()) };
        let is_known = group.told.as_ref() == Some(&told);
        if is_known && told != Told::ByTable {
            return Ok(());
        }
        // Listeners of multipath TCP, which Go makes by default since 1.24, take no selector (Linux 6.18), but obey the
        // one that a plain one among them has.
        let any = group.keeper.or_else(|| group.order.first().copied());
        let Some(any) = any.and_then(|any| self.table.get(&any)) else { return Ok(()) };
        match (&told, group.selector.as_mut()) {
            (Told::ByTable, Some(selector)) if is_known => selector.attach(any.socket.as_fd())?,
            (Told::ByTable, Some(selector)) => selector.attach_again(any.socket.as_fd())?,
            (Told::ByTable, None) => return Ok(()),
            (Told::Numbers { indexes, .. }, _) if indexes.is_empty() => return Ok(()),
            (Told::Numbers { indexes, exception }, _) => {
                let spread = match (any.kind, group.manner) {
                    (LaneKind::Stream, Manner::ByAddress) => Spread::ByAddress,
                    (LaneKind::Stream, Manner::Evenly | Manner::Least | Manner::Weighted) => Spread::AtRandom,
                    (LaneKind::Datagram, _) => Spread::ByFlow,
                };
                let selection = Selection { indexes, spread, exception: *exception };
                attach(any.socket.as_fd(), &selection)?;
            }
        }
        group.told = Some(told);
        Ok(())
    }

    /// Who is chosen, for whoever weighs them.
    pub(super) fn tell_gauge(&self, port: PortId) {
        if let (Some(gauge), Some(group)) =
            (&self.gauge, self.groups.get(&port).filter(|group| group.is_weighted()))
        {
            gauge.chosen(port, group.chosen.clone());
        }
    }

    /// How many of the next connections each gets, as seen from outside.
    pub(in crate::primary) fn weigh(&mut self, port: PortId, weights: Vec<(LaneId, u32)>) {
        if let Some(group) = self.groups.get_mut(&port).filter(|group| group.is_weighted()) {
            group.weights = weights;
            self.apply(port);
        }
    }

    /// A connection from there, and only that, goes to this lane of the port; `None`: none does any more.
    pub(in crate::primary) fn ask_from(&mut self, port: PortId, asking: Option<(SocketAddr, LaneId)>) {
        if let Some(group) = self.groups.get_mut(&port) {
            group.asking = asking;
        }
        self.apply(port);
    }

    /// Whether new connections go there.
    pub(in crate::primary) fn is_chosen(&self, lane: LaneId) -> bool {
        let group = self.port_of(lane).and_then(|port| self.groups.get(&port));
        group.is_some_and(|group| group.chosen.contains(&lane))
    }

    /// Whether the kernel can send somebody there.
    pub(in crate::primary) fn is_in_group(&self, lane: LaneId) -> bool {
        let group = self.port_of(lane).and_then(|port| self.groups.get(&port));
        group.is_some_and(|group| group.order.contains(&lane))
    }
}

impl Primary {
    pub(in crate::primary) fn choose_lanes(&mut self, port: PortId, lanes: Vec<LaneId>) {
        self.lanes.group_mut(port).chosen = lanes;
        self.lanes.tell_gauge(port);
        self.lanes.apply(port);
    }
}
