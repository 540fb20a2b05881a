//! The end of a primary that nobody expects: its app comes back, and nothing of the old one is left.

use oneport_e2e::manager::Manager;
use oneport_e2e::wait::eventually;
use oneport_e2e::{http, place, procfs};

/// Waits until an app has so many workers, and all are online.
#[track_caller]
fn wait_online(manager: &Manager, app: &str, workers: usize) {
    manager.wait(&format!("{workers} workers of `{app}` online"), |apps| {
        let app = apps.iter().find(|known| known["name"] == app)?;
        let there = app["workers"].as_array().filter(|there| there.len() == workers)?;
        there.iter().all(|worker| worker["status"] == "online").then_some(())
    });
}

/// Waits for another primary that has at least one worker online.
#[track_caller]
fn wait_for_another(manager: &Manager, app: &str, before: u32) {
    manager.wait("another primary and a worker", |apps| {
        let app = apps.iter().find(|known| known["name"] == app)?;
        let workers = app["workers"].as_array()?;
        let another = app["primary_pid"].as_u64().is_some_and(|pid| pid != u64::from(before));
        (another && workers.iter().any(|worker| worker["status"] == "online")).then_some(())
    });
}

#[track_caller]
fn comes_back(manager: &Manager, app: &str, port: u16) {
    let (ids, old, primary) = (manager.ids(app), manager.pids(app), manager.primary(app));
    let tree: Vec<u32> = old.iter().flat_map(|pid| procfs::children(*pid)).chain(old.clone()).collect();
    manager.kill_9(primary);
    wait_online(manager, app, ids.len());
    assert_eq!(manager.ids(app), ids);
    assert_ne!(manager.primary(app), primary);
    for pid in tree {
        assert!(!procfs::runs(pid), "process {pid} of the old tree lives on\n{}", manager.log());
    }
    let new = manager.pids(app);
    let at = ([127, 0, 0, 1], port).into();
    let answered = eventually("an answer", || http::try_get(at, "/").ok());
    assert!(new.contains(&answered.pid()), "{} of {new:?}", answered.text());
}

#[test]
fn a_node_app_whose_primary_was_killed_comes_back() {
    let port = place::free_port();
    let manager = Manager::with_server().env("PORT", port.to_string()).env("COLOUR", "red");
    manager.ok(&["start", "app.js", "-i", "2"]);
    comes_back(&manager, "app", port);
    let env: serde_json::Value =
        serde_json::from_str(&http::get(([127, 0, 0, 1], port).into(), "/env").text()).expect("JSON");
    assert_eq!(env["COLOUR"], "red", "the daemon knows its environment");
    comes_back(&manager, "app", port);
}

#[test]
fn a_python_app_that_ignores_sigterm_leaves_nothing_behind() {
    let port = place::free_port();
    let manager = Manager::new().env("PORT", port.to_string());
    manager.write(
        "serve.py",
        "import os, signal, subprocess\nfrom http.server import *\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
         signal.signal(signal.SIGINT, signal.SIG_IGN)\nsubprocess.Popen(['sleep', '1000'])\n\
         class H(BaseHTTPRequestHandler):\n    def do_GET(self):\n        self.send_response(200)\n        self.end_headers()\n        \
         self.wfile.write(b'hello from %d' % os.getpid())\n    def log_message(self, *a): pass\n\
         ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()\n",
    );
    manager.ok(&["start", "serve.py", "-i", "2", "--kill-timeout", "300"]);
    comes_back(&manager, "serve", port);
}

#[test]
fn a_forked_app_holds_its_port_once_more() {
    let port = place::free_port();
    let manager = Manager::with_server().env("PORT", port.to_string());
    manager.ok(&["start", "app.js", "-x"]);
    comes_back(&manager, "app", port);
}

#[test]
fn what_was_stopped_stays_stopped_when_its_primary_is_killed() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2", "-n", "off"]);
    manager.ok(&["start", "app.js", "-i", "2", "-n", "half"]);
    manager.ok(&["stop", "off"]);
    let half = manager.ids("half");
    manager.ok(&["stop", &half[0].to_string()]);
    for app in ["off", "half"] {
        let primary = manager.primary(app);
        manager.kill_9(primary);
        manager.wait("another primary", |apps| {
            let app = apps.iter().find(|known| known["name"] == app)?;
            let pid = app["primary_pid"].as_u64().filter(|pid| *pid != u64::from(primary))?;
            let settled = app["workers"].as_array()?.iter().all(|worker| worker["status"] != "launching");
            (pid > 0 && settled).then_some(())
        });
    }
    assert_eq!(manager.statuses("off"), ["stopped", "stopped"]);
    assert_eq!(manager.statuses("half"), ["stopped", "online"]);
}

#[test]
fn what_was_changed_since_the_start_is_not_forgotten_by_a_killed_primary() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "1", "--min-uptime", "100"]);
    manager.ok(&["reload", "app", "--env", "COLOUR=blue", "--kill-timeout", "4321"]);
    manager.ok(&["scale", "app", "3"]);
    let (ids, primary) = (manager.ids("app"), manager.primary("app"));
    manager.kill_9(primary);
    wait_online(&manager, "app", 3);
    assert_eq!(manager.ids("app"), ids);
    assert_eq!(manager.app("app")["spec"]["kill_timeout"], 4321);
    let env: serde_json::Value =
        serde_json::from_str(&http::get(manager.address("app"), "/env").text()).expect("JSON");
    assert_eq!(env["COLOUR"], "blue");
    // With the daemon gone at the same time, too.
    let (daemon, primary) = (manager.daemon(), manager.primary("app"));
    manager.kill_9(daemon);
    manager.kill_9(primary);
    wait_online(&manager, "app", 3);
    assert_eq!(manager.ids("app"), ids);
    assert_eq!(manager.app("app")["spec"]["kill_timeout"], 4321);
}

#[test]
fn a_killed_primary_comes_back_with_what_was_changed_since() {
    let manager = Manager::new().env("GREETING", "hello");
    manager.ok(&["start", "sleep", "-x", "-i", "3", "--env", "COLOUR=red", "--", "1000"]);
    manager.ok(&["scale", "sleep", "1"]);
    manager.ok(&["restart", "sleep", "--env", "COLOUR=blue"]);
    let before = manager.primary("sleep");
    manager.kill_9(before);
    wait_for_another(&manager, "sleep", before);
    let pids = manager.pids("sleep");
    assert_eq!(pids.len(), 1, "{:#}", manager.app("sleep"));
    assert_eq!(manager.app("sleep")["spec"]["env"]["COLOUR"], "blue");
    for entry in ["COLOUR=blue", "GREETING=hello"] {
        assert!(procfs::with_entry(entry).contains(&pids[0]), "{entry}");
    }
}

#[test]
fn workers_that_were_scaled_away_do_not_come_again_with_another_daemon() {
    let manager = Manager::new();
    manager.ok(&["start", "sleep", "-x", "-i", "3", "--", "1000"]);
    manager.ok(&["scale", "sleep", "1"]);
    manager.kill_9(manager.daemon());
    let before = manager.primary("sleep");
    manager.kill_9(before);
    wait_for_another(&manager, "sleep", before);
    assert_eq!(manager.ids("sleep").len(), 1, "{:#}", manager.app("sleep"));
}

#[test]
fn one_app_s_primary_is_no_matter_of_the_others() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-n", "one"]);
    manager.ok(&["start", "app.js", "-n", "two"]);
    let two = manager.pids("two");
    manager.kill_9(manager.primary("one"));
    // A verb that comes while nobody runs it says so, or does it; it neither hangs nor crashes.
    let outcome = manager.run(&["restart", "one"]);
    assert!(outcome.code == 0 || outcome.err.contains("cannot "), "{}", outcome.all());
    manager.wait_status("one", "online");
    assert_eq!(manager.pids("two"), two);
}
