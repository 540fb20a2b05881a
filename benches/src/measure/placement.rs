//! Where long connections land: 64 of them over four workers, one by one, then again in a burst.
//!
//! One by one, a fair rotation gives every worker exactly a quarter. In a burst a rotation by acknowledgement can
//! favour whoever acknowledges first, so those counts are reported without a goal.

use super::{Measurement, Metric, Sample};
use crate::bench::Bench;
use crate::error::{Cannot, Failure, Result};
use crate::load::held::Held;
use crate::peer::Peer;
use crate::section::Goal;
use crate::server::Server;
use std::time::Duration;

const WORKERS: usize = 4;
const LIMIT: Duration = Duration::from_secs(5);

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "placement",
    title: "64 long connections over 4 workers",
    method: "Opened one by one, each after the one before was answered; closed; then as many opened at once. \
             Counted by the worker that answered.",
    peers: &Peer::PAIR,
    ours: Peer::Oneport,
    times: 1,
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
    let what = || format!("place {count} connections on `{peer}`");
    let single = Held::one_by_one(server.port(), count, LIMIT).cannot(what)?.shares(WORKERS);
    let burst = Held::burst(server.port(), count, LIMIT).cannot(what)?;
    if burst.waiting() > 0 {
        return Err(Failure::cannot(what(), format!("{} of a burst got no answer", burst.waiting())));
    }
    let burst = burst.shares(WORKERS);
    let fair = count / WORKERS;
    let unevenness = single.iter().map(|&share| share.abs_diff(fair)).max().unwrap_or(count);
    let range = burst.first().zip(burst.last()).map_or(0, |(most, least)| most - least);
    Ok(Sample::default()
        .with("unevenness", unevenness as f64)
        .with("burst_range", range as f64)
        .noting(format!("one by one {}; burst {}", join(&single), join(&burst))))
}

fn join(shares: &[usize]) -> String {
    shares.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
}
