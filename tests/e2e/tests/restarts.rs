//! Workers that end unasked: restart, back-off, giving up, and what they leave behind.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::Duration;

use oneport_e2e::wait::eventually;
use oneport_e2e::{App, Event, Run, Signal, http, procfs};

fn delays(app: &App, slot: i64, count: usize) -> Vec<i64> {
    let told = app.wait_count(&format!("{count} restarts"), count, |event| {
        event.is("restarting") && event.slot() == slot
    });
    told.iter().map(|event| event.number("delay_ms")).collect()
}

#[test]
fn a_worker_that_exits_3_is_told_and_replaced_in_its_slot() {
    let app = Run::example("exits.js").instances(2).start();
    let address = app.serving(2);
    let gone = http::get(address, "/exit").pid();
    let died = app.wait_for("the death", |event| event.is("died") && event.of(gone));
    assert_eq!(died.value["code"], 3);
    assert!(died.value["signal"].is_null());
    assert_eq!(died.value["expected"], false);
    let slot = died.slot();
    for _ in 0..6 {
        http::get(address, "/");
    }
    let next = app
        .wait_for("the replacement", |event| event.is("proven") && event.slot() == slot && !event.of(gone));
    assert!(next.worker() > died.worker(), "ids are never used again");
    assert_eq!(delays(&app, slot, 1)[0], 100);
    app.stop();
}

#[test]
fn a_worker_that_throws_is_told_with_its_code() {
    let app = Run::fixture("app.js").instances(2).start();
    let address = app.serving(2);
    let gone = http::get(address, "/throw").pid();
    let died = app.wait_for("the death", |event| event.is("died") && event.of(gone));
    assert_eq!(died.value["code"], 1);
    assert!(app.wait_err("thrown on request").contains("Error: thrown on request"));
    app.wait_for("the replacement", |event| {
        event.is("proven") && event.slot() == died.slot() && !event.of(gone)
    });
    app.stop();
}

#[test]
fn a_worker_killed_by_a_signal_is_told_with_the_signal() {
    let app = Run::fixture("app.js").instances(2).start();
    app.serving(2);
    for (slot, signal, name) in [(0, Signal::KILL, "SIGKILL"), (1, Signal::SEGV, "SIGSEGV")] {
        let pid = app.worker(slot);
        procfs::signal(pid, signal);
        let died = app.wait_for("the death", |event| event.is("died") && event.of(pid));
        assert_eq!(died.value["signal"], name);
        assert!(died.value["code"].is_null());
        app.wait_for("a replacement", |event| event.is("proven") && event.slot() == slot && !event.of(pid));
    }
    app.stop();
}

#[test]
fn a_fixed_restart_delay_is_kept() {
    let app = Run::fixture("crash.js").args(["--restart-delay", "20ms"]).start();
    assert_eq!(delays(&app, 0, 4), [20; 4]);
    app.stop();
}

#[test]
fn without_one_the_pauses_double() {
    let app = Run::fixture("crash.js").start();
    assert_eq!(delays(&app, 0, 4), [100, 200, 400, 800]);
    app.stop();
}

#[test]
fn a_slot_that_crashes_again_and_again_is_given_up_and_its_siblings_go_on() {
    let run = Run::fixture("crash.js").instances(3).env("SLOT", "1").min_uptime("3s");
    let app = run.args(["--max-restarts", "3", "--restart-delay", "10ms"]).start();
    let errored = app.wait_for("the slot to be given up", |event| event.is("errored"));
    assert_eq!(errored.slot(), 1);
    assert_eq!(errored.number("restarts"), 3);
    let words = errored.value["last_stderr"].to_string();
    assert!(words.contains("no database here"), "{words}");
    let address = app.listening(2);
    for _ in 0..6 {
        let pid = http::get(address, "/").pid();
        assert!([app.worker(0), app.worker(2)].contains(&pid));
    }
    assert!(!app.workers().contains_key(&1));
    assert_eq!(app.all("errored").len(), 1);
    app.stop();
}

#[test]
fn when_every_slot_is_given_up_it_ends_with_1_and_shows_the_last_words() {
    let run =
        || Run::fixture("crash.js").instances(2).args(["--max-restarts", "2", "--restart-delay", "10ms"]);
    let left = run().min_uptime("3s").finish();
    assert_eq!(left.code(), 1, "{}", left.err());
    let errored = left.all("errored");
    assert_eq!(errored.len(), 2, "{}", left.err());
    assert!(errored.iter().all(|event| event.value["last_stderr"].to_string().contains("no database here")));
    let told = run().min_uptime("3s").text().finish();
    assert_eq!(told.code(), 1);
    let ours: Vec<String> =
        told.err().lines().filter(|line| line.contains("cannot ")).map(str::to_owned).collect();
    assert!(!ours.is_empty(), "it says that it gives up: {}", told.err());
    assert!(told.err().contains("no database here"));
}

#[test]
fn lives_longer_than_min_uptime_do_not_count_as_unstable() {
    let run = Run::example("exits.js").args(["--max-restarts", "2", "--restart-delay", "10ms"]);
    let app = run.min_uptime("50ms").start();
    let address = app.serving(1);
    for round in 1..5 {
        http::get(address, "/exit");
        app.wait_count("another life", round + 1, |event| event.is("proven"));
    }
    assert!(app.all("errored").is_empty());
    app.stop();
}

#[test]
fn an_app_without_a_port_is_restarted_too() {
    let app = Run::example("never_listens.js").instances(2).start();
    app.wait_count("2 proven workers", 2, |event| event.is("proven"));
    let pid = app.worker(0);
    procfs::signal(pid, Signal::KILL);
    app.wait_for("a replacement", |event| event.is("proven") && event.slot() == 0 && !event.of(pid));
    assert!(app.all("listening").is_empty());
    app.stop();
}

/// The `sleep` a worker started.
fn child_of(app: &App, worker: u32) -> u32 {
    let line = app.wait_until("the worker's child", |_, out, _| {
        let out = String::from_utf8_lossy(out).into_owned();
        out.lines().find(|line| line.ends_with(&format!(" of {worker}"))).map(str::to_owned)
    });
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

fn family(detached: &str, end: impl Fn(&App, u32)) {
    let app = Run::fixture("family.js").env("DETACHED", detached).start();
    app.serving(1);
    let worker = app.worker(0);
    let child = child_of(&app, worker);
    assert!(procfs::runs(child));
    end(&app, worker);
    let gone = |event: &Event| event.is("died") && event.of(worker);
    app.wait_for("the worker to end", gone);
    let next = app.wait_for("the next worker", |event| event.is("started") && !event.of(worker));
    assert!(!procfs::runs(child), "the child of the dead worker lived when {} started", next.pid());
    app.wait_count("the next worker to be proven", 2, |event| event.is("proven"));
    let second = child_of(&app, app.worker(0));
    app.stop();
    eventually("the second child to be gone", || (!procfs::runs(second)).then_some(()));
}

#[test]
fn grandchildren_of_a_killed_worker_are_ended_before_it_is_replaced() {
    family("0", |_, worker| procfs::signal(worker, Signal::KILL));
}

#[test]
fn grandchildren_in_a_session_of_their_own_are_ended_too() {
    family("1", |_, worker| procfs::signal(worker, Signal::KILL));
}

#[test]
fn nothing_of_the_app_survives_a_killed_primary() {
    let app = Run::fixture("app.js").instances(2).start();
    app.serving(2);
    let workers = app.workers();
    app.signal(Signal::KILL);
    for pid in workers.into_values() {
        // The channel's end tells a Node worker; it exits at once.
        eventually("the worker to notice", || (!procfs::runs(pid)).then_some(()));
    }
}

#[test]
fn the_port_stays_open_while_its_only_worker_is_replaced() {
    let app = Run::example("exits.js").args(["--restart-delay", "1s"]).start();
    let address = app.serving(1);
    let gone = http::get(address, "/exit").pid();
    app.wait_for("the death", |event| event.is("died") && event.of(gone));
    // The kernel takes the connection, or lets the client try again a second later: the replacement answers.
    let began = std::time::Instant::now();
    let mut client = oneport_e2e::http::Client::connect(address).expect("the port is open");
    assert_ne!(client.get("/").unwrap().pid(), gone);
    assert!(began.elapsed() >= Duration::from_millis(100), "there was a moment without workers");
    drop(client);
    app.stop();
}
