//! Workers that use the crate `oneport`: what being behind one port costs them.
//!
//! All Rust peers are one binary with one accept loop and one handler; only their listeners differ. Node's cluster
//! stands beside them for its primary: what its workers do with a connection is not comparable.

use super::{Measurement, Metric, Rounds, Sample, blocked, cost};
use crate::bench::Bench;
use crate::error::Result;
use crate::goal::Goal;
use crate::peer::Peer;

/// The name for all of them together.
pub(super) const GROUP: &str = "library";

const METRICS: &[Metric] = &[
    Metric::compared("total_us", "CPU per connection, all processes", "µs", 1)
        .against(&[Peer::Reuseport, Peer::Tokio])
        .must(&[|_| Goal::AtMost(Peer::Reuseport, 1.15), |_| Goal::AtMost(Peer::Tokio, 1.45)]),
    Metric::compared("placed", "connections placed per second of the primary's CPU", "1/s", 0)
        .must(&[|_| Goal::AtLeast(Peer::NodeRr, 2.5)]),
    Metric::counted("primary_us", "CPU per connection, primary alone", "µs", 2),
    Metric::plain("workers_us", "CPU per connection, workers", "µs", 1),
    Metric::plain("most", "connections of the busiest worker, 1 is an even share", "", 3),
    Metric::plain("least", "connections of the least busy worker", "", 3),
    Metric::plain("rate", "connections per second (higher is better)", "1/s", 0),
    Metric::plain("p50_ms", "latency, median", "ms", 2),
    Metric::plain("p99_ms", "latency, 99 %", "ms", 2),
    Metric::plain("failed", "failed connections", "", 0),
    Metric::plain("generator_us", "CPU per connection, load generator", "µs", 1),
];

pub(super) const TWO: Measurement = beside::<2>("library-2", "Short connections, 2 library workers");
pub(super) const EIGHT: Measurement = beside::<8>("library-8", "Short connections, 8 library workers");

const fn beside<const WORKERS: usize>(name: &'static str, title: &'static str) -> Measurement {
    Measurement {
        name,
        title,
        method: "Connect, one request, one answer, reset; 64 at a time in a closed loop. One Rust server with one \
                 accept loop: as workers of `oneport run`, as processes with an SO_REUSEPORT socket each, as one \
                 process; beside them Node's cluster with as many workers, for the cost of its primary.",
        peers: &Peer::NATIVE,
        ours: Peer::Library,
        rounds: Rounds::AsAsked,
        metrics: METRICS,
        sample: sample::<WORKERS>,
    }
}

pub(super) const ALONE: Measurement = Measurement {
    name: "library-alone",
    title: "oneport's listener without a primary",
    method: "The same server as one process, listening through oneport and through tokio; the same load, three times as \
             many rounds. The median ratio lies in the interval shown with 95 % confidence; the goal is met when \
             that reaches down to 1 and not above 1.05.",
    peers: &[Peer::Alone, Peer::Tokio],
    ours: Peer::Alone,
    rounds: Rounds::Thrice,
    metrics: &[
        Metric::compared("total_us", "CPU per connection", "µs", 2)
            .against(&[Peer::Tokio])
            .must(&[|_| Goal::NoMoreThan(Peer::Tokio)]),
        Metric::plain("rate", "connections per second (higher is better)", "1/s", 0),
        Metric::plain("p50_ms", "latency, median", "ms", 2),
        Metric::plain("p99_ms", "latency, 99 %", "ms", 2),
        Metric::plain("failed", "failed connections", "", 0),
        Metric::plain("generator_us", "CPU per connection, load generator", "µs", 1),
    ],
    sample: sample::<1>,
};

pub(super) const BLOCKED: Measurement = Measurement {
    name: "library-blocked",
    title: "One of 4 library workers asleep for 200 ms at a time",
    method: "1000 connections per second by the clock; every 300 ms one request has its worker sleep for 200 ms in \
             its event loop. Counted: other connections slower than 20 ms, per block, less those of an equal run \
             without blocks.",
    peers: &[Peer::Library, Peer::Reuseport],
    ours: Peer::Library,
    rounds: Rounds::AsAsked,
    metrics: blocked::METRICS,
    sample: blocked::sample,
};

fn sample<const WORKERS: usize>(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    cost::sample(bench, peer, WORKERS)
}
