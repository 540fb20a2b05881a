//! Every copy of a Python server that handles no signal is replaced while requests of half a second are under way: how
//! many of them fail?
//!
//! PM2 cannot put several processes of Python behind one port; what it has for one is a restart.

use super::{Measurement, Metric, Rounds, Sample};
use crate::bench::Bench;
use crate::error::{Cannot, Failure, Result};
use crate::goal::Goal;
use crate::load::{self, Blocks};
use crate::peer::Peer;
use crate::procfs;
use crate::program::Program;
use crate::server::Server;
use crate::stats::percentile;
use rustix::process::{Pid, Signal, kill_process};
use std::process::Stdio;
use std::thread::{scope, sleep};

const COPIES: usize = 2;

pub(crate) const MEASUREMENT: Measurement = Measurement {
    name: "programs-reload",
    title: "Reload of a Python server without signal handlers",
    method: "200 requests per second by the clock for 12 s, each answered after 500 ms by a thread of its own; after 2 s \
             every copy is replaced: SIGHUP to `oneport run -i 2`, `pm2 reload` of one process.",
    peers: &[Peer::Own, Peer::Pm2Fork],
    ours: Peer::Own,
    rounds: Rounds::AsAsked,
    metrics: &[
        Metric::counted("lost", "requests without an answer", "requests", 0)
            .must(&[|_| Goal::EveryRound(0.0)]),
        Metric::plain("answered", "requests answered", "requests", 0),
        Metric::plain("p99_ms", "latency, 99 %", "ms", 0),
        Metric::plain("longest_ms", "latency, longest", "ms", 0),
    ],
    sample,
};

fn sample(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let plan = &bench.plan;
    let copies = if peer == Peer::Own { COPIES } else { 1 };
    let server = Server::program(bench, peer, Program::PythonThreads, copies)?;
    let before = server.workers()?;
    let primary = server.primary()?;
    let (outcome, asked) = scope(|scope| {
        let reload = scope.spawn(|| {
            sleep(plan.reload_time / 6);
            reload(bench, peer, primary)
        });
        let outcome = load::open(server.port(), plan.reload_rate, plan.reload_time, Blocks::AllSlow);
        (outcome, reload.join())
    });
    let what = || format!("reload under `{peer}`");
    asked.map_err(|_| Failure::cannot(what(), "its thread ended early"))??;
    let outcome = outcome?;
    // A reload that did not happen loses nothing.
    let new = outcome.workers.keys().filter(|&&pid| before.iter().all(|old| old.as_raw_pid() != pid)).count();
    let left = before.iter().filter(|&&old| procfs::state(old).is_some()).count();
    if new < copies || left > 0 {
        return Err(Failure::cannot(
            what(),
            format!("{new} new copies answered, {left} old ones are still there"),
        ));
    }
    let milliseconds = |share| f64::from(percentile(&outcome.latencies, share)) / 1e3;
    Ok(Sample::default()
        .with("lost", f64::from(outcome.failed))
        .with("answered", f64::from(outcome.answered()))
        .with("p99_ms", milliseconds(0.99))
        .with("longest_ms", milliseconds(1.0)))
}

/// Asks for it in the way its users do.
/// Asks for every copy to be replaced: by SIGHUP, of PM2 by its command.
pub(in crate::measure) fn reload(bench: &Bench, peer: Peer, primary: Pid) -> Result<()> {
    let what = || format!("reload under `{peer}`");
    if !peer.is_pm2() {
        return kill_process(primary, Signal::HUP).cannot(what);
    }
    let mut command = peer.pm2(&bench.tools, &bench.tools.node);
    command.args(["reload", "bench"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = bench.pins.on_servers(|| command.spawn())?.cannot(what)?;
    let status = child.wait().cannot(what)?;
    if status.success() { Ok(()) } else { Err(Failure::cannot(what(), status)) }
}
