//! Who gets the next connection: which policy, in which tier, and why, in words.

use oneport::{Policy, TierChoice};
use oneport_sys::bpf::{Counter, Probe, Refused, Tier, probe};

use crate::args::{PolicyArg, RunArgs, TierArg};
use crate::attach::Class;
use crate::error::Failure;
use crate::program::{Kind, Program};

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placing {
    pub(crate) policy: Policy,
    pub(crate) choice: TierChoice,
    /// The tier of `least` that can be had.
    pub(crate) tier: Option<Tier>,
    pub(crate) why: String,
}

impl Placing {
    fn plain(policy: Policy, why: &str) -> Placing {
        Placing { policy, choice: TierChoice::Best, tier: None, why: why.to_owned() }
    }

    /// At random, whoever asks.
    pub(crate) fn evenly() -> Placing {
        Placing::plain(Policy::Hash, "")
    }

    /// Its name as it is typed. What programs had before there were others is what they get without a choice.
    pub(crate) fn name(&self, class: Class) -> &'static str {
        match (class, self.policy) {
            (Class::Nothing, _) => "none",
            (Class::Channel, Policy::RoundRobin) => "rr",
            (Class::Program | Class::ListenFds, Policy::RoundRobin) => "kernel",
            (Class::Channel | Class::Program | Class::ListenFds, Policy::Shared) => "shared",
            (Class::Channel | Class::Program | Class::ListenFds, Policy::Hash) => "hash",
            (Class::Channel | Class::Program | Class::ListenFds, Policy::Least) => "least",
            (Class::Channel | Class::Program | Class::ListenFds, Policy::Sticky) => "sticky",
        }
    }
}

/// Decides for `run`.
pub(crate) fn choose(args: &RunArgs, program: &Program, class: Class) -> Result<Placing, Failure> {
    let policy = match args.policy {
        PolicyArg::Auto => None,
        PolicyArg::Rr => Some(Policy::RoundRobin),
        PolicyArg::Shared => Some(Policy::Shared),
        PolicyArg::Hash => Some(Policy::Hash),
        PolicyArg::Least => Some(Policy::Least),
        PolicyArg::Sticky => Some(Policy::Sticky),
    };
    let is_deno = program.kind == Kind::Deno;
    if args.tier != TierArg::Auto && !matches!(policy, None | Some(Policy::Least)) {
        return Err(Failure::usage("cannot use --tier: only `least` has tiers").hint("--policy least"));
    }
    match (class, policy) {
        (Class::Nothing, _) => Ok(Placing::plain(Policy::RoundRobin, "it binds for itself")),
        // Deno 2.9 takes a shared socket, says that it listens, and resets every client.
        (Class::Channel, Some(policy)) if is_deno && policy != Policy::RoundRobin => {
            let name = Placing::plain(policy, "").name(class);
            let what =
                format!("cannot use policy `{name}` for Deno: it cannot serve a socket that it is given");
            Err(Failure::usage(what).hint("use --policy rr"))
        }
        (Class::Channel | Class::Program | Class::ListenFds, Some(Policy::Least)) => {
            Ok(least(args.tier, "as asked for"))
        }
        (Class::Channel | Class::Program | Class::ListenFds, Some(policy)) => {
            Ok(Placing::plain(policy, "as asked for"))
        }
        (Class::Program | Class::ListenFds, None) => Ok(least(args.tier, "auto")),
        (Class::Channel, None) if is_deno => Ok(Placing::plain(
            Policy::RoundRobin,
            "auto: rotation; Deno cannot serve a socket that it is given",
        )),
        (Class::Channel, None) => Ok(auto(args)),
    }
}

/// For workers with a channel.
fn auto(args: &RunArgs) -> Placing {
    let from_env = std::env::var("NODE_CLUSTER_SCHED_POLICY").ok();
    match from_env.as_deref().and_then(oneport::scheduling_policy_of) {
        Some(Policy::Shared) => return Placing::plain(Policy::Shared, "NODE_CLUSTER_SCHED_POLICY=none"),
        Some(Policy::RoundRobin) => {
            return Placing::plain(Policy::RoundRobin, "NODE_CLUSTER_SCHED_POLICY=rr");
        }
        Some(Policy::Hash | Policy::Least | Policy::Sticky) | None => {}
    }
    match (args.credits, args.hang_timeout) {
        (Some(_), _) => {
            Placing::plain(Policy::RoundRobin, "auto: rotation, for --credits is about hand-offs")
        }
        (None, Some(_)) => {
            Placing::plain(Policy::RoundRobin, "auto: rotation, for --hang-timeout is about hand-offs")
        }
        (None, None) => least(args.tier, "auto"),
    }
}

fn least(wanted: TierArg, because: &str) -> Placing {
    let choice = match wanted {
        TierArg::Auto => TierChoice::Best,
        TierArg::A => TierChoice::A,
        TierArg::B => TierChoice::B,
        TierArg::C => TierChoice::C,
    };
    let (tier, how) = match choice {
        TierChoice::C => (Tier::C, "weighted by what oneport sees".to_owned()),
        TierChoice::Best => found(&probe()),
        TierChoice::A | TierChoice::B => only(choice, &probe()),
    };
    let why = format!("{because}: fewest open connections; tier {tier:?}, {how}");
    Placing { policy: Policy::Least, choice, tier: Some(tier), why }
}

fn found(probe: &Probe) -> (Tier, String) {
    let mut how = match (probe.tier, probe.counter) {
        (Tier::A, Some(Counter::Tracepoint)) => "the kernel counts them at a tracepoint",
        (Tier::A, Some(Counter::Cgroup) | None) => "the kernel counts them",
        (Tier::B, _) => "oneport counts and the kernel chooses",
        (Tier::C, _) => "weighted by what oneport sees",
    }
    .to_owned();
    if let Some(refused) = probe.refused.last() {
        how = format!("{how}; {}", told(refused));
    }
    (probe.tier, how)
}

/// One tier and no other, or none.
fn only(choice: TierChoice, probe: &Probe) -> (Tier, String) {
    let wanted = if choice == TierChoice::A { Tier::A } else { Tier::B };
    if probe.tier <= wanted {
        let how = if wanted == Tier::A {
            "the kernel counts them"
        } else {
            "oneport counts and the kernel chooses"
        };
        return (wanted, how.to_owned());
    }
    let refused = probe.refused.iter().find(|refused| refused.tier == wanted);
    let why = refused.map_or_else(String::new, |refused| format!("; {}", told(refused)));
    (Tier::C, format!("weighted by what oneport sees{why}"))
}

fn told(Refused { tier, what, error }: &Refused) -> String {
    format!("not {tier:?}: cannot {what}: {}", crate::error::plain(error))
}
