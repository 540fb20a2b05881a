//! What people and scripts are shown of apps and their workers: `oneport_wire::control` in, text out. No I/O
//! and no clock: the caller says what time it is, and how wide the terminal. Texts hold colours; print them
//! through `anstream`, which takes them off where they are not wanted. Only [`Progress`] is printed as it is:
//! it moves the cursor, which `anstream` would take off too where colours are refused on a terminal.
//!
//! Every text that an app, its configuration or its worker chose goes through `letters`: no name moves a
//! cursor.

mod describe;
mod environment;
mod failed;
mod grid;
mod jlist;
mod json;
mod letters;
mod mini;
mod monit;
mod paint;
mod plan;
mod progress;
mod rows;
#[cfg(test)]
mod sample;
mod secrets;
mod sort;
mod table;
mod tick;
mod units;

pub(crate) use describe::{Description, describe};
pub(crate) use environment::{Difference, configured, differences, env};
pub(crate) use failed::{exit_words, job_failure};
pub(crate) use jlist::{jlist, prettylist};
pub(crate) use json::{LIST_VERSION, list_json};
pub(crate) use letters::clean;
pub(crate) use mini::mini;
pub(crate) use monit::{Host, Screen, in_place, monit};
pub(crate) use plan::{Applied, Change, plan};
pub(crate) use progress::{Colours, Place, Progress};
#[cfg(test)]
pub(crate) use sample::{apps as sample_apps, full as full_app};
pub(crate) use secrets::{Secrets, looks_secret};
pub(crate) use sort::{Order, Sort, SortField};
pub(crate) use table::{Look, table};
pub(crate) use tick::{Tone, applying, says, tick, ticks};
