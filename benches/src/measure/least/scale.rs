//! One worker of four is given up under load, and comes back, again and again: what is lost?
//!
//! `oneport run` has no such order, the library has: the primary is a Rust program (`bin/owner.rs`), the workers are the
//! same Node.

use super::disturbed::{METRICS, while_clients_go_on};
use super::{A, B, C, HASH, Measurement, Rounds, SHARED, STICKY, Sample};
use crate::bench::Bench;
use crate::error::Result;
use crate::peer::Peer;
use crate::server::Server;

const WORKERS: usize = 4;

pub(in crate::measure) const MEASUREMENT: Measurement = Measurement {
    name: "least-scale",
    title: "10 times from 4 workers to 3 under load, by policy",
    method: "64 connections at a time in a closed loop, from 64 addresses, while a Rust primary scales from 4 to 3, waits \
             until one is gone, scales to 4 again and waits until the new one serves, ten times over. A third of the rounds.",
    peers: &[A, B, C, HASH, STICKY, SHARED, Peer::Oneport],
    ours: A,
    rounds: Rounds::AThird,
    metrics: METRICS,
    sample,
};

fn sample(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let (server, mut control) = Server::ordered(bench, peer, WORKERS)?;
    while_clients_go_on((peer, server.port()), bench.plan.scalings, || {
        control.order(&format!("scale {}", WORKERS - 1))?;
        control.order(&format!("scale {WORKERS}"))
    })
}
