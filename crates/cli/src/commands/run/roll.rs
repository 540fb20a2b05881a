//! Who lives and who died lately: the dead are remembered for their last words, but only so many of them. The living
//! are bounded by the number of slots.

use std::collections::{HashMap, VecDeque};

use oneport::{WorkerId, WorkerRef};

/// Addresses remembered of each.
const MOST_ALONE: usize = 16;

struct Known {
    worker: WorkerRef,
    /// It was sent the stop signal.
    stopped: bool,
    /// It asked for an address, or was told of.
    heard: bool,
    /// Addresses that it has for itself.
    alone: Vec<String>,
    dead: bool,
}

pub(super) struct Roll {
    known: HashMap<WorkerId, Known>,
    /// In the order of their deaths.
    dead: VecDeque<WorkerId>,
    remembered: usize,
}

impl Roll {
    /// With so many slots a reload has as many old workers again, and some die on the way.
    pub(super) fn new(slots: u32) -> Roll {
        Roll { known: HashMap::new(), dead: VecDeque::new(), remembered: 2 * slots as usize + 16 }
    }

    pub(super) fn born(&mut self, worker: WorkerRef) {
        self.known.insert(
            worker.id,
            Known { worker, stopped: false, heard: false, alone: Vec::new(), dead: false },
        );
    }

    pub(super) fn stopped(&mut self, worker: WorkerId) {
        if let Some(known) = self.known.get_mut(&worker) {
            known.stopped = true;
        }
    }

    pub(super) fn heard(&mut self, worker: WorkerId) {
        if let Some(known) = self.known.get_mut(&worker) {
            known.heard = true;
        }
    }

    pub(super) fn was_heard(&self, worker: WorkerId) -> bool {
        self.known.get(&worker).is_some_and(|known| known.heard)
    }

    pub(super) fn left_alone(&mut self, worker: WorkerId, address: &str) {
        if let Some(known) = self.known.get_mut(&worker).filter(|known| known.alone.len() < MOST_ALONE) {
            known.alone.push(address.to_owned());
        }
    }

    /// Whether one that lives has that address for itself.
    pub(super) fn is_alone(&self, address: &str) -> bool {
        let mut living = self.known.values().filter(|known| !known.dead);
        living.any(|known| known.alone.iter().any(|alone| alone == address))
    }

    pub(super) fn was_stopped(&self, worker: WorkerId) -> bool {
        self.known.get(&worker).is_some_and(|known| known.stopped)
    }

    /// Gives the one that is forgotten in its place.
    pub(super) fn died(&mut self, worker: WorkerId) -> Option<WorkerId> {
        let known = self.known.get_mut(&worker).filter(|known| !known.dead)?;
        known.dead = true;
        self.dead.push_back(worker);
        let forgotten = if self.dead.len() > self.remembered { self.dead.pop_front() } else { None };
        forgotten.inspect(|worker| _ = self.known.remove(worker))
    }

    /// Living or dead.
    pub(super) fn get(&self, worker: WorkerId) -> Option<WorkerRef> {
        self.known.get(&worker).map(|known| known.worker)
    }

    pub(super) fn living(&self) -> impl Iterator<Item = WorkerRef> {
        self.known.values().filter(|known| !known.dead).map(|known| known.worker)
    }

    /// The newest that fits, living or dead.
    pub(super) fn newest(&self, fits: impl Fn(&WorkerRef) -> bool) -> Option<WorkerId> {
        self.known.values().map(|known| &known.worker).filter(|worker| fits(worker)).map(|w| w.id).max()
    }
}

#[cfg(test)]
mod tests {
    use oneport::Slot;

    use super::*;

    #[test]
    fn the_dead_are_remembered_up_to_a_bound_and_the_living_always() {
        let mut roll = Roll::new(2);
        let worker = |id: u32| WorkerRef { id: WorkerId(id), slot: Some(Slot(id % 2)), pid: 1000 };
        roll.born(worker(0));
        let mut forgotten = Vec::new();
        for id in 1..=30 {
            roll.born(worker(id));
            forgotten.extend(roll.died(WorkerId(id)));
            assert_eq!(roll.died(WorkerId(id)), None, "it dies once");
        }
        assert_eq!(forgotten, (1..=10).map(WorkerId).collect::<Vec<_>>());
        assert_eq!(roll.living().map(|worker| worker.id).collect::<Vec<_>>(), [WorkerId(0)]);
        assert_eq!(roll.get(WorkerId(10)), None);
        assert_eq!(roll.newest(|worker| worker.slot == Some(Slot(1))), Some(WorkerId(29)));
    }
}
