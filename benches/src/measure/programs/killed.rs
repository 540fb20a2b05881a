//! A copy is killed with connections in its queue: how many of them are never answered?
//!
//! The copy is stopped first, so that its queue fills. What the other copy gets is answered meanwhile and does not count.

use super::{Measurement, Metric, Rounds, Sample, warm};
use crate::bench::Bench;
use crate::error::{Cannot, Failure, Result};
use crate::goal::Goal;
use crate::load::held::Held;
use crate::peer::Peer;
use crate::procfs;
use crate::program::Program;
use crate::server::Server;
use rustix::process::{Signal, kill_process};
use std::thread::sleep;
use std::time::{Duration, Instant};

const COPIES: usize = 2;
const WARM: u32 = 200;

pub(crate) const MEASUREMENT: Measurement = Measurement {
    name: "programs-killed",
    title: "One of 2 copies killed with a full queue",
    method: "One copy of the C server is stopped (SIGSTOP), 80 connections with a request each are sent, and once the \
             other copy has answered its share, the stopped one gets SIGKILL.",
    peers: &[Peer::Own, Peer::Copies],
    ours: Peer::Own,
    rounds: Rounds::AsAsked,
    metrics: &[
        Metric::counted("lost", "unanswered 5 s after the kill", "connections", 0)
            .must(&[|_| Goal::EveryRound(0.0)]),
        Metric::plain("queued", "in the queue of the killed copy", "connections", 0),
        Metric::plain("rescue_ms", "from the kill to the last answer or reset", "ms", 1),
    ],
    sample,
};

fn sample(bench: &Bench, peer: Peer, round: u32) -> Result<Sample> {
    let server = Server::program(bench, peer, Program::Epoll, COPIES)?;
    warm(&server, peer, WARM)?;
    let copies = server.workers()?;
    let victim = copies[round as usize % copies.len()];
    let what = || format!("kill a copy of `{peer}`");
    kill_process(victim, Signal::STOP).cannot(what)?;
    let deadline = Instant::now() + Duration::from_secs(2);
    while procfs::state(victim) != Some('T') {
        if Instant::now() > deadline {
            return Err(Failure::cannot(what(), "it did not stop"));
        }
        sleep(Duration::from_millis(1));
    }
    let mut held =
        Held::open(server.port(), bench.plan.beside_killed, Duration::from_secs(2)).cannot(what)?;
    held.collect(Duration::from_millis(500));
    let queued = held.waiting();
    if queued == 0 {
        return Err(Failure::cannot(what(), "nothing waited in its queue"));
    }
    let killed = Instant::now();
    kill_process(victim, Signal::KILL).cannot(what)?;
    held.collect(Duration::from_secs(5));
    let rescue = killed.elapsed();
    Ok(Sample::default()
        .with("lost", held.waiting() as f64)
        .with("queued", queued as f64)
        .with("rescue_ms", rescue.as_secs_f64() * 1e3))
}
