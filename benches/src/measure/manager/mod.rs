//! The manager beside PM2: what its verbs lose under load, what its daemon's end costs, what it takes by itself.

pub(super) mod build;
pub(super) mod reload;
mod under_load;

use super::{Measurement, Metric, Rounds, Sample};

/// The names for all of them together, and for some.
pub(super) const GROUPS: [&str; 2] = ["manager", "manager-reload"];
