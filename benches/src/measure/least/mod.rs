//! The policy `least` in each of its tiers: what it costs, whom a busy worker delays, where connections land, and what
//! is lost while workers come and go.
//!
//! Beside it stands the kernel's hash over the same sockets: the cheapest there is, and blind.

pub(super) mod blocked;
pub(super) mod churn;
mod disturbed;
pub(super) mod growth;
pub(super) mod idle;
pub(super) mod placement;
pub(super) mod programs;
pub(super) mod reload;
pub(super) mod scale;

use super::{Measurement, Metric, Rounds, Sample, cost, warm};
use crate::peer::Peer;
use crate::policy::Policy;

/// The name for all of them together.
pub(super) const GROUP: &str = "least";

const A: Peer = Peer::By(Policy::LeastA);
const B: Peer = Peer::By(Policy::LeastB);
const C: Peer = Peer::By(Policy::LeastC);
const HASH: Peer = Peer::By(Policy::Hash);
const STICKY: Peer = Peer::By(Policy::Sticky);
const SHARED: Peer = Peer::By(Policy::Shared);
