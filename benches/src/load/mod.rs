//! The load generator: one thread, epoll, one request per connection, closed by reset.
//!
//! `engine` moves connections along, `closed` keeps a fixed number of them open, `open` starts them by the clock,
//! `held` opens connections that stay, `far` such ones from far away. Every loop is bounded in count and in time.

mod closed;
mod engine;
pub(crate) mod far;
pub(crate) mod held;
pub(crate) mod http;
mod open;
mod steady;
mod talk;

pub(crate) use closed::{closed, closed_until};
pub(crate) use open::{Blocks, open};
pub(crate) use steady::{Offer, Seen, steady};

use std::collections::BTreeMap;
use std::time::Duration;

/// What a run of the generator saw.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Latencies of answered requests in µs, ascending; requests that block a worker are not among them.
    pub(crate) latencies: Vec<u32>,
    /// Answered requests that were asked to block a worker.
    pub(crate) blocks: u32,
    /// Answered requests by the pid that answered.
    pub(crate) workers: BTreeMap<i32, u32>,
    /// Connections refused, reset, closed early, answered wrongly or not in time.
    pub(crate) failed: u32,
    /// From the first connect to the last answer.
    pub(crate) elapsed: Duration,
}

impl Outcome {
    /// Answered requests of both kinds.
    pub(crate) fn answered(&self) -> u32 {
        self.latencies.len() as u32 + self.blocks
    }

    /// Answered requests per second.
    pub(crate) fn rate(&self) -> f64 {
        f64::from(self.answered()) / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Ordinary requests that took longer than `limit`, failed ones included.
    pub(crate) fn slower_than(&self, limit: Duration) -> u32 {
        let limit = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
        let slow = self.latencies.iter().filter(|&&latency| latency > limit).count();
        slow as u32 + self.failed
    }
}
