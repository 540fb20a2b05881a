//! What the primary does when nobody comes: nothing.
//!
//! Counted from a second after the load ended, while 64 kept connections stay open, which a primary that counts must not
//! go on counting.

use super::{A, B, C, HASH, Measurement, Metric, Rounds, Sample, warm};
use crate::bench::Bench;
use crate::error::{Cannot, Result};
use crate::goal::{Aim, Goal};
use crate::load::held::Held;
use crate::peer::Peer;
use crate::procfs::{cpu_ns, switches, ticks};
use crate::server::Server;
use std::thread::sleep;
use std::time::Duration;

const WORKERS: usize = 4;
/// From the end of the load to the first count.
const SETTLE: Duration = Duration::from_secs(1);

pub(in crate::measure) const MEASUREMENT: Measurement = Measurement {
    name: "least-idle",
    title: "The primary of 4 workers while nobody comes, by policy",
    method: "A closed loop of short connections, then 64 long ones that stay open and say nothing; a second later the CPU \
             time of the primary over 10 s, in the kernel's ticks of 10 ms and as the scheduler counts it. A third of the \
             rounds.",
    peers: &[A, B, C, HASH, Peer::Oneport, Peer::NodeRr],
    ours: A,
    rounds: Rounds::AThird,
    metrics: &[
        Metric::counted("ticks", "CPU of the primary, ticks", "", 0)
            .must(&[|_| Goal::EveryRound(0.0)])
            .aiming(&[Aim { of: &[B, C], goal: |_| Goal::EveryRound(0.0) }]),
        Metric::plain("cpu_us", "CPU of the primary", "µs", 0),
        Metric::plain("waits", "waits of the primary", "", 0),
    ],
    sample,
};

fn sample(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let server = Server::ready(bench, peer, WORKERS)?;
    warm(&server, peer, bench.plan.memory_connections)?;
    let held = Held::one_by_one(server.port(), bench.plan.placed, Duration::ZERO, Duration::from_secs(5));
    let _held = held.cannot(|| format!("hold connections to `{peer}`"))?;
    sleep(SETTLE);
    let primary = server.primary()?;
    let before = (ticks(primary), cpu_ns(primary), switches(primary));
    sleep(bench.plan.idle);
    let after = (ticks(primary), cpu_ns(primary), switches(primary));
    Ok(Sample::default()
        .with("ticks", after.0.saturating_sub(before.0) as f64)
        .with("cpu_us", after.1.saturating_sub(before.1) as f64 / 1e3)
        .with("waits", after.2.saturating_sub(before.2) as f64))
}
