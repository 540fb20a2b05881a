//! Connections of a leaving worker over which a client asks again and again. Such a worker may have no moment in which all of
//! its connections are idle, as long as it is waited for: they are ended one by one instead, each in a moment when it is
//! idle, and its client comes back to another worker.
//!
//! Only those: one over which nothing comes is left to the worker, which may have words of its own for its end.
//!
//! A client that has no pause asks again in the tick of the kernel's clock in which it was answered, and by the clock alone
//! that looks like a request answered at once. But what is answered at once is acknowledged with the answer, and what is not
//! is acknowledged by a segment of its own, within 40 ms. Pure.

use std::collections::{HashMap, HashSet};

use oneport_sys::diag::{self, Connection};

/// How long a connection must have been idle before it is ended: an answer may come in pieces. One that is still there when a
/// part of its time has passed never rests for so long, and is cut in the middle of a request at its end: less has to do.
const RESTS_MS: [u32; 3] = [50, 12, 2];
/// An acknowledgement is held back for so long at most.
const ACKNOWLEDGED_AFTER_MS: u32 = 50;
/// Where it is not to be told whether a request waits for its answer, none is taken to wait longer.
const ANSWERED_AFTER_MS: u32 = 10_000;
/// As [`Connection::state`] has it.
const ESTABLISHED: u8 = 1;

/// What is known of a worker's connections from earlier looks, by their inodes.
#[derive(Debug, Default)]
pub(super) struct Restless {
    known: HashMap<u64, Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    segments_received: u32,
    /// At the last look.
    bare_segments: u32,
    /// At the last look before something came; `None`: nothing has come since the first look.
    bare_before: Option<u32>,
    /// It was idle at some look.
    rested: bool,
    /// Something came after that.
    asks_again: bool,
}

impl Restless {
    /// Takes in what a look has found.
    pub(super) fn see(&mut self, found: &[Connection]) {
        // One that either side has closed is over as soon as the worker sees it.
        let open = || found.iter().filter(|one| one.state == ESTABLISHED);
        let there: HashSet<u64> = open().map(|one| one.inode).collect();
        self.known.retain(|inode, _| there.contains(inode));
        for one in open() {
            let known = self.known.entry(one.inode).or_insert(Known {
                segments_received: one.segments_received,
                bare_segments: one.bare_segments_sent,
                bare_before: None,
                rested: false,
                asks_again: false,
            });
            if known.segments_received != one.segments_received {
                known.segments_received = one.segments_received;
                known.bare_before = Some(known.bare_segments);
                known.asks_again |= known.rested;
            }
            known.bare_segments = one.bare_segments_sent;
            known.rested |= is_idle(one, Some(known));
        }
    }

    /// Whether there is any.
    pub(super) fn is_any(&self) -> bool {
        self.known.values().any(|known| known.asks_again)
    }

    /// Whether nothing is under way on a connection.
    pub(super) fn is_idle(&self, one: &Connection) -> bool {
        is_idle(one, self.known.get(&one.inode))
    }

    /// Those that may be ended now. `passed`: how much of the time for it has passed, of 1.
    pub(super) fn resting<'a>(
        &'a self,
        found: &'a [Connection],
        passed: f64,
    ) -> impl Iterator<Item = &'a Connection> {
        let part = if passed < 1.0 / 3.0 { 0 } else { 1 + usize::from(passed >= 2.0 / 3.0) };
        let rest = RESTS_MS[part];
        let asks_again = |one: &&Connection| self.known.get(&one.inode).is_some_and(|known| known.asks_again);
        // The client acknowledges an answer with its next request, where that comes soon.
        let is_sent = move |one: &Connection| {
            let answered = one.since_last_received_ms > one.since_last_sent_ms;
            part > 0 && answered && one.unsent == 0 && one.receive_queue == 0
        };
        let rests = move |one: &&Connection| {
            one.since_last_sent_ms.is_some_and(|sent| {
                // Sooner than that one that came in the tick of the answer before it is not to be told from an answered one.
                let is_clear = sent >= ACKNOWLEDGED_AFTER_MS || one.since_last_received_ms > Some(sent);
                sent >= rest && is_clear
            })
        };
        found.iter().filter(asks_again).filter(rests).filter(move |one| is_sent(one) || self.is_idle(one))
    }
}

fn is_idle(one: &Connection, known: Option<&Known>) -> bool {
    let (Some(sent), Some(received)) = (one.since_last_sent_ms, one.since_last_received_ms) else {
        return diag::is_idle(one);
    };
    let answered = sent != received || sent >= ANSWERED_AFTER_MS || {
        match known.and_then(|known| known.bare_before) {
            Some(before) => one.bare_segments_sent == before,
            // Unseen: if all that came was acknowledged so, the last was as well.
            None => one.segments_received < 2 || one.bare_segments_sent < one.segments_received,
        }
    };
    answered && diag::is_idle(one)
}

#[cfg(test)]
mod tests;
