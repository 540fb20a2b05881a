//! One worker of four is busy for 200 ms at a time, at 2000 connections per second: whom does it delay?
//!
//! Three kinds of worker, for the primary has different means with each: Node and library workers can be given what waits
//! for a busy one, programs that accept for themselves cannot. The hash is there to show that delay would be seen.

use super::super::blocked::{REST, TITLE, WORKERS, of};
use super::{A, B, C, HASH, Measurement, Metric, Rounds, Sample, warm};
use crate::bench::Bench;
use crate::error::Result;
use crate::goal::{Aim, Goal};
use crate::peer::Peer;
use crate::program::Program;
use crate::server::Server;

const METRICS: &[Metric] = {
    let [a, b, c, d] = REST;
    &[
        Metric::counted("delayed", TITLE, "connections", 1).must(&[|_| Goal::Median(3.0)]).aiming(&[
            Aim { of: &[B], goal: |_| Goal::Median(3.0) },
            Aim { of: &[C], goal: |_| Goal::Median(4.0) },
            Aim { of: &[HASH], goal: |_| Goal::Floor(40.0) },
        ]),
        a,
        b,
        c,
        d,
    ]
};

const fn blocked(
    (name, title): (&'static str, &'static str),
    peers: &'static [Peer],
    sample: fn(&Bench, Peer, u32) -> Result<Sample>,
) -> Measurement {
    Measurement {
        name,
        title,
        method: "2000 connections per second by the clock; every 300 ms one request keeps its worker from doing anything \
                 else for 200 ms. Counted: other connections slower than 20 ms, per block, less those of an equal run \
                 without blocks.",
        peers,
        ours: A,
        rounds: Rounds::AsAsked,
        metrics: METRICS,
        sample,
    }
}

pub(in crate::measure) const NODE: Measurement = blocked(
    ("least-blocked", "One of 4 Node workers computing for 200 ms at a time, by policy"),
    &[A, B, C, HASH, Peer::Oneport, Peer::NodeRr],
    |bench, peer, round| {
        let server = Server::ready(bench, peer, WORKERS)?;
        warm(&server, peer, bench.plan.warm_up(peer, WORKERS))?;
        of(&server, peer, (bench, bench.plan.least_rate), round)
    },
);

pub(in crate::measure) const LIBRARY: Measurement = blocked(
    ("least-blocked-library", "One of 4 library workers asleep for 200 ms at a time, by policy"),
    &[A, B, C, HASH, Peer::Library, Peer::Reuseport],
    |bench, peer, round| program(bench, peer, Program::Respond, round),
);

pub(in crate::measure) const OWN: Measurement = blocked(
    ("least-blocked-own", "One of 4 copies of a C server asleep for 200 ms at a time, by policy"),
    &[A, B, C, HASH, Peer::Copies],
    |bench, peer, round| program(bench, peer, Program::Epoll, round),
);

fn program(bench: &Bench, peer: Peer, program: Program, round: u32) -> Result<Sample> {
    let server = Server::program(bench, peer, program, WORKERS)?;
    warm(&server, peer, bench.plan.warm_up_program(program, WORKERS))?;
    of(&server, peer, (bench, bench.plan.least_rate), round)
}
