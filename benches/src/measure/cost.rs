//! What one connection costs a peer: warm it, load it, divide.
//!
//! CPU time is the figure to trust; connections per second follow it only while the generator is not the limit.

use super::{Sample, warm};
use crate::bench::Bench;
use crate::error::{Failure, Result};
use crate::load;
use crate::node::Major;
use crate::peer::Peer;
use crate::procfs::cpu_ns;
use crate::program::Program;
use crate::server::Server;
use crate::stats::percentile;
use rustix::process::getpid;
use std::time::Duration;

/// One run of short connections against `peer`, with `workers` workers where it has any.
pub(super) fn sample(bench: &Bench, peer: Peer, workers: usize) -> Result<Sample> {
    sample_on(bench, peer, Major::Twenty, workers)
}

/// The same on this Node.
pub(super) fn sample_on(bench: &Bench, peer: Peer, major: Major, workers: usize) -> Result<Sample> {
    let workers = if peer.has_workers() { workers } else { 1 };
    let server = Server::ready_on(bench, peer, major, workers)?;
    warm(&server, peer, bench.plan.warm_up(peer, workers))?;
    of(&server, (peer, workers), bench.plan.churn_connections)
}

/// The same of `copies` copies of `program`.
pub(super) fn of_program(bench: &Bench, peer: Peer, program: Program, copies: usize) -> Result<Sample> {
    let server = Server::program(bench, peer, program, copies)?;
    warm(&server, peer, bench.plan.warm_up_program(program, copies))?;
    of(&server, (peer, copies), bench.plan.program_connections(program))
}

/// The same of a server that is warm.
pub(super) fn of(server: &Server, (peer, workers): (Peer, usize), connections: u32) -> Result<Sample> {
    let (primary, below) = server.cpu()?;
    let rescued = server.rescued()?;
    let own = cpu_ns(getpid());
    let outcome = load::closed(server.port(), connections, Duration::from_secs(60))?;
    let generator = cpu_ns(getpid()) - own;
    let (primary_after, below_after) = server.cpu()?;

    let answered = outcome.answered();
    if answered == 0 {
        return Err(Failure::cannot(format!("load `{peer}`"), "no connection was answered"));
    }
    let per_connection = |ns: u64| ns as f64 / 1e3 / f64::from(answered);
    let primary = per_connection(primary_after.saturating_sub(primary));
    let below = per_connection(below_after.saturating_sub(below));
    let milliseconds = |share| f64::from(percentile(&outcome.latencies, share)) / 1e3;
    let sample = Sample::default()
        .with("total_us", primary + below)
        .with("rate", outcome.rate())
        .with("p50_ms", milliseconds(0.5))
        .with("p99_ms", milliseconds(0.99))
        .with("failed", f64::from(outcome.failed))
        .with("rescued", 100.0 * f64::from(server.rescued()? - rescued) / f64::from(answered))
        .with("generator_us", per_connection(generator));
    if !peer.has_workers() {
        return Ok(sample);
    }
    let even = f64::from(answered) / workers as f64;
    let share = |count: Option<&u32>| f64::from(count.copied().unwrap_or(0)) / even;
    // A worker nobody reached is not in the list.
    let reached = outcome.workers.len() >= workers;
    let least = outcome.workers.values().min().filter(|_| reached);
    let sample = sample
        .with("primary_us", primary)
        .with("workers_us", below)
        .with("most", share(outcome.workers.values().max()))
        .with("least", share(least));
    // Where nobody stands before the workers, nobody places.
    Ok(match peer {
        Peer::By(_) | Peer::Own | Peer::NodeNone | Peer::NodeReusePort => sample,
        Peer::Reuseport | Peer::Copies | Peer::Nginx => sample,
        Peer::Oneport | Peer::NodeRr | Peer::Pm2 | Peer::Single | Peer::Library | Peer::Tokio => {
            sample.with("placed", 1e6 / primary)
        }
        Peer::Alone | Peer::Bare | Peer::Pm2Fork | Peer::Manager => sample.with("placed", 1e6 / primary),
    })
}
