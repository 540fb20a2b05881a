//! `oneport doctor`: what this system allows, as text and JSON, for whoever asks; and that the rights it advises are those that
//! make it better.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use oneport_e2e::run::{command, oneport};
use oneport_e2e::{Finished, Run, TempDir, place};
use serde_json::Value;

const USAGE: i32 = 2;
const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
/// The kernel makes a process undumpable that gains rights by its file, but not one that setpriv itself executes (Linux 6.18).
const BY_A_SHELL: [&str; 4] = ["sh", "-c", "exec \"$0\" \"$@\"", "env"];

/// What `doctor --json` of this binary finds, with these words in front.
#[track_caller]
fn examined(before: &[&str], binary: impl Into<OsString>) -> Value {
    let head = ["env", "-u", "NODE_CLUSTER_SCHED_POLICY"].iter().chain(before).map(OsString::from);
    let left = command(head.chain([binary.into(), "doctor".into(), "--json".into()]));
    assert_eq!(left.code(), 0, "{}", left.err());
    assert_eq!(left.err(), "");
    serde_json::from_str(&left.out()).unwrap_or_else(|cause| panic!("{cause}: {}", left.out()))
}

/// A copy of the binary that everybody may execute: where it was built may be closed to others.
fn copy(dir: &TempDir) -> PathBuf {
    let path = dir.file("oneport");
    // Another process copies it: a file that we have open for writing, and any child forked just now, cannot be executed
    // (ETXTBSY).
    let copied = command([OsString::from("cp"), place::oneport().into(), path.clone().into()]);
    assert_eq!(copied.code(), 0, "{}", copied.err());
    for path in [dir.path(), &path] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("chmod");
    }
    path
}

/// Whether tests of other users' rights can run here; says why not.
fn may_give_rights(test: &str) -> bool {
    let ours = examined(&[], place::oneport());
    let why = if !rustix::process::geteuid().is_root() {
        "only root can give rights away"
    } else if ours["tier"]["best"] != "A" {
        "not even root may load eBPF here"
    } else {
        return true;
    };
    place::skipped(test, why);
    false
}

/// Nobody with these rights and no others.
fn nobody_with(rights: &'static str) -> Vec<&'static str> {
    let words = ["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"];
    match rights {
        "" => NOBODY.into_iter().chain(words).collect(),
        "bpf" => nobody_and(["--inh-caps=+bpf", "--ambient-caps=+bpf"]),
        "bpf, net_admin" => nobody_and(["--inh-caps=+bpf,+net_admin", "--ambient-caps=+bpf,+net_admin"]),
        "bpf, perfmon" => nobody_and(["--inh-caps=+bpf,+perfmon", "--ambient-caps=+bpf,+perfmon"]),
        other => panic!("which rights are `{other}`?"),
    }
}

fn nobody_and(words: [&'static str; 2]) -> Vec<&'static str> {
    NOBODY.into_iter().chain(words).collect()
}

#[track_caller]
fn has_lines(left: &Finished, beginnings: &[&str]) {
    let out = left.out();
    for beginning in beginnings {
        assert!(out.lines().any(|line| line.starts_with(beginning)), "`{beginning}` in: {out}");
    }
}

#[test]
fn it_tells_every_feature_right_limit_and_choice_and_ends_with_0() {
    let left = oneport(["doctor"]);
    assert_eq!((left.code(), left.err().as_str()), (0, ""));
    has_lines(&left, &["Linux ", "features", "capabilities", "limits and settings", "what `auto` picks"]);
    has_lines(
        &left,
        &["  reuseport", "  SK_REUSEPORT eBPF", "  eBPF counter", "  cgroup v2", "  SELECT_OR_MIGRATE"],
    );
    has_lines(
        &left,
        &["  seccomp notify", "  WAIT_KILLABLE_RECV", "  pidfd_getfd", "  io_uring", "  preload library"],
    );
    has_lines(&left, &["  CAP_BPF", "  CAP_NET_ADMIN", "  CAP_PERFMON", "  CAP_NET_BIND_SERVICE"]);
    has_lines(&left, &["  nofile", "  somaxconn", "  tcp_migrate_req", "  unprivileged_bpf_disabled"]);
    has_lines(
        &left,
        &["  Node", "  Rust with the library", "  any program", "  Deno", "  Unix sockets", "  tier "],
    );
    has_lines(&left, &["what would be better"]);
}

#[test]
fn json_is_one_object_with_the_same_facts() {
    let object = examined(&[], place::oneport());
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("osrelease");
    assert_eq!(object["kernel"]["release"], release.trim());
    assert_eq!(object["user"], rustix::process::geteuid().as_raw());
    let (soft, hard) = (&object["limits"]["nofile"]["soft"], &object["limits"]["nofile"]["hard"]);
    assert!(soft.is_u64() && (hard.is_u64() || hard.is_null()), "{object}");
    for name in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON", "CAP_NET_BIND_SERVICE"] {
        for set in ["permitted", "effective", "bounding"] {
            assert!(object["capabilities"][name][set].is_boolean(), "{name} {set}: {object}");
        }
    }
    let features = object["features"].as_object().expect("features");
    for (name, feature) in features {
        let word = feature["found"].as_str().unwrap_or_default();
        assert!(["yes", "no", "not tried", "not needed"].contains(&word), "{name}: {feature}");
    }
    assert_eq!(object["features"]["reuseport"]["found"], "yes", "{object}");
    assert!(object["settings"]["somaxconn"].is_u64(), "{object}");
    for who in ["node", "library", "program", "deno", "unix"] {
        assert!(object["auto"][who]["policy"].is_string(), "{who}: {object}");
    }
    assert!(["A", "B", "C"].contains(&object["tier"]["best"].as_str().unwrap_or_default()), "{object}");
    assert!(object["advice"].is_array(), "{object}");
}

#[test]
fn it_agrees_with_check_on_how_a_program_is_attached() {
    let object = examined(&[], place::oneport());
    let words = ["check", "--json", "--timeout=1ms", "--", "sleep", "60"];
    let checked: Value = serde_json::from_str(&oneport(words).out()).expect("one object");
    assert_eq!(object["auto"]["program"]["attach"], checked["attach"], "{checked}");
}

#[test]
fn what_it_picks_is_what_run_does() {
    let object = examined(&[], place::oneport());
    for (who, run) in [("node", Run::fixture("app.js")), ("program", Run::target(["--", "sleep", "60"]))] {
        let app = run.start();
        let first = app.wait_for("primary", |event| event.is("primary")).value;
        for field in ["attach", "policy", "tier"] {
            assert_eq!(object["auto"][who][field], first[field], "{field} of {who}: {first}");
        }
    }
}

#[test]
fn the_environment_of_nodes_cluster_is_heeded() {
    let object = examined(&["NODE_CLUSTER_SCHED_POLICY=none"], place::oneport());
    assert_eq!(object["auto"]["node"]["policy"], "shared");
    assert_eq!(object["auto"]["program"]["policy"], "least");
}

#[test]
fn somebody_without_rights_is_told_the_best_without_any_and_one_command() {
    if !rustix::process::geteuid().is_root() {
        return; // The other tests run so anyway.
    }
    let dir = TempDir::new();
    let binary = copy(&dir);
    let object = examined(&nobody_with(""), &binary);
    assert_eq!(object["user"], 65534);
    assert_eq!(object["capabilities"]["CAP_BPF"]["bounding"], false);
    for (who, attach) in [("node", "channel"), ("library", "channel"), ("program", "own")] {
        let pick = &object["auto"][who];
        assert_eq!(
            (&pick["attach"], &pick["policy"], &pick["tier"]),
            (&attach.into(), &"least".into(), &"C".into())
        );
    }
    assert_eq!(object["advice"][0]["gain"], "tier A");
    // What cannot be gained is not advised.
    assert_eq!(object["advice"][0]["command"], Value::Null, "{object}");
    let command = &examined(&NOBODY, &binary)["advice"][0]["command"];
    assert!(command.as_str().is_some_and(|words| words.contains("cap_bpf")), "{command}");
}

#[test]
fn each_right_gives_the_tier_that_is_said_of_it() {
    if !may_give_rights("each_right_gives_the_tier") {
        return;
    }
    let dir = TempDir::new();
    let binary = copy(&dir);
    for (rights, tier) in [("bpf", "B"), ("bpf, net_admin", "A"), ("bpf, perfmon", "A")] {
        let object = examined(&nobody_with(rights), &binary);
        assert_eq!(object["tier"]["best"], tier, "{rights}: {}", object["tier"]);
        assert_eq!(object["auto"]["node"]["tier"], tier, "{rights}");
    }
}

#[test]
fn the_command_that_is_advised_makes_it_better() {
    if !may_give_rights("the_command_that_is_advised") {
        return;
    }
    let dir = TempDir::new();
    let binary = copy(&dir);
    let before = examined(&NOBODY, &binary);
    let advised = before["advice"][0]["command"].as_str().expect("a command").to_owned();
    let typed = command(["sh", "-c", advised.trim_start_matches("sudo ")]);
    if typed.code() != 0 {
        return place::skipped("the_command_that_is_advised", &format!("`{advised}` fails: {}", typed.err()));
    }
    let words = [NOBODY, BY_A_SHELL].concat();
    let after = examined(&words, &binary);
    assert_eq!(after["tier"]["best"], "A", "{after}");
    // Nothing became worse by it.
    assert_eq!(after["auto"]["program"]["attach"], before["auto"]["program"]["attach"], "{after}");
    assert_eq!(after["advice"], Value::Array(Vec::new()), "{after}");
}

#[test]
fn what_is_no_option_is_a_usage_error() {
    let left = oneport(["doctor", "--jsonn"]);
    assert_eq!(left.code(), USAGE, "{}", left.err());
    assert!(left.err().contains("cannot use option `--jsonn`"), "{}", left.err());
}
