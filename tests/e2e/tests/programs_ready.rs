//! When a program counts as ready: `--ready-on notify`, `http:/PATH`, `line:REGEX`; what else it may say on its notify
//! socket.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::Duration;

use oneport_e2e::programs::{all_answer_http, odd};
use oneport_e2e::wait::throughout;
use oneport_e2e::{App, Run, Signal, TempDir, http, place};

/// Listens, and is proven only after the gate is open; a reload waits in the same way.
fn is_ready_with_the_gate(program: &str, ready_on: &str) {
    let dir = TempDir::new();
    let gate = dir.file("gate");
    let words = [place::free_port().to_string(), gate.to_str().unwrap().to_owned()];
    let app = odd(program, words).instances(2).args(["--ready-on", ready_on]).start();
    let address = app.listening(2);
    let nobody = || app.all("proven").is_empty() && app.all("ready").is_empty();
    throughout(Duration::from_millis(400), "nobody is ready", nobody);
    dir.write("gate", "");
    app.wait_count("2 proven workers", 2, |event| event.is("proven"));
    all_answer_http(&app, address);
    // The new copies find the gate closed: the old ones go on serving.
    std::fs::remove_file(&gate).unwrap();
    let old = app.workers();
    app.signal(Signal::HUP);
    app.wait_count("a third copy", 3, |event| event.is("listening"));
    for _ in 0..20 {
        let pid = http::get(address, "/").pid();
        assert!(old.values().any(|copy| *copy == pid), "an unproven copy got a connection");
    }
    dir.write("gate", "");
    app.wait_for("the reload to be done", |event| event.is("reloaded"));
    all_answer_http(&app, address);
    app.stop();
}

#[test]
fn with_notify_a_copy_is_ready_when_it_says_so() {
    is_ready_with_the_gate("notify", "notify");
}

#[test]
fn with_http_a_copy_is_ready_when_its_own_health_says_so() {
    is_ready_with_the_gate("health", "http:/health");
}

#[test]
fn with_line_a_copy_is_ready_when_it_prints_it() {
    is_ready_with_the_gate("line", "line:ready after [0-9]+ steps");
}

#[test]
fn one_copy_that_is_well_does_not_vouch_for_another() {
    // Each copy is asked alone: the second one's gate stays closed.
    let dir = TempDir::new();
    let app = per_slot(&dir, "health", "http:/health");
    app.listening(2);
    dir.write("gate0", "");
    app.wait_for("slot 0 to be proven", |event| event.is("proven") && event.slot() == 0);
    let second = || !app.all("proven").iter().any(|event| event.slot() == 1);
    throughout(Duration::from_millis(500), "slot 1 is not ready", second);
    dir.write("gate1", "");
    app.wait_for("slot 1 to be proven", |event| event.is("proven") && event.slot() == 1);
    app.stop();
}

/// Two copies, each with a gate of its own: `gate0` and `gate1`.
fn per_slot(dir: &TempDir, program: &str, ready_on: &str) -> App {
    let python = oneport_e2e::programs::python();
    let script = oneport_e2e::programs::source(&format!("odd/{program}.py"));
    let (port, gate) = (place::free_port(), dir.file("gate"));
    let line = format!(
        "exec '{}' -uB '{}' {port} {}$NODE_APP_INSTANCE",
        python.display(),
        script.display(),
        gate.display()
    );
    let run: Run = oneport_e2e::programs::run(["sh", "-c", &line]);
    run.instances(2).args(["--attach", "own", "--ready-on", ready_on]).start()
}

#[test]
fn a_copy_that_never_becomes_ready_aborts_the_reload() {
    let dir = TempDir::new();
    let gate = dir.write("gate", "");
    let words = [place::free_port().to_string(), gate.to_str().unwrap().to_owned()];
    let options = ["--ready-on", "notify", "--listen-timeout", "1s"];
    let app = odd("notify", words).instances(1).args(options).start();
    let address = app.serving(1);
    let old = app.worker(0);
    std::fs::remove_file(gate).unwrap();
    app.signal(Signal::HUP);
    app.wait_for("the reload to be given up", |event| event.is("reload_aborted"));
    assert_eq!(http::get(address, "/").pid(), old);
    app.stop();
}

#[test]
fn a_copy_that_says_it_stops_gets_no_more_connections() {
    let dir = TempDir::new();
    dir.write("gate1", "");
    let python = oneport_e2e::programs::python();
    let script = oneport_e2e::programs::source("odd/notify.py");
    let line = format!(
        "exec '{}' -uB '{}' {} {}$NODE_APP_INSTANCE STOPPING=1",
        python.display(),
        script.display(),
        place::free_port(),
        dir.file("gate").display()
    );
    let run = oneport_e2e::programs::run(["sh", "-c", &line]).instances(2);
    // Slot 1 says it leaves at once and slot 0 not yet: it stays alone with the port.
    let app = run.args(["--attach", "own", "--drain-timeout", "500ms"]).start();
    let address = app.listening(2);
    let leaving = app.worker(1);
    let stays = app.worker(0);
    app.wait_for("its end", |event| event.is("died") && event.of(leaving));
    assert_eq!(http::get(address, "/").status, 200);
    assert!(oneport_e2e::procfs::runs(stays));
    app.stop();
}

#[test]
fn a_copy_whose_watchdog_falls_silent_is_replaced() {
    let dir = TempDir::new();
    let gate = dir.write("gate", "");
    let words = [place::free_port().to_string(), gate.to_str().unwrap().to_owned(), "WATCHDOG=1".into()];
    let options = ["--ready-on", "notify", "--watchdog", "600ms"];
    let app = odd("notify", words).instances(1).args(options).start();
    app.serving(1);
    let silent = app.worker(0);
    app.wait_for("its end", |event| event.is("died") && event.of(silent));
    app.wait_for("its replacement", |event| event.is("started") && !event.of(silent));
    app.stop();
}
