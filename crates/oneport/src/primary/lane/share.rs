//! How the next connections of a port are shared where the kernel cannot count: as water fills vessels, those with the fewest
//! first.
//!
//! The program that places connections knows how many of the next ones each lane gets, not in which order, so too few at a time
//! would send a burst to one lane. Invariant: at least twice as many are shared out as there are lanes.

use oneport_core::LaneId;

use super::gauge::Weights;
use super::handicap::faded;

/// Fewest and most connections that are shared out at a time.
const FEWEST: u32 = 8;
const MOST: u32 = 256;

/// One port's.
#[derive(Debug, Default)]
pub(super) struct Share {
    chosen: Vec<LaneId>,
    /// How many more connections newcomers count as having; `None`: that shows when they are looked at next.
    bias: Vec<(LaneId, Option<u32>)>,
    last: Weights,
    /// Connections of all together at the last look.
    total: u32,
    /// Equals take turns.
    turn: usize,
}

impl Share {
    /// These get connections from now on.
    pub(super) fn choose(&mut self, lanes: Vec<LaneId>) {
        let newcomers = lanes.iter().filter(|lane| !self.chosen.contains(lane));
        let begun = !self.chosen.is_empty();
        let fresh: Vec<_> = newcomers.filter(|_| begun).map(|lane| (*lane, None)).collect();
        self.bias.retain(|(lane, _)| lanes.contains(lane));
        self.bias.extend(fresh);
        self.chosen = lanes;
    }

    pub(super) fn has(&self, lane: LaneId) -> bool {
        self.chosen.contains(&lane)
    }

    /// So many seconds later.
    pub(super) fn fade(&mut self, seconds: u64) {
        for (_, bias) in &mut self.bias {
            *bias = bias.map(|bias| faded(bias, seconds));
        }
        self.bias.retain(|(_, bias)| *bias != Some(0));
    }

    /// The weights by these loads, if they are others than last time.
    pub(super) fn next(&mut self, loads: &[(LaneId, u32)]) -> Option<Weights> {
        let mut ranks: Weights =
            loads.iter().filter(|(lane, _)| self.chosen.contains(lane)).copied().collect();
        if ranks.is_empty() {
            return None;
        }
        let total: u32 = ranks.iter().map(|(_, load)| *load).sum();
        let arrived = total.saturating_sub(self.total);
        self.total = total;
        self.add_bias(&mut ranks);
        let lanes = u32::try_from(ranks.len()).unwrap_or(MOST);
        let fill = arrived.max(FEWEST).max(2 * lanes).min(MOST.max(2 * lanes));
        let weights = self.fill(ranks, fill);
        (weights != self.last).then(|| {
            self.last.clone_from(&weights);
            weights
        })
    }

    fn add_bias(&mut self, ranks: &mut Weights) {
        let settled = |lane: LaneId| !self.bias.iter().any(|(of, _)| *of == lane);
        let (count, sum) = ranks
            .iter()
            .filter(|(lane, _)| settled(*lane))
            .fold((0u32, 0u32), |(count, sum), (_, load)| (count + 1, sum.saturating_add(*load)));
        let mean = sum.checked_div(count).unwrap_or(0);
        for (lane, rank) in ranks {
            if let Some((_, bias)) = self.bias.iter_mut().find(|(of, _)| of == lane) {
                let bias = bias.get_or_insert(mean.saturating_sub(*rank));
                *rank = rank.saturating_add(*bias);
            }
        }
        self.bias.retain(|(_, bias)| *bias != Some(0));
    }

    /// One after the other to whoever has the fewest.
    fn fill(&mut self, mut ranks: Weights, fill: u32) -> Weights {
        let mut weights: Weights = ranks.iter().map(|(lane, _)| (*lane, 0)).collect();
        self.turn = self.turn.wrapping_add(1);
        let count = ranks.len();
        for _ in 0..fill {
            let turns = (0..count).map(|step| (self.turn.wrapping_add(step)) % count);
            let Some(least) = turns.min_by_key(|at| ranks.get(*at).map_or(u32::MAX, |(_, rank)| *rank))
            else {
                break;
            };
            if let (Some((_, rank)), Some((_, weight))) = (ranks.get_mut(least), weights.get_mut(least)) {
                (*rank, *weight) = (rank.saturating_add(1), *weight + 1);
            }
        }
        weights
    }
}

#[cfg(test)]
mod tests {
    use oneport_core::LaneId;

    use super::{FEWEST, Share};

    fn share(loads: &[u32]) -> Vec<u32> {
        let lanes: Vec<LaneId> = (0..loads.len() as u32).map(LaneId).collect();
        let mut share = Share::default();
        share.choose(lanes.clone());
        let loads: Vec<(LaneId, u32)> = lanes.into_iter().zip(loads.iter().copied()).collect();
        share.next(&loads).unwrap().into_iter().map(|(_, weight)| weight).collect()
    }

    #[test]
    fn those_with_the_fewest_get_the_next() {
        assert_eq!(share(&[0, 0, 0, 0]), [2, 2, 2, 2]);
        assert_eq!(share(&[3, 0, 0, 0]).iter().sum::<u32>(), FEWEST);
        assert_eq!(share(&[10, 0, 0, 0])[0], 0);
        assert_eq!(share(&[0, 9])[1], 0);
    }

    #[test]
    fn never_fewer_are_shared_out_than_twice_the_lanes() {
        assert_eq!(share(&[0; 32]), [2; 32]);
        assert!(share(&[7, 0, 0]).iter().filter(|weight| **weight > 0).count() > 1);
    }

    #[test]
    fn a_newcomer_is_not_given_everything() {
        let mut share = Share::default();
        share.choose(vec![LaneId(1), LaneId(2)]);
        share.next(&[(LaneId(1), 100), (LaneId(2), 100)]);
        share.choose(vec![LaneId(1), LaneId(2), LaneId(3)]);
        let weights = share.next(&[(LaneId(1), 100), (LaneId(2), 100), (LaneId(3), 0)]).unwrap();
        assert!(weights.iter().all(|(_, weight)| *weight > 1), "{weights:?}");
        assert_eq!(share.bias, [(LaneId(3), Some(100))]);
        share.fade(11);
        assert!((40..=50).contains(&share.bias[0].1.unwrap()), "{:?}", share.bias);
        share.fade(60);
        assert_eq!(share.bias, []);
    }

    #[test]
    fn those_that_begin_together_have_no_handicap() {
        let mut share = Share::default();
        for count in 1..=4 {
            share.choose((0..count).map(LaneId).collect());
            share.fade(1);
        }
        let weights = share.next(&[0, 1, 2, 3].map(|lane| (LaneId(lane), 0))).unwrap();
        assert!(weights.iter().all(|(_, weight)| *weight == 2), "{weights:?}");
        assert_eq!(share.bias, []);
    }
}
