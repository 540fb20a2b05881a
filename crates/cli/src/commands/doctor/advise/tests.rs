//! What is advised where, as what is to be done.

use std::io;

use oneport_sys::bpf::{Probe, Refused, Tier};
use oneport_sys::caps::{Capability, Held};
use oneport_sys::host::{Limit, Privileges, Setting, Standing, UserNamespace};
use oneport_sys::seccomp::Waits;

use super::super::facts::Facts;
use super::super::tests::{best, bits, lack, refused, unprivileged};
use super::{Advice, How, advise};
use crate::attach::{Bpf, Explored, Here};

fn words(advice: &Advice) -> &str {
    let (How::Command(words) | How::Change(words)) = &advice.how;
    words
}

/// Of the only advice that there is.
fn only(facts: &Facts) -> String {
    let advice = advise(facts);
    let [one] = advice.as_slice() else { panic!("{advice:?}") };
    words(one).to_owned()
}

fn holding(permitted: &[Capability], bounding: u64) -> Facts {
    let permitted = bits(permitted);
    let held = Held { permitted, effective: permitted, inheritable: 0, bounding, ambient: 0 };
    Facts { held: Ok(held), ..unprivileged() }
}

fn standing(privileges: Privileges, user_namespace: UserNamespace, filtered: bool) -> io::Result<Standing> {
    Ok(Standing { privileges, user_namespace, filtered })
}

#[test]
fn where_everything_can_be_had_nothing_is_advised() {
    assert_eq!(advise(&best()), []);
}

#[test]
fn somebody_without_rights_is_told_one_command_that_gives_the_file_what_is_missing() {
    let advice = advise(&unprivileged());
    assert_eq!(
        advice,
        [Advice {
            gain: "tier A",
            how: How::Command("sudo setcap cap_bpf,cap_net_admin+p /usr/local/bin/oneport".into()),
            unit: Some("AmbientCapabilities=CAP_BPF CAP_NET_ADMIN".into()),
        }]
    );
    let without_cgroups = Facts { cgroup: Err(io::ErrorKind::NotFound.into()), ..unprivileged() };
    assert_eq!(only(&without_cgroups), "sudo setcap cap_bpf,cap_perfmon+p /usr/local/bin/oneport");
}

#[test]
fn the_command_keeps_the_rights_that_the_file_has() {
    let counting = holding(&[Capability::Bpf], !0);
    assert_eq!(only(&counting), "sudo setcap cap_bpf,cap_net_admin+p /usr/local/bin/oneport");
    let low_ports = holding(&[Capability::NetBindService], !0);
    let all = "sudo setcap cap_bpf,cap_net_admin,cap_net_bind_service+ep /usr/local/bin/oneport";
    assert_eq!(only(&low_ports), all);
}

#[test]
fn a_path_that_a_shell_would_take_apart_is_quoted() {
    let mut facts = unprivileged();
    if let Ok(file) = &mut facts.executable {
        file.path = "/home/me/it's here/oneport".into();
    }
    assert!(only(&facts).ends_with("+p '/home/me/it'\\''s here/oneport'"), "{}", only(&facts));
}

#[test]
fn rights_are_advised_only_by_a_way_on_which_they_come() {
    let bounded = holding(&[], bits(&[Capability::NetBindService]));
    assert_eq!(only(&bounded), "start the container with --cap-add BPF --cap-add NET_ADMIN");

    let kept = standing(Privileges::Kept, UserNamespace::First, false);
    let kept = only(&Facts { standing: kept, ..unprivileged() });
    assert_eq!(
        kept,
        "start oneport without no_new_privs, or with CAP_BPF and CAP_NET_ADMIN as ambient capabilities"
    );

    let mut nosuid = unprivileged();
    if let Ok(file) = &mut nosuid.executable {
        file.privileges = Privileges::Kept;
    }
    assert!(only(&nosuid).contains("nosuid"), "{}", only(&nosuid));

    let below = || standing(Privileges::Gained, UserNamespace::Below, false);
    let below = [
        Facts { standing: below(), ..unprivileged() },
        Facts { standing: below(), ..in_spite_of_all_rights() },
    ];
    for facts in below {
        assert!(only(&facts).contains("outside of the user namespace"), "{}", only(&facts));
    }
}

#[test]
fn in_a_unit_of_the_system_the_unit_is_what_is_changed() {
    let in_unit = |directory: &str, facts| only(&Facts { cgroup: Ok(directory.into()), ..facts });
    let unit = "/sys/fs/cgroup/system.slice/app.service";
    let line = "`AmbientCapabilities=CAP_BPF CAP_NET_ADMIN` in app.service";
    assert_eq!(in_unit(unit, unprivileged()), line);
    let bounded = in_unit(unit, holding(&[], 0));
    assert_eq!(bounded, format!("{line}, and the same in its CapabilityBoundingSet="));
    for users in [
        "/sys/fs/cgroup/user.slice/user-7.slice/user@7.service",
        "/sys/fs/cgroup/x/user@7.service/a/b.service",
    ] {
        assert!(in_unit(users, unprivileged()).starts_with("sudo setcap "), "{users}");
    }
}

/// It is refused all the same.
fn in_spite_of_all_rights() -> Facts {
    let refused = vec![refused(Tier::A, "make a table"), refused(Tier::B, "make a table")];
    Facts { tiers: Some(Probe { tier: Tier::C, refused, counter: None }), ..best() }
}

#[test]
fn who_has_the_rights_is_told_what_else_stands_in_the_way() {
    assert!(only(&in_spite_of_all_rights()).contains("security module"));
    let filtered = standing(Privileges::Gained, UserNamespace::First, true);
    let filtered = Facts { standing: filtered, ..in_spite_of_all_rights() };
    assert!(only(&filtered).contains("seccomp filter"), "{}", only(&filtered));
    let refused =
        vec![Refused { error: io::ErrorKind::InvalidInput.into(), ..refused(Tier::A, "load the counter") }];
    let old = Facts { tiers: Some(Probe { tier: Tier::B, refused, counter: None }), ..best() };
    assert!(only(&old).contains("newer kernel"), "{}", only(&old));
}

fn explored(here: Here) -> Facts {
    Facts { explored: Explored { here, waits: Some(Waits::Killable), bpf: Bpf::Answers }, ..unprivileged() }
}

#[test]
fn a_program_that_cannot_be_attached_comes_first_and_one_that_could_be_better_comes_after_the_tier() {
    let here = || best().explored.here;
    let nothing = Here {
        traps: Err(lack("filters", "allow filters")),
        library: Err(lack("none", "install it")),
        ..here()
    };
    let advice = advise(&explored(nothing));
    assert_eq!(advice.iter().map(words).collect::<Vec<_>>()[0], "allow filters, or install it");
    assert_eq!(advice.len(), 2);
    let slot = Here { takes: Err(lack("no pidfd_getfd", "allow pidfd_getfd")), ..here() };
    let advice = advise(&explored(slot));
    assert_eq!(advice.iter().map(words).collect::<Vec<_>>()[1], "allow pidfd_getfd");
    assert_eq!(advice.len(), 2);
}

#[test]
fn a_kernel_that_hangs_is_restarted_before_anything_else_is_looked_at() {
    let here = Here { traps: Err(lack("it hangs", "restart the machine")), ..best().explored.here };
    let explored = Explored { here, waits: None, bpf: Bpf::Hangs };
    let facts = Facts { explored, reuse_port: None, tiers: None, ..unprivileged() };
    assert_eq!(only(&facts), "restart the machine");
}

#[test]
fn limits_below_the_kernels_own_are_told() {
    let nofile = Facts { nofile: Limit { soft: Some(256), hard: Some(1024) }, ..best() };
    assert_eq!(only(&nofile), "prlimit --pid $$ --nofile=65536:65536");
    let queues = Facts { user: 1, settings: vec![(Setting::Somaxconn, Ok(128))], ..best() };
    assert_eq!(only(&queues), "sudo sysctl -w net.core.somaxconn=4096");
    let unlimited = Facts { nofile: Limit { soft: None, hard: None }, ..best() };
    assert_eq!(advise(&unlimited), []);
    let mut old = best();
    old.explored.waits = Some(Waits::Interruptible);
    assert_eq!(only(&old), "use Linux 5.19 or later");
}
