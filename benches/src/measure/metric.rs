//! The figures of a measurement as a table, and the values of one sample.

use crate::goal::{Aim, GoalOf};
use crate::peer::Peer;

/// One figure of a measurement.
#[derive(Debug)]
pub(crate) struct Metric {
    /// Its key in samples and `raw.json`.
    pub(crate) key: &'static str,
    /// Its row in tables.
    pub(crate) title: &'static str,
    /// Unit of the value.
    pub(crate) unit: &'static str,
    /// Decimals shown.
    pub(crate) decimals: usize,
    /// The peers that a ratio to means something, a row of the table each.
    pub(crate) against: &'static [Peer],
    /// Whether it has a panel in the chart.
    pub(crate) charted: bool,
    /// What the peer that the measurement is about has to reach.
    pub(crate) goals: &'static [GoalOf],
    /// What others have to reach.
    pub(crate) aims: &'static [Aim],
}

impl Metric {
    /// A row of the table: no ratio, no panel, no goal.
    pub(super) const fn plain(
        key: &'static str,
        title: &'static str,
        unit: &'static str,
        decimals: usize,
    ) -> Self {
        Self { key, title, unit, decimals, against: &[], charted: false, goals: &[], aims: &[] }
    }

    /// A row with its ratio to Node's cluster and a panel in the chart.
    pub(super) const fn compared(
        key: &'static str,
        title: &'static str,
        unit: &'static str,
        decimals: usize,
    ) -> Self {
        Self { key, title, unit, decimals, against: &[Peer::NodeRr], charted: true, goals: &[], aims: &[] }
    }

    /// A row with a panel and no ratio: counts, of which Node's may be zero.
    pub(super) const fn counted(
        key: &'static str,
        title: &'static str,
        unit: &'static str,
        decimals: usize,
    ) -> Self {
        Self { key, title, unit, decimals, against: &[], charted: true, goals: &[], aims: &[] }
    }

    /// The same with ratios to others.
    pub(super) const fn against(mut self, peers: &'static [Peer]) -> Self {
        self.against = peers;
        self
    }

    /// The same with goals.
    pub(super) const fn must(mut self, goals: &'static [GoalOf]) -> Self {
        self.goals = goals;
        self
    }

    /// The same with goals of other peers.
    pub(super) const fn aiming(mut self, aims: &'static [Aim]) -> Self {
        self.aims = aims;
        self
    }

    /// `value` as it is shown.
    pub(crate) fn show(&self, value: f64) -> String {
        format!("{value:.*}", self.decimals)
    }
}

/// The values of one peer in one round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    values: Vec<(&'static str, f64)>,
    /// What the values alone do not tell, for example counts per worker.
    pub(crate) note: Option<String>,
}

impl Sample {
    /// Adds a value.
    pub(crate) fn with(mut self, key: &'static str, value: f64) -> Self {
        self.values.push((key, value));
        self
    }

    /// Adds the note.
    pub(super) fn noting(mut self, note: String) -> Self {
        self.note = Some(note);
        self
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<f64> {
        self.values.iter().find(|(name, _)| *name == key).map(|&(_, value)| value)
    }

    /// All values.
    pub(crate) fn values(&self) -> &[(&'static str, f64)] {
        &self.values
    }
}
