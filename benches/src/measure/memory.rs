//! Memory of the primary with two workers, fresh and after it has placed some thousand connections.
//!
//! RSS counts shared library pages in full, PSS divides them among their users; workers are not counted, since
//! they are the same Node under every peer.

use super::{Measurement, Metric, Rounds, Sample, warm};
use crate::bench::Bench;
use crate::error::{Failure, Result};
use crate::goal::Goal;
use crate::peer::Peer;
use crate::procfs::{pss_kib, rss_kib};
use crate::server::Server;

const WORKERS: usize = 2;

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "memory",
    title: "Memory of the primary, 2 workers",
    method: "Read from /proc once both workers answer, and again after a closed loop of short connections.",
    peers: &Peer::CLUSTERS,
    ours: Peer::Oneport,
    rounds: Rounds::AsAsked,
    metrics: &[
        Metric::compared("rss_mib", "resident after load", "MiB", 1)
            .must(&[|_| Goal::AtMost(Peer::NodeRr, 0.15)]),
        Metric::compared("pss_mib", "proportional after load", "MiB", 1),
        Metric::compared("fresh_rss_mib", "resident before load", "MiB", 1),
    ],
    sample,
};

fn sample(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let server = Server::ready(bench, peer, WORKERS)?;
    let primary = server.primary()?;
    let mib = |kib: Option<u64>| {
        let missing = || Failure::cannot(format!("read the memory of `{peer}`"), "its primary is gone");
        Ok(kib.ok_or_else(missing)? as f64 / 1024.0)
    };
    let fresh = mib(rss_kib(primary))?;
    warm(&server, peer, bench.plan.memory_connections)?;
    Ok(Sample::default()
        .with("rss_mib", mib(rss_kib(primary))?)
        .with("pss_mib", mib(pss_kib(primary))?)
        .with("fresh_rss_mib", fresh))
}
