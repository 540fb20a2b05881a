//! Workers that make no progress while connections wait for them: who is there to take those.
//!
//! Invariant: nothing is moved at saturation. There the queue of one that has just run is empty for a moment, too, but it does
//! not rest: whoever has work runs, or waits for a processor.

use std::collections::BTreeSet;
use std::time::Instant;

use oneport_core::{LaneId, PortId};
use oneport_sys::proc::rests;

use super::gauge::Measuring;
use super::watched::Watched;
use crate::primary::Command;

/// So many who rest are enough: whether somebody does takes reading about all of his threads.
const ENOUGH: usize = 8;

impl Measuring {
    /// Asks that what waits for those that are stuck is given to those who rest.
    pub(super) fn rescue(&mut self, now: Instant) {
        let is_stuck = |watched: &&Watched| watched.post.rescues && watched.load.is_stuck(now);
        let ports: BTreeSet<PortId> =
            self.watched.iter().filter(is_stuck).map(|watched| watched.post.port).collect();
        for port in ports {
            let at_rest: Vec<LaneId> = self
                .watched
                .iter()
                .filter(|watched| watched.post.port == port && self.is_at_rest(watched))
                .map(|watched| watched.post.lane)
                .take(ENOUGH)
                .collect();
            let here = self.watched.iter_mut().filter(|watched| watched.post.port == port);
            for watched in here.filter(|watched| is_stuck(&&**watched)) {
                if at_rest.is_empty() {
                    watched.load.was_seen_to(now);
                } else {
                    watched.hangs(now);
                    let (lane, at_rest) = (watched.post.lane, at_rest.clone());
                    self.commands.send(Command::Rescue { lane, at_rest });
                }
            }
        }
    }

    /// Whether it gets connections, has none to take, and sleeps.
    fn is_at_rest(&self, watched: &Watched) -> bool {
        // Nothing waits for one that is new, or leaves, because of that alone.
        let is_chosen = watched.is_open().unwrap_or_else(|| {
            let share = self.shares.iter().find(|(port, _)| *port == watched.post.port);
            share.is_some_and(|(_, share)| share.has(watched.post.lane))
        });
        is_chosen && watched.load.is_idle() && !watched.is_hung() && rests(watched.post.root)
    }
}
