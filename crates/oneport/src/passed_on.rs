//! Connections the primary passed on from a server of its own, which it may ask about later (Node's
//! `server.getConnections()` and `server.close()` count those in other processes too).
//!
//! A socket is known by its inode, which nothing else has while it is open, whatever descriptors name it. Invariant:
//! the table is bounded; what is closed leaves it at the latest when it is full.

use std::collections::HashMap;

/// Most sockets remembered. When all are open, further ones are not counted.
const MOST: usize = 65_536;
/// Most servers whose end is watched for.
const MOST_AWAITED: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct PassedOn {
    by_key: HashMap<String, Vec<u64>>,
    total: usize,
    awaited: Vec<String>,
}

impl PassedOn {
    /// Remembers a socket; `open` tells the inodes of all sockets that are open now, in rising order.
    pub(crate) fn remember(&mut self, key: String, inode: u64, open: impl FnOnce() -> Vec<u64>) {
        if self.total >= MOST {
            self.forget_closed(&open());
        }
        if self.total < MOST {
            self.total += 1;
            self.by_key.entry(key).or_default().push(inode);
        }
    }

    /// How many of that server's are open.
    pub(crate) fn count(&mut self, key: &str, open: &[u64]) -> i64 {
        self.forget_closed(open);
        self.by_key.get(key).map_or(0, |inodes| i64::try_from(inodes.len()).unwrap_or(i64::MAX))
    }

    /// From now on [`all_closed`](Self::all_closed) looks for the end of that server's.
    pub(crate) fn await_end(&mut self, key: String) {
        if self.awaited.len() < MOST_AWAITED && !self.awaited.contains(&key) {
            self.awaited.push(key);
        }
    }

    pub(crate) fn awaits(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// The awaited servers of which none is open any more; each is told once.
    pub(crate) fn all_closed(&mut self, open: &[u64]) -> Vec<String> {
        self.forget_closed(open);
        let by_key = &self.by_key;
        self.awaited.extract_if(.., |key| !by_key.contains_key(key)).collect()
    }

    fn forget_closed(&mut self, open: &[u64]) {
        self.by_key.retain(|_, inodes| {
            inodes.retain(|inode| open.binary_search(inode).is_ok());
            !inodes.is_empty()
        });
        self.total = self.by_key.values().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_counted_until_they_are_closed() {
        let mut passed = PassedOn::default();
        passed.remember("a".into(), 1, Vec::new);
        passed.remember("a".into(), 2, Vec::new);
        passed.remember("b".into(), 3, Vec::new);
        assert_eq!(passed.count("a", &[1, 2, 3]), 2);
        assert_eq!(passed.count("a", &[2, 3]), 1);
        assert_eq!(passed.count("none", &[2, 3]), 0);
    }

    #[test]
    fn the_end_of_a_server_is_told_once() {
        let mut passed = PassedOn::default();
        passed.remember("a".into(), 1, Vec::new);
        passed.await_end("a".into());
        passed.await_end("empty".into());
        assert_eq!(passed.all_closed(&[1]), ["empty"]);
        assert!(passed.awaits());
        assert_eq!(passed.all_closed(&[7]), ["a"]);
        assert!(!passed.awaits());
        assert!(passed.all_closed(&[]).is_empty());
    }

    #[test]
    fn the_table_is_bounded_and_makes_room_by_looking() {
        let mut passed = PassedOn::default();
        (0..2 * MOST as u64).for_each(|inode| passed.remember("a".into(), inode, || (0..10).collect()));
        assert!(passed.total <= MOST);
        (0..2 * MOST_AWAITED).for_each(|n| passed.await_end(n.to_string()));
        assert_eq!(passed.awaited.len(), MOST_AWAITED);
    }
}
