//! The measurements, one per file, all of one shape: a table of metrics and a function that takes one sample.
//!
//! A sample starts its own peer, warms it, measures, and ends it; rounds, order, ratios and goals are not its
//! business (`bench`, `section`).

mod blocked;
mod churn;
mod cost;
mod least;
mod library;
mod manager;
mod memory;
mod metric;
mod placement;
mod programs;
mod start;
mod stopped;

pub(crate) use metric::{Metric, Sample};

use crate::bench::Bench;
use crate::error::{Failure, Result};
use crate::load;
use crate::peer::Peer;
use crate::server::Server;
use std::time::Duration;

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
    /// How many rounds it has.
    pub(crate) rounds: Rounds,
    /// What a sample contains.
    pub(crate) metrics: &'static [Metric],
    /// Takes one sample; the last argument is the round, from 0.
    pub(crate) sample: fn(&Bench, Peer, u32) -> Result<Sample>,
}

/// Rounds of a measurement, by the number that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounds {
    /// As many.
    AsAsked,
    /// Three times as many: a small difference is looked for.
    Thrice,
    /// A third, at least one: a sample repeats by itself what it is about, and takes long.
    AThird,
}

impl Rounds {
    /// The number.
    pub(crate) fn of(self, asked: u32) -> u32 {
        match self {
            Self::AsAsked => asked,
            Self::Thrice => asked * 3,
            Self::AThird => asked.div_ceil(3),
        }
    }
}

impl Measurement {
    /// Whether `name` is its name or that of a group, which is the part before a dash.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    /// Whether its Node is not the one of all others, which its name says.
    pub(crate) fn is_on_newer_node(&self) -> bool {
        self.name.ends_with("-node24")
    }
}

/// Every measurement, in the order of the report.
pub(crate) const ALL: [&Measurement; 60] = [
    &churn::MEASUREMENT,
    &memory::MEASUREMENT,
    &start::MEASUREMENT,
    &placement::MEASUREMENT,
    &stopped::MEASUREMENT,
    &blocked::MEASUREMENT,
    &least::churn::MEASUREMENT,
    &least::churn::NEWER,
    &least::placement::BURST,
    &least::placement::FAR,
    &least::placement::ONE_BY_ONE,
    &least::blocked::NODE,
    &least::blocked::LIBRARY,
    &least::blocked::OWN,
    &least::reload::MEASUREMENT,
    &least::scale::MEASUREMENT,
    &least::programs::MEASUREMENT,
    &least::growth::MEASUREMENT,
    &least::idle::MEASUREMENT,
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
    &manager::reload::A,
    &manager::reload::B,
    &manager::reload::C,
    &manager::reload::D,
    &manager::reload::D2,
    &manager::reload::E,
    &manager::reload::F,
    &manager::reload::K,
    &manager::reload::M,
    &manager::reload::N,
    &manager::reload::P,
    &manager::reload::Q,
    &manager::reload::BUSY,
    &manager::build::BROKEN,
    &manager::build::SLOW,
    &manager::daemon::KILLED,
    &manager::daemon::UPDATED,
    &manager::speed::MEASUREMENT,
    &manager::memory::MEASUREMENT,
    &manager::logs::MEASUREMENT,
];

/// Their names, and the groups.
pub(crate) fn names() -> Vec<&'static str> {
    ALL.iter()
        .map(|measurement| measurement.name)
        .chain([least::GROUP, library::GROUP, programs::GROUP])
        .chain(manager::GROUPS)
        .collect()
}

/// Serves `connections` connections uncounted.
fn warm(server: &Server, peer: Peer, connections: u32) -> Result<()> {
    let outcome = load::closed(server.port(), connections, Duration::from_secs(60))?;
    match outcome.answered() {
        0 => Err(Failure::cannot(format!("warm up `{peer}`"), "no connection was answered")),
        _ => Ok(()),
    }
}
