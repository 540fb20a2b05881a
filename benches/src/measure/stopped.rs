//! One worker of four is frozen by SIGSTOP: how many connections wait for it while three others are idle?
//!
//! A hand-off sent to the frozen worker cannot be taken back, so the answer should be its credits and no more.
//! Afterwards it is continued, and every connection that waited has to be answered.

use super::{Measurement, Metric, Rounds, Sample, warm};
use crate::bench::Bench;
use crate::error::{Cannot, Failure, Result};
use crate::goal::Goal;
use crate::load::held::Held;
use crate::peer::Peer;
use crate::procfs;
use crate::server::Server;
use rustix::process::{Signal, kill_process};
use std::thread::sleep;
use std::time::{Duration, Instant};

const WORKERS: usize = 4;
/// Connections before the stop, so that nobody is in its first requests.
const WARM: u32 = 400;

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "stopped",
    title: "One of 4 workers stopped (SIGSTOP)",
    method: "40 connections opened at once while one worker is frozen; those without an answer after a second \
             wait for it. Then it goes on, and all must be answered.",
    peers: &Peer::PAIR,
    ours: Peer::Oneport,
    rounds: Rounds::AsAsked,
    metrics: &[
        Metric::counted("waiting", "connections that wait", "connections", 0)
            .must(&[|tools| Goal::EveryRound(f64::from(tools.credits))]),
        Metric::plain("lost", "still unanswered 3 s after it goes on", "connections", 0)
            .must(&[|_| Goal::EveryRound(0.0)]),
    ],
    sample,
};

fn sample(bench: &Bench, peer: Peer, round: u32) -> Result<Sample> {
    let server = Server::ready(bench, peer, WORKERS)?;
    warm(&server, peer, WARM)?;
    let workers = server.workers()?;
    let victim = workers[round as usize % workers.len()];
    let what = || format!("stop a worker of `{peer}`");
    kill_process(victim, Signal::STOP).cannot(what)?;
    let deadline = Instant::now() + Duration::from_secs(2);
    while procfs::state(victim) != Some('T') {
        if Instant::now() > deadline {
            return Err(Failure::cannot(what(), "it did not stop"));
        }
        sleep(Duration::from_millis(1));
    }
    let plan = &bench.plan;
    let mut held = Held::burst(server.port(), plan.beside_stopped, plan.stopped_deadline)
        .cannot(|| format!("connect to `{peer}` beside a stopped worker"))?;
    let waiting = held.waiting();
    kill_process(victim, Signal::CONT).cannot(|| format!("continue a worker of `{peer}`"))?;
    held.collect(Duration::from_secs(3));
    Ok(Sample::default().with("waiting", waiting as f64).with("lost", held.waiting() as f64))
}
