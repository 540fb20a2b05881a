//! Answers that are put off while more connections wait for the program: one write then does for several. It asks for
//! the next one in a moment, as a rule; where it does not, the reading thread answers a little later.
//!
//! Invariant: nothing runs while nothing is put off, and under load no connection wakes the reading thread: it looks by
//! itself for as long as answers are put off again and again.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use oneport_sys::waker::Waker;

/// How long an answer may be put off, at most twice: until it is given the primary holds the connection open, and the
/// client does not see its end.
const LOOK: Duration = Duration::from_millis(5);

/// What tells the reading thread that answers are put off.
#[derive(Debug)]
pub(super) struct Deferral {
    pub(super) waker: Waker,
    /// The reading thread looks.
    watched: AtomicBool,
    count: AtomicU64,
}

impl Deferral {
    pub(super) fn new() -> io::Result<Deferral> {
        Ok(Deferral { waker: Waker::new()?, watched: AtomicBool::new(false), count: AtomicU64::new(0) })
    }

    /// An answer is put off.
    pub(super) fn note(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        if !self.watched.swap(true, Ordering::SeqCst) {
            // A thread that cannot be woken has ended, and the primary with it.
            let _ = self.waker.wake();
        }
    }
}

/// When the reading thread looks.
#[derive(Debug, Default)]
pub(super) struct Watch {
    due: Option<Instant>,
    seen: u64,
}

impl Watch {
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// It was woken: answers are put off from now on.
    pub(super) fn begin(&mut self, deferral: &Deferral) {
        // A waker that cannot be cleared only makes this run again.
        let _ = deferral.waker.clear();
        self.due.get_or_insert_with(|| Instant::now() + LOOK);
    }

    /// Whether those put off have to be given now. When none was put off since the last look, nobody looks again until
    /// one is.
    pub(super) fn is_due(&mut self, deferral: &Deferral) -> bool {
        if self.due.is_none_or(|due| Instant::now() < due) {
            return false;
        }
        let count = deferral.count.load(Ordering::SeqCst);
        let mut rests = count == self.seen;
        if rests {
            deferral.watched.store(false, Ordering::SeqCst);
            // One put off just before that woke nobody.
            rests = deferral.count.load(Ordering::SeqCst) == count
                || deferral.watched.swap(true, Ordering::SeqCst);
        }
        self.seen = count;
        self.due = if rests { None } else { Some(Instant::now() + LOOK) };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until_due(watch: &mut Watch, deferral: &Deferral) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !watch.is_due(deferral) {
            assert!(Instant::now() < deadline, "never due");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_thread_looks_for_as_long_as_answers_are_put_off_and_then_rests() {
        let (deferral, mut watch) = (Deferral::new().expect("a waker"), Watch::default());
        assert!(watch.due().is_none() && !watch.is_due(&deferral));
        deferral.note();
        watch.begin(&deferral);
        until_due(&mut watch, &deferral);
        assert!(watch.due().is_some(), "one was put off since the last look");
        deferral.note();
        until_due(&mut watch, &deferral);
        until_due(&mut watch, &deferral);
        assert!(watch.due().is_none());
        // And it is woken again.
        assert!(!deferral.watched.load(Ordering::SeqCst));
        deferral.note();
        assert!(deferral.watched.load(Ordering::SeqCst));
    }
}
