//! The samples of one measurement, and the questions the report asks of them. Pure.
//!
//! A goal is judged here and only here: from per-round ratios or from every round's value, never from two medians
//! taken apart.

use crate::error::{Failure, Result};
use crate::goal::{Goal, VISIBLE, Verdict};
use crate::measure::{Measurement, Metric, Sample};
use crate::peer::Peer;
use crate::stats::{Spread, interval, ratios};
use crate::tools::Tools;

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

/// A goal of one peer, and what became of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judgement {
    /// What is judged.
    pub(crate) metric: &'static Metric,
    /// Whose goal it is.
    pub(crate) peer: Peer,
    /// The goal.
    pub(crate) goal: Goal,
    /// Whether it was reached.
    pub(crate) verdict: Verdict,
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

    /// The peer that it is about.
    pub(crate) fn ours(&self) -> Peer {
        self.measurement.ours
    }

    /// Where the median of the ratios of `peer` to `base` lies with 95 % confidence.
    pub(crate) fn interval(&self, peer: Peer, base: Peer, metric: &Metric) -> Option<(f64, f64)> {
        interval(ratios(&self.values(peer, metric), &self.values(base, metric)))
    }

    /// The goals of `metric`, and whether they were reached.
    pub(crate) fn judgements(&self, metric: &'static Metric, tools: &Tools) -> Vec<Judgement> {
        let own = metric.goals.iter().map(|goal| (self.ours(), goal(tools)));
        let others = metric.aims.iter().flat_map(|aim| aim.of.iter().map(|&peer| (peer, (aim.goal)(tools))));
        let judged = own.chain(others).map(|(peer, goal)| Judgement {
            metric,
            peer,
            goal,
            verdict: self.judge(peer, metric, goal),
        });
        judged.collect()
    }

    /// What `peer` reached, in the terms of `goal`.
    pub(crate) fn measured(&self, peer: Peer, metric: &Metric, goal: Goal) -> Option<f64> {
        match goal {
            Goal::AtMost(base, _) | Goal::AtLeast(base, _) => {
                self.ratio(peer, base, metric).map(|ratio| ratio.median)
            }
            Goal::NoMoreThan(base) => self.interval(peer, base, metric).map(|(low, _)| low),
            Goal::EveryRound(_) => self.spread(peer, metric).map(|value| value.max),
            Goal::Median(_) | Goal::Floor(_) => self.spread(peer, metric).map(|value| value.median),
        }
    }

    fn judge(&self, peer: Peer, metric: &Metric, goal: Goal) -> Verdict {
        let wide = |base| self.interval(peer, base, metric).is_none_or(|(_, high)| high > VISIBLE);
        match (self.measured(peer, metric, goal), goal) {
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
        assert_eq!(section.judge(Peer::Oneport, metric, Goal::AtMost(Peer::NodeRr, 0.6)), Verdict::Pass);
        assert_eq!(section.judge(Peer::Oneport, metric, Goal::AtMost(Peer::NodeRr, 0.4)), Verdict::Short);
        assert_eq!(section.judge(Peer::Oneport, metric, Goal::AtLeast(Peer::NodeRr, 0.4)), Verdict::Pass);
        assert_eq!(section.judge(Peer::Oneport, metric, Goal::AtLeast(Peer::NodeRr, 0.6)), Verdict::Short);
    }

    #[test]
    fn a_small_cost_in_every_round_is_seen_and_noise_is_no_proof_of_its_absence() {
        let goal = Goal::NoMoreThan(Peer::NodeRr);
        let (steady, metric) = section(&[1.01; 9], &[1.0; 9]);
        assert_eq!(steady.judge(Peer::Oneport, metric, goal), Verdict::Short);
        let (equal, metric) = section(&[0.99, 1.01, 1.3, 0.99, 1.01, 1.0, 0.98, 1.02, 1.0], &[1.0; 9]);
        assert_eq!(equal.judge(Peer::Oneport, metric, goal), Verdict::Pass);
        let (noisy, metric) = section(&[0.9, 1.2, 0.9, 1.2, 0.9, 1.2, 0.9, 1.2, 1.2], &[1.0; 9]);
        assert_eq!(noisy.judge(Peer::Oneport, metric, goal), Verdict::Unclear);
        let (few, metric) = section(&[1.0; 5], &[1.0; 5]);
        assert_eq!(few.judge(Peer::Oneport, metric, goal), Verdict::Unknown);
    }

    #[test]
    fn one_bad_round_breaks_an_every_round_goal_and_no_round_judges_nothing() {
        let (bad, metric) = section(&[0.0, 1.0, 0.0], &[0.0, 0.0, 0.0]);
        assert_eq!(bad.judge(Peer::Oneport, metric, Goal::EveryRound(0.0)), Verdict::Short);
        assert_eq!(bad.judge(Peer::Oneport, metric, Goal::Median(0.0)), Verdict::Pass);
        let (none, metric) = section(&[], &[1.0]);
        assert_eq!(none.judge(Peer::Oneport, metric, Goal::Median(9.0)), Verdict::Unknown);
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
