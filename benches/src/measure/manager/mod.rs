//! The manager beside PM2: what its verbs lose under load, what its daemon's end costs, what it takes by itself.

pub(super) mod build;
pub(super) mod daemon;
pub(super) mod logs;
pub(super) mod memory;
pub(super) mod reload;
pub(super) mod speed;
mod under_load;

use super::{Measurement, Metric, Rounds, Sample};

/// The names for all of them together, and for some.
pub(super) const GROUPS: [&str; 3] = ["manager", "manager-reload", "manager-daemon"];
