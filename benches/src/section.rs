//! The samples of one measurement, and the questions the report asks of them. Pure.
//!
//! A goal is judged here and only here: from per-round ratios or from every round's value, never from two medians
//! taken apart.

use crate::error::{Failure, Result};
use crate::measure::{Measurement, Metric, Sample};
use crate::peer::Peer;
use crate::stats::{Spread, interval, ratios};
use crate::tools::Tools;

/// A ratio that must not be possible any more before two peers are called equal.
const VISIBLE: f64 = 1.05;

/// What oneport has to reach in one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// The median of per-round ratios to this peer is at most this.
    AtMost(Peer, f64),
    /// The median of per-round ratios to this peer is at least this.
    AtLeast(Peer, f64),
    /// No more than this peer, as far as can be seen: the interval of the median ratio reaches down to 1, and is narrow
    /// enough to have shown a difference of [`VISIBLE`].
    NoMoreThan(Peer),
    /// The value is at most this in every single round.
    EveryRound(f64),
    /// The median value is at most this.
    Median(f64),
}

impl Goal {
    /// The peer its ratio is taken against.
    pub(crate) fn against(self) -> Option<Peer> {
        match self {
            Self::AtMost(peer, _) | Self::AtLeast(peer, _) | Self::NoMoreThan(peer) => Some(peer),
            Self::EveryRound(_) | Self::Median(_) => None,
        }
    }

    /// The value or ratio that is just allowed.
    pub(crate) fn limit(self) -> f64 {
        match self {
            Self::AtMost(_, limit) | Self::AtLeast(_, limit) => limit,
            Self::NoMoreThan(_) => 1.0,
            Self::EveryRound(limit) | Self::Median(limit) => limit,
        }
    }

    /// Whether `measured`, see [`Section::measured`], reaches it.
    fn reached(self, measured: f64) -> bool {
        match self {
            Self::AtMost(..) | Self::NoMoreThan(_) | Self::EveryRound(_) | Self::Median(_) => {
                measured <= self.limit()
            }
            Self::AtLeast(..) => measured >= self.limit(),
        }
    }

    /// How much of what is allowed `measured` uses: 1 is the limit. A limit of zero allows nothing.
    pub(crate) fn used(self, measured: f64) -> f64 {
        let (part, whole) = match self {
            Self::AtMost(..) | Self::NoMoreThan(_) | Self::EveryRound(_) | Self::Median(_) => {
                (measured, self.limit())
            }
            Self::AtLeast(..) => (self.limit(), measured),
        };
        match part > 0.0 {
            true if whole > 0.0 => part / whole,
            true => f64::INFINITY,
            false => 0.0,
        }
    }
}

/// What became of a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Reached.
    Pass,
    /// Missed.
    Short,
    /// The values lie too far apart to tell.
    Unclear,
    /// There are no samples to judge by.
    Unknown,
}

impl Verdict {
    /// Its word in tables.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Short => "SHORT",
            Self::Unclear => "too noisy to say",
            Self::Unknown => "not measured",
        }
    }
}

/// One attempt at one sample.
#[derive(Debug)]
pub(crate) struct Row {
    /// Counted from 0.
    pub(crate) round: u32,
    /// Whose.
    pub(crate) peer: Peer,
    /// The values, or why there are none.
    pub(crate) sample: Result<Sample>,
}

/// All rounds of one measurement.
#[derive(Debug)]
pub(crate) struct Section {
    /// Which one.
    pub(crate) measurement: &'static Measurement,
    /// Who took part.
    pub(crate) peers: Vec<Peer>,
    /// In the order they were run.
    pub(crate) rows: Vec<Row>,
    /// Load average of the minute before.
    pub(crate) load_before: f64,
    /// Load average of the last minute of it, its own work included.
    pub(crate) load_after: f64,
}

impl Section {
    /// Without samples yet.
    pub(crate) fn new(measurement: &'static Measurement, peers: Vec<Peer>) -> Self {
        Self { measurement, peers, rows: Vec::new(), load_before: 0.0, load_after: 0.0 }
    }

    /// Adds one attempt.
    pub(crate) fn add(&mut self, round: u32, peer: Peer, sample: Result<Sample>) {
        self.rows.push(Row { round, peer, sample });
    }

    /// Attempts of `peer` that gave nothing.
    pub(crate) fn failures(&self, peer: Peer) -> usize {
        self.rows.iter().filter(|row| row.peer == peer && row.sample.is_err()).count()
    }

    /// Each peer that failed, with the last reason.
    pub(crate) fn reasons(&self) -> Vec<(Peer, &Failure)> {
        let last = |&peer: &Peer| {
            let mut own = self.rows.iter().rev().filter(|row| row.peer == peer);
            Some((peer, own.find_map(|row| row.sample.as_ref().err())?))
        };
        self.peers.iter().filter_map(last).collect()
    }

    /// What `peer` noted in its rounds, in order.
    pub(crate) fn notes(&self, peer: Peer) -> Vec<&str> {
        let samples =
            self.rows.iter().filter(|row| row.peer == peer).filter_map(|row| row.sample.as_ref().ok());
        samples.filter_map(|sample| sample.note.as_deref()).collect()
    }

    /// The values of one metric by round, gaps kept.
    pub(crate) fn values(&self, peer: Peer, metric: &Metric) -> Vec<Option<f64>> {
        let rounds = self.rows.iter().map(|row| row.round + 1).max().unwrap_or(0);
        let mut values = vec![None; rounds as usize];
        for row in self.rows.iter().filter(|row| row.peer == peer) {
            if let Ok(sample) = &row.sample {
                values[row.round as usize] = sample.get(metric.key);
            }
        }
        values
    }

    /// Median and extremes of one metric.
    pub(crate) fn spread(&self, peer: Peer, metric: &Metric) -> Option<Spread> {
        Spread::of(self.values(peer, metric).into_iter().flatten())
    }

    /// Median and extremes of the per-round ratios of `peer` to `base`.
    pub(crate) fn ratio(&self, peer: Peer, base: Peer, metric: &Metric) -> Option<Spread> {
        Spread::of(ratios(&self.values(peer, metric), &self.values(base, metric)))
    }

    /// The peer whose goals these are.
    pub(crate) fn ours(&self) -> Peer {
        self.measurement.ours
    }

    /// Where the median of oneport's ratios to `base` lies with 95 % confidence.
    pub(crate) fn interval(&self, base: Peer, metric: &Metric) -> Option<(f64, f64)> {
        interval(ratios(&self.values(self.ours(), metric), &self.values(base, metric)))
    }

    /// The goals of `metric`, and whether oneport reached them.
    pub(crate) fn verdicts(&self, metric: &Metric, tools: &Tools) -> Vec<(Goal, Verdict)> {
        let goals = metric.goals.iter().map(|goal| goal(tools));
        goals.map(|goal| (goal, self.judge(metric, goal))).collect()
    }

    /// What oneport measured, in the terms of `goal`.
    pub(crate) fn measured(&self, metric: &Metric, goal: Goal) -> Option<f64> {
        match goal {
            Goal::AtMost(base, _) | Goal::AtLeast(base, _) => {
                self.ratio(self.ours(), base, metric).map(|ratio| ratio.median)
            }
            Goal::NoMoreThan(base) => self.interval(base, metric).map(|(low, _)| low),
            Goal::EveryRound(_) => self.spread(self.ours(), metric).map(|value| value.max),
            Goal::Median(_) => self.spread(self.ours(), metric).map(|value| value.median),
        }
    }

    fn judge(&self, metric: &Metric, goal: Goal) -> Verdict {
        let wide = |base| self.interval(base, metric).is_none_or(|(_, high)| high > VISIBLE);
        match (self.measured(metric, goal), goal) {
            (None, _) => Verdict::Unknown,
            (Some(value), _) if !goal.reached(value) => Verdict::Short,
            (Some(_), Goal::NoMoreThan(base)) if wide(base) => Verdict::Unclear,
            (Some(_), _) => Verdict::Pass,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::ALL;

    fn section(ours: &[f64], theirs: &[f64]) -> (Section, &'static Metric) {
        let measurement = ALL[0];
        let metric = &measurement.metrics[0];
        let mut section = Section::new(measurement, Peer::PAIR.to_vec());
        for (peer, values) in [(Peer::Oneport, ours), (Peer::NodeRr, theirs)] {
            for (round, &value) in values.iter().enumerate() {
                section.add(round as u32, peer, Ok(Sample::default().with(metric.key, value)));
            }
        }
        (section, metric)
    }

    #[test]
    fn a_ratio_goal_is_judged_by_the_median_of_ratios() {
        // Medians apart would give 20/20; by round the ratios are 0.5, 0.5 and 4.
        let (section, metric) = section(&[10.0, 20.0, 40.0], &[20.0, 40.0, 10.0]);
        assert_eq!(section.judge(metric, Goal::AtMost(Peer::NodeRr, 0.6)), Verdict::Pass);
        assert_eq!(section.judge(metric, Goal::AtMost(Peer::NodeRr, 0.4)), Verdict::Short);
        assert_eq!(section.judge(metric, Goal::AtLeast(Peer::NodeRr, 0.4)), Verdict::Pass);
        assert_eq!(section.judge(metric, Goal::AtLeast(Peer::NodeRr, 0.6)), Verdict::Short);
    }

    #[test]
    fn a_small_cost_in_every_round_is_seen_and_noise_is_no_proof_of_its_absence() {
        let goal = Goal::NoMoreThan(Peer::NodeRr);
        let (steady, metric) = section(&[1.01; 9], &[1.0; 9]);
        assert_eq!(steady.judge(metric, goal), Verdict::Short);
        let (equal, metric) = section(&[0.99, 1.01, 1.3, 0.99, 1.01, 1.0, 0.98, 1.02, 1.0], &[1.0; 9]);
        assert_eq!(equal.judge(metric, goal), Verdict::Pass);
        let (noisy, metric) = section(&[0.9, 1.2, 0.9, 1.2, 0.9, 1.2, 0.9, 1.2, 1.2], &[1.0; 9]);
        assert_eq!(noisy.judge(metric, goal), Verdict::Unclear);
        let (few, metric) = section(&[1.0; 5], &[1.0; 5]);
        assert_eq!(few.judge(metric, goal), Verdict::Unknown);
    }

    #[test]
    fn a_goal_is_used_up_at_its_limit_in_either_direction() {
        assert_eq!(Goal::AtMost(Peer::NodeRr, 0.8).used(0.4), 0.5);
        assert_eq!(Goal::AtLeast(Peer::NodeRr, 2.0).used(4.0), 0.5);
        assert_eq!((Goal::EveryRound(0.0).used(0.0), Goal::EveryRound(0.0).used(1.0)), (0.0, f64::INFINITY));
    }

    #[test]
    fn one_bad_round_breaks_an_every_round_goal_and_no_round_judges_nothing() {
        let (bad, metric) = section(&[0.0, 1.0, 0.0], &[0.0, 0.0, 0.0]);
        assert_eq!(bad.judge(metric, Goal::EveryRound(0.0)), Verdict::Short);
        assert_eq!(bad.judge(metric, Goal::Median(0.0)), Verdict::Pass);
        let (none, metric) = section(&[], &[1.0]);
        assert_eq!(none.judge(metric, Goal::Median(9.0)), Verdict::Unknown);
    }

    #[test]
    fn the_last_reason_of_a_failing_peer_is_kept() {
        let (mut section, metric) = section(&[1.0], &[1.0]);
        section.add(1, Peer::Oneport, Err(Failure::cannot("start", "first")));
        section.add(2, Peer::Oneport, Err(Failure::cannot("start", "second")));
        assert_eq!(section.failures(Peer::Oneport), 2);
        assert_eq!(section.reasons()[0].1.to_string(), "cannot start: second");
        assert_eq!(section.values(Peer::Oneport, metric), [Some(1.0), None, None]);
    }
}
