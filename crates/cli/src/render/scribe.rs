//! The one who writes what is told to standard error: a bounded queue and a thread. A terminal that is held (Ctrl-S)
//! or a reader that has stopped blocks that thread and nobody else; who tells never waits.
//!
//! Lines come out in the order in which they were told. When the queue is full, ordinary lines are dropped, counted,
//! and the gap is told where it is. What went wrong has room beyond that.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice, adapter::strip_str};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::life::Loudness;
use crate::error::Failure;
use crate::output::{Progress, write_all};

/// Lines and bytes that may wait. What went wrong may wait up to twice that.
const LINES: usize = 4096;
const BYTES: usize = 4 * 1024 * 1024;

/// Words a gap of so many lines.
type GapWords = Box<dyn Fn(u64) -> String + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Scribe(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    progress: Progress,
    gap: GapWords,
    /// What stands before each line.
    stamp: Option<Stamp>,
}

type Stamp = Box<dyn Fn() -> String + Send + Sync>;

#[derive(Default)]
struct State {
    queue: VecDeque<Entry>,
    bytes: usize,
    /// Lines that were dropped and are not told yet.
    dropped: u64,
}

enum Entry {
    Line(String),
    /// Everything before it is written.
    Mark(Box<dyn FnOnce() + Send>),
}

impl Scribe {
    pub(crate) fn start(gap: impl Fn(u64) -> String + Send + Sync + 'static) -> Result<Scribe, Failure> {
        Scribe::idle(None, gap).started()
    }

    /// With something before each line: several write to one file.
    pub(crate) fn stamped(
        stamp: impl Fn() -> String + Send + Sync + 'static,
        gap: impl Fn(u64) -> String + Send + Sync + 'static,
    ) -> Result<Scribe, Failure> {
        Scribe::idle(Some(Box::new(stamp)), gap).started()
    }

    fn started(self) -> Result<Scribe, Failure> {
        let scribe = self;
        let shared = scribe.0.clone();
        let spawned = thread::Builder::new().name("scribe".into()).spawn(move || shared.write());
        spawned.map_err(|cause| Failure::new(format!("cannot tell anything: {cause}")))?;
        Ok(scribe)
    }

    fn idle(stamp: Option<Stamp>, gap: impl Fn(u64) -> String + Send + Sync + 'static) -> Scribe {
        Scribe(Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            progress: Progress::default(),
            gap: Box::new(gap),
            stamp,
        }))
    }

    /// Puts a line, without its end, into the queue. Never waits.
    pub(crate) fn say(&self, loudness: Loudness, line: String) {
        let mut state = self.0.lock();
        // After a gap ordinary lines wait for the queue to be half empty, or every second line would tell of a gap.
        let (lines, bytes) = match (loudness, state.dropped) {
            (Loudness::Quiet, _) => (2 * LINES, 2 * BYTES),
            (Loudness::Normal | Loudness::Verbose, 0) => (LINES, BYTES),
            (Loudness::Normal | Loudness::Verbose, _) => (LINES / 2, BYTES / 2),
        };
        if state.queue.len() >= lines || state.bytes + line.len() > bytes {
            state.dropped += 1;
            return;
        }
        match loudness {
            Loudness::Quiet => {}
            Loudness::Normal | Loudness::Verbose => state.tell_gap(&self.0.gap),
        }
        state.push(line);
        self.0.work.notify_one();
    }

    /// Calls `done` once everything said before is written.
    pub(crate) fn flush(&self, done: impl FnOnce() + Send + 'static) {
        let mut state = self.0.lock();
        state.tell_gap(&self.0.gap);
        state.queue.push_back(Entry::Mark(Box::new(done)));
        self.0.work.notify_one();
    }

    /// Waits until everything is written, but not longer than this.
    pub(crate) fn flush_within(&self, limit: Duration) {
        let (sender, done) = channel();
        self.flush(move || _ = sender.send(()));
        // What nobody reads is lost.
        let _ = done.recv_timeout(limit);
    }

    /// How much it has written.
    pub(crate) fn progress(&self) -> u64 {
        self.0.progress.seen()
    }
}

impl State {
    fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.queue.push_back(Entry::Line(line));
    }

    fn tell_gap(&mut self, words: &GapWords) {
        if self.dropped > 0 {
            let line = words(std::mem::take(&mut self.dropped));
            self.push(line);
        }
    }

    /// What is to be written next.
    fn next(&mut self, words: &GapWords) -> Option<Entry> {
        if self.queue.is_empty() {
            self.tell_gap(words);
        }
        let entry = self.queue.pop_front();
        if let Some(Entry::Line(line)) = &entry {
            self.bytes -= line.len();
        }
        entry
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) {
        let plain = match AutoStream::choice(&io::stderr()) {
            ColorChoice::Never => true,
            ColorChoice::Auto | ColorChoice::Always | ColorChoice::AlwaysAnsi => false,
        };
        loop {
            match self.wait() {
                Entry::Line(line) => {
                    let stamp = self.stamp.as_ref().map(|stamp| stamp()).unwrap_or_default();
                    let line = format!("{stamp}{line}");
                    let line = if plain { format!("{}\n", strip_str(&line)) } else { format!("{line}\n") };
                    write_all(rustix::stdio::stderr(), line.as_bytes(), &self.progress);
                }
                Entry::Mark(done) => done(),
            }
        }
    }

    fn wait(&self) -> Entry {
        let mut state = self.lock();
        loop {
            if let Some(entry) = state.next(&self.gap) {
                return entry;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// For the log: one event is one write.
pub(crate) struct LogLine<'a> {
    scribe: &'a Scribe,
    loudness: Loudness,
}

impl io::Write for LogLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.scribe.say(self.loudness, text.trim_end_matches('\n').to_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Scribe {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        LogLine { scribe: self, loudness: Loudness::Verbose }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> LogLine<'a> {
        let loudness = if *meta.level() <= Level::WARN { Loudness::Quiet } else { Loudness::Verbose };
        LogLine { scribe: self, loudness }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Nobody writes: what is told stays in the queue.
    pub(crate) fn held() -> Scribe {
        Scribe::idle(None, |dropped| format!("gap of {dropped}"))
    }

    /// What waits.
    pub(crate) fn take(scribe: &Scribe, most: usize) -> Vec<String> {
        let mut state = scribe.0.lock();
        let mut lines = Vec::new();
        while lines.len() < most
            && let Some(Entry::Line(line)) = state.next(&scribe.0.gap)
        {
            lines.push(line);
        }
        lines
    }

    #[test]
    fn a_full_queue_drops_ordinary_lines_and_tells_the_gap_in_its_place() {
        let scribe = held();
        for n in 0..LINES + 10 {
            scribe.say(Loudness::Normal, n.to_string());
        }
        scribe.say(Loudness::Quiet, "wrong".into());
        assert_eq!(take(&scribe, LINES / 2).last().map(String::as_str), Some("2047"));
        scribe.say(Loudness::Normal, "too early".into());
        assert_eq!(take(&scribe, 1), ["2048"]);
        scribe.say(Loudness::Normal, "still too early".into());
        take(&scribe, 1);
        scribe.say(Loudness::Verbose, "after".into());
        let rest = take(&scribe, usize::MAX);
        assert_eq!(rest[rest.len() - 3..], ["wrong", "gap of 12", "after"]);
        assert_eq!(rest[rest.len() - 4], (LINES - 1).to_string());
    }

    #[test]
    fn what_went_wrong_is_bounded_too() {
        let scribe = held();
        for _ in 0..3 * LINES {
            scribe.say(Loudness::Quiet, "wrong".into());
        }
        let lines = take(&scribe, usize::MAX);
        assert_eq!((lines.len(), lines[2 * LINES].as_str()), (2 * LINES + 1, "gap of 4096"));
    }

    #[test]
    fn long_lines_are_bounded_in_bytes() {
        let scribe = held();
        for _ in 0..100 {
            scribe.say(Loudness::Normal, "x".repeat(BYTES / 4));
        }
        let lines = take(&scribe, usize::MAX);
        assert_eq!((lines.len(), lines[4].as_str()), (5, "gap of 96"));
        assert_eq!(scribe.0.lock().bytes, 0);
    }
}
