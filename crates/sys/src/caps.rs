//! Capabilities: which this process holds, and having one in effect for no longer than a call takes.
//!
//! They belong to threads. Invariant: what is raised here was permitted before, and is lowered again on the same thread.

use std::io;
use std::marker::PhantomData;

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// Those that are of use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Binding ports below 1024.
    NetBindService,
    /// Programs on the sockets of a cgroup; filters on TCP sockets.
    NetAdmin,
    /// Programs at tracepoints (Linux 5.8).
    Perfmon,
    /// Maps and programs (Linux 5.8).
    Bpf,
}

impl Capability {
    fn set(self) -> CapabilitySet {
        match self {
            Capability::NetBindService => CapabilitySet::NET_BIND_SERVICE,
            Capability::NetAdmin => CapabilitySet::NET_ADMIN,
            Capability::Perfmon => CapabilitySet::PERFMON,
            Capability::Bpf => CapabilitySet::BPF,
        }
    }
}

/// All sets of this process, as bits by the number of the capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it may put into effect.
    pub permitted: u64,
    /// What is in effect.
    pub effective: u64,
    /// What a program with the same in its file would inherit.
    pub inheritable: u64,
    /// What can be gained at all.
    pub bounding: u64,
    /// What every program that it starts inherits.
    pub ambient: u64,
}

impl Held {
    /// Whether it is in one of the sets.
    pub fn has(mask: u64, capability: Capability) -> bool {
        mask & capability.set().bits() != 0
    }
}

/// Looks at the calling thread.
pub fn held() -> io::Result<Held> {
    let status = std::fs::read_to_string("/proc/thread-self/status")?;
    let set = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(value.trim(), 16).ok()
    };
    let all = || {
        Some(Held {
            permitted: set("CapPrm:")?,
            effective: set("CapEff:")?,
            inheritable: set("CapInh:")?,
            bounding: set("CapBnd:")?,
            // Linux 4.3.
            ambient: set("CapAmb:").unwrap_or(0),
        })
    };
    all().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Puts permitted capabilities into effect until it is dropped; those that are not permitted are left out, and the call that
/// they are for says so.
#[derive(Debug)]
#[must_use = "they are in effect as long as this is there"]
pub struct Raised {
    before: Option<CapabilitySet>,
    /// They are this thread's.
    _stays: PhantomData<*const ()>,
}

impl Raised {
    /// These.
    pub fn new(wanted: &[Capability]) -> Raised {
        let before = capabilities(None).ok().and_then(|mut sets| {
            let before = sets.effective;
            sets.effective |= all(wanted) & sets.permitted;
            (sets.effective != before && set_capabilities(None, sets).is_ok()).then_some(before)
        });
        Raised { before, _stays: PhantomData }
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if let (Some(before), Ok(mut sets)) = (self.before, capabilities(None)) {
            sets.effective = before;
            // What was raised can be lowered.
            let _ = set_capabilities(None, sets);
        }
    }
}

/// What became of asking for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lowered {
    /// They are out of effect.
    Done,
    /// They are not, for the sake of other processes' `/proc`.
    Kept,
}

/// Takes these out of effect on the calling thread, and on those that it starts from now on; they stay permitted.
///
/// Not where that would hide root's own processes: who looks into another one's `/proc` has to have in effect whatever that is
/// permitted, or CAP_SYS_PTRACE (`ptrace_may_access`, every Linux), and whatever root starts is permitted the same as he. Containers
/// have such a root.
pub fn lower(unused: &[Capability]) -> io::Result<Lowered> {
    let mut sets = capabilities(None)?;
    if rustix::process::geteuid().is_root() && !sets.effective.contains(CapabilitySet::SYS_PTRACE) {
        return Ok(Lowered::Kept);
    }
    sets.effective &= !all(unused);
    set_capabilities(None, sets)?;
    Ok(Lowered::Done)
}

fn all(wanted: &[Capability]) -> CapabilitySet {
    wanted.iter().fold(CapabilitySet::empty(), |all, one| all | one.set())
}

#[cfg(test)]
mod tests {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    use super::{Capability, Held, Lowered, Raised, held, lower};

    #[test]
    fn what_is_permitted_is_in_effect_only_as_long_as_it_is_raised() {
        // Of this thread alone, which ends with the test.
        let before = held().unwrap();
        if !Held::has(before.permitted, Capability::Bpf) {
            return;
        }
        if lower(&[Capability::Bpf]).unwrap() == Lowered::Kept {
            return;
        }
        assert!(!Held::has(held().unwrap().effective, Capability::Bpf));
        let raised = Raised::new(&[Capability::Bpf]);
        assert!(Held::has(held().unwrap().effective, Capability::Bpf));
        drop(raised);
        let after = held().unwrap();
        assert!(!Held::has(after.effective, Capability::Bpf));
        assert!(Held::has(after.permitted, Capability::Bpf));
    }
    #[test]
    fn a_root_that_may_not_look_into_others_otherwise_keeps_what_they_have() {
        let before = held().unwrap();
        if !rustix::process::geteuid().is_root() || !Held::has(before.effective, Capability::Bpf) {
            return;
        }
        let mut sets = capabilities(None).unwrap();
        sets.effective -= CapabilitySet::SYS_PTRACE;
        set_capabilities(None, sets).unwrap();
        assert_eq!(lower(&[Capability::Bpf]).unwrap(), Lowered::Kept);
        assert!(Held::has(held().unwrap().effective, Capability::Bpf));
    }
}
