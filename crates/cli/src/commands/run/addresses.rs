//! Addresses about which something was told already. A worker may ask for ever new ones, so what is remembered is
//! bounded, and so is what an address costs: its hash is kept and not its text.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// Far more than an app may hold open at once.
const REMEMBERED: usize = 1024;

#[derive(Default)]
pub(super) struct Addresses {
    seen: HashSet<u64>,
    hasher: RandomState,
}

impl Addresses {
    /// Whether it is new. When there are too many all are forgotten, and told once more if they come again.
    pub(super) fn insert(&mut self, address: &str) -> bool {
        let hash = self.hasher.hash_one(address);
        if self.seen.len() >= REMEMBERED && !self.seen.contains(&hash) {
            self.seen.clear();
        }
        self.seen.insert(hash)
    }

    pub(super) fn remove(&mut self, address: &str) {
        self.seen.remove(&self.hasher.hash_one(address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_new_once_until_it_is_removed() {
        let mut addresses = Addresses::default();
        assert!(addresses.insert("127.0.0.1:8000"));
        assert!(!addresses.insert("127.0.0.1:8000"));
        addresses.remove("127.0.0.1:8000");
        assert!(addresses.insert("127.0.0.1:8000"));
    }

    #[test]
    fn ever_new_addresses_fill_no_memory() {
        let mut addresses = Addresses::default();
        for port in 0..10 * REMEMBERED {
            assert!(addresses.insert(&format!("127.0.0.1:{port}")));
            assert!(addresses.seen.len() <= REMEMBERED);
        }
    }
}
