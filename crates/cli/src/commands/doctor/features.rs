//! What was found of each feature of the kernel, in words.

use std::io;

use oneport_sys::bpf::{Counter, Probe, Tier};
use oneport_sys::host::Setting;
use oneport_sys::seccomp::Waits;

use super::facts::Facts;
use crate::attach::Lack;
use crate::error::plain;

/// What came of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It works; how, where there is something to say.
    Yes(String),
    /// It does not, and why.
    No(String),
    /// It was not tried, and why.
    Untried(String),
    /// Nothing of oneport uses it; what it means all the same.
    Unneeded(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Feature {
    /// In JSON.
    pub(super) key: &'static str,
    /// For people.
    pub(super) name: &'static str,
    pub(super) found: Found,
}

impl Found {
    /// The word, and what is behind it.
    pub(super) fn words(&self) -> (&'static str, &str) {
        match self {
            Found::Yes(detail) => ("yes", detail),
            Found::No(reason) => ("no", reason),
            Found::Untried(reason) => ("not tried", reason),
            Found::Unneeded(detail) => ("not needed", detail),
        }
    }

    fn of<T>(answer: &Result<T, Lack>) -> Found {
        match answer {
            Ok(_) => Found::Yes(String::new()),
            Err(lack) => Found::No(lack.reason.clone()),
        }
    }
}

const HANGS: &str = "it would hang, as seccomp filters do";
const NOT_TRAPPED: &str = "nothing can be trapped";

/// Each feature, in the order in which they are told.
pub(super) fn features(facts: &Facts) -> Vec<Feature> {
    let here = &facts.explored.here;
    let features = [
        ("reuseport", "reuseport", reuse_port(facts)),
        ("ebpf_selector", "SK_REUSEPORT eBPF", selector(facts)),
        ("ebpf_counter", "eBPF counter", counter(facts)),
        ("cgroup_v2", "cgroup v2", cgroup(facts)),
        ("migration", "SELECT_OR_MIGRATE", migration(facts)),
        ("seccomp_notify", "seccomp notify", Found::of(&here.traps)),
        ("wait_killable_recv", "WAIT_KILLABLE_RECV", killable(facts)),
        ("pidfd_getfd", "pidfd_getfd", Found::of(&here.takes)),
        ("seccomp_addfd", "seccomp ADDFD", adds(facts)),
        ("preload_library", "preload library", library(facts)),
        ("io_uring", "io_uring", io_uring(&facts.io_uring)),
    ];
    features.into_iter().map(|(key, name, found)| Feature { key, name, found }).collect()
}

fn reuse_port(facts: &Facts) -> Found {
    match &facts.reuse_port {
        Some(Ok(())) => Found::Yes("a classic BPF program chose between two sockets".to_owned()),
        Some(Err(error)) => Found::No(plain(error)),
        None => Found::Untried(HANGS.to_owned()),
    }
}

fn selector(facts: &Facts) -> Found {
    let Some(probe) = &facts.tiers else { return Found::Untried(HANGS.to_owned()) };
    match probe.tier {
        Tier::A | Tier::B => Found::Yes(String::new()),
        Tier::C => Found::No(refusals(probe, Tier::B)),
    }
}

fn counter(facts: &Facts) -> Found {
    let Some(probe) = &facts.tiers else { return Found::Untried(HANGS.to_owned()) };
    match (probe.tier, probe.counter) {
        (Tier::A, Some(Counter::Cgroup)) => Found::Yes("at the cgroup".to_owned()),
        (Tier::A, Some(Counter::Tracepoint)) => Found::Yes("at a tracepoint".to_owned()),
        (Tier::A, None) => Found::Yes(String::new()),
        (Tier::B | Tier::C, _) => Found::No(refusals(probe, Tier::A)),
    }
}

/// `cannot load the counter: <cause>`, for what that tier needs and was refused.
fn refusals(probe: &Probe, tier: Tier) -> String {
    let of_tier = probe.refused.iter().filter(|refused| refused.tier == tier);
    let words: Vec<String> =
        of_tier.map(|refused| format!("cannot {}: {}", refused.what, plain(&refused.error))).collect();
    words.join("; ")
}

fn cgroup(facts: &Facts) -> Found {
    match &facts.cgroup {
        Ok(directory) => Found::Yes(format!("`{}`", directory.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Found::No("it is not mounted here, or this process is not in it".to_owned())
        }
        Err(error) => Found::No(plain(error)),
    }
}

/// It came with the setting, in the same version.
fn migration(facts: &Facts) -> Found {
    match (facts.setting(Setting::TcpMigrateReq), facts.setting(Setting::Somaxconn)) {
        (Some(_), _) => Found::Yes("the kernel has it; tiers A and B use it".to_owned()),
        (None, Some(_)) => Found::No("this kernel has it not".to_owned()),
        (None, None) => Found::Untried("`/proc/sys` is not shown here".to_owned()),
    }
}

fn killable(facts: &Facts) -> Found {
    match facts.explored.waits {
        Some(Waits::Killable) => Found::Yes(String::new()),
        Some(Waits::Interruptible) => {
            Found::No("signals interrupt trapped calls: a bind may fail with EINTR".to_owned())
        }
        None => Found::Untried(NOT_TRAPPED.to_owned()),
    }
}

fn adds(facts: &Facts) -> Found {
    match &facts.explored.here.traps {
        Ok(()) => Found::of(&facts.explored.here.adds),
        Err(_) => Found::Untried(NOT_TRAPPED.to_owned()),
    }
}

fn library(facts: &Facts) -> Found {
    match &facts.explored.here.library {
        Ok(path) => Found::Yes(path.display().to_string()),
        Err(lack) => match &facts.explored.here.traps {
            Ok(()) => Found::Unneeded(format!("{}, and binds can be trapped", lack.reason)),
            Err(_) => Found::No(lack.reason.clone()),
        },
    }
}

fn io_uring(answer: &io::Result<()>) -> Found {
    Found::Unneeded(match answer {
        Ok(()) => "programs may use it here; a bind through it is not seen".to_owned(),
        Err(error) => format!("nor is it to be had here: {}", plain(error)),
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::facts::Facts;
    use super::super::tests::{best, lack, unprivileged};
    use super::{Found, features};
    use crate::attach::{Bpf, Explored, Here};

    fn found(facts: &Facts, key: &str) -> Found {
        features(facts).into_iter().find(|feature| feature.key == key).unwrap().found
    }

    #[test]
    fn each_refusal_is_told_where_it_belongs() {
        let facts = unprivileged();
        let no = |words: &str| Found::No(words.to_owned());
        assert_eq!(found(&facts, "ebpf_selector"), no("cannot load the selector: permission denied"));
        assert_eq!(found(&facts, "ebpf_counter"), no("cannot load the counter: permission denied"));
        let facts = Facts { cgroup: Err(io::ErrorKind::NotFound.into()), settings: Vec::new(), ..best() };
        assert!(matches!(found(&facts, "cgroup_v2"), Found::No(_)));
        assert!(matches!(found(&facts, "migration"), Found::Untried(_)));
        assert!(matches!(found(&facts, "ebpf_counter"), Found::Yes(_)));
    }

    #[test]
    fn nothing_with_bpf_is_tried_where_it_hangs() {
        let here = Here { traps: Err(lack("it hangs", "")), ..best().explored.here };
        let explored = Explored { here, waits: None, bpf: Bpf::Hangs };
        let facts = Facts { explored, reuse_port: None, tiers: None, ..best() };
        for key in ["reuseport", "ebpf_selector", "ebpf_counter", "wait_killable_recv"] {
            assert!(matches!(found(&facts, key), Found::Untried(_)), "{key}");
        }
    }

    #[test]
    fn where_nothing_can_be_trapped_the_library_is_needed_and_the_rest_is_not_tried() {
        let mut facts = best();
        facts.explored.here.library = Err(lack("not installed", ""));
        assert!(matches!(found(&facts, "preload_library"), Found::Unneeded(_)));
        facts.explored.here.traps = Err(lack("busy", ""));
        assert_eq!(found(&facts, "preload_library"), Found::No("not installed".into()));
        assert!(matches!(found(&facts, "seccomp_addfd"), Found::Untried(_)));
    }
}
