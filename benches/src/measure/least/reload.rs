//! Rolling reloads under load, one after the other, with every policy: what is lost?
//!
//! A reload is over when none of the old workers is left. PM2 stands beside it to show that a loss would be seen.

use super::disturbed::{METRICS, while_clients_go_on};
use super::{A, B, C, HASH, Measurement, Rounds, SHARED, STICKY, Sample};
use crate::bench::Bench;
use crate::error::{Failure, Result};
use crate::measure::programs::reload::reload;
use crate::peer::Peer;
use crate::server::Server;
use rustix::process::Pid;
use std::thread::sleep;
use std::time::{Duration, Instant};

const WORKERS: usize = 4;
/// Longest that one reload may take.
const LIMIT: Duration = Duration::from_secs(60);

pub(in crate::measure) const MEASUREMENT: Measurement = Measurement {
    name: "least-reload",
    title: "10 reloads of 4 workers under load, by policy",
    method: "64 connections at a time in a closed loop, from 64 addresses, while all workers are replaced ten times over: \
             SIGHUP to `oneport run`, `pm2 reload`. A third of the rounds.",
    peers: &[A, B, C, HASH, STICKY, SHARED, Peer::Oneport, Peer::Pm2],
    ours: A,
    rounds: Rounds::AThird,
    metrics: METRICS,
    sample,
};

fn sample(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let server = Server::ready(bench, peer, WORKERS)?;
    let primary = server.primary()?;
    while_clients_go_on((peer, server.port()), bench.plan.reloads, || {
        let before = server.workers()?;
        reload(bench, peer, primary)?;
        wait_for_others(&server, peer, &before)
    })
}

/// Waits until there are as many workers again and none of them is one of those `before`.
fn wait_for_others(server: &Server, peer: Peer, before: &[Pid]) -> Result<()> {
    let begin = Instant::now();
    loop {
        let workers = server.workers()?;
        let left = workers.iter().filter(|worker| before.contains(worker)).count();
        if left == 0 && workers.len() == WORKERS {
            return Ok(());
        }
        if begin.elapsed() > LIMIT {
            let cause = format!("{left} old ones are left of {} after {LIMIT:?}", workers.len());
            return Err(Failure::cannot(format!("replace the workers of `{peer}`"), cause));
        }
        sleep(Duration::from_millis(20));
    }
}
