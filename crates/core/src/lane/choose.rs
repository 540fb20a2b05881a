//! Who gets the new connections of a Lanes port, and the tidying up at the end of every step.
//!
//! The choice follows from the state alone and is told only when it changes. It is told before anything in the same
//! step that ends, empties or signals somebody: a worker leaves the choice first.

use std::collections::BTreeMap;

use super::{Lane, State};
use crate::cluster::Cluster;
use crate::effect::{Effect, Effects, Origin};
use crate::ids::{LaneId, PortId, Time};
use crate::port::Port;
use crate::settings::Readiness;
use crate::stop::Ending;

/// How good a choice a lane is; only the best ones of a port are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Its worker is trusted.
    Trusted,
    /// Its worker is ready.
    Ready,
    /// Its worker listens, if not everywhere yet.
    Listening,
    /// Its connections wait for somebody who comes.
    Awaited,
}

impl Cluster {
    /// Brings lanes in line with what this step did. `from` is where its effects begin.
    pub(crate) fn tend_lanes(&mut self, now: Time, from: usize, fx: &mut Effects) {
        // Names count from 1: nobody ever had a lane.
        if self.next_lane == 1 {
            return;
        }
        self.end_unwanted(fx);
        self.serve_stuck(now, fx);
        self.dismiss_heir(now, fx);
        self.close_bare_ports(fx);
        self.choose_lanes(from, fx);
    }

    fn choose_lanes(&mut self, from: usize, fx: &mut Effects) {
        let mut best: BTreeMap<PortId, (Rank, Vec<LaneId>)> = BTreeMap::new();
        for (&id, lane) in &self.lanes {
            let Some(rank) = self.rank(lane) else { continue };
            let (best_yet, chosen) = best.entry(lane.port).or_insert((rank, Vec::new()));
            if rank < *best_yet {
                *best_yet = rank;
                chosen.clear();
            }
            if rank == *best_yet {
                chosen.push(id);
            }
        }
        let mut told = Vec::new();
        for (&port, p) in &mut self.ports {
            let lanes = best.remove(&port).map_or(Vec::new(), |(_, chosen)| chosen);
            if p.chosen != lanes {
                p.chosen.clone_from(&lanes);
                told.push(Effect::Choose { port, lanes });
            }
        }
        if !told.is_empty() {
            let harsh = fx.iter().skip(from).position(comes_after_choosing);
            let at = harsh.map_or(fx.len(), |position| from + position);
            fx.splice(at..at, told);
        }
    }

    /// Whether what waits in it can be handed to others.
    pub(super) fn hands_off(&self, lane: &Lane) -> bool {
        self.ports.get(&lane.port).is_some_and(Port::hands_off)
    }

    /// How good a choice the lane is now; `None`: not at all.
    fn rank(&self, lane: &Lane) -> Option<Rank> {
        if self.ending != Ending::No {
            return None;
        }
        match lane.state {
            State::Listens { worker, .. } => {
                let w = self.workers.get(&worker).filter(|w| w.phase.serves() && !w.is_temporary())?;
                if w.is_trusted() {
                    return Some(Rank::Trusted);
                }
                if w.is_ready() {
                    return Some(Rank::Ready);
                }
                match self.settings.readiness {
                    Readiness::Listening => Some(Rank::Listening),
                    Readiness::Message => None,
                }
            }
            // Its socket is open all the time; to shut it until its worker listens would cost clients a second.
            State::Promised { to, origin: Origin::Adopted } => {
                let w = self.workers.get(&to).filter(|w| !w.phase.is_leaving() && !w.is_temporary());
                w.map(|_| Rank::Awaited)
            }
            // The primary lets it listen before its worker knows of it. Should that never come, others get what waits there.
            State::Promised { to, origin: Origin::Fresh } if self.hands_off(lane) => {
                let w = self.workers.get(&to).filter(|w| !w.phase.is_leaving())?;
                match self.settings.readiness {
                    Readiness::Listening => Some(Rank::Awaited),
                    Readiness::Message => w.is_ready().then_some(Rank::Awaited),
                }
            }
            State::Kept => Some(Rank::Awaited),
            State::Inherited { .. } => {
                lane.slot.filter(|slot| self.has_successor(*slot)).map(|_| Rank::Awaited)
            }
            State::Promised { origin: Origin::Fresh, .. }
            | State::Closed { .. }
            | State::Retiring
            | State::Stuck => None,
        }
    }
}

/// Whether a lane must have left the choice before this is done.
fn comes_after_choosing(effect: &Effect) -> bool {
    match effect {
        Effect::SignalStop { .. }
        | Effect::EndTree { .. }
        | Effect::TellDisconnect { .. }
        | Effect::WatchIdle { .. }
        | Effect::EmptyLanes { .. }
        | Effect::RetireLane { .. }
        | Effect::TakeOver { .. }
        | Effect::CloseLane { .. } => true,
        Effect::Spawn { .. }
        | Effect::Forget { .. }
        | Effect::Acknowledge { .. }
        | Effect::Open { .. }
        | Effect::Widen { .. }
        | Effect::Reply { .. }
        | Effect::HandOff { .. }
        | Effect::Settle { .. }
        | Effect::Drop { .. }
        | Effect::PauseAccept { .. }
        | Effect::ResumeAccept { .. }
        | Effect::Unwatch { .. }
        | Effect::Watch { .. }
        | Effect::Shut { .. }
        | Effect::Close { .. }
        | Effect::Choose { .. }
        | Effect::Tell(_) => false,
    }
}
