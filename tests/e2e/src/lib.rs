//! Harness of the end-to-end tests: starts the real `oneport` binary, follows its life lines, talks to the
//! servers behind it as a client would.
//!
//! The scenarios live in `tests/`, one file per theme. Everything here waits for something that was seen
//! (a life line, a byte, an entry in `/proc`) with a deadline; nothing waits for time to pass. Whatever a
//! test started is ended when its [`App`] is dropped.

pub mod cluster;
pub mod http;
pub mod life;
pub mod load;
pub mod manager;
pub mod peer;
pub mod place;
pub mod procfs;
pub mod programs;
pub mod run;
pub mod tcp;
pub mod wait;

pub use life::Event;
pub use place::TempDir;
pub use run::{App, Finished, Run};
pub use rustix::process::Signal;
