//! Safeguards: memory, the clock, changed files.

use std::time::Duration;

use oneport_e2e::load::{Load, Style};
use oneport_e2e::manager::{Manager, QUEUE, SERVER};
use oneport_e2e::wait::{eventually, throughout};
use oneport_e2e::{http, procfs};

#[test]
fn a_worker_that_takes_too_much_memory_is_replaced_without_a_lost_request() {
    let manager = Manager::new();
    manager.write(
        "app.js",
        &format!(
            "const kept = []; process.on('SIGUSR2', () => kept.push(Buffer.alloc(150 << 20, 1))); {SERVER}"
        ),
    );
    manager.ok(&["start", "app.js", "-i", "2", "--max-memory-restart", "150M", "--min-uptime", "100"]);
    let (address, before) = (manager.address("app"), manager.pids("app"));
    let load = Load::start(address, "/?ms=5", 3, Style::Close);
    load.wait_more(20);
    manager.ok(&["sendSignal", "SIGUSR2", "1"]);
    manager.wait("a replacement", |apps| {
        let pid = apps[0]["workers"][1]["pid"].as_u64()?;
        let settled = apps[0]["job"].is_null() && apps[0]["workers"][1]["restarts"] == 1;
        (settled && pid != u64::from(before[1])).then_some(())
    });
    assert_eq!((manager.pids("app")[0], manager.restarts("app")), (before[0], vec![0, 1]));
    load.wait_more(20);
    let tally = load.stop();
    assert!(tally.lost.is_empty(), "{:?} of {}", tally.lost, tally.total());
    assert!(manager.log().contains("more than"), "{}", manager.log());
}

#[test]
fn the_clock_replaces_all_one_after_the_other() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2", "--cron", "*/2 * * * * *", "--min-uptime", "100"]);
    let (address, before) = (manager.address("app"), manager.pids("app"));
    let load = Load::start(address, "/?ms=5", 3, Style::Close);
    manager.wait("two rounds", |apps| {
        let workers = apps[0]["workers"].as_array()?;
        workers.iter().all(|worker| worker["restarts"].as_u64() >= Some(2)).then_some(())
    });
    let tally = load.stop();
    assert!(tally.lost.is_empty(), "{:?} of {}", tally.lost, tally.total());
    assert!(manager.pids("app").iter().all(|pid| !before.contains(pid)));
    // What is stopped stays so, whatever the clock says.
    manager.ok(&["stop", "app"]);
    throughout(Duration::from_millis(2500), "it stays stopped", || {
        manager.statuses("app").iter().all(|status| status == "stopped")
    });
    // And `0` takes the clock away.
    manager.ok(&["restart", "app", "--cron", "0"]);
    let (pids, counts) = (manager.pids("app"), manager.restarts("app"));
    throughout(Duration::from_millis(2500), "nobody is replaced", || manager.pids("app") == pids);
    assert_eq!(manager.restarts("app"), counts);
}

#[test]
fn a_pattern_that_is_none_is_refused_at_the_start() {
    let manager = Manager::with_server();
    let outcome = manager.run(&["start", "app.js", "--cron", "every tuesday"]);
    assert_ne!(outcome.code, 0);
    assert!(outcome.err.contains("every tuesday"), "{}", outcome.all());
}

#[test]
fn changed_files_restart_it_and_logs_and_ignored_ones_do_not() {
    let manager = Manager::new();
    manager.write("app.js", &format!("console.log('up'); {SERVER}"));
    manager.write("lib/part.js", "1");
    manager.write("data/list.txt", "1");
    manager.ok(&[
        "start",
        "app.js",
        "--watch",
        "--ignore-watch",
        "data",
        "--watch-delay",
        "50",
        "-o",
        "own-out.log",
        "--min-uptime",
        "100",
    ]);
    let before = manager.pids("app");
    manager.write("data/list.txt", "2");
    manager.write("node_modules/x/index.js", "2");
    manager.write(".hidden", "2");
    throughout(Duration::from_millis(700), "no restart", || manager.pids("app") == before);
    assert!(manager.file("own-out.log").exists(), "its own log lies among them");
    manager.write("lib/part.js", "2");
    manager.wait("a restart", |apps| {
        let worker = &apps[0]["workers"][0];
        (worker["restarts"] == 1 && worker["status"] == "online").then_some(())
    });
    assert_ne!(manager.pids("app"), before);
    let after = manager.pids("app");
    throughout(Duration::from_millis(700), "one restart, and its log is no change", || {
        manager.pids("app") == after
    });
    manager.write("fresh/new.js", "1");
    manager.wait("a new folder counts", |apps| (apps[0]["workers"][0]["restarts"] == 2).then_some(()));
}

#[test]
fn log_files_of_slots_that_come_later_are_no_change() {
    let manager = Manager::new();
    manager.write("app.js", &format!("console.log('up'); {SERVER}"));
    let words = "start app.js -i 2 --watch --watch-delay 50 --min-uptime 100 -o own-out.log -p run/own.pid";
    manager.ok(&words.split(' ').collect::<Vec<_>>());
    manager.ok(&["scale", "app", "3"]);
    eventually("the third one's log", || manager.file("own-out-2.log").exists().then_some(()));
    let after = manager.pids("app");
    throughout(Duration::from_millis(700), "no restart", || manager.pids("app") == after);
}

#[test]
fn only_the_named_paths_are_watched() {
    let manager = Manager::with_server();
    manager.write("lib/a.js", "1");
    manager.write(
        "apps.json",
        r#"{"apps": [{"name": "x", "script": "app.js", "watch": ["lib"], "watch_delay": 50, "min_uptime": 100}]}"#,
    );
    manager.ok(&["start", "apps.json"]);
    let before = manager.pids("x");
    manager.write("other.js", "1");
    throughout(Duration::from_millis(600), "no restart", || manager.pids("x") == before);
    manager.write("lib/a.js", "2");
    manager.wait("a restart", |apps| (apps[0]["workers"][0]["restarts"] == 1).then_some(()));
}

#[test]
fn watching_goes_with_start_and_restart_and_rests_with_stop() {
    let manager = Manager::new();
    manager.write("queue.js", QUEUE);
    manager.write("part.js", "0");
    let restarts = || manager.restarts("queue")[0];
    let change = |text: &str| manager.write("part.js", text);
    let comes_to = |count: i64| {
        manager.wait(&format!("{count} restarts"), |apps| {
            let worker = &apps[0]["workers"][0];
            let there = worker["restarts"].as_i64() >= Some(count) && worker["status"] == "online";
            (there && apps[0]["job"].is_null()).then_some(())
        });
    };
    manager.ok(&["start", "queue.js", "--watch", "--watch-delay", "50", "--min-uptime", "100"]);
    change("1");
    comes_to(1);
    manager.ok(&["stop", "queue"]);
    change("2");
    throughout(Duration::from_millis(600), "what is stopped is left alone", || {
        manager.statuses("queue") == ["stopped"]
    });
    manager.ok(&["start", "queue"]);
    let count = restarts();
    change("3");
    comes_to(count + 1);
    manager.ok(&["restart", "queue"]);
    let count = restarts();
    change("4");
    comes_to(count + 1);
    // What was saved half-written takes nothing down.
    let before = manager.pids("queue");
    manager.write("queue.js", "process.exit(1)");
    eventually("it is given up", || manager.log().contains("reload aborted").then_some(()));
    assert_eq!((manager.pids("queue"), manager.statuses("queue")), (before, vec!["online".to_owned()]));
    // One that has crashed is brought back by a change, as by PM2.
    assert_eq!(manager.run(&["restart", "queue"]).code, 1);
    manager.wait("errored or pausing", |apps| {
        let status = apps[0]["workers"][0]["status"].as_str()?;
        ["errored", "waiting restart"].contains(&status).then_some(())
    });
    manager.write("queue.js", QUEUE);
    manager.wait_status("queue", "online");
    let pid = manager.pids("queue")[0];
    assert!(procfs::runs(pid));
}

#[test]
fn a_reload_is_not_disturbed_by_a_change_and_the_change_is_not_forgotten() {
    let manager = Manager::with_server();
    manager.write("part.js", "0");
    manager.ok(&["start", "app.js", "--watch", "--watch-delay", "50", "--min-uptime", "800"]);
    let address = manager.address("app");
    let reload = manager.begin(&["reload", "app"]);
    reload.wait_for("proving");
    manager.write("part.js", "1");
    assert_eq!(reload.end().code, 0);
    manager.wait("the restart that was wished for", |apps| {
        let worker = &apps[0]["workers"][0];
        (worker["restarts"] == 2 && worker["status"] == "online").then_some(())
    });
    assert!(http::get(address, "/").text().contains("hello"));
}
