//! How long commands take that people wait for: the list, the first command of all, a start of 16 and their end.

use super::{Measurement, Metric, Rounds, Sample};
use crate::bench::Bench;
use crate::error::Result;
use crate::goal::Goal;
use crate::manager::{Manager, Ran};
use crate::peer::Peer;
use crate::procfs;
use crate::server::OnCpus;
use crate::stats::Spread;
use std::time::Instant;

const WORKERS: usize = 16;

pub(in crate::measure) const MEASUREMENT: Measurement = Measurement {
    name: "manager-speed",
    title: "Time of commands, 16 workers",
    method: "`list` with 16 workers and `ping` without a daemon, minimum and median of 20; `start -i 16` until its end and \
             until each has answered; `delete`. Not pinned. CPU time is that of the command, and of the daemon with what it \
             has for itself. A third of the rounds.",
    peers: &Peer::MANAGERS,
    ours: Peer::Manager,
    rounds: Rounds::AThird,
    metrics: &[
        Metric::counted("list_least", "`list`, minimum", "ms", 1).must(&[|_| Goal::Median(15.0)]),
        Metric::plain("list_ms", "`list`, median", "ms", 1),
        Metric::plain("list_cpu", "  CPU of the command, median", "ms", 1),
        Metric::plain("list_daemon", "  CPU of the daemon, mean", "ms", 2),
        Metric::counted("cold_least", "`ping` that starts the daemon, minimum", "ms", 1)
            .must(&[|_| Goal::Median(30.0)]),
        Metric::plain("cold_ms", "`ping` that starts the daemon, median", "ms", 1),
        Metric::plain("cold_cpu", "  CPU of the command, median", "ms", 1),
        Metric::plain("cold_daemon", "  CPU of the daemon, median", "ms", 1),
        Metric::counted("start_ms", "`start -i 16`", "ms", 0),
        Metric::plain("answers_ms", "  until each has answered", "ms", 0),
        Metric::plain("start_cpu", "  CPU of the command", "ms", 1),
        Metric::counted("delete_ms", "`delete` of 16", "ms", 0),
    ],
    sample,
};

fn sample(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let times = bench.plan.commands;
    let mut cold = Timed::default();
    let mut daemons = Vec::new();
    for _ in 0..times {
        let manager = Manager::new(bench, peer, OnCpus::All)?;
        cold.add(&manager.must(&["ping"])?);
        daemons.push(cpu_ms(&manager)?);
    }
    let manager = Manager::new(bench, peer, OnCpus::All)?;
    manager.must(&["ping"])?;
    let began = Instant::now();
    let script = bench.servers.join("managed.js");
    let started = manager.must(&["start", &script.to_string_lossy(), "-i", "16", "--name", "bench"])?;
    manager.answering(WORKERS)?;
    let answers = began.elapsed();
    let before = cpu_ms(&manager)?;
    let mut list = Timed::default();
    for _ in 0..times {
        list.add(&manager.must(&["list"])?);
    }
    let daemon = (cpu_ms(&manager)? - before) / f64::from(times);
    let deleted = manager.must(&["delete", "bench"])?;
    Ok(Sample::default()
        .with("list_least", list.least())
        .with("list_ms", list.median())
        .with("list_cpu", list.cpu())
        .with("list_daemon", daemon)
        .with("cold_least", cold.least())
        .with("cold_ms", cold.median())
        .with("cold_cpu", cold.cpu())
        .with("cold_daemon", median(&daemons))
        .with("start_ms", started.took.as_secs_f64() * 1e3)
        .with("answers_ms", answers.as_secs_f64() * 1e3)
        .with("start_cpu", started.cpu.as_secs_f64() * 1e3)
        .with("delete_ms", deleted.took.as_secs_f64() * 1e3))
}

/// CPU time that the manager has used for itself.
fn cpu_ms(manager: &Manager<'_>) -> Result<f64> {
    Ok(manager.own()?.into_iter().map(procfs::cpu_ns).sum::<u64>() as f64 / 1e6)
}

/// A command several times.
#[derive(Debug, Default)]
struct Timed {
    took: Vec<f64>,
    cpu: Vec<f64>,
}

impl Timed {
    fn add(&mut self, ran: &Ran) {
        self.took.push(ran.took.as_secs_f64() * 1e3);
        self.cpu.push(ran.cpu.as_secs_f64() * 1e3);
    }

    fn least(&self) -> f64 {
        self.took.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn median(&self) -> f64 {
        median(&self.took)
    }

    fn cpu(&self) -> f64 {
        median(&self.cpu)
    }
}

fn median(values: &[f64]) -> f64 {
    Spread::of(values.iter().copied()).map_or(f64::NAN, |spread| spread.median)
}
