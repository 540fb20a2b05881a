//! Short connections to two Node workers that are never out of work: what each tier costs beside the hash, Node's own
//! cluster in both of its manners, PM2, and nginx.
//!
//! nginx answers without a program behind it: it shows where the floor lies and is no goal.

use super::{A, B, C, HASH, Measurement, Metric, Rounds, cost};
use crate::goal::{Aim, Goal, GoalOf};
use crate::node::Major;
use crate::peer::Peer;

const WORKERS: usize = 2;

pub(in crate::measure) const MEASUREMENT: Measurement = Measurement {
    name: "least-churn",
    title: "Short connections, 2 workers, by policy",
    method: "Connect, one request, one answer, reset; 64 at a time in a closed loop, so the workers are never idle. CPU \
             time is summed over primary and workers, divided by answered connections. nginx: its own two workers, a \
             static answer.",
    peers: &[A, B, C, HASH, Peer::Oneport, Peer::NodeRr, Peer::NodeNone, Peer::Pm2, Peer::Nginx],
    ours: A,
    rounds: Rounds::AsAsked,
    metrics: &metrics(&[|_| Goal::AtLeast(Peer::NodeRr, 2.2)]),
    sample: |bench, peer, _| cost::sample(bench, peer, WORKERS),
};

pub(in crate::measure) const NEWER: Measurement = Measurement {
    name: "least-churn-node24",
    title: "Short connections, 2 workers, by policy, Node 24",
    method: "The same with Node 24, in which workers can have sockets of their own: its own cluster with `reusePort: true` \
             stands beside it.",
    peers: &[A, B, C, HASH, Peer::Oneport, Peer::NodeRr, Peer::NodeNone, Peer::NodeReusePort, Peer::Pm2],
    ours: A,
    rounds: Rounds::AsAsked,
    metrics: &metrics(&[|_| Goal::AtLeast(Peer::NodeRr, 2.5)]),
    sample: |bench, peer, _| cost::sample_on(bench, peer, Major::TwentyFour, WORKERS),
};

/// The table, with the goal of the rate.
const fn metrics(rate: &'static [GoalOf]) -> [Metric; 11] {
    [
        Metric::compared("total_us", "CPU per connection, all processes", "µs", 1)
            .against(&[Peer::NodeRr, A, HASH])
            .must(&[|_| Goal::AtMost(Peer::NodeRr, 0.45), |_| Goal::AtMost(HASH, 1.1)])
            .aiming(&[
                Aim { of: &[B, C], goal: |_| Goal::AtMost(A, 1.1) },
                Aim { of: &[B, C], goal: |_| Goal::AtMost(HASH, 1.1) },
            ]),
        Metric::compared("rate", "connections per second (higher is better)", "1/s", 0).must(rate),
        Metric::plain("primary_us", "CPU per connection, primary alone", "µs", 2),
        Metric::plain("workers_us", "CPU per connection, workers", "µs", 1),
        Metric::plain("most", "connections of the busiest worker, 1 is an even share", "", 3),
        Metric::plain("least", "connections of the least busy worker", "", 3),
        Metric::plain("p50_ms", "latency, median", "ms", 2),
        Metric::plain("p99_ms", "latency, 99 %", "ms", 2),
        Metric::plain("failed", "failed connections", "", 0),
        Metric::plain("rescued", "share that was given from one worker to another while it waited", "%", 3),
        Metric::plain("generator_us", "CPU per connection, load generator", "µs", 1),
    ]
}
