//! The words of oneport: bytes to typed messages and back. No I/O, no descriptors, no clock; a caller reads
//! and writes, this crate spells. Everything decoded here was written by a stranger: it may be malformed,
//! endless or hostile, and the answer is always a message or a [`Violation`], never a panic.

pub mod control;
pub mod handoff;
pub mod health;
pub mod node;
mod violation;

pub use violation::Violation;
