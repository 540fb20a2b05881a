//! What one connection costs a program: one copy beside the program alone, two beside two that share the port by
//! SO_REUSEPORT. How it is counted is in `measure::cost`.

use super::super::cost::of_program;
use super::{Measurement, Metric, Rounds, Sample};
use crate::bench::Bench;
use crate::error::Result;
use crate::goal::Goal;
use crate::peer::Peer;
use crate::program::Program;

const LIMIT: f64 = 1.10;

const TITLE: &str = "CPU per connection, all processes";
const REST: [Metric; 8] = [
    Metric::plain("primary_us", "CPU per connection, primary alone", "µs", 3),
    Metric::plain("workers_us", "CPU per connection, copies", "µs", 1),
    Metric::plain("most", "connections of the busiest copy, 1 is an even share", "", 3),
    Metric::plain("rate", "connections per second (higher is better)", "1/s", 0),
    Metric::plain("p50_ms", "latency, median", "ms", 2),
    Metric::plain("p99_ms", "latency, 99 %", "ms", 2),
    Metric::plain("failed", "failed connections", "", 0),
    Metric::plain("generator_us", "CPU per connection, load generator", "µs", 1),
];

/// The table with ratios and the goal against one peer.
macro_rules! metrics {
    ($base:expr) => {{
        let [a, b, c, d, e, f, g, h] = REST;
        &[
            Metric::compared("total_us", TITLE, "µs", 1)
                .against(&[$base])
                .must(&[|_| Goal::AtMost($base, LIMIT)]),
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
        ]
    }};
}

const ONE: &[Metric] = metrics!(Peer::Bare);
const TWO: &[Metric] = metrics!(Peer::Copies);
const TWO_OF_NODE: &[Metric] = metrics!(Peer::NodeRr);

type Take = fn(&Bench, Peer, u32) -> Result<Sample>;

const fn one(name: &'static str, title: &'static str, sample: Take) -> Measurement {
    Measurement {
        name,
        title,
        method: "Connect, one request, one answer, reset; 64 at a time in a closed loop. The same program as the one copy of \
                 `oneport run --attach own`, and alone. CPU time is summed over all processes of each.",
        peers: &[Peer::Own, Peer::Bare],
        ours: Peer::Own,
        rounds: Rounds::AsAsked,
        metrics: ONE,
        sample,
    }
}

const fn two(name: &'static str, title: &'static str, sample: Take) -> Measurement {
    Measurement {
        name,
        title,
        method: "The same load. The same program as two copies of `oneport run --attach own`, and as two processes that \
                 set SO_REUSEPORT themselves.",
        peers: &[Peer::Own, Peer::Copies],
        ours: Peer::Own,
        rounds: Rounds::AsAsked,
        metrics: TWO,
        sample,
    }
}

pub(crate) const EPOLL: Measurement =
    one("programs-epoll", "C server with epoll, 1 copy", |bench, peer, _| {
        of_program(bench, peer, Program::Epoll, 1)
    });
pub(crate) const BLOCK: Measurement = one("programs-block", "Blocking C server, 1 copy", |bench, peer, _| {
    of_program(bench, peer, Program::Block, 1)
});
pub(crate) const PYTHON: Measurement =
    one("programs-python", "Python's http.server, 1 copy", |bench, peer, _| {
        of_program(bench, peer, Program::Python, 1)
    });
pub(crate) const NGINX: Measurement =
    one("programs-nginx", "nginx, 1 copy", |bench, peer, _| of_program(bench, peer, Program::Nginx, 1));
pub(crate) const GO: Measurement =
    one("programs-go", "Static Go server, 1 copy", |bench, peer, _| of_program(bench, peer, Program::Go, 1));
pub(crate) const NODE: Measurement =
    one("programs-node", "Node without a channel, 1 copy", |bench, peer, _| {
        of_program(bench, peer, Program::Node, 1)
    });

pub(crate) const EPOLL_TWO: Measurement =
    two("programs-epoll-2", "C server with epoll, 2 copies", |bench, peer, _| {
        of_program(bench, peer, Program::Epoll, 2)
    });
pub(crate) const BLOCK_TWO: Measurement =
    two("programs-block-2", "Blocking C server, 2 copies", |bench, peer, _| {
        of_program(bench, peer, Program::Block, 2)
    });
pub(crate) const PYTHON_TWO: Measurement =
    two("programs-python-2", "Python's http.server, 2 copies", |bench, peer, _| {
        of_program(bench, peer, Program::Python, 2)
    });
pub(crate) const NGINX_TWO: Measurement =
    two("programs-nginx-2", "nginx, 2 copies", |bench, peer, _| of_program(bench, peer, Program::Nginx, 2));
pub(crate) const GO_TWO: Measurement =
    two("programs-go-2", "Static Go server, 2 copies", |bench, peer, _| {
        of_program(bench, peer, Program::Go, 2)
    });
pub(crate) const NODE_TWO: Measurement = Measurement {
    name: "programs-node-2",
    title: "Node without a channel, 2 copies",
    method: "The same load. `server.js` as two copies of `oneport run --attach own`, and under Node's own cluster, since Node \
             20 cannot set SO_REUSEPORT.",
    peers: &[Peer::Own, Peer::NodeRr],
    ours: Peer::Own,
    rounds: Rounds::AsAsked,
    metrics: TWO_OF_NODE,
    sample: |bench, peer, _| of_program(bench, peer, Program::Node, 2),
};
