//! Arithmetic on samples: medians, ratios, percentiles, shuffling. Pure.
//!
//! A ratio is always taken within one round, then the median over rounds: load that comes and goes on the machine
//! then weighs on both sides of each ratio.

/// Median with the extremes it was taken from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// The middle value, or the mean of the two middle ones.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl Spread {
    /// Of the values present; `None` when there is none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { median: (low + high) / 2.0, min, max })
    }
}

/// The per-round ratios `values / baseline`, over the rounds that have both.
pub(crate) fn ratios(values: &[Option<f64>], baseline: &[Option<f64>]) -> Vec<f64> {
    values.iter().zip(baseline).filter_map(|(value, base)| Some((*value)? / (*base)?)).collect()
}

/// Where the true median of what `values` were drawn from lies, with 95 % confidence whatever their distribution: the
/// order statistics of the sign test. Fewer than six values cannot tell.
pub(crate) fn interval(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    if count < 6 {
        return None;
    }
    // The chance that at most `cut` of `count` fair coins show heads: that the median lies below value `cut`, from 0.
    let (mut cut, mut chosen, mut tail) = (0, 1.0, 1.0);
    let all = 2f64.powi(count.min(1000) as i32);
    while cut + 1 < count / 2 {
        let next = chosen * (count - cut) as f64 / (cut + 1) as f64;
        if 2.0 * (tail + next) / all > 0.05 {
            break;
        }
        (cut, chosen, tail) = (cut + 1, next, tail + next);
    }
    Some((*sorted.get(cut)?, *sorted.get(count.checked_sub(cut + 1)?)?))
}

/// The value below which `share` (0 to 1) of `sorted` lies; 0 for an empty slice.
pub(crate) fn percentile(sorted: &[u32], share: f64) -> u32 {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

/// A small generator for the order of rounds: repeatable from its seed, good for nothing secret.
#[derive(Debug)]
pub(crate) struct Order(u64);

impl Order {
    /// From a seed, which `raw.json` records.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64 (public domain algorithm).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// `items` in a random order.
    pub(crate) fn shuffle<T: Copy>(&mut self, items: &[T]) -> Vec<T> {
        let mut order = items.to_vec();
        for last in (1..order.len()).rev() {
            order.swap(last, (self.next() % (last as u64 + 1)) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).expect("four values");
        assert_eq!(spread, Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_skip_rounds_with_a_gap() {
        let ours = [Some(1.0), None, Some(30.0), Some(8.0)];
        let theirs = [Some(2.0), Some(5.0), Some(10.0), Some(8.0)];
        let spread = Spread::of(ratios(&ours, &theirs)).expect("three rounds");
        assert_eq!(spread, Spread { median: 1.0, min: 0.5, max: 3.0 });
    }

    #[test]
    fn the_interval_of_a_median_leaves_out_as_many_extremes_as_its_confidence_allows() {
        let first = |count: u32| interval((1..=count).map(f64::from));
        // From the table of the sign test at 5 %: none of 6 to 8 values, one at each end of 9 to 11, two of 12, five of 20.
        assert_eq!([first(0), first(5), first(6)], [None, None, Some((1.0, 6.0))]);
        assert_eq!([first(8), first(9), first(11)], [Some((1.0, 8.0)), Some((2.0, 8.0)), Some((2.0, 10.0))]);
        assert_eq!([first(12), first(20)], [Some((3.0, 10.0)), Some((6.0, 15.0))]);
    }

    #[test]
    fn percentiles_stay_inside_the_samples() {
        assert_eq!(percentile(&[], 0.99), 0);
        assert_eq!(percentile(&[7], 1.0), 7);
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 0.5), percentile(&hundred, 0.99)), (51, 100));
    }

    #[test]
    fn a_shuffle_keeps_every_item_and_depends_on_the_seed_alone() {
        let items: Vec<u32> = (0..50).collect();
        let once = Order::new(7).shuffle(&items);
        assert_eq!(once, Order::new(7).shuffle(&items));
        assert_ne!(once, items);
        let mut back = once;
        back.sort_unstable();
        assert_eq!(back, items);
    }
}
