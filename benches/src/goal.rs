//! What has to be reached, and whether a figure reaches it. Pure.
//!
//! Most goals are those of the peer that a measurement is about; an [`Aim`] gives some to others of its peers: to each tier
//! of a policy, or to one that has to be seen to be bad.

use crate::peer::Peer;
use crate::tools::Tools;

/// A goal, which may depend on the programs under comparison.
pub(crate) type GoalOf = fn(&Tools) -> Goal;

/// A goal of other peers than the one a measurement is about.
#[derive(Debug)]
pub(crate) struct Aim {
    /// Whose.
    pub(crate) of: &'static [Peer],
    /// What.
    pub(crate) goal: GoalOf,
}

/// A ratio that must not be possible any more before two peers are called equal.
pub(crate) const VISIBLE: f64 = 1.05;

/// What is to be reached in one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// The median of per-round ratios to this peer is at most this.
    AtMost(Peer, f64),
    /// The median of per-round ratios to this peer is at least this.
    AtLeast(Peer, f64),
    /// No more than this peer, as far as can be seen: the interval of the median ratio reaches down to 1, and is narrow
    /// enough to have shown a difference of [`VISIBLE`].
    NoMoreThan(Peer),
    /// The value is at most this in every single round.
    EveryRound(f64),
    /// The median value is at most this.
    Median(f64),
    /// The median value is at least this: for what is shown to be bad.
    Floor(f64),
}

impl Goal {
    /// The peer its ratio is taken against.
    pub(crate) fn against(self) -> Option<Peer> {
        match self {
            Self::AtMost(peer, _) | Self::AtLeast(peer, _) | Self::NoMoreThan(peer) => Some(peer),
            Self::EveryRound(_) | Self::Median(_) | Self::Floor(_) => None,
        }
    }

    /// The value or ratio that is just allowed.
    pub(crate) fn limit(self) -> f64 {
        match self {
            Self::AtMost(_, limit) | Self::AtLeast(_, limit) => limit,
            Self::NoMoreThan(_) => 1.0,
            Self::EveryRound(limit) | Self::Median(limit) | Self::Floor(limit) => limit,
        }
    }

    /// Whether `measured`, see [`Section::measured`](crate::section::Section::measured), reaches it.
    pub(crate) fn reached(self, measured: f64) -> bool {
        match self {
            Self::AtMost(..) | Self::NoMoreThan(_) | Self::EveryRound(_) | Self::Median(_) => {
                measured <= self.limit()
            }
            Self::AtLeast(..) | Self::Floor(_) => measured >= self.limit(),
        }
    }

    /// How much of what is allowed `measured` uses: 1 is the limit. A limit of zero allows nothing.
    pub(crate) fn used(self, measured: f64) -> f64 {
        let (part, whole) = match self {
            Self::AtMost(..) | Self::NoMoreThan(_) | Self::EveryRound(_) | Self::Median(_) => {
                (measured, self.limit())
            }
            Self::AtLeast(..) | Self::Floor(_) => (self.limit(), measured),
        };
        match part > 0.0 {
            true if whole > 0.0 => part / whole,
            true => f64::INFINITY,
            false => 0.0,
        }
    }
}

/// What became of a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Reached.
    Pass,
    /// Missed.
    Short,
    /// The values lie too far apart to tell.
    Unclear,
    /// There are no samples to judge by.
    Unknown,
}

impl Verdict {
    /// Its word in tables.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Short => "SHORT",
            Self::Unclear => "too noisy to say",
            Self::Unknown => "not measured",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_used_up_at_its_limit_in_either_direction() {
        assert_eq!(Goal::AtMost(Peer::NodeRr, 0.8).used(0.4), 0.5);
        assert_eq!(Goal::AtLeast(Peer::NodeRr, 2.0).used(4.0), 0.5);
        assert_eq!(Goal::Floor(40.0).used(80.0), 0.5);
        assert_eq!((Goal::EveryRound(0.0).used(0.0), Goal::EveryRound(0.0).used(1.0)), (0.0, f64::INFINITY));
    }

    #[test]
    fn a_floor_is_reached_from_above() {
        let floor = Goal::Floor(40.0);
        assert_eq!([39.0, 40.0, 90.0].map(|value| floor.reached(value)), [false, true, true]);
    }
}
