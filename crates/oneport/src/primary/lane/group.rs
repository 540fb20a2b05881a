//! All sockets of one port: their numbers in the kernel, and who of them is chosen, as data.
//!
//! Invariant: the order of a group is the kernel's own. The kernel numbers the sockets of a group as they join it (TCP by
//! `listen`, UDP by `bind`) and moves the last one into the place of one that leaves. Telling it is `apply`'s matter.

use std::net::SocketAddr;
use std::time::Instant;

use oneport_core::LaneId;
use oneport_sys::bpf::Selector;
use oneport_sys::listen::selector::Exception;

use super::Lane;
use super::strangers::Stranger;
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
    pub(super) order: Vec<LaneId>,
    /// Who gets new connections.
    pub(super) chosen: Vec<LaneId>,
    pub(super) manner: Manner,
    /// Of manner `Least`.
    pub(super) selector: Option<Selector>,
    /// Of manner `Weighted`: how many of the next connections each gets; empty: all the same.
    pub(super) weights: Vec<(LaneId, u32)>,
    /// One connection that goes elsewhere: a question whether a lane is well.
    pub(super) asking: Option<(SocketAddr, LaneId)>,
    /// A socket of ours that gets them while nobody is chosen: its door is shut, so clients come again a second later.
    pub(super) keeper: Option<LaneId>,
    /// What the kernel was told last.
    pub(super) told: Option<Told>,
    /// Others who listen there.
    pub(super) strangers: Vec<Stranger>,
    pub(super) looked: Option<Instant>,
}

/// Which slot each lane is of, and how many there are.
pub(super) struct Places<'a> {
    pub(super) slots: usize,
    pub(super) table: &'a IdMap<LaneId, Lane>,
}

/// Longest table of clients by slot.
const MOST_PLACES: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// These numbers, by a classic program.
    Numbers { indexes: Vec<u32>, exception: Option<Exception> },
    /// Whoever is open in the table, by the selector.
    ByTable,
}

impl Group {
    pub(in crate::primary) fn is_anybody_chosen(&self) -> bool {
        !self.chosen.is_empty()
    }

    pub(super) fn place(&self, lane: LaneId) -> Option<usize> {
        self.order.iter().position(|of| *of == lane)
    }

    fn index(&self, lane: LaneId) -> Option<u32> {
        u32::try_from(self.place(lane)?).ok()
    }

    pub(super) fn exception(&self) -> Option<Exception> {
        self.asking.and_then(|(from, lane)| Some(Exception { from, index: self.index(lane)? }))
    }

    /// Those who are chosen, by their numbers, each as often as is due to it; else the keeper.
    pub(super) fn indexes(&self, places: &Places<'_>) -> Vec<u32> {
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

    pub(super) fn is_stranger(&self, id: LaneId) -> bool {
        self.strangers.iter().any(|stranger| stranger.place == Some(id))
    }

    /// The numbers are other ones than the kernel was told.
    pub(super) fn forget_numbers(&mut self) {
        if self.told != Some(Told::ByTable) {
            self.told = None;
        }
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.order.swap_remove(at);
        if self.order.is_empty() {
            // With its last socket went the kernel's group.
            self.told = None;
        }
    }
}
