//! How workers end and come again: restart policy, readiness, stop signals, drains, whole trees.

use std::time::{Duration, Instant};

use oneport_e2e::manager::{Manager, QUEUE, SERVER};
use oneport_e2e::wait::eventually;
use oneport_e2e::{http, procfs};
use serde_json::json;

fn said(manager: &Manager, file: &str) -> String {
    std::fs::read_to_string(manager.in_home(&format!("logs/{file}"))).unwrap_or_default()
}

#[test]
fn a_script_that_runs_once_is_done_and_not_started_again() {
    let manager = Manager::new();
    manager.write("once.js", "console.log('did it');");
    manager.ok(&["start", "once.js", "--no-autorestart"]);
    manager.wait_status("once", "stopped");
    eventually("its output", || said(&manager, "once-out.log").contains("did it").then_some(()));
    let worker = manager.app("once")["workers"][0].clone();
    assert_eq!((&worker["last_exit"], &worker["restarts"]), (&json!({"code": 0}), &json!(0)), "{worker}");
    manager.ok(&["restart", "once"]);
    eventually("it did it twice", || {
        (said(&manager, "once-out.log").matches("did it").count() == 2).then_some(())
    });
    manager.write("fails.js", "process.exit(4);");
    manager.ends(&["start", "fails.js", "--no-autorestart"], 1);
    assert_eq!(manager.app("fails")["workers"][0]["last_exit"], json!({"code": 4}));
    assert_eq!(manager.statuses("fails"), ["stopped"]);
}

#[test]
fn some_exit_codes_end_it_and_others_do_not() {
    let manager = Manager::new();
    manager.write(
        "leave.js",
        "console.log('up'); process.on('SIGUSR2', () => process.exit(0)); process.on('SIGHUP', () => process.exit(7)); setInterval(() => {}, 1000);",
    );
    manager.ok(&["start", "leave.js", "--stop-exit-codes", "0", "3", "--min-uptime", "100"]);
    let first = manager.pids("leave")[0];
    eventually("it is up", || said(&manager, "leave-out.log").contains("up").then_some(()));
    manager.ok(&["sendSignal", "SIGHUP", "leave"]);
    manager.wait("another one", |apps| {
        let pid = apps[0]["workers"][0]["pid"].as_u64()?;
        (pid != u64::from(first) && apps[0]["workers"][0]["status"] == "online").then_some(())
    });
    assert_eq!(manager.restarts("leave"), [1]);
    eventually("it is up", || (said(&manager, "leave-out.log").matches("up").count() == 2).then_some(()));
    manager.ok(&["sendSignal", "SIGUSR2", "leave"]);
    manager.wait_status("leave", "stopped");
}

#[test]
fn a_crash_loop_ends_in_errored_and_the_siblings_serve() {
    let manager = Manager::new();
    manager.write("app.js", &format!("if (process.env.NODE_APP_INSTANCE === '1') {{ console.error('no luck'); process.exit(5); }} {SERVER}"));
    let outcome = manager.ends(
        &[
            "start",
            "app.js",
            "-i",
            "2",
            "--max-restarts",
            "3",
            "--restart-delay",
            "50",
            "--min-uptime",
            "500",
        ],
        1,
    );
    assert!(outcome.err.contains("no luck"), "{}", outcome.all());
    manager.wait("one online, one errored", |apps| {
        let status = |at: usize| apps[0]["workers"][at]["status"].as_str().unwrap_or_default().to_owned();
        ((status(0), status(1)) == ("online".into(), "errored".into())).then_some(())
    });
    let worker = manager.app("app")["workers"][1].clone();
    assert_eq!((&worker["last_exit"], worker["pid"].is_null()), (&json!({"code": 5}), true), "{worker}");
    assert!(worker["unstable_restarts"].as_u64() >= Some(3), "{worker}");
    assert!(http::get(manager.address("app"), "/").text().contains("hello"));
    assert!(manager.ok(&["list"]).out.contains("errored"));
    // With what was wrong put right, it comes back.
    manager.write("app.js", SERVER);
    manager.ok(&["restart", "app"]);
    assert_eq!(manager.statuses("app"), ["online", "online"]);
}

#[test]
fn pauses_grow_and_are_shown() {
    let manager = Manager::new();
    manager.write("dies.js", "setTimeout(() => process.exit(1), 30);");
    manager.run(&["start", "dies.js", "--exp-backoff-restart-delay", "300", "--max-restarts", "30"]);
    manager.wait("a pause", |apps| (apps[0]["workers"][0]["status"] == "waiting restart").then_some(()));
    manager.wait("some restarts", |apps| (apps[0]["workers"][0]["restarts"].as_u64()? >= 2).then_some(()));
    let began = Instant::now();
    let count = manager.restarts("dies")[0];
    manager.wait("the next", |apps| (apps[0]["workers"][0]["restarts"].as_i64()? > count).then_some(()));
    let first = began.elapsed();
    assert!(first < Duration::from_secs(10));
    manager.ok(&["stop", "dies"]);
    assert_eq!(manager.statuses("dies"), ["stopped"]);
    let count = manager.restarts("dies");
    oneport_e2e::wait::throughout(Duration::from_millis(800), "it stays stopped", || {
        manager.restarts("dies") == count
    });
}

#[test]
fn one_that_waits_for_its_word_is_launching_until_it_says_it() {
    for fork in [false, true] {
        let manager = Manager::new();
        manager.write(
            "app.js",
            &format!("{SERVER} process.on('SIGUSR2', () => process.send('ready')); console.log('up');"),
        );
        let mut words = vec!["start", "app.js", "--wait-ready", "--min-uptime", "100"];
        words.extend(fork.then_some("-x"));
        let start = manager.begin(&words);
        eventually("it runs", || said(&manager, "app-out.log").contains("up").then_some(()));
        assert_eq!(manager.statuses("app"), ["launching"], "fork: {fork}");
        manager.ok(&["sendSignal", "SIGUSR2", "app"]);
        let outcome = start.end();
        assert_eq!(outcome.code, 0, "fork: {fork}: {}", outcome.all());
        assert_eq!(manager.statuses("app"), ["online"]);
    }
}

#[test]
fn one_that_never_says_it_is_a_failure() {
    let manager = Manager::with_server();
    let began = Instant::now();
    let outcome = manager.ends(&["start", "app.js", "--wait-ready", "--listen-timeout", "500"], 1);
    assert!(outcome.err.contains("not ready in time"), "{}", outcome.all());
    assert!(began.elapsed() >= Duration::from_millis(500));
}

#[test]
fn one_that_ignores_the_signal_is_killed_after_its_time_and_stop_waits_for_that() {
    let manager = Manager::new();
    manager.write("deaf.js", "for (const s of ['SIGINT', 'SIGTERM']) process.on(s, () => console.log('no')); setInterval(() => {}, 1000); console.log('up');");
    manager.ok(&[
        "start",
        "deaf.js",
        "-i",
        "2",
        "--merge-logs",
        "--kill-timeout",
        "700",
        "--min-uptime",
        "100",
    ]);
    eventually("both are up", || (said(&manager, "deaf-out.log").matches("up").count() == 2).then_some(()));
    let pids = manager.pids("deaf");
    let began = Instant::now();
    manager.ok(&["stop", "deaf"]);
    let took = began.elapsed();
    assert!(pids.iter().all(|pid| !procfs::runs(*pid)), "stop waits");
    assert!(took >= Duration::from_millis(700) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(said(&manager, "deaf-out.log").matches("no").count(), 2, "each was asked once");
    assert_eq!(manager.app("deaf")["workers"][0]["last_exit"], json!({"signal": 9}));
}

#[test]
fn the_signal_is_sigint_and_can_be_another_and_a_handler_may_take_its_time() {
    let manager = Manager::new();
    let heed = "for (const s of ['SIGINT', 'SIGTERM', 'SIGUSR2']) process.on(s, () => { console.log('got ' + s); setTimeout(() => { console.log('bye'); process.exit(0); }, 300); });";
    manager.write("app.js", &format!("{heed} {SERVER} console.log('up');"));
    manager.ok(&["start", "app.js"]);
    manager.ok(&["start", "app.js", "-n", "other", "--stop-signal", "SIGUSR2"]);
    for (app, signal) in [("app", "SIGINT"), ("other", "SIGUSR2")] {
        let log = format!("{app}-out.log");
        eventually("it is up", || said(&manager, &log).contains("up").then_some(()));
        manager.ok(&["stop", app]);
        eventually("its last words", || said(&manager, &log).contains("bye").then_some(()));
        assert_eq!(said(&manager, &log), format!("up\ngot {signal}\nbye\n"));
    }
}

#[test]
fn the_message_takes_the_place_of_the_signal_in_stop_and_in_reload() {
    let manager = Manager::new();
    manager.write(
        "app.js",
        &format!("process.on('SIGINT', () => console.log('signal')); process.on('message', (m) => {{ if (m === 'shutdown') {{ console.log('message'); process.exit(0); }} }}); {SERVER}"),
    );
    manager.ok(&["start", "app.js", "--shutdown-with-message", "--min-uptime", "100"]);
    manager.ok(&["reload", "app"]);
    manager.ok(&["stop", "app"]);
    eventually("two messages", || {
        (said(&manager, "app-out.log").matches("message").count() == 2).then_some(())
    });
    assert!(!said(&manager, "app-out.log").contains("signal"));
}

#[test]
fn the_whole_tree_of_a_worker_ends_with_it() {
    let manager = Manager::new();
    manager.write(
        "tree.js",
        "const {spawn} = require('child_process'); spawn('sleep', ['1000']); spawn('sleep', ['1001'], {detached: true}); setInterval(() => {}, 1000); console.log('up');",
    );
    manager.ok(&["start", "tree.js", "--min-uptime", "100"]);
    eventually("it is up", || said(&manager, "tree-out.log").contains("up").then_some(()));
    let pid = manager.pids("tree")[0];
    let children = eventually("two children", || Some(procfs::children(pid)).filter(|all| all.len() == 2));
    manager.ok(&["stop", "tree"]);
    for pid in children {
        assert!(!procfs::runs(pid), "child {pid} lives on");
    }
}

#[test]
fn a_request_under_way_is_answered_when_its_worker_is_scaled_away_or_stopped() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "4", "--policy", "rr"]);
    let address = manager.address("app");
    let slow: Vec<_> = (0..8)
        .map(|_| std::thread::spawn(move || http::try_get(address, "/?ms=1200").map(|answer| answer.status)))
        .collect();
    eventually("all are under way", || {
        let open = manager.of_workers("app", |worker| worker["connections"].as_u64().unwrap_or(0));
        (open.iter().sum::<u64>() >= 8).then_some(())
    });
    manager.ok(&["scale", "app", "1"]);
    for one in slow {
        assert_eq!(one.join().expect("no panic").expect("an answer"), 200);
    }
    assert_eq!(manager.pids("app").len(), 1);
    assert!(http::get(address, "/").text().contains("hello"));
}

#[test]
fn a_restart_of_one_that_is_between_two_lives_works() {
    let manager = Manager::new();
    manager.write("dies.js", "process.exit(1);");
    manager.run(&["start", "dies.js", "--restart-delay", "60s"]);
    manager.wait("a pause", |apps| (apps[0]["workers"][0]["status"] == "waiting restart").then_some(()));
    manager.write("dies.js", QUEUE);
    manager.ok(&["restart", "dies", "--min-uptime", "100"]);
    assert_eq!(manager.statuses("dies"), ["online"]);
    manager.ok(&["stop", "dies"]);
    manager.ok(&["start", "dies"]);
    assert_eq!(manager.statuses("dies"), ["online"]);
}
