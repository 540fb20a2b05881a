//! From spawning the command to the first answer, one worker.
//!
//! The clock starts just before the spawn. The port is tried every millisecond, and an answer is awaited once
//! something listens, so both kinds of primary (listen first, fork first) are seen alike.

use super::{Measurement, Metric, Rounds, Sample};
use crate::bench::Bench;
use crate::error::{Failure, Result};
use crate::goal::Goal;
use crate::peer::Peer;
use crate::server::Server;
use crate::stats::Spread;

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "start",
    title: "Start to first answer, 1 worker",
    method: "From spawning the command to the first HTTP 200. PM2's includes the launch of its daemon.",
    peers: &Peer::NODE,
    ours: Peer::Oneport,
    rounds: Rounds::AsAsked,
    metrics: &[Metric::compared("start_ms", "spawn to first answer", "ms", 1)
        .must(&[|_| Goal::AtMost(Peer::NodeRr, 0.7)])],
    sample,
};

fn sample(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let one = || Ok(Server::spawn(bench, peer, 1)?.first_answer()?.as_secs_f64() * 1e3);
    let starts = (0..bench.plan.starts).map(|_| one()).collect::<Result<Vec<f64>>>()?;
    let spread = Spread::of(starts).ok_or_else(|| Failure::cannot("time a start", "none was planned"))?;
    Ok(Sample::default().with("start_ms", spread.median))
}
