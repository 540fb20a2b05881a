//! What would make it better here, the most valuable first: each with what it is good for and the one thing to do. Rights
//! are `tier`'s subject.

#[cfg(test)]
mod tests;
mod tier;

use oneport_sys::host::Setting;
use oneport_sys::seccomp::Waits;

use super::facts::Facts;
use crate::attach::{Bpf, Image, Way, best};
pub(super) use tier::CAPABILITIES;

/// The kernel's own for processes that nobody limits otherwise; less is somebody's doing.
const USUAL_HARD_NOFILE: u64 = 4096;
/// The kernel's own since Linux 5.4.
const USUAL_SOMAXCONN: u64 = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advice {
    /// What it is good for.
    pub(super) gain: &'static str,
    pub(super) how: How,
    /// The same as a line in a systemd unit.
    pub(super) unit: Option<String>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Typed as it is.
    Command(String),
    /// Where no command does it.
    Change(String),
}

impl Advice {
    fn change(gain: &'static str, what: impl Into<String>) -> Advice {
        Advice { gain, how: How::Change(what.into()), unit: None }
    }
}

/// Empty: there is nothing to improve.
pub(super) fn advise(facts: &Facts) -> Vec<Advice> {
    if facts.explored.bpf == Bpf::Hangs {
        let lack = facts.explored.here.traps.as_ref().err();
        return lack.map(|lack| Advice::change("anything but rr", lack.remedy)).into_iter().collect();
    }
    let (attach, is_urgent) = attach(facts);
    let (first, later) = if is_urgent { (attach, None) } else { (None, attach) };
    [first, tier::advise(facts), later, killable(facts), nofile(facts), somaxconn(facts)]
        .into_iter()
        .flatten()
        .collect()
}

/// A better way to attach programs, and whether there is none as it is.
fn attach(facts: &Facts) -> (Option<Advice>, bool) {
    match best(&facts.explored.here, Image::ORDINARY) {
        Ok((Way::Own, _)) => (None, false),
        Ok((Way::Slot | Way::Preload, over)) => {
            let own = over.into_iter().find(|obstacle| obstacle.way == Way::Own);
            (own.map(|own| Advice::change("programs attached by own", own.lack.remedy)), false)
        }
        Err(blocked) => {
            let remedies = blocked.remedies().join(", or ");
            (Some(Advice::change("programs without a channel", remedies)), true)
        }
    }
}

fn killable(facts: &Facts) -> Option<Advice> {
    match facts.explored.waits {
        Some(Waits::Interruptible) => {
            Some(Advice::change("binds that no signal interrupts", "use Linux 5.19 or later"))
        }
        Some(Waits::Killable) | None => None,
    }
}

fn nofile(facts: &Facts) -> Option<Advice> {
    facts.nofile.hard.filter(|hard| *hard < USUAL_HARD_NOFILE).map(|_| Advice {
        gain: "more connections at a time",
        how: How::Command(as_root(facts, "prlimit --pid $$ --nofile=65536:65536")),
        unit: Some("LimitNOFILE=65536".to_owned()),
    })
}

fn somaxconn(facts: &Facts) -> Option<Advice> {
    facts.setting(Setting::Somaxconn).filter(|most| *most < USUAL_SOMAXCONN).map(|_| Advice {
        gain: "longer accept queues",
        how: How::Command(as_root(facts, "sysctl -w net.core.somaxconn=4096")),
        unit: None,
    })
}

fn as_root(facts: &Facts, command: &str) -> String {
    if facts.user == 0 { command.to_owned() } else { format!("sudo {command}") }
}
