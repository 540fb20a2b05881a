//! How many words of the thread that looks into callers may be on their way to the loop.
//!
//! Invariant: at most `MOST_AT_ONCE` permits are out; whoever wants one more waits until the loop is done with another, and so
//! do the programs whose calls were not received yet.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

const MOST_AT_ONCE: usize = 64;

/// Counts what is on its way.
#[derive(Debug, Default)]
pub(super) struct Gate {
    inside: Mutex<usize>,
    left: Condvar,
}

/// Held by a word until the loop is done with it.
#[derive(Debug)]
pub(super) struct Permit(Arc<Gate>);

impl Gate {
    pub(super) fn enter(gate: &Arc<Gate>) -> Permit {
        let inside = gate.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let mut inside = gate
            .left
            .wait_while(inside, |inside| *inside >= MOST_AT_ONCE)
            .unwrap_or_else(PoisonError::into_inner);
        *inside += 1;
        drop(inside);
        Permit(gate.clone())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.0.inside.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.left.notify_one();
    }
}
