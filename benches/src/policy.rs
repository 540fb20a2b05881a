//! The policies of `oneport run` that are compared with each other, each a column; `least` once for each of its tiers.
//!
//! `rr` has a column of its own, `Peer::Oneport`: it is what everything but `least-*` is about.

use crate::error::{Failure, Result};

/// Who gets the next connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Policy {
    /// `least`, selected and counted by eBPF.
    LeastA,
    /// `least`, selected by eBPF, the counts from the primary.
    LeastB,
    /// `least` by classic BPF, without any privilege.
    LeastC,
    /// One socket per worker, among which the kernel chooses by its hash.
    Hash,
    /// By the client's address.
    Sticky,
    /// One socket for all.
    Shared,
}

impl Policy {
    /// The column's heading.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::LeastA => "oneport least A",
            Self::LeastB => "oneport least B",
            Self::LeastC => "oneport least C",
            Self::Hash => "oneport hash",
            Self::Sticky => "oneport sticky",
            Self::Shared => "oneport shared",
        }
    }

    /// The column's name.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::LeastA => "least-a",
            Self::LeastB => "least-b",
            Self::LeastC => "least-c",
            Self::Hash => "hash",
            Self::Sticky => "sticky",
            Self::Shared => "shared",
        }
    }

    /// What asks for it.
    pub(crate) fn words(self) -> &'static [&'static str] {
        match self {
            Self::LeastA => &["--policy", "least", "--tier", "a"],
            Self::LeastB => &["--policy", "least", "--tier", "b"],
            Self::LeastC => &["--policy", "least", "--tier", "c"],
            Self::Hash => &["--policy", "hash"],
            Self::Sticky => &["--policy", "sticky"],
            Self::Shared => &["--policy", "shared"],
        }
    }

    /// Whether this is what runs, by what `oneport run` tells at its start: a tier that cannot be had is replaced.
    pub(crate) fn check(self, told: &str) -> Result<()> {
        let tier = match self {
            Self::LeastA => "; tier A,",
            Self::LeastB => "; tier B,",
            Self::LeastC => "; tier C,",
            Self::Hash | Self::Sticky | Self::Shared => return Ok(()),
        };
        match told.lines().find(|line| line.starts_with("Primary ")) {
            Some(line) if line.contains(tier) => Ok(()),
            Some(line) => Err(Failure::cannot(format!("run {}", self.title()), format!("it says `{line}`"))),
            None => Err(Failure::cannot(format!("run {}", self.title()), "it tells nothing")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_that_was_replaced_is_not_taken_for_the_one_that_was_asked_for() {
        let told = "Primary 7 is running `s`: 2 workers, policy least (fewest open; tier C, weighted; not A: not permitted)\n";
        assert!(Policy::LeastC.check(told).is_ok());
        let reason = Policy::LeastA.check(told).expect_err("another tier runs").to_string();
        assert!(reason.contains("not permitted"), "{reason}");
        assert!(Policy::LeastB.check("").is_err());
        assert!(Policy::Hash.check("").is_ok());
    }
}
