//! Connections of a leaving worker over which a client asks again and again. Such a worker may have no moment in which all of
//! its connections are idle, as long as it is waited for: they are ended one by one instead, each in a moment when it is
//! idle, and its client comes back to another worker.
//!
//! Only those: one over which nothing comes is left to the worker, which may have words of its own for its end. Pure.

use std::collections::HashSet;
use std::time::Duration;

use oneport_sys::diag::{self, Connection};

/// How long a connection must have been idle before it is ended: an answer may come in pieces.
const RESTS_MS: u32 = 50;
/// As [`Connection::state`] has it.
const ESTABLISHED: u8 = 1;
/// The kernel's clock goes in steps of so much at most.
const TICK: Duration = Duration::from_millis(10);

/// What is known of a worker's connections from earlier looks, by their inodes.
#[derive(Debug, Default)]
pub(super) struct Restless {
    /// Seen idle.
    rested: HashSet<u64>,
    /// Something came after that.
    asking: HashSet<u64>,
}

impl Restless {
    /// Takes in what a look has found, so long after the one before.
    pub(super) fn see(&mut self, found: &[Connection], since: Duration) {
        // One that either side has closed is over as soon as the worker sees it.
        let there: HashSet<u64> =
            found.iter().filter(|one| one.state == ESTABLISHED).map(|one| one.inode).collect();
        self.rested.retain(|inode| there.contains(inode));
        self.asking.retain(|inode| there.contains(inode));
        for one in found.iter().filter(|one| one.state == ESTABLISHED) {
            let idle = diag::is_idle(one);
            if self.rested.contains(&one.inode) && (!idle || has_received(one, since)) {
                self.asking.insert(one.inode);
            }
            if idle {
                self.rested.insert(one.inode);
            }
        }
    }

    /// Whether there is any.
    pub(super) fn is_any(&self) -> bool {
        !self.asking.is_empty()
    }

    /// Those that may be ended now.
    pub(super) fn resting<'a>(&'a self, found: &'a [Connection]) -> impl Iterator<Item = u64> + 'a {
        let rests = |one: &&Connection| one.since_last_sent_ms.is_some_and(|ms| ms >= RESTS_MS);
        let asking = found.iter().filter(|one| self.asking.contains(&one.inode));
        asking.filter(|one| diag::is_idle(one)).filter(rests).map(|one| one.inode)
    }
}

fn has_received(one: &Connection, since: Duration) -> bool {
    let ago = one.since_last_received_ms.map(|ms| Duration::from_millis(ms.into()));
    ago.is_some_and(|ago| ago + TICK < since)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(25);

    fn connection(inode: u64, sent: u32, received: u32) -> Connection {
        let address = "127.0.0.1:80".parse().unwrap();
        Connection {
            inode,
            local: address,
            remote: address,
            state: 1,
            receive_queue: 0,
            send_queue: 0,
            since_last_sent_ms: Some(sent),
            since_last_received_ms: Some(received),
        }
    }

    fn resting(restless: &Restless, found: &[Connection]) -> Vec<u64> {
        restless.resting(found).collect()
    }

    #[test]
    fn who_asks_again_is_ended_once_it_rests() {
        let mut restless = Restless::default();
        restless.see(&[connection(1, 60, 80)], LOOK);
        assert!(!restless.is_any());
        let busy = [connection(1, 90, 5)];
        restless.see(&busy, LOOK);
        assert!(restless.is_any());
        assert!(resting(&restless, &busy).is_empty());
        let (soon, later) = ([connection(1, 10, 30)], [connection(1, 50, 70)]);
        restless.see(&soon, LOOK);
        assert!(resting(&restless, &soon).is_empty());
        restless.see(&later, LOOK);
        assert_eq!(resting(&restless, &later), [1]);
    }

    #[test]
    fn a_request_answered_between_two_looks_is_seen_as_well() {
        let mut restless = Restless::default();
        restless.see(&[connection(1, 60, 80)], LOOK);
        restless.see(&[connection(1, 6, 6)], LOOK);
        assert!(restless.is_any());
    }

    #[test]
    fn one_long_answer_and_silence_are_no_asking() {
        let mut restless = Restless::default();
        // The request, its answer in pieces, and nothing after that.
        for (sent, received) in [(500, 10), (1, 100), (40, 140), (1, 200), (900, 1100)] {
            restless.see(&[connection(1, sent, received)], LOOK);
        }
        assert!(!restless.is_any());
    }

    #[test]
    fn one_that_was_closed_is_not_waited_for() {
        let mut restless = Restless::default();
        restless.see(&[connection(1, 60, 80)], LOOK);
        restless.see(&[connection(1, 90, 5)], LOOK);
        restless.see(&[Connection { state: 5, ..connection(1, 90, 110) }], LOOK);
        assert!(!restless.is_any());
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut restless = Restless::default();
        restless.see(&[connection(1, 60, 80)], LOOK);
        restless.see(&[connection(1, 90, 5)], LOOK);
        restless.see(&[], LOOK);
        assert!(!restless.is_any());
    }
}
