//! The library in real programs, against a primary played by the test.
//!
//! The programs are C (`probe.c`), each a few lines around one habit of servers. Where no C compiler is, they are skipped.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test says so by failing")]

mod harness;
mod leaving;
mod refusals;
mod sharing;
mod strangers;
mod traces;
mod untouched;
mod ways;
