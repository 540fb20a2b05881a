//! Output of managed apps: how it is stored in files, and how those are read again.
//!
//! - `plan`: which files an app writes, in what form, and how much of them is kept; `moment`: times in
//!   Moment.js' words.
//! - `store`: the writing side, one thread for each app, in its primary.
//! - `aside`: the names of files that were put aside, shared by who writes them and who reads them.
//! - `show`: the reading side, of commands. Files only; no daemon is needed for it.
//!
//! Where the bytes come from is not here: `output` reads workers' pipes.

mod aside;
mod moment;
mod plan;
mod show;
mod store;
#[cfg(test)]
mod testing;

pub(crate) use plan::is_somebodys_own;
pub(crate) use plan::{Plan, file_name};
pub(crate) use show::{Look, Paint, Show, Wanted, WholeLines, empty_files, show};
pub(crate) use store::Store;

/// Which of a worker's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stream {
    Out,
    Err,
}

impl Stream {
    /// PM2's word for it, in JSON lines.
    fn word(self) -> &'static str {
        match self {
            Stream::Out => "out",
            Stream::Err => "err",
        }
    }
}

/// Who wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    /// The number of the slot among all of the daemon (PM2's `pm_id`).
    pub(crate) id: u32,
    /// The slot within the app.
    pub(crate) slot: u32,
    /// The process: in a reload two generations write for one slot.
    pub(crate) pid: i32,
}

/// A line longer than this is stored and shown in pieces, where lines are looked at at all.
const LONGEST_LINE: usize = 64 * 1024;
