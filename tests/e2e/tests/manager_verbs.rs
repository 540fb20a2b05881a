//! The verbs of the manager: which apps they mean, what they do with them, what they say, and their exit codes.

use oneport_e2e::manager::Manager;
use oneport_e2e::{http, procfs};

fn all_statuses(manager: &Manager) -> Vec<(String, String)> {
    let mut told = Vec::new();
    for app in manager.apps() {
        for worker in app["workers"].as_array().expect("workers") {
            let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            told.push((word(&app["name"]), word(&worker["status"])));
        }
    }
    told
}

/// The letters of the apps' workers that run.
fn online(manager: &Manager) -> String {
    all_statuses(manager).into_iter().filter(|(_, status)| status == "online").map(|(name, _)| name).collect()
}

#[test]
fn apps_are_stopped_by_id_name_namespace_pattern_and_all_and_several_at_once() {
    let manager = Manager::with_three();
    assert_eq!(online(&manager), "aabc");
    let ids = manager.ids("a");
    manager.ok(&["stop", &ids[1].to_string()]);
    assert_eq!(online(&manager), "abc");
    manager.ok(&["start", &ids[1].to_string()]);
    assert_eq!(online(&manager), "aabc");
    manager.ok(&["stop", "back"]);
    assert_eq!(online(&manager), "aa");
    manager.ok(&["start", "b", "c"]);
    assert_eq!(online(&manager), "aabc");
    manager.ok(&["stop", "/^[ab]$/"]);
    assert_eq!(online(&manager), "c");
    manager.ok(&["restart", "all"]);
    assert_eq!(online(&manager), "aabc");
    assert_eq!(manager.ids("a"), ids, "numbers stay with the slots");
    manager.ok(&["delete", "apps.json"]);
    assert!(manager.apps().is_empty());
}

#[test]
fn what_nobody_knows_is_an_error_and_nothing_is_done() {
    let manager = Manager::with_three();
    for words in [
        &["stop", "nobody"][..],
        &["restart", "nobody"],
        &["reload", "nobody"],
        &["delete", "nobody"],
        &["describe", "nobody"],
        &["env", "nobody"],
        &["scale", "nobody", "2"],
        &["reset", "nobody"],
        &["sendSignal", "SIGUSR2", "nobody"],
        &["send", "nobody", "line"],
        &["flush", "nobody"],
        &["stop", "99"],
        &["stop", "/nobody/"],
        &["stop", "a", "nobody"],
    ] {
        let outcome = manager.ends(words, 1);
        assert!(outcome.err.starts_with("error: cannot find"), "{words:?}: {}", outcome.all());
    }
    assert_eq!(online(&manager), "aabc");
    assert_eq!(manager.ok(&["pid", "nobody"]).out, "\n", "as PM2");
    assert_eq!(manager.ok(&["logs", "nobody", "--nostream"]).out, "");
    manager.ok(&["delete", "all"]);
    for verb in ["stop", "restart", "reload", "delete"] {
        manager.ends(&[verb, "all"], 1);
    }
}

#[test]
fn a_wrong_command_line_is_2_and_an_unknown_verb_too() {
    let manager = Manager::new();
    for words in [
        &["stop"][..],
        &["frobnicate"],
        &["scale", "a"],
        &["list", "--sort", "nothing"],
        &["start"],
        &["start", "x", "-i", "many"],
    ] {
        let outcome = manager.ends(words, 2);
        assert!(!outcome.err.is_empty(), "{words:?}");
    }
    assert!(manager.living().is_empty() || manager.apps().is_empty());
}

#[test]
fn a_signal_reaches_exactly_those_it_is_sent_to() {
    let manager = Manager::new();
    manager.write(
        "heed.js",
        "process.on('SIGUSR2', () => console.log('heard ' + process.pid)); setInterval(() => {}, 1000); console.log('up');",
    );
    manager.ok(&["start", "heed.js", "-i", "2", "--merge-logs", "--min-uptime", "100"]);
    let pids = manager.pids("heed");
    let log = manager.in_home("logs/heed-out.log");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    oneport_e2e::wait::eventually("both up", || (said().matches("up").count() == 2).then_some(()));
    manager.ok(&["sendSignal", "SIGUSR2", "1"]);
    oneport_e2e::wait::eventually("the second heard it", || {
        said().contains(&format!("heard {}", pids[1])).then_some(())
    });
    assert!(!said().contains(&format!("heard {}", pids[0])), "{}", said());
    manager.ok(&["sendSignal", "USR2", "heed"]);
    oneport_e2e::wait::eventually("the first, too", || {
        said().contains(&format!("heard {}", pids[0])).then_some(())
    });
    assert_eq!(manager.restarts("heed"), [0, 0]);
    let bad = manager.run(&["sendSignal", "SIGNOTHING", "heed"]);
    assert!(bad.code == 2 && bad.err.contains("SIGNOTHING"), "{}", bad.all());
}

#[test]
fn reset_counts_from_0_again() {
    let manager = Manager::with_three();
    manager.ok(&["restart", "all"]);
    assert_eq!((manager.restarts("a"), manager.restarts("b")), (vec![1, 1], vec![1]));
    manager.ok(&["reset", "a"]);
    assert_eq!((manager.restarts("a"), manager.restarts("b")), (vec![0, 0], vec![1]));
    manager.ok(&["reset", "all"]);
    assert_eq!(manager.restarts("b"), [0]);
}

#[test]
fn scale_takes_every_form_and_reuses_the_lowest_number() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2"]);
    let slots = || {
        let of = |worker: &serde_json::Value| worker["slot"].as_i64().unwrap_or(-1);
        manager.of_workers("app", of)
    };
    let first = manager.pids("app");
    manager.ok(&["scale", "app", "+2"]);
    assert_eq!((slots(), manager.pids("app")[..2].to_vec()), (vec![0, 1, 2, 3], first.clone()));
    assert!(manager.statuses("app").iter().all(|status| status == "online"));
    manager.ok(&["scale", "app", "-1"]);
    assert_eq!(slots(), [0, 1, 2]);
    manager.ok(&["scale", "app", "1"]);
    assert_eq!((slots(), manager.pids("app")), (vec![0], first[..1].to_vec()));
    let same = manager.ends(&["scale", "app", "1"], 1);
    assert!(same.err.contains("it has so many already"), "{}", same.all());
    manager.ends(&["scale", "app", "0"], 1);
    manager.ends(&["scale", "app", "many"], 2);
    manager.ends(&["scale", "app", "+99999"], 2);
    manager.ok(&["scale", "app", "3"]);
    // One in the middle goes, and its number is the next to be taken.
    let ids = manager.ids("app");
    manager.ok(&["delete", &ids[1].to_string()]);
    assert_eq!(slots(), [0, 2]);
    manager.ok(&["scale", "app", "+1"]);
    assert_eq!(slots(), [0, 1, 2]);
    let address = manager.address("app");
    let seen: std::collections::BTreeSet<String> = (0..60)
        .map(|_| {
            let env: serde_json::Value =
                serde_json::from_str(&http::get(address, "/env").text()).expect("JSON");
            env["NODE_APP_INSTANCE"].as_str().unwrap_or_default().to_owned()
        })
        .collect();
    assert!(seen.iter().all(|number| ["0", "1", "2"].contains(&number.as_str())), "{seen:?}");
    let cpus = std::thread::available_parallelism().expect("a number of CPUs").get();
    if cpus != 3 {
        manager.ok(&["scale", "app", "max"]);
        assert_eq!(slots().len(), cpus);
    }
}

#[test]
fn the_port_is_free_after_a_delete_of_four_workers() {
    let port = oneport_e2e::place::free_port();
    let manager = Manager::with_server().env("PORT", port.to_string());
    manager.ok(&["start", "app.js", "-i", "4"]);
    let pids = manager.pids("app");
    assert!(http::get(([127, 0, 0, 1], port).into(), "/").text().contains("hello"));
    manager.ok(&["delete", "app"]);
    std::net::TcpListener::bind(("0.0.0.0", port)).expect("the port is free");
    assert!(pids.iter().all(|pid| !procfs::runs(*pid)), "nobody is left");
}

#[test]
fn flags_of_pm2_that_mean_nothing_here_are_named_once() {
    let manager = Manager::with_server();
    let outcome =
        manager.ok(&["start", "app.js", "--no-vizion", "--no-pmx", "--trace", "--v8", "--deep-monitoring"]);
    let warnings: Vec<&str> = outcome.err.lines().collect();
    assert_eq!(warnings.len(), 1, "{}", outcome.err);
    assert!(
        warnings[0].contains("--no-vizion") && warnings[0].contains("--deep-monitoring"),
        "{}",
        outcome.err
    );
    assert_eq!(manager.names(), ["app"]);
    // PM2 takes the flags of `start` everywhere.
    let outcome = manager.ok(&["stop", "app", "--watch", "--env", "production", "-f"]);
    assert!(outcome.err.lines().count() == 1 && outcome.err.contains("--env"), "{}", outcome.err);
    assert_eq!(manager.statuses("app"), ["stopped"]);
    manager.ends(&["stop", "app", "--no-such-flag"], 2);
}

#[test]
fn one_that_is_named_twice_is_stopped_once() {
    let manager = Manager::with_three();
    let [first, second] = manager.ids("a")[..] else { panic!("two workers") };
    let (first, second) = (first.to_string(), second.to_string());
    manager.ok(&["stop", &first, &first]);
    manager.ok(&["restart", &second, &second, "a"]);
    assert_eq!(online(&manager), "aabc");
    manager.ok(&["stop", "a", &second, "/^a$/"]);
    assert_eq!(online(&manager), "bc");
}

#[test]
fn lines_that_nobody_reads_are_refused_and_hold_nobody_up() {
    let manager = Manager::new();
    manager.write("deaf.js", "setInterval(() => {}, 1000); console.log('up');");
    manager.ok(&["start", "deaf.js", "-x", "--min-uptime", "100"]);
    let line = "x".repeat(4000);
    // A pipe takes 64 KiB by default (pipe(7)).
    let refused = (0..40).map(|_| manager.run(&["send", "deaf", &line])).find(|outcome| outcome.code != 0);
    let refused = refused.expect("a pipe is full at some time");
    assert!(refused.code == 1 && refused.err.contains("not read yet"), "{}", refused.all());
    assert_eq!(manager.statuses("deaf"), ["online"]);
    let outcome = manager.ends(&["send", "deaf", &"y".repeat(5000)], 2);
    assert!(outcome.err.contains("at most 4096"), "{}", outcome.all());
    manager.ok(&["stop", "deaf"]);
}

#[test]
fn a_line_reaches_standard_input_in_fork_mode() {
    let manager = Manager::new();
    manager.write(
        "ask.js",
        "process.stdin.on('data', (text) => console.log('got ' + text)); console.log('up');",
    );
    manager.ok(&["start", "ask.js", "-x", "--min-uptime", "100"]);
    manager.ok(&["send", "ask", "a line"]);
    let log = manager.in_home("logs/ask-out.log");
    oneport_e2e::wait::eventually("the line", || {
        std::fs::read_to_string(&log).ok().filter(|text| text.contains("got a line")).map(drop)
    });
}
