//! Who notices that a look into a caller does not end: what a program passes by address may lie in memory that somebody
//! has yet to fill (a mapped file on FUSE or on a dead server), and all other workers' calls wait behind that look. A page of
//! `userfaultfd` is no such memory: to others it is a fault at once (Linux 6.1).
//!
//! Invariant: a look costs no wake-up here but the first in a while, nothing runs while nobody is looked into, and of one look
//! each stage is told once.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use oneport_core::WorkerId;

/// How long a look lasts by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasting {
    /// Longer than looks do.
    Long,
    /// Too long for everybody else. If what fills the memory ends with the worker, so does the look.
    TooLong,
}

/// When it is which.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spans {
    pub(super) long: Duration,
    pub(super) too_long: Duration,
}

/// The end of the thread that looks.
#[derive(Debug)]
pub(super) struct Stopwatch(Arc<Shared>);

/// A look; ends when dropped.
pub(super) struct Timed<'a>(&'a Shared);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    begun: Condvar,
}

#[derive(Debug, Default)]
struct State {
    looking: Option<Look>,
    watch: Watch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    at: WorkerId,
    since: Instant,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Watch {
    /// It waits to be told of a look.
    #[default]
    Idle,
    /// It looks again by itself.
    Timing,
    /// To end.
    Over,
}

impl Stopwatch {
    pub(super) fn start(
        spans: Spans,
        tell: impl Fn(WorkerId, Lasting) + Send + 'static,
    ) -> io::Result<Stopwatch> {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        thread::Builder::new().name("oneport-watch".into()).spawn(move || theirs.watch(spans, &tell))?;
        Ok(Stopwatch(shared))
    }

    pub(super) fn begin(&self, at: WorkerId) -> Timed<'_> {
        let mut state = self.0.lock();
        state.looking = Some(Look { at, since: Instant::now() });
        if state.watch == Watch::Idle {
            self.0.begun.notify_one();
        }
        Timed(&self.0)
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        self.0.lock().watch = Watch::Over;
        self.0.begun.notify_one();
    }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        self.0.lock().looking = None;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, spans: Spans, tell: &impl Fn(WorkerId, Lasting)) {
        // What was told last, and of which look.
        let mut told = None;
        let mut state = self.lock();
        while state.watch != Watch::Over {
            let next = state.looking.and_then(|look| match told {
                Some((of, Lasting::TooLong)) if of == look => None,
                Some((of, Lasting::Long)) if of == look => Some((look, spans.too_long, Lasting::TooLong)),
                Some(_) | None => Some((look, spans.long, Lasting::Long)),
            });
            let Some((look, span, lasting)) = next else {
                state.watch = Watch::Idle;
                state = self.begun.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = span.saturating_sub(look.since.elapsed());
            if left.is_zero() {
                told = Some((look, lasting));
                drop(state);
                tell(look.at, lasting);
                state = self.lock();
            } else {
                state.watch = Watch::Timing;
                (state, _) = self.begun.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;

    use oneport_core::WorkerId;

    use super::{Lasting, Spans, Stopwatch};

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_look_that_does_not_end_is_told_when_it_is_long_and_when_it_is_too_long() {
        let (told, heard) = channel();
        let spans = Spans { long: Duration::from_millis(10), too_long: Duration::from_millis(30) };
        let stopwatch =
            Stopwatch::start(spans, move |at, lasting| told.send((at, lasting)).unwrap()).unwrap();
        for worker in [1, 2].map(WorkerId) {
            let look = stopwatch.begin(worker);
            assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), (worker, Lasting::Long));
            assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), (worker, Lasting::TooLong));
            drop(look);
            assert!(stopwatch.0.lock().looking.is_none());
        }
        drop(stopwatch);
        // Nothing was told twice, and its thread ends.
        assert_eq!(heard.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
    }
}
