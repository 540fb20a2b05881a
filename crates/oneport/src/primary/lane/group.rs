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
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use oneport_core::{LaneId, PortId};
use oneport_sys::bpf::Selector;
use oneport_sys::caps::{Capability, Raised};
use oneport_sys::lane::make_beside;
use oneport_sys::listen::door::{listen_shut, shut_door};
use oneport_sys::listen::selector::{Exception, Selection, Spread, attach};
use oneport_sys::listen::{inode, is_listening, start_listening};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use tracing::{debug, warn};

use super::Lanes;
use super::kernel::Seat;
use super::strangers::Stranger;
use super::{Lane, LaneKind, Life};
use crate::primary::Primary;
use crate::primary::ids::IdMap;

/// How those who are chosen share what comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::primary) enum Manner {
    /// Streams at random, datagrams by their source.
    #[default]
    Evenly,
    /// By the source's address: a slot keeps its clients as long as there are as many slots.
    ByAddress,
    /// By a selector in the kernel, which knows how many connections each has open.
    Least,
    /// At random, weighted from outside by the same.
    Weighted,
}

/// All sockets of one port.
#[derive(Debug, Default)]
pub(in crate::primary) struct Group {
    /// In the kernel's order.
    order: Vec<LaneId>,
    /// Who gets new connections.
    chosen: Vec<LaneId>,
    manner: Manner,
    /// Of manner `Least`.
    pub(super) selector: Option<Selector>,
    /// Of manner `Weighted`: how many of the next connections each gets; empty: all the same.
    weights: Vec<(LaneId, u32)>,
    /// One connection that goes elsewhere: a question whether a lane is well.
    asking: Option<(SocketAddr, LaneId)>,
    /// A socket of ours that gets them while nobody is chosen: its door is shut, so clients come again a second later.
    keeper: Option<LaneId>,
    /// What the kernel was told last.
    told: Option<Told>,
    /// Others who listen there.
    pub(super) strangers: Vec<Stranger>,
    pub(super) looked: Option<Instant>,
}

/// Which slot each lane is of, and how many there are.
struct Places<'a> {
    slots: usize,
    table: &'a IdMap<LaneId, Lane>,
}

/// Longest table of clients by slot.
const MOST_PLACES: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// These numbers, by a classic program.
    Numbers { indexes: Vec<u32>, exception: Option<Exception> },
    /// Whoever is open in the table, by the selector.
    ByTable,
}

impl Group {
    pub(in crate::primary) fn is_anybody_chosen(&self) -> bool {
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

    /// Those who are chosen, by their numbers, each as often as is due to it; else the keeper.
    fn indexes(&self, places: &Places<'_>) -> Vec<u32> {
        let chosen: Vec<u32> = match self.manner {
            Manner::Evenly | Manner::Least => self.chosen.iter().filter_map(|id| self.index(*id)).collect(),
            Manner::ByAddress => self.by_slot(places),
            Manner::Weighted => self.by_weight(),
        };
        if chosen.is_empty() {
            self.keeper.and_then(|keeper| self.index(keeper)).into_iter().collect()
        } else {
            chosen
        }
    }

    /// One place for each slot up to the last, so that the clients of all others stay where they are when one is empty:
    /// its place is somebody else's meanwhile. Of two generations the newer one has it.
    fn by_slot(&self, Places { slots, table }: &Places<'_>) -> Vec<u32> {
        let slot_of = |id: &LaneId| Some(table.get(id)?.slot?.0 as usize);
        let mut by_slot: Vec<Option<u32>> = vec![None; (*slots).clamp(1, MOST_PLACES)];
        for id in &self.chosen {
            if let Some(place) = slot_of(id).and_then(|slot| by_slot.get_mut(slot)) {
                *place = self.index(*id);
            }
        }
        let all: Vec<u32> = self.chosen.iter().filter_map(|id| self.index(*id)).collect();
        if by_slot.iter().all(Option::is_none) || all.is_empty() {
            return all;
        }
        let stand_in = |slot: usize| all.get(slot % all.len()).copied();
        by_slot.iter().enumerate().filter_map(|(slot, index)| index.or_else(|| stand_in(slot))).collect()
    }

    /// In rounds: successive numbers make a short program.
    fn by_weight(&self) -> Vec<u32> {
        let weight =
            |id: &LaneId| self.weights.iter().find(|(of, _)| of == id).map_or(0, |(_, weight)| *weight);
        let mut shares: Vec<(u32, u32)> =
            self.chosen.iter().filter_map(|id| Some((self.index(*id)?, weight(id)))).collect();
        shares.sort_unstable();
        let most = shares.iter().map(|(_, weight)| *weight).max().unwrap_or(0);
        if most == 0 {
            return shares.into_iter().map(|(index, _)| index).collect();
        }
        let round = |of: u32| shares.iter().filter(move |(_, weight)| *weight > of).map(|(index, _)| *index);
        (0..most).flat_map(round).collect()
    }

    /// Whether it is to have a selector in the kernel, and has none yet.
    pub(super) fn wants_selector(&self) -> bool {
        self.manner == Manner::Least && self.selector.is_none()
    }

    /// It cannot have one.
    pub(super) fn do_without(&mut self) {
        self.selector = None;
        self.manner = Manner::Weighted;
        if self.told == Some(Told::ByTable) {
            self.told = None;
        }
    }

    pub(super) fn is_weighted(&self) -> bool {
        self.manner == Manner::Weighted
    }

    pub(in crate::primary) fn keeper(&self) -> Option<LaneId> {
        self.keeper
    }

    /// A stranger was seen; one of the group joined it after all that were there.
    pub(super) fn take_in(&mut self, stranger: Stranger) {
        self.strangers.push(stranger);
        self.order.extend(stranger.place);
    }

    /// A stranger is not seen any more.
    pub(super) fn let_out(&mut self, stranger: Stranger) {
        self.strangers.retain(|known| *known != stranger);
        if let Some(at) = stranger.place.and_then(|place| self.place(place)) {
            self.remove(at);
            self.forget_numbers();
        }
    }

    fn is_stranger(&self, id: LaneId) -> bool {
        self.strangers.iter().any(|stranger| stranger.place == Some(id))
    }

    /// The numbers are other ones than the kernel was told.
    fn forget_numbers(&mut self) {
        if self.told != Some(Told::ByTable) {
            self.told = None;
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

    fn group_mut(&mut self, port: PortId) -> &mut Group {
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

    /// Those whose programs shut them are in no group any more.
    fn drop_departed(&mut self, port: PortId) {
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
        for (id, seat) in &seats {
            let lane = table.lane(seat.unit);
            match (group.chosen.contains(id), lane.is_open()) {
                (true, false) => {
                    if !open.is_empty() {
                        let bias = u32::try_from(mean - i64::from(lane.open())).unwrap_or(0);
                        lane.set_bias(bias);
                    }
                    lane.open_up();
                }
                (false, true) => lane.shut(),
                (true, true) | (false, false) => {}
            }
        }
    }

    /// Closes the sockets that are over. While one is closed the last one gets its number, and between the two the kernel
    /// would send connections anywhere; so nobody is named then but those whose numbers stay what they are. Where
    /// there is no such the socket waits for the next occasion: nobody is sent there.
    fn bury(&mut self, port: PortId) {
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
    fn name_those_who_stay(&mut self, port: PortId) -> bool {
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

    fn places(&self) -> Places<'_> {
        Places { slots: self.slots, table: &self.table }
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

    fn tell(&mut self, port: PortId, told: Told) -> io::Result<()> {
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

    /// Before a stream joins that nobody may be sent to yet: a socket of ours is there first, and gets everybody.
    pub(in crate::primary) fn keep_door(&mut self, lane: LaneId) {
        let Some(model) = self.table.get(&lane).filter(|lane| lane.kind == LaneKind::Stream) else { return };
        let port = model.port;
        if self.groups.get(&port).is_some_and(|group| group.keeper.is_some()) {
            return;
        }
        let kept = make_beside(model.socket.as_fd()).and_then(|socket| self.hold(port, socket));
        if let Err(cause) = kept {
            // Then clients reach whoever listens, though nobody is chosen.
            debug!(%cause, "cannot keep the door of a port");
        }
    }

    /// A socket that is bound is there for a port as long as that is, and keeps its door.
    pub(in crate::primary) fn hold(&mut self, port: PortId, socket: OwnedFd) -> io::Result<()> {
        let inode = inode(socket.as_fd())?;
        // A filter on a TCP socket needs it, where Linux asks for it.
        let _raised = Raised::new(&[Capability::NetAdmin]);
        match shut_door(socket.as_fd()) {
            Ok(()) => start_listening(socket.as_fd(), 1)?,
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => listen_shut(socket.as_fd())?,
            Err(cause) => return Err(cause),
        }
        let id = self.next_ghost();
        self.table.insert(id, Lane::new(socket, inode, port, None, None, LaneKind::Stream));
        let group = self.group_mut(port);
        group.keeper = Some(id);
        group.order.push(id);
        self.equip(port);
        self.seat_keeper(port, id);
        self.apply(port);
        Ok(())
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
}

impl Primary {
    pub(in crate::primary) fn choose_lanes(&mut self, port: PortId, lanes: Vec<LaneId>) {
        self.lanes.group_mut(port).chosen = lanes;
        self.lanes.tell_gauge(port);
        self.lanes.apply(port);
    }
}
