//! Programs that know nothing of oneport, attached in own mode: what that costs them, and what it gains them.
//!
//! The peer is always the same program started bare; only what surrounds it differs.

pub(super) mod cost;
pub(super) mod crowd;
pub(super) mod filter;
pub(super) mod killed;
pub(super) mod reload;
pub(super) mod traps;

use super::{Measurement, Metric, Rounds, Sample, warm};

/// The name for all of them together.
pub(super) const GROUP: &str = "programs";
