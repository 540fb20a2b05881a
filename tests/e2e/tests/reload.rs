//! SIGHUP: every worker is replaced, the new one first; a build that does not work changes nothing.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use oneport_e2e::http::Client;
use oneport_e2e::load::{Load, Style};
use oneport_e2e::wait::throughout;
use oneport_e2e::{App, Event, Run, Signal, TempDir, http, place, procfs};

fn pids(app: &App) -> BTreeSet<u32> {
    app.workers().into_values().collect()
}

fn reload(app: &App) -> Event {
    let before = app.all("reloaded").len();
    app.signal(Signal::HUP);
    app.wait_count("the reload to be done", before + 1, |event| event.is("reloaded")).pop().unwrap()
}

fn under_load(style: Style) {
    let app = Run::fixture("app.js").instances(3).policy("rr").start();
    let address = app.serving(3);
    let old = pids(&app);
    let load = Load::start(address, "/slow?ms=5", 6, style);
    load.wait_more(50);
    let done = reload(&app);
    assert_eq!(done.number("replaced"), 3);
    load.wait_more(50);
    let tally = load.stop();
    assert_eq!(tally.lost, Vec::<String>::new(), "of {} requests", tally.total());
    let new = pids(&app);
    assert!(old.is_disjoint(&new) && new.len() == 3, "{old:?} {new:?}");
    assert!(new.iter().all(|pid| tally.answered.contains_key(pid)), "every new worker serves");
    for pid in old {
        assert!(!procfs::runs(pid), "old worker {pid} lives");
        let died = app.wait_for("the death", |event| event.is("died") && event.of(pid));
        assert_eq!(died.value["expected"], true);
    }
    app.stop();
}

#[test]
fn a_reload_under_load_loses_no_connection() {
    under_load(Style::Close);
}

#[test]
fn a_reload_under_keep_alive_load_loses_no_request_in_flight() {
    under_load(Style::KeepAlive);
}

#[test]
fn a_reload_of_a_single_worker_loses_no_connection() {
    let app = Run::fixture("app.js").policy("rr").start();
    let address = app.serving(1);
    let load = Load::start(address, "/", 4, Style::Close);
    for _ in 0..3 {
        load.wait_more(50);
        reload(&app);
    }
    let tally = load.stop();
    assert_eq!(tally.lost, Vec::<String>::new(), "of {} requests", tally.total());
    assert_eq!(app.all("reloaded").len(), 3);
    app.stop();
}

#[test]
fn the_new_worker_is_proven_before_the_old_one_is_asked_to_leave() {
    let app = Run::fixture("app.js").instances(2).start();
    app.serving(2);
    let old = app.workers();
    reload(&app);
    let events = app.events();
    for (slot, pid) in old {
        let place = |name: &str, of_old: bool| {
            let found = events
                .iter()
                .position(|event| event.is(name) && event.slot() == slot && event.of(pid) == of_old);
            found.unwrap_or_else(|| panic!("no `{name}` for slot {slot}, old: {of_old}"))
        };
        assert!(place("proven", false) < place("draining", true), "slot {slot}");
        assert!(place("draining", true) < place("died", true), "slot {slot}");
    }
    app.stop();
}

#[test]
fn a_request_that_takes_longer_than_the_reload_is_answered_by_the_old_worker() {
    let app = Run::fixture("app.js").start();
    let address = app.serving(1);
    let old = app.worker(0);
    let mut slow = Client::connect(address).unwrap();
    slow.send("/slow?ms=900", "Connection: close\r\n").unwrap();
    app.signal(Signal::HUP);
    app.wait_for("the new worker", |event| event.is("proven") && !event.of(old));
    assert_eq!(slow.receive().expect("answered").pid(), old);
    app.wait_for("the reload to be done", |event| event.is("reloaded"));
    app.stop();
}

#[test]
fn a_connection_that_never_ends_is_cut_at_the_drain_timeout() {
    let app = Run::fixture("hold.js").args(["--drain-timeout", "300ms", "--kill-timeout", "300ms"]).start();
    let address = app.serving(1);
    let (mut held, old) = oneport_e2e::tcp::greet(address).unwrap();
    reload(&app);
    assert!(!procfs::runs(old));
    assert_eq!(oneport_e2e::tcp::rest(&mut held).unwrap_or_default(), b"");
    app.stop();
}

/// An app whose script can be replaced by another build.
fn replaceable() -> (TempDir, PathBuf) {
    let dir = TempDir::new();
    let good = std::fs::read_to_string(place::fixture("app.js")).unwrap();
    let script = dir.write("app.js", &good);
    (dir, script)
}

fn aborts(build: &str, options: &[&str], words: &str) {
    let (dir, script) = replaceable();
    let run = Run::path(script).instances(2).policy("rr").min_uptime("500ms").args(options);
    let app = run.start();
    let address = app.serving(2);
    let old = pids(&app);
    dir.write("app.js", build);
    let load = Load::start(address, "/", 2, Style::Close);
    app.signal(Signal::HUP);
    let aborted = app.wait_for("the reload to be given up", |event| event.is("reload_aborted"));
    assert!(!aborted.text("reason").is_empty());
    let last = aborted.value["last_stderr"].to_string();
    assert!(last.contains(words), "`{words}` in {last}");
    load.wait_more(20);
    let tally = load.stop();
    assert_eq!(tally.lost, Vec::<String>::new());
    assert!(tally.answered.keys().all(|pid| old.contains(pid)), "the old workers serve");
    assert_eq!(pids(&app), old);
    assert!(app.all("reloaded").is_empty());
    throughout(Duration::from_millis(200), "nothing else is started", || pids(&app) == old);
    // The next build works again.
    let good = std::fs::read_to_string(place::fixture("app.js")).unwrap();
    dir.write("app.js", &good);
    reload(&app);
    assert!(pids(&app).is_disjoint(&old));
    app.stop();
}

#[test]
fn a_build_that_throws_at_start_changes_nothing() {
    aborts("throw new Error('broken build');", &[], "broken build");
}

#[test]
fn a_build_with_a_syntax_error_changes_nothing() {
    aborts("const = ;", &[], "SyntaxError");
}

#[test]
fn a_build_that_listens_and_dies_at_once_changes_nothing() {
    let build = "require('http').createServer((q, s) => s.end(`hello from ${process.pid}`)).listen(0, \
                 () => setTimeout(() => { console.error('late death'); process.exit(9); }, 50));";
    aborts(build, &[], "late death");
}

#[test]
fn a_build_that_never_listens_changes_nothing() {
    let build = "console.error('idle build'); setInterval(() => {}, 1000);";
    aborts(build, &["--listen-timeout", "2s"], "idle build");
}

#[test]
fn a_build_that_never_says_ready_changes_nothing_with_wait_ready() {
    let (dir, script) = replaceable();
    let ready = std::fs::read_to_string(place::example("ready.js")).unwrap();
    dir.write("app.js", &ready);
    let run = Run::path(script).args(["--wait-ready", "--listen-timeout", "1s"]);
    let app = run.start();
    let address = app.serving(1);
    let old = app.worker(0);
    let silent = std::fs::read_to_string(place::fixture("app.js")).unwrap();
    dir.write("app.js", &silent);
    app.signal(Signal::HUP);
    app.wait_for("the reload to be given up", |event| event.is("reload_aborted"));
    assert_eq!(http::get(address, "/").pid(), old);
    app.stop();
}

#[test]
fn with_wait_ready_a_worker_counts_once_it_says_so() {
    let app = Run::example("ready.js").instances(2).args(["--wait-ready"]).start();
    let address = app.serving(2);
    app.wait_count("both to be ready", 2, |event| event.is("ready"));
    let events = app.events();
    for (_, pid) in app.workers() {
        let place = |name: &str| events.iter().position(|event| event.is(name) && event.of(pid)).unwrap();
        assert!(place("ready") < place("proven"));
    }
    let old = pids(&app);
    reload(&app);
    assert!(pids(&app).is_disjoint(&old));
    http::get(address, "/");
    app.stop();
}

#[test]
fn an_app_that_never_listens_is_proven_by_staying_up() {
    let app = Run::example("never_listens.js").instances(2).start();
    app.wait_count("2 proven workers", 2, |event| event.is("proven"));
    let old = pids(&app);
    let done = reload(&app);
    assert_eq!(done.number("replaced"), 2);
    assert!(pids(&app).is_disjoint(&old));
    app.stop();
}

#[test]
fn a_second_signal_while_rolling_means_one_more_reload() {
    let app = Run::fixture("app.js").instances(2).min_uptime("300ms").start();
    app.serving(2);
    for _ in 0..3 {
        app.signal(Signal::HUP);
        // Each must be seen before the next: signals of one number are not queued by the kernel.
        let pid = app.pid();
        oneport_e2e::wait::eventually("the signal to be taken", || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap().trim();
            (u64::from_str_radix(pending, 16).unwrap() & 1 == 0).then_some(())
        });
    }
    app.wait_count("two reloads", 2, |event| event.is("reloaded"));
    let quiet = app.all("started").len();
    throughout(Duration::from_millis(300), "there is no third one", || app.all("started").len() == quiet);
    app.stop();
}

#[test]
fn a_stop_in_the_middle_of_a_reload_ends_everything() {
    let app = Run::fixture("app.js").instances(3).min_uptime("500ms").start();
    app.serving(3);
    app.signal(Signal::HUP);
    app.wait_for("the reload to begin", |event| event.is("reload"));
    app.wait_count("a fourth worker", 4, |event| event.is("started"));
    app.stop();
}
