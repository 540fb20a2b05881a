//! Being asked before a program binds or listens, where seccomp notification cannot be had: the primary's end of the library in
//! `crates/preload`, which `LD_PRELOAD` puts into the program.
//!
//! What lives here: the socket that the library asks at, its questions as types, and the answers. What does not: what the answer
//! should be, and where the library's file is. Invariant: whoever connects is a stranger until its token is known; silent ones are
//! bounded in number and time, nonsense costs its connection, and nothing here waits.

mod listener;
#[allow(dead_code, reason = "the other half of the words is the library's")]
#[path = "../../../preload/src/message.rs"]
mod message;
mod request;
mod room;
mod token;

pub use listener::{Answer, ShimCall, ShimListener};
pub use request::{Call, Listening, Request, ReusePort};
pub use token::Token;

/// The variable that tells a program about its primary; [`ShimListener::variable`] is its value. It stays in the environment
/// together with `LD_PRELOAD`: wrappers pass both on to the program that listens.
pub const VARIABLE: &str = message::VARIABLE;
