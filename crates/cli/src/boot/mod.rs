//! Coming back after a start of the machine: a unit of systemd, written by `oneport startup` and removed by `oneport unstartup`,
//! and what a daemon says to systemd. Other init systems are not known.
//!
//! Everything is done below a root directory and through a `systemctl` that are both named in [`Place`], so that it can be tried,
//! and used on the image of a machine.

mod install;
mod links;
mod names;
mod notify;
mod options;
mod passwd;
mod place;
mod quote;
mod search;
mod unit;

pub(crate) use install::{startup, unstartup};
pub(crate) use notify::{notify_extend, notify_ready, notify_stopping};
pub(crate) use options::{Least, Level, Network, Outcome, Purpose, StartupOptions};
pub(crate) use place::Place;
