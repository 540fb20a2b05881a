//! What `auto` comes to here, for each kind of program.

use oneport::Policy;
use oneport_sys::bpf::Tier;

use super::facts::Facts;
use crate::attach::{Blocked, Image, best, grouped};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pick {
    /// In JSON.
    pub(super) key: &'static str,
    /// For people.
    pub(super) name: &'static str,
    /// How it is attached, where that follows from what it is.
    pub(super) attach: Option<&'static str>,
    /// None: it cannot be attached, or it is not known.
    pub(super) policy: Option<&'static str>,
    pub(super) tier: Option<Tier>,
    /// Why not by the best tier; empty where it is.
    pub(super) why: String,
    /// Better ways to attach it, and why they cannot be gone.
    pub(super) not: Vec<String>,
}

impl Pick {
    fn of(key: &'static str, name: &'static str, attach: Option<&'static str>) -> Pick {
        Pick { key, name, attach, policy: None, tier: None, why: String::new(), not: Vec::new() }
    }

    fn says(self, policy: &'static str, why: &str) -> Pick {
        Pick { policy: Some(policy), why: why.to_owned(), ..self }
    }
}

pub(super) fn letter(tier: Tier) -> &'static str {
    match tier {
        Tier::A => "A",
        Tier::B => "B",
        Tier::C => "C",
    }
}

/// What it means for connections.
pub(super) fn meaning(tier: Tier) -> &'static str {
    match tier {
        Tier::A => "eBPF chooses the worker with the fewest open connections, and counts them",
        Tier::B => "eBPF chooses the worker with the fewest open connections, as the primary counts them",
        Tier::C => "classic BPF chooses at random, weighted by what the primary counts; no right is needed",
    }
}

pub(super) fn picks(facts: &Facts) -> Vec<Pick> {
    let unix = "the kernel does not choose among them; copies of any program share one";
    vec![
        with_channel(facts, "node", "Node"),
        with_channel(facts, "library", "Rust with the library"),
        any_program(facts),
        Pick::of("deno", "Deno", Some("channel")).says("rr", "it cannot serve sockets that it was given"),
        Pick::of("unix", "Unix sockets", None).says("rr", unix),
    ]
}

/// The kernel chooses, as well as it can here.
fn least(facts: &Facts, pick: Pick) -> Pick {
    match &facts.tiers {
        Some(probe) => Pick { policy: Some("least"), tier: Some(probe.tier), ..pick },
        None => Pick { why: "not tried: this kernel hangs over BPF programs".to_owned(), ..pick },
    }
}

/// For workers with a channel the environment may say otherwise.
fn with_channel(facts: &Facts, key: &'static str, name: &'static str) -> Pick {
    let pick = Pick::of(key, name, Some("channel"));
    if facts.node_policy == Some(Policy::RoundRobin) {
        pick.says("rr", "NODE_CLUSTER_SCHED_POLICY=rr")
    } else if facts.node_policy == Some(Policy::Shared) {
        pick.says("shared", "NODE_CLUSTER_SCHED_POLICY=none")
    } else {
        least(facts, pick)
    }
}

fn any_program(facts: &Facts) -> Pick {
    let pick = Pick::of("program", "any program", None);
    match best(&facts.explored.here, Image::ORDINARY) {
        Ok((way, over)) => {
            let not = over.iter().map(ToString::to_string).collect();
            least(facts, Pick { attach: Some(way.name()), not, ..pick })
        }
        Err(Blocked { obstacles, .. }) => {
            Pick { why: format!("cannot be attached: {}", grouped(&obstacles)), ..pick }
        }
    }
}

#[cfg(test)]
mod tests {
    use oneport::Policy;
    use oneport_sys::bpf::Tier;

    use super::super::facts::Facts;
    use super::super::tests::{best, lack, unprivileged};
    use super::{Pick, picks};
    use crate::attach::Here;

    fn pick(facts: &Facts, key: &str) -> Pick {
        picks(facts).into_iter().find(|pick| pick.key == key).unwrap()
    }

    #[test]
    fn least_is_picked_in_the_best_tier_wherever_the_kernel_can_choose() {
        for (facts, tier) in [(best(), Tier::A), (unprivileged(), Tier::C)] {
            for (key, attach) in [("node", "channel"), ("library", "channel"), ("program", "own")] {
                let pick = pick(&facts, key);
                assert_eq!((pick.attach, pick.policy, pick.tier), (Some(attach), Some("least"), Some(tier)));
            }
            for key in ["deno", "unix"] {
                assert_eq!(pick(&facts, key).policy, Some("rr"), "{key}");
            }
        }
    }

    #[test]
    fn what_the_environment_says_is_for_workers_with_a_channel() {
        for (policy, name) in [(Policy::RoundRobin, "rr"), (Policy::Shared, "shared")] {
            let facts = Facts { node_policy: Some(policy), ..best() };
            assert_eq!((pick(&facts, "node").policy, pick(&facts, "node").tier), (Some(name), None));
            assert_eq!(pick(&facts, "library").policy, Some(name));
            assert_eq!(pick(&facts, "program").policy, Some("least"));
        }
    }

    #[test]
    fn what_stands_in_the_way_of_a_better_way_is_told_and_of_all_ways_too() {
        let with = |here: Here| {
            let mut facts = best();
            facts.explored.here = here;
            pick(&facts, "program")
        };
        let slot = with(Here { takes: Err(lack("no pidfd_getfd", "")), ..best().explored.here });
        assert_eq!((slot.attach, slot.not), (Some("slot"), vec!["own: no pidfd_getfd".to_owned()]));
        let none = Here {
            traps: Err(lack("busy", "")),
            library: Err(lack("no library", "")),
            ..best().explored.here
        };
        let none = with(none);
        assert_eq!((none.attach, none.policy), (None, None));
        assert_eq!(none.why, "cannot be attached: own, slot: busy; preload: no library");
    }
}
