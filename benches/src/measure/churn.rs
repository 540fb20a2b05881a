//! What one connection costs: many short ones, two workers, everything of a peer on one CPU.
//!
//! CPU time is the figure to trust; connections per second follow it only while the generator is not the limit.

use super::{Measurement, Metric, Sample, warm};
use crate::bench::Bench;
use crate::error::{Failure, Result};
use crate::load;
use crate::peer::Peer;
use crate::procfs::cpu_ns;
use crate::section::Goal;
use crate::server::Server;
use crate::stats::percentile;
use rustix::process::getpid;
use std::time::Duration;

const WORKERS: usize = 2;

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "churn",
    title: "Short connections, 2 workers",
    method: "Connect, one request, one answer, reset; 64 at a time in a closed loop. CPU time is summed over \
             primary and workers, divided by answered connections.",
    peers: &Peer::ALL,
    metrics: &[
        Metric::compared("total_us", "CPU per connection, all processes", "µs", 1)
            .must(|_| Goal::Ratio(0.88)),
        Metric::compared("primary_us", "CPU per connection, primary alone", "µs", 1)
            .must(|_| Goal::Ratio(0.6)),
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
    let workers = if peer == Peer::Single { 1 } else { WORKERS };
    let server = Server::ready(bench, peer, workers)?;
    warm(&server, peer, bench.plan.warm_per_worker * WORKERS as u32)?;

    let (primary, below) = server.cpu()?;
    let own = cpu_ns(getpid());
    let outcome = load::closed(server.port(), bench.plan.churn_connections, Duration::from_secs(60))?;
    let generator = cpu_ns(getpid()) - own;
    let (primary_after, below_after) = server.cpu()?;

    let answered = outcome.answered();
    if answered == 0 {
        return Err(Failure::cannot(format!("load `{peer}`"), "no connection was answered"));
    }
    let per_connection = |ns: u64| ns as f64 / 1e3 / f64::from(answered);
    let primary = primary_after.saturating_sub(primary);
    let below = below_after.saturating_sub(below);
    let milliseconds = |share| f64::from(percentile(&outcome.latencies, share)) / 1e3;
    let sample = Sample::default()
        .with("total_us", per_connection(primary + below))
        .with("rate", outcome.rate())
        .with("p50_ms", milliseconds(0.5))
        .with("p99_ms", milliseconds(0.99))
        .with("failed", f64::from(outcome.failed))
        .with("generator_us", per_connection(generator));
    Ok(match peer {
        Peer::Single => sample,
        Peer::Oneport | Peer::NodeRr | Peer::Pm2 => {
            sample.with("primary_us", per_connection(primary)).with("workers_us", per_connection(below))
        }
    })
}
