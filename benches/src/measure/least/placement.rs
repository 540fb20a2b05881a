//! Where long connections land over four Node workers, opened at once and a few milliseconds apart.
//!
//! Counts are those of the worker that answered. At once, tier C has nothing but chance between two looks at its
//! workers, and the hash has nothing else ever: both are there to be seen, without a goal.

use super::super::placement::{WORKERS, burst, join, one_by_one, range};
use super::{A, B, C, HASH, Measurement, Metric, Rounds, Sample};
use crate::bench::Bench;
use crate::error::Result;
use crate::goal::{Aim, Goal};
use crate::peer::Peer;
use crate::server::Server;

const PEERS: &[Peer] = &[A, B, C, HASH, Peer::Oneport, Peer::NodeRr];

pub(in crate::measure) const BURST: Measurement = Measurement {
    name: "least-burst",
    title: "64 long connections at once over 4 workers, by policy",
    method: "All are opened before the first is asked for anything; counted by the worker that answered.",
    peers: PEERS,
    ours: A,
    rounds: Rounds::AsAsked,
    metrics: &[Metric::counted("range", "most minus least", "connections", 0)
        .must(&[|_| Goal::EveryRound(1.0)])
        .aiming(&[Aim { of: &[B], goal: |_| Goal::EveryRound(1.0) }])],
    sample: |bench, peer, _| {
        let server = Server::ready(bench, peer, WORKERS)?;
        Ok(of(&burst(&server, peer, bench.plan.placed)?))
    },
};

pub(in crate::measure) const ONE_BY_ONE: Measurement = Measurement {
    name: "least-one-by-one",
    title: "64 long connections 5 ms apart over 4 workers, by policy",
    method: "Each is opened 5 ms after the one before was answered; counted by the worker that answered.",
    peers: PEERS,
    ours: C,
    rounds: Rounds::AsAsked,
    metrics: &[
        Metric::counted("range", "most minus least", "connections", 0).must(&[|_| Goal::EveryRound(2.0)])
    ],
    sample: apart,
};

fn apart(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let server = Server::ready(bench, peer, WORKERS)?;
    Ok(of(&one_by_one(&server, peer, bench.plan.placed, bench.plan.placed_gap)?))
}

fn of(shares: &[usize]) -> Sample {
    Sample::default().with("range", range(shares) as f64).noting(join(shares))
}
