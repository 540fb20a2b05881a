//! Newcomers count as having some connections more than they have; how that is lowered with time.
//!
//! Nobody wakes for it: what has passed since is made up for at the next occasion.

use std::time::{Duration, Instant};

/// What is left of it so many seconds later: half after eleven, nothing after a minute or so.
pub(super) fn faded(handicap: u32, seconds: u64) -> u32 {
    let mut left = handicap;
    for _ in 0..seconds {
        if left == 0 {
            break;
        }
        left -= left / 16 + 1;
    }
    left
}

/// One that somebody else sets, as it was at the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen(Option<(u32, Instant)>);

impl Seen {
    /// What is to become of what is there now.
    pub(super) fn fade(&mut self, there: u32, now: Instant) -> u32 {
        let since = match self.0 {
            Some((known, since)) if known == there => since,
            // It was set anew.
            Some(_) | None => now,
        };
        let seconds = now.saturating_duration_since(since).as_secs();
        let left = faded(there, seconds);
        self.0 = (left > 0).then(|| (left, since + Duration::from_secs(seconds)));
        left
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Seen, faded};

    #[test]
    fn it_comes_to_an_end() {
        assert_eq!(faded(u32::MAX, u64::MAX), 0);
        assert_eq!(faded(1_000_000, 250), 0);
        assert_eq!((faded(16, 0), faded(16, 1), faded(16, 2)), (16, 14, 13));
    }

    #[test]
    fn time_that_was_slept_away_is_made_up_for() {
        let (start, mut often, mut once) = (Instant::now(), Seen::default(), Seen::default());
        assert_eq!((often.fade(100, start), once.fade(100, start)), (100, 100));
        let tenths = (1..=110).map(|tenth| start + Duration::from_millis(100) * tenth);
        let left = tenths.fold(100, |left, now| often.fade(left, now));
        assert_eq!(once.fade(100, start + Duration::from_secs(11)), left);
        assert!((40..=50).contains(&left), "{left}");
    }

    #[test]
    fn one_that_is_set_anew_begins_then() {
        let (start, mut seen) = (Instant::now(), Seen::default());
        seen.fade(100, start);
        let later = start + Duration::from_secs(1000);
        assert_eq!(seen.fade(40, later), 40);
        assert_eq!(seen.fade(40, later + Duration::from_secs(1)), faded(40, 1));
        assert_eq!(seen.fade(0, later + Duration::from_secs(2)), 0);
    }
}
