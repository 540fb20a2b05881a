//! Systems to judge: one that has everything, and what others lack.

use std::io;

use oneport_sys::bpf::{Counter, Probe, Refused, Tier};
use oneport_sys::caps::{Capability, Held};
use oneport_sys::host::{Executable, Kernel, Limit, Privileges, Setting, Standing, UserNamespace};
use oneport_sys::seccomp::Waits;

use super::facts::Facts;
use crate::attach::{Bpf, Explored, Here, Lack};

/// The number of each right in a set.
pub(super) fn bits(capabilities: &[Capability]) -> u64 {
    let all = (0..64).map(|bit| 1u64 << bit);
    all.filter(|mask| capabilities.iter().any(|one| Held::has(*mask, *one))).sum()
}

/// Root on a machine of its own.
pub(super) fn best() -> Facts {
    Facts {
        kernel: Kernel { release: "6.18.1".into(), machine: "x86_64".into() },
        user: 0,
        executable: Ok(Executable { path: "/usr/local/bin/oneport".into(), privileges: Privileges::Gained }),
        explored: Explored {
            here: Here { traps: Ok(()), takes: Ok(()), adds: Ok(()), library: Ok("/lib/x.so".into()) },
            waits: Some(Waits::Killable),
            bpf: Bpf::Answers,
        },
        reuse_port: Some(Ok(())),
        io_uring: Ok(()),
        cgroup: Ok("/sys/fs/cgroup".into()),
        held: Ok(Held { permitted: !0, effective: !0, inheritable: 0, bounding: !0, ambient: 0 }),
        standing: Ok(Standing {
            privileges: Privileges::Gained,
            user_namespace: UserNamespace::First,
            filtered: false,
        }),
        nofile: Limit { soft: Some(1024), hard: Some(524_288) },
        settings: vec![(Setting::Somaxconn, Ok(4096)), (Setting::TcpMigrateReq, Ok(0))],
        tiers: Some(Probe { tier: Tier::A, refused: Vec::new(), counter: Some(Counter::Cgroup) }),
        node_policy: None,
    }
}

pub(super) fn refused(tier: Tier, what: &'static str) -> Refused {
    Refused { tier, what, error: io::ErrorKind::PermissionDenied.into() }
}

pub(super) fn lack(reason: &str, remedy: &'static str) -> Lack {
    Lack { reason: reason.to_owned(), remedy }
}

/// Somebody else on the same machine.
pub(super) fn unprivileged() -> Facts {
    let refused = vec![refused(Tier::A, "load the counter"), refused(Tier::B, "load the selector")];
    Facts {
        user: 1000,
        held: Ok(Held { permitted: 0, effective: 0, inheritable: 0, bounding: !0, ambient: 0 }),
        tiers: Some(Probe { tier: Tier::C, refused, counter: None }),
        ..best()
    }
}
