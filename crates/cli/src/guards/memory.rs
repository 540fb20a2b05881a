//! The memory limit: whose memory, with that of everything it started, is above it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::usage::Sample;

/// Where a replacement helped for less than this, the next one comes after a pause that doubles: a limit that no worker can
/// keep must not have them replaced for ever.
const HELPED: Duration = Duration::from_secs(120);
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// As often as PM2 looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Remembers whom it told of: a worker is told once while it stays above the limit.
#[derive(Debug)]
pub(crate) struct MemoryGuard {
    limit: u64,
    /// The process that was told of, by key.
    told: HashMap<u32, i32>,
    /// When it was told last, and the pause after that.
    rests: HashMap<u32, (Instant, Duration)>,
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
        MemoryGuard { limit, told: HashMap::new(), rests: HashMap::new() }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Who is above it and was not told of: one that was is being replaced, until its process is another or it takes less.
    pub(crate) fn over(
        &mut self,
        workers: &[(u32, i32)],
        samples: &HashMap<u32, Sample>,
        now: Instant,
    ) -> Vec<Over> {
        let mut found = Vec::new();
        let mut told = HashMap::new();
        for (key, pid) in workers {
            let used = samples.get(key).and_then(|sample| sample.memory).unwrap_or(0);
            if used <= self.limit {
                continue;
            }
            if self.told.get(key) != Some(pid) {
                if !self.may_tell(*key, now) {
                    continue;
                }
                found.push(Over { key: *key, used });
            }
            told.insert(*key, *pid);
        }
        self.told = told;
        self.rests.retain(|_, (at, _)| now.duration_since(*at) < HELPED);
        found
    }

    /// Whether the pause since it was told the last time is over.
    fn may_tell(&mut self, key: u32, now: Instant) -> bool {
        let pause = match self.rests.get(&key) {
            Some((at, pause)) if now.duration_since(*at) < *pause => return false,
            Some((_, pause)) => pause.saturating_mul(2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        self.rests.insert(key, (now, pause));
        true
    }

    /// A worker whose replacement failed is told of again.
    pub(crate) fn forget(&mut self, key: u32) {
        self.told.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, HashMap, Instant, MemoryGuard, Over, Sample};

    fn samples(memory: &[(u32, u64)]) -> HashMap<u32, Sample> {
        let sample = |memory| Sample { memory: Some(memory), ..Sample::default() };
        memory.iter().map(|(key, memory)| (*key, sample(*memory))).collect()
    }

    fn later(seconds: u64) -> Instant {
        static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *BEGAN.get_or_init(Instant::now) + Duration::from_secs(seconds)
    }

    #[test]
    fn a_worker_is_told_of_once_until_it_is_another_process() {
        let mut guard = MemoryGuard::new(100);
        let above = samples(&[(1, 101), (2, 100)]);
        assert_eq!(guard.over(&[(1, 10), (2, 20)], &above, later(0)), [Over { key: 1, used: 101 }]);
        assert_eq!(guard.over(&[(1, 10), (2, 20)], &above, later(9)), [], "it is being replaced");
        assert_eq!(
            guard.over(&[(1, 11), (2, 20)], &above, later(10)),
            [Over { key: 1, used: 101 }],
            "the new one as well"
        );
    }

    #[test]
    fn a_limit_that_nobody_can_keep_is_told_of_less_and_less_often() {
        let (mut guard, above) = (MemoryGuard::new(100), samples(&[(1, 101)]));
        let told = (0..200).filter(|at| {
            let pid = i32::try_from(*at).unwrap();
            !guard.over(&[(1, pid)], &above, later(*at)).is_empty()
        });
        assert_eq!(told.collect::<Vec<_>>(), [0, 2, 6, 14, 30, 60, 90, 120, 150, 180]);
        // One that helped for long is the first again.
        assert!(guard.over(&[], &samples(&[]), later(400)).is_empty());
        assert!(!guard.over(&[(1, 500)], &above, later(401)).is_empty());
        assert!(!guard.over(&[(1, 501)], &above, later(403)).is_empty());
    }

    #[test]
    fn a_worker_that_came_down_is_told_of_again_when_it_is_above() {
        let mut guard = MemoryGuard::new(100);
        let workers = [(1, 10)];
        assert_eq!(guard.over(&workers, &samples(&[(1, 200)]), later(0)).len(), 1);
        assert_eq!(guard.over(&workers, &samples(&[(1, 50)]), later(1)), []);
        assert_eq!(guard.over(&workers, &samples(&[(1, 200)]), later(5)).len(), 1);
    }

    #[test]
    fn a_replacement_that_failed_is_asked_for_again() {
        let mut guard = MemoryGuard::new(100);
        let (workers, above) = ([(1, 10)], samples(&[(1, 200)]));
        assert_eq!(guard.over(&workers, &above, later(0)).len(), 1);
        guard.forget(1);
        assert_eq!(guard.over(&workers, &above, later(1)), [], "after a pause");
        assert_eq!(guard.over(&workers, &above, later(2)).len(), 1);
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let mut guard = MemoryGuard::new(100);
        assert_eq!(guard.over(&[(1, 10)], &samples(&[(1, 200)]), later(0)).len(), 1);
        assert_eq!(guard.over(&[], &HashMap::new(), later(1)), []);
        assert!(guard.told.is_empty());
        assert_eq!(guard.over(&[(1, 10)], &HashMap::new(), later(2)), [], "its process is gone");
        assert!(guard.over(&[], &HashMap::new(), later(300)).is_empty() && guard.rests.is_empty());
    }
}
