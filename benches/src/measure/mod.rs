//! The measurements, one per file, all of one shape: a table of metrics and a function that takes one sample.
//!
//! A sample starts its own peer, warms it, measures, and ends it; rounds, order, ratios and goals are not its
//! business (`bench`, `section`).

mod blocked;
mod churn;
mod cost;
mod library;
mod memory;
mod placement;
mod programs;
mod start;
mod stopped;

use crate::bench::Bench;
use crate::error::{Failure, Result};
use crate::load;
use crate::peer::Peer;
use crate::section::Goal;
use crate::server::Server;
use crate::tools::Tools;
use std::time::Duration;

/// A goal, which may depend on the programs under comparison.
pub(crate) type GoalOf = fn(&Tools) -> Goal;

/// One thing measured, for every peer that can be measured so.
#[derive(Debug)]
pub(crate) struct Measurement {
    /// Its name for `--only` and in file names.
    pub(crate) name: &'static str,
    /// Its heading.
    pub(crate) title: &'static str,
    /// How it is done, in a sentence or two.
    pub(crate) method: &'static str,
    /// Who takes part.
    pub(crate) peers: &'static [Peer],
    /// Whose goals these are.
    pub(crate) ours: Peer,
    /// Rounds of it for each that was asked for: more where a small difference is looked for.
    pub(crate) times: u32,
    /// What a sample contains.
    pub(crate) metrics: &'static [Metric],
    /// Takes one sample; the last argument is the round, from 0.
    pub(crate) sample: fn(&Bench, Peer, u32) -> Result<Sample>,
}

impl Measurement {
    /// Whether `name` is its name or that of its group, which is the part before the dash.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.name.split_once('-').is_some_and(|(group, _)| group == name)
    }
}

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
    /// What oneport has to reach.
    pub(crate) goals: &'static [GoalOf],
}

impl Metric {
    /// A row of the table: no ratio, no panel, no goal.
    const fn plain(key: &'static str, title: &'static str, unit: &'static str, decimals: usize) -> Self {
        Self { key, title, unit, decimals, against: &[], charted: false, goals: &[] }
    }

    /// A row with its ratio to Node's cluster and a panel in the chart.
    const fn compared(key: &'static str, title: &'static str, unit: &'static str, decimals: usize) -> Self {
        Self { key, title, unit, decimals, against: &[Peer::NodeRr], charted: true, goals: &[] }
    }

    /// A row with a panel and no ratio: counts, of which Node's may be zero.
    const fn counted(key: &'static str, title: &'static str, unit: &'static str, decimals: usize) -> Self {
        Self { key, title, unit, decimals, against: &[], charted: true, goals: &[] }
    }

    /// The same with ratios to others.
    const fn against(mut self, peers: &'static [Peer]) -> Self {
        self.against = peers;
        self
    }

    /// The same with goals.
    const fn must(mut self, goals: &'static [GoalOf]) -> Self {
        self.goals = goals;
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
    fn noting(mut self, note: String) -> Self {
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

/// Every measurement, in the order of the report.
pub(crate) const ALL: [&Measurement; 27] = [
    &churn::MEASUREMENT,
    &memory::MEASUREMENT,
    &start::MEASUREMENT,
    &placement::MEASUREMENT,
    &stopped::MEASUREMENT,
    &blocked::MEASUREMENT,
    &library::TWO,
    &library::EIGHT,
    &library::ALONE,
    &library::BLOCKED,
    &programs::cost::EPOLL,
    &programs::cost::BLOCK,
    &programs::cost::PYTHON,
    &programs::cost::NGINX,
    &programs::cost::GO,
    &programs::cost::NODE,
    &programs::cost::EPOLL_TWO,
    &programs::cost::BLOCK_TWO,
    &programs::cost::PYTHON_TWO,
    &programs::cost::NGINX_TWO,
    &programs::cost::GO_TWO,
    &programs::cost::NODE_TWO,
    &programs::traps::MEASUREMENT,
    &programs::filter::MEASUREMENT,
    &programs::killed::MEASUREMENT,
    &programs::reload::MEASUREMENT,
    &programs::crowd::MEASUREMENT,
];

/// Their names, and the groups.
pub(crate) fn names() -> Vec<&'static str> {
    ALL.iter().map(|measurement| measurement.name).chain([library::GROUP, programs::GROUP]).collect()
}

/// Serves `connections` connections uncounted.
fn warm(server: &Server, peer: Peer, connections: u32) -> Result<()> {
    let outcome = load::closed(server.port(), connections, Duration::from_secs(60))?;
    match outcome.answered() {
        0 => Err(Failure::cannot(format!("warm up `{peer}`"), "no connection was answered")),
        _ => Ok(()),
    }
}
