//! Programs without a channel as workers: this binary again, as a server that knows nothing of a cluster.
//!
//! What a copy does is a script in its environment (`acts`); afterwards it takes orders from its test. Scenarios that must
//! hold in every way of attaching run once per way.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test says so by failing")]

mod acts;
mod harness;

mod any_port;
mod claims;
mod crash;
mod left_alone;
mod life;
mod listen_fds;
mod notify;
mod polled;
mod ready;
mod sharing;
mod strangers;
mod udp;
mod unruly;

/// Runs in copies.
#[test]
fn entry_of_the_program() {
    acts::play();
}
