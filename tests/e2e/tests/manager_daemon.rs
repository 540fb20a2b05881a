//! The daemon's end, its beginning and its replacement: apps do not notice.

use std::time::Duration;

use oneport_e2e::load::{Load, Style, Tally};
use oneport_e2e::manager::Manager;
use oneport_e2e::wait::eventually;
use oneport_e2e::{Signal, http, procfs};
use serde_json::Value;

/// What stays the same: name, id, process and restarts of each worker.
fn essence(manager: &Manager) -> Vec<Value> {
    let mut all = Vec::new();
    for app in manager.apps() {
        for worker in app["workers"].as_array().into_iter().flatten() {
            all.push(serde_json::json!([
                app["name"],
                worker["id"],
                worker["pid"],
                worker["restarts"],
                worker["status"]
            ]));
        }
    }
    all
}

#[track_caller]
fn nothing_lost(tally: &Tally) {
    assert!(tally.lost.is_empty(), "{:?} of {}", tally.lost, tally.total());
    assert!(tally.total() > 50);
}

/// Two apps with a history, and clients of both kinds at the first.
fn busy() -> (Manager, Load, Load) {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2", "--min-uptime", "100", "-n", "web"]);
    manager.ok(&["start", "app.js", "-n", "other"]);
    manager.ok(&["restart", "web"]);
    manager.ok(&["scale", "web", "3"]);
    let address = manager.address("web");
    let new = Load::start(address, "/?ms=5", 3, Style::Close);
    let kept = Load::start(address, "/?ms=5", 3, Style::KeepAlive);
    new.wait_more(30);
    kept.wait_more(30);
    (manager, new, kept)
}

#[test]
fn a_killed_daemon_costs_no_request_and_the_next_list_is_as_before() {
    let (manager, new, kept) = busy();
    let (before, daemon, primaries) = (essence(&manager), manager.daemon(), manager.primaries());
    manager.kill_9(daemon);
    new.wait_more(50);
    kept.wait_more(50);
    assert_eq!(essence(&manager), before);
    assert!(manager.daemon() != daemon && manager.primaries() == primaries);
    // The next one can do all that the last one could.
    manager.ok(&["reload", "web"]);
    manager.ok(&["scale", "web", "2"]);
    assert_eq!(manager.pids("web").len(), 2);
    nothing_lost(&new.stop());
    nothing_lost(&kept.stop());
    manager.ok(&["start", "app.js", "-n", "third"]);
    assert_eq!(manager.ids("third"), [4], "numbers go on");
}

#[test]
fn what_is_asked_of_a_daemon_that_is_killed_is_answered_by_the_next() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js"]);
    let (daemon, socket) = (manager.daemon(), manager.in_home("daemon.sock"));
    let connections = || {
        let table = std::fs::read_to_string("/proc/net/unix").expect("/proc/net/unix is readable");
        table.lines().filter(|line| line.ends_with(&*socket.to_string_lossy())).count()
    };
    // Its kernel takes the question, and nobody is there to answer it.
    procfs::signal(daemon, Signal::STOP);
    let before = connections();
    let list = manager.begin(&["list"]);
    eventually("the question is asked", || (connections() > before).then_some(()));
    manager.kill_9(daemon);
    let told = list.end();
    assert_eq!(told.code, 0, "{}", told.all());
    assert!(told.out.contains("app"), "{}", told.all());
    assert_ne!(manager.daemon(), daemon);
}

#[test]
fn an_update_keeps_all_workers_and_loses_nothing() {
    let (manager, new, kept) = busy();
    let (before, primaries) = (essence(&manager), manager.primaries());
    let told = manager.ok(&["update"]).out;
    assert!(told.contains("apps went on"), "{told}");
    new.wait_more(50);
    kept.wait_more(50);
    assert_eq!((essence(&manager), manager.primaries()), (before, primaries));
    nothing_lost(&new.stop());
    nothing_lost(&kept.stop());
}

#[test]
fn a_reload_that_the_daemon_does_not_live_to_see_comes_to_its_end() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2", "--min-uptime", "700"]);
    let (before, daemon) = (manager.pids("app"), manager.daemon());
    let reload = manager.begin(&["reload", "app"]);
    reload.wait_for("proving");
    manager.kill_9(daemon);
    let outcome = reload.end();
    assert_eq!(outcome.code, 0, "it is watched by way of the next one: {}", outcome.all());
    manager.wait("the end of the job", |apps| apps[0]["job"].is_null().then_some(()));
    assert_eq!(manager.restarts("app"), [1, 1]);
    assert!(manager.pids("app").iter().all(|pid| !before.contains(pid)));
}

#[test]
fn ten_that_start_it_at_once_have_one_daemon() {
    for round in 0..3 {
        let manager = Manager::new();
        let pings: Vec<_> = (0..10).map(|_| manager.begin(&["ping"])).collect();
        let told: Vec<String> = pings
            .into_iter()
            .map(|ping| {
                let outcome = ping.end();
                assert_eq!(outcome.code, 0, "round {round}: {}\n{}", outcome.all(), manager.log());
                outcome.out
            })
            .collect();
        assert!(told.iter().all(|one| one == &told[0] && one.contains("pong")), "{told:?}");
        eventually("one daemon", || (manager.living().len() == 1).then_some(()));
        assert_eq!(manager.living(), [manager.daemon()]);
    }
}

#[test]
fn left_overs_of_an_earlier_daemon_are_no_obstacle() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js"]);
    let (daemon, primary) = (manager.daemon(), manager.primary("app"));
    manager.kill_9(daemon);
    manager.kill_9(primary);
    assert!(manager.in_home("daemon.sock").exists() && manager.in_home("daemon.pid").exists());
    std::fs::write(manager.in_home("daemon.pid"), "1\n").expect("it is ours");
    assert!(manager.ok(&["ping"]).out.contains("pong"));
    assert_ne!(manager.daemon(), 1);
    // Its primary had gone with nobody there: it comes back.
    manager.wait_status("app", "online");
    assert!(http::get(manager.address("app"), "/").text().contains("hello"));
}

#[test]
fn sigterm_to_the_daemon_stops_everything_in_order() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2"]);
    let (address, all) = (manager.address("app"), manager.living());
    // A request under way is answered.
    let slow = std::thread::spawn(move || http::try_get(address, "/?ms=1500").map(|answer| answer.status));
    eventually("a request under way", || {
        let open = manager.of_workers("app", |worker| worker["connections"].as_u64().unwrap_or(0));
        (open.iter().sum::<u64>() > 0).then_some(())
    });
    procfs::signal(manager.daemon(), Signal::TERM);
    eventually("the end of all", || all.iter().all(|pid| !procfs::runs(*pid)).then_some(()));
    assert_eq!(slow.join().expect("no panic").expect("an answer"), 200);
    assert!(!manager.in_home("daemon.sock").exists() && !manager.in_home("daemon.pid").exists());
    assert_eq!(std::fs::read_dir(manager.in_home("run")).expect("run").count(), 0);
    assert!(manager.apps().is_empty());
}

#[test]
fn kill_ends_what_a_dead_daemon_has_left() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2"]);
    let (primary, pids) = (manager.primary("app"), manager.pids("app"));
    manager.kill_9(manager.daemon());
    let told = manager.ok(&["kill"]);
    assert!(told.out.contains("all apps are stopped"), "{}", told.all());
    assert!(!procfs::runs(primary) && pids.iter().all(|pid| !procfs::runs(*pid)));
    assert!(manager.ok(&["kill"]).out.contains("no daemon is running"));
}

#[test]
fn kill_ends_all_and_is_content_where_there_is_nothing() {
    let manager = Manager::with_server();
    assert!(manager.ok(&["kill"]).out.contains("no daemon"));
    assert!(!manager.home().exists(), "nothing was made for it");
    manager.ok(&["start", "app.js", "-i", "2"]);
    let (all, address) = (manager.living(), manager.address("app"));
    manager.ok(&["kill"]);
    assert!(all.iter().all(|pid| !procfs::runs(*pid)), "{all:?}");
    assert!(http::try_get(address, "/").is_err());
    assert!(manager.ok(&["kill"]).out.contains("no daemon"));
}

#[test]
fn a_daemon_that_does_not_answer_is_said_with_its_own_code() {
    let manager = Manager::with_server();
    manager.ok(&["ping"]);
    let daemon = manager.daemon();
    procfs::signal(daemon, Signal::STOP);
    let began = std::time::Instant::now();
    let outcome = manager.run(&["list"]);
    procfs::signal(daemon, Signal::CONT);
    assert_eq!(outcome.code, 3, "{}", outcome.all());
    assert!(outcome.err.contains("cannot reach the daemon"), "{}", outcome.all());
    assert!(began.elapsed() < Duration::from_secs(25));
    manager.ok(&["list"]);
}

#[test]
fn a_managed_app_can_drive_the_manager() {
    let manager = Manager::with_server();
    manager.write(
        "drive.js",
        &format!(
            "require('child_process').execFileSync('{}', ['start', 'app.js', '-n', 'inner'], {{stdio: 'inherit'}}); setInterval(() => {{}}, 1000);",
            oneport_e2e::place::oneport().display()
        ),
    );
    manager.ok(&["start", "drive.js", "--min-uptime", "100"]);
    manager.wait("the app it starts", |apps| apps.iter().any(|app| app["name"] == "inner").then_some(()));
    let address = manager.address("inner");
    manager.ok(&["delete", "drive"]);
    assert!(http::get(address, "/").text().contains("hello"), "it lives on");
    assert_eq!(manager.statuses("inner"), ["online"]);
}

#[test]
fn a_primary_whose_trace_is_broken_or_missing_is_found_by_its_socket() {
    let manager = Manager::with_server();
    for name in ["broken", "missing"] {
        manager.ok(&["start", "app.js", "-n", name, "-i", "2", "--min-uptime", "100"]);
    }
    let before = essence(&manager);
    let trace_of = |name: &str| {
        let files = std::fs::read_dir(manager.in_home("run")).expect("run").flatten();
        let traces = files.filter(|file| file.path().extension().is_some_and(|end| end == "json"));
        let is_its = |path: &std::path::PathBuf| {
            std::fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("\"name\":\"{name}\"")))
        };
        traces.map(|file| file.path()).find(is_its).expect("a trace")
    };
    let (broken, missing) = (trace_of("broken"), trace_of("missing"));
    manager.kill_9(manager.daemon());
    std::fs::write(broken, "{\"pid\":").expect("it is ours");
    std::fs::remove_file(missing).expect("it is ours");
    assert_eq!(essence(&manager), before);
    manager.ok(&["delete", "all"]);
    assert!(manager.apps().is_empty());
}

#[test]
fn what_a_killed_daemon_was_just_starting_is_ended_by_the_next() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "--min-uptime", "100"]);
    let run = manager.in_home("run");
    let text = std::fs::read_to_string(run.join("1.json")).expect("a trace");
    let mut trace: Value = serde_json::from_str(&text).expect("JSON");
    manager.kill_9(manager.daemon());
    // As it is between the daemon's note that it starts one, and that one's own.
    let mark = "0000-half-way-9";
    (trace["pid"], trace["mark"], trace["name"]) = (0.into(), mark.into(), "half".into());
    std::fs::write(run.join("9.json"), trace.to_string()).expect("it is ours");
    let mut half = std::process::Command::new("sleep");
    manager.prepare(&mut half);
    let mut half = half.arg("600").env("ONEPORT_WORKER", mark).spawn().expect("sleep can be started");
    assert_eq!(manager.names(), ["app"]);
    let ended = eventually("its end", || half.try_wait().expect("a child can be waited for"));
    assert!(!ended.success());
    assert!(!run.join("9.json").exists());
}
