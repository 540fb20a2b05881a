//! The memory limit: whose memory, with that of everything it started, is above it.

use std::collections::HashMap;

use crate::usage::Sample;

/// Remembers whom it told of: a worker is told once while it stays above the limit.
#[derive(Debug)]
pub(crate) struct MemoryGuard {
    limit: u64,
    /// The process that was told of, by key.
    told: HashMap<u32, i32>,
}

/// A worker above the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Over {
    pub(crate) key: u32,
    pub(crate) used: u64,
}

impl MemoryGuard {
    /// Of so many bytes.
    pub(crate) fn new(limit: u64) -> MemoryGuard {
        MemoryGuard { limit, told: HashMap::new() }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Who is above it and was not told of: one that was is being replaced, until its process is another or it takes less.
    pub(crate) fn over(&mut self, workers: &[(u32, i32)], samples: &HashMap<u32, Sample>) -> Vec<Over> {
        let mut found = Vec::new();
        let mut told = HashMap::new();
        for (key, pid) in workers {
            let used = samples.get(key).and_then(|sample| sample.memory).unwrap_or(0);
            if used <= self.limit {
                continue;
            }
            if self.told.get(key) != Some(pid) {
                found.push(Over { key: *key, used });
            }
            told.insert(*key, *pid);
        }
        self.told = told;
        found
    }

    /// A worker whose replacement failed is told of again.
    pub(crate) fn forget(&mut self, key: u32) {
        self.told.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::{HashMap, MemoryGuard, Over, Sample};

    fn samples(memory: &[(u32, u64)]) -> HashMap<u32, Sample> {
        let sample = |memory| Sample { memory: Some(memory), ..Sample::default() };
        memory.iter().map(|(key, memory)| (*key, sample(*memory))).collect()
    }

    #[test]
    fn a_worker_is_told_of_once_until_it_is_another_process() {
        let mut guard = MemoryGuard::new(100);
        let above = samples(&[(1, 101), (2, 100)]);
        assert_eq!(guard.over(&[(1, 10), (2, 20)], &above), [Over { key: 1, used: 101 }]);
        assert_eq!(guard.over(&[(1, 10), (2, 20)], &above), [], "it is being replaced");
        assert_eq!(
            guard.over(&[(1, 11), (2, 20)], &above),
            [Over { key: 1, used: 101 }],
            "the new one as well"
        );
    }

    #[test]
    fn a_worker_that_came_down_is_told_of_again_when_it_is_above() {
        let mut guard = MemoryGuard::new(100);
        let workers = [(1, 10)];
        assert_eq!(guard.over(&workers, &samples(&[(1, 200)])).len(), 1);
        assert_eq!(guard.over(&workers, &samples(&[(1, 50)])), []);
        assert_eq!(guard.over(&workers, &samples(&[(1, 200)])).len(), 1);
    }

    #[test]
    fn a_replacement_that_failed_is_asked_for_again() {
        let mut guard = MemoryGuard::new(100);
        let (workers, above) = ([(1, 10)], samples(&[(1, 200)]));
        assert_eq!(guard.over(&workers, &above).len(), 1);
        guard.forget(1);
        assert_eq!(guard.over(&workers, &above).len(), 1);
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let mut guard = MemoryGuard::new(100);
        assert_eq!(guard.over(&[(1, 10)], &samples(&[(1, 200)])).len(), 1);
        assert_eq!(guard.over(&[], &HashMap::new()), []);
        assert!(guard.told.is_empty());
        assert_eq!(guard.over(&[(1, 10)], &HashMap::new()), [], "its process is gone");
    }
}
