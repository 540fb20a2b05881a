//! Many short connections to two workers, everything of a peer on one CPU. How it is counted is in `cost`.

use super::{Measurement, Metric, Rounds, Sample, cost};
use crate::bench::Bench;
use crate::error::Result;
use crate::goal::Goal;
use crate::peer::Peer;

const WORKERS: usize = 2;

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "churn",
    title: "Short connections, 2 workers",
    method: "Connect, one request, one answer, reset; 64 at a time in a closed loop. CPU time is summed over \
             primary and workers, divided by answered connections.",
    peers: &Peer::NODE,
    ours: Peer::Oneport,
    rounds: Rounds::AsAsked,
    metrics: &[
        Metric::compared("total_us", "CPU per connection, all processes", "µs", 1)
            .must(&[|_| Goal::AtMost(Peer::NodeRr, 0.88)]),
        Metric::compared("primary_us", "CPU per connection, primary alone", "µs", 1)
            .must(&[|_| Goal::AtMost(Peer::NodeRr, 0.6)]),
        Metric::compared("workers_us", "CPU per connection, workers", "µs", 1),
        Metric::compared("rate", "connections per second (higher is better)", "1/s", 0),
        Metric::plain("p50_ms", "latency, median", "ms", 2),
        Metric::plain("p99_ms", "latency, 99 %", "ms", 2),
        Metric::plain("failed", "failed connections", "", 0),
        Metric::plain("generator_us", "CPU per connection, load generator", "µs", 1),
    ],
    sample,
};

fn sample(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    cost::sample(bench, peer, WORKERS)
}
