//! Where long connections land over four Node workers, opened at once and a few milliseconds apart.
//!
//! Counts are those of the worker that answered. At once, tier C has nothing but chance between two looks at its
//! workers, and the hash has nothing else ever: both are there to be seen, without a goal.

use super::super::placement::{WORKERS, burst, join, one_by_one, range};
use super::{A, B, C, HASH, Measurement, Metric, Rounds, Sample};
use crate::bench::Bench;
use crate::error::{Failure, Result};
use crate::goal::{Aim, Goal};
use crate::load::far::Far;
use crate::load::held::shares;
use crate::peer::Peer;
use crate::server::Server;
use std::thread::sleep;
use std::time::Duration;

const ROUND_TRIP: Duration = Duration::from_millis(50);
const QUIET: Duration = Duration::from_millis(200);
const PEERS: &[Peer] = &[A, B, C, HASH, Peer::Oneport, Peer::NodeRr];

pub(in crate::measure) const BURST: Measurement = Measurement {
    name: "least-burst",
    title: "64 long connections at once over 4 workers, by policy",
    method: "After 200 ms in which nothing is open, all are opened before the first is asked for anything; counted by the \
             worker that answered.",
    peers: PEERS,
    ours: A,
    rounds: Rounds::AsAsked,
    metrics: &[Metric::counted("range", "most minus least", "connections", 0)
        .must(&[|_| Goal::EveryRound(1.0)])
        // Between two looks the kernel does not hear of what ended, or was given to another worker.
        .aiming(&[Aim { of: &[B], goal: |_| Goal::Median(1.0) }])],
    sample: |bench, peer, _| {
        let server = Server::ready(bench, peer, WORKERS)?;
        // The last of the questions whether it is ready may still be open.
        sleep(QUIET);
        Ok(of(&burst(&server, peer, bench.plan.placed)?))
    },
};

/// Nothing is established before all are placed: every handshake is half done for a round trip.
pub(in crate::measure) const FAR: Measurement = Measurement {
    name: "least-far",
    title: "64 long connections at once, from clients 50 ms away, over 4 workers, by policy",
    method: "In a network namespace of its own (as root): each handshake is ended, and the request sent, one round trip after \
             the kernel's answer to its beginning; counted by the worker that answered.",
    peers: PEERS,
    ours: A,
    rounds: Rounds::AsAsked,
    metrics: &[
        Metric::counted("range", "most minus least", "connections", 0).must(&[|_| Goal::EveryRound(1.0)])
    ],
    sample: from_far,
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

fn from_far(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let mut far = Far::away(bench)?;
    let server = Server::ready(bench, peer, WORKERS)?;
    let count = bench.plan.placed;
    let answered = far.burst(server.port(), count, ROUND_TRIP)?;
    // Before the server, which ends everything that this process has started.
    drop(far);
    if answered.len() < count {
        let cause = format!("{} from far away got no answer", count - answered.len());
        return Err(Failure::cannot(format!("place {count} connections on `{peer}`"), cause));
    }
    Ok(of(&shares(answered.into_iter(), WORKERS)))
}

fn of(shares: &[usize]) -> Sample {
    Sample::default().with("range", range(shares) as f64).noting(join(shares))
}
