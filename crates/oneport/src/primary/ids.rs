//! Tables by our own ids. These are counted, never chosen by a stranger, so a multiplication spreads them well enough;
//! the standard library's hasher, made against chosen keys, costs more than everything else in a lookup.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map whose keys are ids that this process counts.
pub(super) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IdHasher(u64);

/// 2^64 divided by the golden ratio: neighbours end up far apart (Fibonacci hashing).
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        // The map takes its place from the low bits and a tag from the highest; the high ones are spread best.
        self.0.rotate_left(32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.write_u64(u64::from(id));
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0 ^ id).wrapping_mul(SPREAD);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher, BuildHasherDefault};

    use oneport_core::ConnId;

    use super::IdHasher;

    #[test]
    fn ids_in_a_row_share_hardly_a_place() {
        let build = BuildHasherDefault::<IdHasher>::default();
        let places: HashSet<u64> = (0..1024).map(|n| build.hash_one(ConnId(n)) & 4095).collect();
        assert!(places.len() > 800, "{}", places.len());
    }
}
