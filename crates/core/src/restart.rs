//! When a slot gets its next worker after one ended unasked: after a pause that grows, or never.

use std::time::Duration;

use crate::ids::Time;
use crate::settings::Settings;

/// Even without any wish for a pause: a program that ends at once must not be started in a tight loop.
const LEAST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(15);
/// A worker that was up this long has proved that the earlier ends are history (PM2: 30 s too).
const FORGIVEN_AFTER: Duration = Duration::from_secs(30);

/// A slot's record of ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// Ends within the forgiving span, in a row.
    ends: u32,
    /// Of these, ends before `min_uptime`, in a row.
    unstable: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    RestartAfter(Duration),
    GiveUp { unstable: u32 },
}

impl History {
    /// Judges a worker that lived from `born` to `died` and ended unasked.
    pub(crate) fn judge(&mut self, settings: &Settings, born: Time, died: Time) -> Verdict {
        let lived = died.since(born);
        if lived >= FORGIVEN_AFTER {
            *self = History::default();
        }
        self.unstable = if lived < settings.min_uptime { self.unstable + 1 } else { 0 };
        if self.unstable > 0 && self.unstable >= settings.max_restarts {
            return Verdict::GiveUp { unstable: self.unstable };
        }
        let pause = settings
            .restart_delay
            .map_or_else(|| back_off(settings.first_pause, self.ends), |fixed| fixed.max(LEAST));
        self.ends = self.ends.saturating_add(1);
        Verdict::RestartAfter(pause)
    }
}

fn back_off(first: Duration, ends: u32) -> Duration {
    first.max(LEAST).saturating_mul(1 << ends.min(10)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn pauses_double_from_100_ms_to_15_s() {
        let pauses: Vec<u128> =
            (0..10).map(|n| back_off(Settings::default().first_pause, n).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 15000, 15000]);
    }

    #[test]
    fn a_long_life_forgives_earlier_ends() {
        let settings = Settings::default();
        let mut history = History::default();
        for _ in 0..3 {
            history.judge(&settings, Time(0), Time(2000 * MS));
        }
        let verdict = history.judge(&settings, Time(0), Time(30_000 * MS));
        assert_eq!(verdict, Verdict::RestartAfter(Duration::from_millis(100)));
    }

    #[test]
    fn short_lives_in_a_row_end_in_giving_up() {
        let settings = Settings { max_restarts: 3, ..Settings::default() };
        let mut history = History::default();
        let short = |h: &mut History| h.judge(&settings, Time(0), Time(10 * MS));
        assert!(matches!(short(&mut history), Verdict::RestartAfter(_)));
        assert!(matches!(short(&mut history), Verdict::RestartAfter(_)));
        assert_eq!(short(&mut history), Verdict::GiveUp { unstable: 3 });
    }

    #[test]
    fn a_stable_life_between_short_ones_starts_the_count_anew() {
        let settings = Settings { max_restarts: 2, ..Settings::default() };
        let mut history = History::default();
        history.judge(&settings, Time(0), Time(10 * MS));
        history.judge(&settings, Time(0), Time(5000 * MS));
        assert!(matches!(history.judge(&settings, Time(0), Time(10 * MS)), Verdict::RestartAfter(_)));
    }
}
