//! One worker of four is busy for 200 ms, again and again: whom does it delay?
//!
//! Open loop, latency from the instant a connection was due. The same load without blocks is run beside it and
//! taken off, since on a shared CPU some connections are late for other reasons.

use super::{Measurement, Metric, Rounds, Sample, warm};
use crate::bench::Bench;
use crate::error::{Failure, Result};
use crate::goal::Goal;
use crate::load::{self, Blocks, Outcome};
use crate::peer::Peer;
use crate::server::Server;
use crate::stats::percentile;
use std::time::Duration;

pub(super) const WORKERS: usize = 4;
/// A connection slower than this was delayed.
const DELAYED: Duration = Duration::from_millis(20);

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "blocked",
    title: "One of 4 workers busy for 200 ms at a time",
    method: "1000 connections per second by the clock; every 300 ms one request keeps its worker computing for \
             200 ms. Counted: other connections slower than 20 ms, per block, less those of an equal run without \
             blocks.",
    peers: &Peer::PAIR,
    ours: Peer::Oneport,
    rounds: Rounds::AsAsked,
    metrics: METRICS,
    sample,
};

/// Of every measurement with such blocks among hand-offs.
pub(super) const METRICS: &[Metric] = {
    let [a, b, c, d] = REST;
    &[
        Metric::counted("delayed", TITLE, "connections", 2)
            .must(&[|tools| Goal::Median(f64::from(tools.credits))]),
        a,
        b,
        c,
        d,
    ]
};

/// What is counted.
pub(super) const TITLE: &str = "others delayed per block";
/// What stands below it.
pub(super) const REST: [Metric; 4] = [
    Metric::plain("control", "slower than 20 ms without blocks, whole run", "connections", 0),
    Metric::plain("p99_ms", "latency with blocks, 99 %", "ms", 2),
    Metric::plain("control_p99_ms", "latency without blocks, 99 %", "ms", 2),
    Metric::plain("failed", "failed connections", "", 0),
];

pub(super) fn sample(bench: &Bench, peer: Peer, round: u32) -> Result<Sample> {
    let server = Server::ready(bench, peer, WORKERS)?;
    warm(&server, peer, bench.plan.warm_up(peer, WORKERS))?;
    of(&server, peer, (bench, bench.plan.open_rate), round)
}

/// The same of a server that is warm, with `rate` connections per second.
pub(super) fn of(server: &Server, peer: Peer, (bench, rate): (&Bench, u32), round: u32) -> Result<Sample> {
    let plan = &bench.plan;
    // One interval more than there are blocks, so that the last block ends inside the run.
    let duration = plan.block_every * (plan.blocks + 1);
    let run = |blocks| load::open(server.port(), rate, duration, blocks);
    let every = Blocks::Every(plan.block_every);
    // Which of the two comes first alternates, so that neither is always the warmer one.
    let (with, control) = if round.is_multiple_of(2) {
        let control = run(Blocks::None)?;
        (run(every)?, control)
    } else {
        (run(every)?, run(Blocks::None)?)
    };
    if with.blocks == 0 {
        return Err(Failure::cannot(format!("block a worker of `{peer}`"), "no such request was answered"));
    }
    let delayed = f64::from(with.slower_than(DELAYED)) - f64::from(control.slower_than(DELAYED));
    let p99 = |outcome: &Outcome| f64::from(percentile(&outcome.latencies, 0.99)) / 1e3;
    Ok(Sample::default()
        .with("delayed", delayed / f64::from(with.blocks))
        .with("control", f64::from(control.slower_than(DELAYED)))
        .with("p99_ms", p99(&with))
        .with("control_p99_ms", p99(&control))
        .with("failed", f64::from(with.failed + control.failed)))
}
