//! The cluster API end to end: a primary in this process, library workers in others. Which of Node's tests is which of
//! ours is in README.md beside this file.
//!
//! A worker is this very test binary, started again to run only `entry_of_the_worker`, which does nothing in the
//! tests' own process. Which program it runs is named by a variable and looked up in the tables of the modules.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test says so by failing")]

mod all_leaving;
mod apart;
mod channel_child;
mod channel_handles;
mod channel_kit;
mod channel_messages;
mod channel_talker;
mod child_channel;
mod crowd;
mod disconnecting;
mod errors;
mod events;
mod giving_back;
mod harness;
mod life;
mod listening_accept;
mod listening_answers;
mod listening_apart;
mod listening_fd;
mod listening_loss;
mod listening_ports;
mod listening_refused;
mod listening_stranger;
mod listening_strangers;
mod listening_udp;
mod listening_unix;
mod listening_ways;
mod listening_worker;
mod primaries;
mod puppet;
mod settings;
mod supervised;

use harness::Program;

/// Every worker program there is; names are unique.
const PROGRAMS: &[&[Program]] = &[
    all_leaving::PROGRAMS, //
    channel_child::PROGRAMS,
    channel_handles::PROGRAMS,
    channel_messages::PROGRAMS,
    channel_talker::PROGRAMS,
    events::PROGRAMS,
    life::PROGRAMS,
    listening_accept::PROGRAMS,
    listening_answers::PROGRAMS,
    listening_fd::PROGRAMS,
    listening_loss::PROGRAMS,
    listening_refused::PROGRAMS,
    listening_stranger::PROGRAMS,
    listening_strangers::PROGRAMS,
    listening_unix::PROGRAMS,
    listening_ways::PROGRAMS,
    listening_worker::PROGRAMS,
    primaries::PROGRAMS,
    puppet::PROGRAMS,
    settings::PROGRAMS,
    supervised::PROGRAMS,
];

/// Runs in workers, and in primaries apart from the test's own process.
#[test]
fn entry_of_the_worker() {
    harness::run_program(PROGRAMS);
}
