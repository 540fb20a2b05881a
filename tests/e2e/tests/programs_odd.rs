//! Programs that do what one hopes they do not: never listen, listen twice, exit at once, fork away, close everything,
//! drop their privileges, are 32-bit or setuid. Each has a defined behaviour and, where it cannot work, one clear line.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use oneport_e2e::programs::{all_answer_http, build, c, odd, or_skip, run, source};
use oneport_e2e::wait::throughout;
use oneport_e2e::{Finished, Signal, TempDir, place, procfs};

fn port() -> String {
    place::free_port().to_string()
}

/// It ended with 1, did not try for ever, and said `words`.
fn gave_up(left: &Finished, words: &str) {
    assert_eq!(left.code(), 1, "{}", left.err());
    assert!(left.all("started").len() <= 6, "a restart loop: {}", left.err());
    assert!(left.err().contains(words), "`{words}` in {}", left.err());
}

#[test]
fn a_program_that_never_listens_is_proven_by_staying_up() {
    let none: [&str; 0] = [];
    let app = odd("never_listens", none).instances(2).start();
    app.wait_count("2 proven workers", 2, |event| event.is("proven"));
    app.signal(Signal::HUP);
    let done = app.wait_for("the reload to be done", |event| event.is("reloaded"));
    assert_eq!(done.number("replaced"), 2);
    assert_eq!(app.all("listening").len(), 0);
    app.stop();
}

#[test]
fn a_second_listen_on_the_same_address_is_refused_as_it_would_be_alone() {
    let app = odd("twice", [port()]).instances(2).start();
    let out = app.wait_out_times("second listen: ", 2);
    assert_eq!(out.matches("second listen: EADDRINUSE").count(), 2, "{out}");
    all_answer_http(&app, app.serving(2));
    app.stop();
}

#[test]
fn a_program_that_exits_at_once_is_given_up_with_its_last_words() {
    let none: [&str; 0] = [];
    let limits = ["--max-restarts", "2", "--restart-delay", "10"];
    let left = odd("exits", none).min_uptime("10s").args(limits).finish();
    gave_up(&left, "no configuration: giving up");
}

#[test]
fn a_program_that_forks_away_is_told_to_stay_and_leaves_nothing_behind() {
    let port = place::free_port();
    let limits = ["--max-restarts", "2", "--restart-delay", "10"];
    let left = odd("forks_away", [port.to_string()]).min_uptime("10s").args(limits).finish();
    gave_up(&left, "background");
    let free = std::net::TcpListener::bind(("127.0.0.1", port));
    assert!(free.is_ok(), "a daemon was left behind: {free:?}");
}

#[test]
fn a_program_that_closes_every_descriptor_is_served_as_any_other() {
    let app = odd("closes", [port()]).instances(3).start();
    let address = app.serving(3);
    all_answer_http(&app, address);
    let victim = app.worker(0);
    procfs::signal(victim, Signal::KILL);
    app.wait_for("the replacement", |event| event.is("proven") && event.slot() == 0 && !event.of(victim));
    all_answer_http(&app, address);
    app.stop();
}

#[test]
fn a_program_that_drops_its_privileges_shares_its_port_all_the_same() {
    if !rustix::process::geteuid().is_root() {
        return place::skipped("a_program_that_drops_its_privileges", "only root has privileges to drop");
    }
    let app = odd("drops", [port()]).instances(3).start();
    let address = app.serving(3);
    all_answer_http(&app, address);
    app.signal(Signal::HUP);
    app.wait_for("the reload to be done", |event| event.is("reloaded"));
    all_answer_http(&app, address);
    app.stop();
}

#[test]
fn a_32_bit_program_is_refused_with_the_reason() {
    let built = build::c(&source("c/block.c"), build::Link::Bits32);
    let Some(program) = or_skip("a_32_bit_program", built) else { return };
    let words = [program.into_os_string(), port().into()];
    let left = run(words).instances(2).min_uptime("10s").args(["--max-restarts", "2"]).finish();
    assert_ne!(left.code(), 0);
    assert!(left.err().contains("32-bit"), "{}", left.err());
    assert!(left.all("started").is_empty(), "it was not started: {}", left.err());
}

#[test]
fn a_setuid_program_is_told_that_it_will_not_change_its_user() {
    let dir = TempDir::new();
    let program = dir.file("setuid");
    std::fs::copy(c("block"), &program).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&program, Some(65534), None).unwrap();
    }
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let words = [program.into_os_string(), port().into()];
    let app = run(words).instances(2).args(["--attach", "own"]).start();
    app.wait_err("which has no effect while its calls are trapped");
    all_answer_http(&app, app.serving(2));
    app.stop();
}

#[test]
fn unattached_copies_of_which_only_one_can_have_the_port_are_no_restart_loop_in_silence() {
    let limits = ["--attach", "none", "--max-restarts", "2", "--restart-delay", "10"];
    let words = [c("block").into_os_string(), port().into()];
    let app = run(words).instances(2).min_uptime("10s").args(limits).start();
    let errored = app.wait_for("one copy to be given up", |event| event.is("errored"));
    assert!(errored.value["last_stderr"].to_string().contains("Address already in use"), "{}", errored.value);
    let started = app.all("started").len();
    throughout(Duration::from_millis(300), "nothing else is started", || app.all("started").len() == started);
    app.stop();
}
