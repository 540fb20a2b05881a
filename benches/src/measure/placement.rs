//! Where long connections land: 64 of them over four workers, one by one, then again in a burst.
//!
//! One by one, a fair rotation gives every worker exactly a quarter. In a burst a rotation by acknowledgement can
//! favour whoever acknowledges first, so those counts are reported without a goal.

use super::{Measurement, Metric, Rounds, Sample};
use crate::bench::Bench;
use crate::error::{Cannot, Failure, Result};
use crate::goal::Goal;
use crate::load::held::Held;
use crate::peer::Peer;
use crate::server::Server;
use std::time::Duration;

pub(super) const WORKERS: usize = 4;
const LIMIT: Duration = Duration::from_secs(5);

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "placement",
    title: "64 long connections over 4 workers",
    method: "Opened one by one, each after the one before was answered; closed; then as many opened at once. \
             Counted by the worker that answered.",
    peers: &Peer::PAIR,
    ours: Peer::Oneport,
    rounds: Rounds::AsAsked,
    metrics: &[
        Metric::counted("unevenness", "one by one: largest distance from an exact quarter", "connections", 0)
            .must(&[|_| Goal::EveryRound(0.0)]),
        Metric::counted("burst_range", "in a burst: most minus least", "connections", 0),
    ],
    sample,
};

fn sample(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let server = Server::ready(bench, peer, WORKERS)?;
    let count = bench.plan.placed;
    let single = one_by_one(&server, peer, count, Duration::ZERO)?;
    let burst = burst(&server, peer, count)?;
    let fair = count / WORKERS;
    let unevenness = single.iter().map(|&share| share.abs_diff(fair)).max().unwrap_or(count);
    Ok(Sample::default()
        .with("unevenness", unevenness as f64)
        .with("burst_range", range(&burst) as f64)
        .noting(format!("one by one {}; burst {}", join(&single), join(&burst))))
}

/// Shares of `count` long connections, each opened `gap` after the one before was answered.
pub(super) fn one_by_one(server: &Server, peer: Peer, count: usize, gap: Duration) -> Result<Vec<usize>> {
    let held = Held::one_by_one(server.port(), count, gap, LIMIT);
    Ok(held.cannot(|| format!("place {count} connections on `{peer}`"))?.shares(WORKERS))
}

/// Shares of `count` long connections opened at once.
pub(super) fn burst(server: &Server, peer: Peer, count: usize) -> Result<Vec<usize>> {
    let what = || format!("place {count} connections on `{peer}`");
    let burst = Held::burst(server.port(), count, LIMIT).cannot(what)?;
    match burst.waiting() {
        0 => Ok(burst.shares(WORKERS)),
        waiting => Err(Failure::cannot(what(), format!("{waiting} of a burst got no answer"))),
    }
}

/// From the largest to the smallest of `shares`, which are sorted.
pub(super) fn range(shares: &[usize]) -> usize {
    shares.first().zip(shares.last()).map_or(0, |(most, least)| most - least)
}

pub(super) fn join(shares: &[usize]) -> String {
    shares.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
}
