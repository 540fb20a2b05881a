//! What the filter costs the system calls that it does not trap: the process measures itself.
//!
//! `getppid` does next to nothing, `read` of a bad descriptor a little more; both return at once.

use super::{Measurement, Metric, Rounds, Sample};
use crate::bench::Bench;
use crate::error::{Cannot, Failure, Result};
use crate::load::http;
use crate::peer::Peer;
use crate::program::Program;
use crate::server::Server;
use std::time::Duration;

pub(crate) const MEASUREMENT: Measurement = Measurement {
    name: "programs-filter",
    title: "System calls that are not trapped",
    method: "A copy times its own calls: the quickest of 40 batches of 20,000.",
    peers: &[Peer::Own, Peer::Bare],
    ours: Peer::Own,
    rounds: Rounds::AsAsked,
    metrics: &[
        Metric::compared("getppid_ns", "one getppid", "ns", 1).against(&[Peer::Bare]),
        Metric::compared("read_ns", "one read of a bad descriptor", "ns", 1).against(&[Peer::Bare]),
    ],
    sample,
};

fn sample(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let server = Server::program(bench, peer, Program::Epoll, 1)?;
    let what = || format!("time system calls under `{peer}`");
    let answer = http::ask_for(server.port(), http::SYSTEM_CALLS, Duration::from_secs(10)).cannot(what)?;
    let value = |name| {
        http::header::<f64>(&answer, name)
            .ok_or_else(|| Failure::cannot(what(), "the answer lacks the figures"))
    };
    Ok(Sample::default().with("getppid_ns", value("X-Getppid: ")?).with("read_ns", value("X-Read: ")?))
}
