//! The writing side of one app: a queue that anybody may put output into without ever waiting, and the thread
//! that writes it to files. What does not live here: reading workers' pipes.
//!
//! - `queue`: what waits for the disk, bounded and counted.
//! - `writer`: the thread; `target`: one file, opened, written, given up for a second when it fails, put
//!   aside when it is large or old; `voice`: lines that have begun and are not finished.
//! - `tidy`: how many files that were put aside are kept; `keeper`: the thread that compresses them.

mod file;
mod keeper;
mod queue;
mod target;
#[cfg(test)]
mod tests;
mod tidy;
mod voice;
mod writer;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use oneport_wire::control::LogPaths;

use super::{Plan, Source, Stream};
use crate::error::Failure;
pub(super) use file::empty_by_name;
use queue::{Entry, Queue};
use writer::Writer;

/// Where an app's output goes. Clones are the same store; when the last is dropped, its thread writes what
/// waits and ends.
#[derive(Clone)]
pub(crate) struct Store(Arc<Inner>);

struct Inner {
    queue: Arc<Queue>,
    /// For questions only; the thread has its own.
    plan: Mutex<Plan>,
}

impl Store {
    /// Files are opened when there is something for them.
    pub(crate) fn start(plan: Plan) -> Result<Store, Failure> {
        let failed =
            |cause: io::Error| Failure::new(format!("cannot store output of `{}`: {cause}", plan.app));
        let queue = Arc::new(Queue::new(&plan));
        let writer = Writer::new(queue.clone(), plan.clone());
        thread::Builder::new().name("logs".into()).spawn(|| writer.run()).map_err(failed)?;
        Ok(Store(Arc::new(Inner { queue, plan: Mutex::new(plan) })))
    }

    /// Never waits. What there is no room for is dropped whole, and counted.
    pub(crate) fn put(&self, source: Source, stream: Stream, bytes: &[u8]) {
        self.0.queue.put(source, stream, bytes);
    }

    /// Lets the thread catch up when it is behind only because it does not get to run: waits until half of
    /// the room is free, for some milliseconds, for a tenth of the time at most, and not at all while the
    /// disk takes nothing. For the thread that calls [`Store::put`], between two reads.
    pub(crate) fn breathe(&self) {
        self.0.queue.breathe();
    }

    /// Its pipe has ended. An unfinished line is finished where lines are looked at.
    pub(crate) fn line_end(&self, source: Source, stream: Stream) {
        self.0.queue.order(Entry::LineEnd { source, stream });
    }

    pub(crate) fn paths(&self, id: u32, _slot: u32) -> LogPaths {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner).paths(id)
    }

    /// All files are opened anew, by name.
    pub(crate) fn reopen(&self) {
        self.0.queue.order(Entry::Reopen);
    }

    /// All current files of the app are emptied; what was put aside stays.
    pub(crate) fn empty(&self) {
        self.0.queue.order(Entry::Empty);
    }

    /// Bytes that are in no file: no room, or the disk was full or failed.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.queue.dropped()
    }

    /// What is wrong with the files now, if something is: `cannot write to `PATH`: CAUSE`.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.0.queue.trouble()
    }

    /// Its configuration has changed.
    pub(crate) fn replan(&self, plan: Plan) {
        *self.0.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan.clone();
        self.0.queue.order(Entry::Replan(Box::new(plan)));
    }

    /// Writes what waits, then calls `done`; what is put in later is dropped. A disk that hangs may keep it
    /// for ever: see [`Store::progress`].
    pub(crate) fn finish(&self, done: impl FnOnce() + Send + 'static) {
        self.0.queue.order(Entry::Finish(Box::new(done)));
    }

    /// Bytes written so far: while this grows, waiting is worth it.
    #[cfg(test)]
    pub(crate) fn progress(&self) -> u64 {
        self.0.queue.written()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.order(Entry::Finish(Box::new(|| {})));
    }
}
