//! What comes at the wrong moment, twice at once, or under a strange name.

use oneport_e2e::manager::{Manager, QUEUE, SERVER};
use oneport_e2e::wait::eventually;
use oneport_e2e::{Signal, http, place, procfs};
use serde_json::Value;

#[test]
fn of_two_that_start_the_same_name_at_once_one_is_refused() {
    let manager = Manager::with_server();
    let starts: Vec<_> = (0..4).map(|_| manager.begin(&["start", "app.js"])).collect();
    let codes: Vec<i32> = starts.into_iter().map(|start| start.end().code).collect();
    assert_eq!(
        (codes.iter().filter(|code| **code == 0).count(), codes.iter().sum::<i32>()),
        (1, 3),
        "{codes:?}"
    );
    assert_eq!((manager.names(), manager.pids("app").len()), (vec!["app".to_owned()], 1));
    eventually("nobody else", || (manager.living().len() == 3).then_some(()));
}

#[test]
fn many_verbs_at_once_leave_an_app_as_it_should_be() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "3", "--min-uptime", "50"]);
    let address = manager.address("app");
    let verbs = [
        &["reload", "app"][..],
        &["restart", "app"],
        &["scale", "app", "+1"],
        &["reload", "app"],
        &["scale", "app", "-1"],
        &["restart", "0"],
        &["list"],
        &["reset", "app"],
    ];
    for _ in 0..3 {
        let all: Vec<_> = verbs.iter().map(|words| manager.begin(words)).collect();
        for one in all {
            let outcome = one.end();
            assert!(outcome.code <= 1, "{}", outcome.all());
        }
    }
    manager.wait("rest", |apps| apps[0]["job"].is_null().then_some(()));
    manager.wait_status("app", "online");
    let pids = manager.pids("app");
    assert!(pids.contains(&http::get(address, "/").pid()));
    let known = [manager.daemon(), manager.primary("app")];
    let strays: Vec<u32> =
        manager.living().into_iter().filter(|pid| !known.contains(pid) && !pids.contains(pid)).collect();
    assert!(strays.is_empty(), "{strays:?} beside {pids:?}");
}

#[test]
fn a_failed_reload_leaves_the_configuration_of_those_that_serve() {
    let manager = Manager::new();
    manager.write(
        "app.js",
        &format!("if (process.env.BROKEN) throw new Error('broken by a variable'); {SERVER}"),
    );
    manager.ok(&["start", "app.js", "-i", "2", "--min-uptime", "100"]);
    let before = manager.pids("app");
    manager.ends(&["reload", "app", "--env", "BROKEN=1"], 1);
    assert_eq!(manager.pids("app"), before);
    // One of the old ones crashes: who comes is as it was, and serves.
    manager.kill_9(before[0]);
    manager.wait("two that serve", |apps| {
        let workers = apps[0]["workers"].as_array()?;
        let pid = workers[0]["pid"].as_u64()?;
        (workers[0]["status"] == "online" && pid != u64::from(before[0])).then_some(())
    });
    assert!(manager.app("app")["spec"]["env"].is_null(), "{}", manager.app("app")["spec"]);
    manager.ok(&["reload", "app"]);
}

#[test]
fn what_is_stopped_stays_so_in_a_reload_of_the_others() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "3", "--min-uptime", "100"]);
    manager.ok(&["stop", "1"]);
    manager.ok(&["reload", "app"]);
    assert_eq!(manager.statuses("app"), ["online", "stopped", "online"]);
    assert_eq!(manager.restarts("app"), [1, 0, 1]);
    manager.ok(&["stop", "app"]);
    manager.ok(&["scale", "app", "2"]);
    assert_eq!(manager.ids("app"), [0, 1]);
    assert!(manager.pids("app").iter().all(|pid| *pid == 0), "scaling down starts nobody");
    manager.ok(&["reload", "app"]);
    assert_eq!(manager.statuses("app"), ["online", "online"]);
}

#[test]
fn one_may_be_deleted_or_stopped_while_it_starts() {
    let manager = Manager::new();
    manager.write("slow.js", &format!("setTimeout(() => {{ {SERVER} }}, 30000);"));
    for verb in ["delete", "stop"] {
        let start = manager.begin(&["start", "slow.js", "--wait-ready"]);
        start.wait_for("starting");
        manager.wait("its worker", |apps| apps.first()?["workers"][0]["pid"].as_u64());
        manager.ok(&[verb, "slow"]);
        let outcome = start.end();
        assert_eq!(outcome.code, 1, "{}", outcome.all());
    }
    assert_eq!(manager.statuses("slow"), ["stopped"]);
}

#[test]
fn a_killed_worker_is_started_again_and_counted() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2", "--min-uptime", "100"]);
    let before = manager.pids("app");
    procfs::signal(before[1], Signal::KILL);
    manager.wait("another one", |apps| {
        let worker = &apps[0]["workers"][1];
        (worker["status"] == "online" && worker["restarts"] == 1).then_some(())
    });
    assert_eq!((manager.pids("app")[0], manager.ids("app")), (before[0], vec![0, 1]));
    assert_eq!(manager.restarts("app"), [0, 1]);
}

#[test]
fn strange_names_do_no_harm_and_can_be_used() {
    let manager = Manager::new();
    manager.write("queue.js", QUEUE);
    let names = ["../../evil", "a b", "7", "ünï", "x/y", "%2e", "CON:*?"];
    for name in names {
        let named = format!("--name={name}");
        manager.ok(&["start", "queue.js", &named, "--min-uptime", "50"]);
    }
    assert_eq!(manager.names().len(), names.len());
    for name in names {
        let outcome = manager.run(&["restart", name]);
        assert_eq!((outcome.code, manager.restarts(name)), (0, vec![1]), "{name}: {}", outcome.all());
    }
    let outside: Vec<_> = std::fs::read_dir(manager.outside()).expect("a folder").flatten().collect();
    assert_eq!(outside.len(), 2, "nothing is written outside the home: {outside:?}");
    for bad in ["", "a\nb", &"n".repeat(300), "all", "-dash", "/x/"] {
        let named = format!("--name={bad}");
        assert_ne!(manager.run(&["start", "queue.js", &named]).code, 0, "`{bad}`");
    }
    manager.ok(&["save"]);
    manager.ok(&["kill"]);
    manager.ok(&["resurrect"]);
    assert_eq!(manager.names().len(), names.len());
}

#[test]
fn a_port_that_is_taken_is_said_with_its_owner() {
    let port = place::free_port();
    let manager = Manager::with_server().env("PORT", port.to_string());
    manager.ok(&["start", "app.js", "-n", "first"]);
    let outcome = manager.ends(&["start", "app.js", "-n", "second", "--max-restarts", "1"], 1);
    assert!(outcome.err.contains("EADDRINUSE") || outcome.err.contains("in use"), "{}", outcome.all());
    assert!(http::get(([127, 0, 0, 1], port).into(), "/").text().contains("hello"));
    assert_eq!((manager.statuses("first"), manager.restarts("first")), (vec!["online".to_owned()], vec![0]));
    // Once it is free the other one gets it.
    manager.ok(&["delete", "first"]);
    manager.ok(&["restart", "second"]);
    assert!(manager.pids("second").contains(&http::get(([127, 0, 0, 1], port).into(), "/").pid()));
}

#[test]
fn a_daemon_that_is_killed_during_a_delete_leaves_nothing() {
    let manager = Manager::new();
    manager.write("deaf.js", "process.on('SIGINT', () => {}); setInterval(() => {}, 1000);");
    manager.ok(&["start", "deaf.js", "-i", "2", "--kill-timeout", "1000", "--min-uptime", "300"]);
    let (daemon, all) = (manager.daemon(), manager.living());
    let delete = manager.begin(&["delete", "deaf"]);
    delete.wait_for("stopping");
    manager.kill_9(daemon);
    drop(delete.end());
    manager.wait("an empty list", |apps| apps.is_empty().then_some(()));
    assert!(all.iter().all(|pid| !procfs::runs(*pid)));
}

#[test]
fn sixteen_come_together() {
    let manager = Manager::new();
    manager.write("queue.js", QUEUE);
    manager.ok(&["start", "queue.js", "-i", "16", "--min-uptime", "100"]);
    let starts: Vec<u64> = manager.of_workers("queue", |worker| worker["started_at"].as_u64().unwrap_or(0));
    let (first, last) = (starts.iter().min().expect("16"), starts.iter().max().expect("16"));
    assert!(starts.len() == 16 && last - first < 1000, "they do not wait for each other: {starts:?}");
    let statuses = manager.app("queue")["workers"].as_array().cloned().unwrap_or_default();
    assert!(statuses.iter().all(|worker: &Value| worker["status"] == "online"));
}
