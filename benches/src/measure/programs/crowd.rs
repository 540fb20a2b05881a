//! Five hundred copies at once: from the start of the command to the last of them listening.
//!
//! Not pinned: a person who starts so many has every CPU. Counted from outside, in the kernel's table of sockets.
//!
//! Each copy's filter is a BPF program of the kernel's. Linux 6.18 was seen to hang when more than a thousand of them were
//! being freed at once: do not raise the number without need.

use super::{Measurement, Metric, Rounds, Sample};
use crate::bench::Bench;
use crate::error::{Failure, Result};
use crate::goal::Goal;
use crate::peer::Peer;
use crate::procfs;
use crate::program::{IDLE_ADDRESS, Program};
use crate::server::{OnCpus, Server};
use std::thread::sleep;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) const MEASUREMENT: Measurement = Measurement {
    name: "programs-crowd",
    title: "500 copies listen",
    method: "A small C program, 500 times, on every CPU: under one `oneport run -i 500 --attach own` on one port, and \
             started by a loop of a shell, each on a port of its own.",
    peers: &[Peer::Own, Peer::Bare],
    ours: Peer::Own,
    rounds: Rounds::AsAsked,
    metrics: &[
        Metric::compared("start_s", "start to the last copy listening", "s", 2)
            .against(&[Peer::Bare])
            .must(&[|_| Goal::EveryRound(3.0)]),
        Metric::plain("primary_s", "CPU of the primary until then", "s", 2),
        Metric::plain("rss_mib", "memory of the primary then, resident", "MiB", 1),
    ],
    sample,
};

fn sample(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let copies = bench.plan.crowd;
    let what = || format!("start {copies} copies under `{peer}`");
    if procfs::listeners(IDLE_ADDRESS) > 0 {
        return Err(Failure::cannot(what(), "something listens on their address already"));
    }
    let server = Server::spawn_program(bench, peer, (Program::Idle, copies), OnCpus::All)?;
    loop {
        let listening = procfs::listeners(IDLE_ADDRESS);
        let elapsed = server.spawned().elapsed();
        if listening >= copies {
            let primary = server.primary()?;
            let rss = procfs::rss_kib(primary).unwrap_or(0) as f64 / 1024.0;
            let cpu = procfs::cpu_ns(primary) as f64 / 1e9;
            let sample = Sample::default().with("start_s", elapsed.as_secs_f64());
            return Ok(sample.with("primary_s", cpu).with("rss_mib", rss));
        }
        if elapsed > LIMIT {
            return Err(Failure::cannot(what(), format!("{listening} listen after {LIMIT:?}")));
        }
        sleep(Duration::from_millis(2));
    }
}
