//! Which right would give policy `least` a better tier, and how this process can come by it: that depends on what keeps
//! rights from it.

use std::io;

use oneport_sys::bpf::{Probe, Tier};
use oneport_sys::caps::{Capability, Held};
use oneport_sys::host::{Privileges, UserNamespace};

use super::{Advice, How, as_root};
use crate::commands::doctor::facts::Facts;

const GAIN: &str = "tier A";

pub(in super::super) const CAPABILITIES: [(Capability, &str); 4] = [
    (Capability::Bpf, "CAP_BPF"),
    (Capability::NetAdmin, "CAP_NET_ADMIN"),
    (Capability::Perfmon, "CAP_PERFMON"),
    (Capability::NetBindService, "CAP_NET_BIND_SERVICE"),
];

pub(super) fn advise(facts: &Facts) -> Option<Advice> {
    let probe = facts.tiers.as_ref()?;
    match probe.tier {
        Tier::A => return None,
        Tier::B | Tier::C => {}
    }
    let held = facts.held.as_ref().ok()?;
    let wanted = wanted(facts);
    let missing = |mask: u64| wanted.iter().any(|(capability, _)| !Held::has(mask, *capability));
    if !missing(held.permitted) {
        return Some(Advice::change(GAIN, in_spite_of_rights(facts, probe)));
    }
    if is_below(facts) {
        return Some(Advice::change(GAIN, NAMESPACE));
    }
    let unit = format!("AmbientCapabilities={}", names(&wanted).join(" "));
    let how = match (unit_of(facts), missing(held.bounding)) {
        (Some(name), false) => How::Change(format!("`{unit}` in {name}")),
        (Some(name), true) => {
            How::Change(format!("`{unit}` in {name}, and the same in its CapabilityBoundingSet="))
        }
        (None, true) => How::Change(format!("start the container with {}", docker(&wanted))),
        (None, false) => return Some(by_file(facts, held, &wanted, unit)),
    };
    Some(Advice { gain: GAIN, how, unit: None })
}

/// Without cgroups of version 2 the counter is at a tracepoint.
fn wanted(facts: &Facts) -> Vec<(Capability, &'static str)> {
    let counting = if facts.cgroup.is_ok() { Capability::NetAdmin } else { Capability::Perfmon };
    CAPABILITIES.into_iter().filter(|(one, _)| [Capability::Bpf, counting].contains(one)).collect()
}

fn names(capabilities: &[(Capability, &'static str)]) -> Vec<&'static str> {
    capabilities.iter().map(|(_, name)| *name).collect()
}

const NAMESPACE: &str = "start oneport outside of the user namespace (a rootless container): for BPF only capabilities of the \
                         first one count";

fn in_spite_of_rights(facts: &Facts, probe: &Probe) -> &'static str {
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let is_denied = probe.refused.iter().any(|refused| denied(&refused.error));
    let is_filtered = facts.standing.as_ref().is_ok_and(|standing| standing.filtered);
    match (is_denied, is_below(facts), is_filtered) {
        (false, _, _) => "use a newer kernel: the rights are there, and it refuses for another reason",
        (true, true, _) => NAMESPACE,
        (true, false, true) => {
            "allow the bpf system call in the seccomp filter above (a container's profile, SystemCallFilter= of a unit)"
        }
        (true, false, false) => {
            "ask who administers this machine: its security module or lockdown forbids bpf"
        }
    }
}

fn is_below(facts: &Facts) -> bool {
    facts.standing.as_ref().is_ok_and(|standing| standing.user_namespace == UserNamespace::Below)
}

/// The system's unit that this process is a part of. A unit of a user's own manager can give no rights.
fn unit_of(facts: &Facts) -> Option<&str> {
    let mut names = facts.cgroup.as_ref().ok()?.iter().map(|name| name.to_str().unwrap_or_default());
    let is_users = names.clone().any(|name| name.starts_with("user@"));
    names.next_back().filter(|name| name.ends_with(".service") && !is_users)
}

fn docker(wanted: &[(Capability, &'static str)]) -> String {
    let options =
        names(wanted).into_iter().map(|name| format!("--cap-add {}", name.trim_start_matches("CAP_")));
    options.collect::<Vec<_>>().join(" ")
}

/// Rights that come with the file.
fn by_file(facts: &Facts, held: &Held, wanted: &[(Capability, &'static str)], unit: String) -> Advice {
    let standing = facts.standing.as_ref().map(|standing| standing.privileges);
    let executable = facts.executable.as_ref();
    let how = match (standing, executable.map(|file| file.privileges)) {
        (Ok(Privileges::Kept), _) => How::Change(format!(
            "start oneport without no_new_privs, or with {} as ambient capabilities",
            names(wanted).join(" and ")
        )),
        (Ok(Privileges::Gained) | Err(_), Ok(Privileges::Kept)) => How::Change(
            "put oneport on a file system that is not mounted nosuid, and let doctor look again".to_owned(),
        ),
        (Ok(Privileges::Gained) | Err(_), Ok(Privileges::Gained) | Err(_)) => {
            let path = executable.map_or_else(
                |_| "$(command -v oneport)".to_owned(),
                |file| quoted(&file.path.to_string_lossy()),
            );
            How::Command(as_root(facts, &format!("setcap {} {path}", file_rights(facts, held, wanted))))
        }
    };
    Advice { gain: GAIN, how, unit: Some(unit) }
}

/// For setcap(8), which puts them in place of what the file has. A file has all its rights effective or none of them, and a port
/// below 1024 needs an effective one; what is only permitted is used for the moment that it is needed in.
fn file_rights(facts: &Facts, held: &Held, wanted: &[(Capability, &'static str)]) -> String {
    let has = |mask, capability| facts.user != 0 && Held::has(mask, capability);
    let kept =
        |capability| wanted.iter().any(|(one, _)| *one == capability) || has(held.permitted, capability);
    let file = CAPABILITIES.into_iter().filter(|(capability, _)| kept(*capability));
    let file: Vec<String> = file.map(|(_, name)| name.to_ascii_lowercase()).collect();
    let sets = if has(held.effective, Capability::NetBindService) { "ep" } else { "p" };
    format!("{}+{sets}", file.join(","))
}

/// For a shell.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    if path.chars().all(is_plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}
