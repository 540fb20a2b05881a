//! What a restart or a reload takes along: environment, configuration, script, number of workers.

use oneport_e2e::manager::{Manager, SERVER};
use oneport_e2e::{http, procfs};
use serde_json::Value;

fn variable(manager: &Manager, app: &str, name: &str) -> Option<String> {
    let told: Value = serde_json::from_str(&http::get(manager.address(app), "/env").text()).expect("JSON");
    told[name].as_str().map(str::to_owned)
}

#[track_caller]
fn with(manager: &Manager, words: &[&str], variables: &[(&str, &str)]) {
    let mut command = manager.command(words);
    command.envs(variables.iter().copied());
    let outcome = manager.run_as(command, None);
    assert_eq!(outcome.code, 0, "{}", outcome.all());
}

#[test]
fn the_environment_is_that_of_the_start_until_it_is_to_be_updated_and_then_it_is_replaced() {
    let manager = Manager::with_server();
    with(&manager, &["start", "app.js", "--min-uptime", "100"], &[("COLOUR", "red"), ("SIZE", "big")]);
    assert_eq!(variable(&manager, "app", "COLOUR").as_deref(), Some("red"));
    with(&manager, &["reload", "app"], &[("COLOUR", "blue")]);
    assert_eq!(variable(&manager, "app", "COLOUR").as_deref(), Some("red"), "frozen");
    with(&manager, &["reload", "app", "--update-env"], &[("COLOUR", "blue")]);
    assert_eq!(variable(&manager, "app", "COLOUR").as_deref(), Some("blue"));
    assert_eq!(variable(&manager, "app", "SIZE"), None, "what was removed is gone");
    with(&manager, &["restart", "app", "--update-env"], &[("COLOUR", "green")]);
    assert_eq!(variable(&manager, "app", "COLOUR").as_deref(), Some("green"));
}

#[test]
fn an_environment_that_was_refused_is_not_what_the_next_primary_gets() {
    let manager = Manager::new();
    manager.write("app.js", &format!("if (process.env.COLOUR === 'bad') process.exit(7); {SERVER}"));
    with(&manager, &["start", "app.js", "--min-uptime", "100"], &[("COLOUR", "red")]);
    let mut command = manager.command(&["reload", "app", "--update-env"]);
    command.env("COLOUR", "bad");
    assert_eq!(manager.run_as(command, None).code, 1, "the build does not prove itself");
    let before = manager.primary("app");
    manager.kill_9(before);
    manager.wait("another primary", |apps| {
        let up = apps[0]["workers"][0]["status"] == "online" && apps[0]["primary_pid"] != before;
        up.then_some(())
    });
    assert_eq!(variable(&manager, "app", "COLOUR").as_deref(), Some("red"));
}

#[test]
fn a_refused_restart_leaves_programs_where_they_are_found() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "--min-uptime", "100"]);
    let mut command = manager.command(&["restart", "app", "--update-env"]);
    command.env("PATH", "/nonexistent");
    let outcome = manager.run_as(command, None);
    assert!(outcome.code != 0 && outcome.err.contains("node"), "{}", outcome.all());
    manager.ok(&["restart", "app"]);
    assert_eq!(manager.statuses("app"), ["online"]);
}

#[test]
fn workers_are_told_how_many_they_are_also_when_they_became_fewer() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "3", "--min-uptime", "100", "-p", "app.pid"]);
    assert_eq!(variable(&manager, "app", "instances").as_deref(), Some("3"));
    manager.ok(&["scale", "app", "1"]);
    manager.ok(&["reload", "app"]);
    assert_eq!(variable(&manager, "app", "instances").as_deref(), Some("1"));
    let left: Vec<String> = std::fs::read_dir(manager.dir())
        .expect("a directory")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".pid"))
        .collect();
    assert_eq!(left, ["app.pid"], "that of the one that is there");
    let written = std::fs::read_to_string(manager.file("app.pid")).expect("a number");
    assert_eq!(written.trim(), manager.pids("app")[0].to_string());
}

#[test]
fn a_changed_configuration_comes_with_a_reload_of_its_file() {
    let manager = Manager::with_server();
    let write = |env: &str, more: &str| {
        let text = format!(
            r#"{{"apps": [{{"name": "x", "script": "app.js", "min_uptime": 100, "env": {env} {more}}}]}}"#
        );
        manager.write("apps.json", &text);
    };
    write(r#"{"A": "1", "B": "1"}"#, "");
    manager.ok(&["start", "apps.json"]);
    assert_eq!(variable(&manager, "x", "A").as_deref(), Some("1"));
    write(r#"{"A": "2"}"#, r#", "kill_timeout": 4321, "args": "more of it""#);
    manager.ok(&["reload", "x"]);
    assert_eq!(variable(&manager, "x", "A").as_deref(), Some("1"), "the file was not named");
    manager.ok(&["reload", "apps.json"]);
    assert_eq!(variable(&manager, "x", "A").as_deref(), Some("2"));
    assert_eq!(variable(&manager, "x", "B"), None);
    assert_eq!(manager.app("x")["spec"]["kill_timeout"], 4321);
    let argv = http::get(manager.address("x"), "/argv").text();
    assert_eq!(argv, r#"["more","of","it"]"#);
    write(r#"{"A": "3"}"#, r#", "instances": 3"#);
    manager.ok(&["reload", "apps.json"]);
    assert_eq!(manager.pids("x").len(), 3);
    // Who scaled by hand is not put back by the next deploy.
    manager.ok(&["scale", "x", "2"]);
    manager.ok(&["reload", "apps.json"]);
    assert_eq!(manager.pids("x").len(), 2);
}

#[test]
fn another_number_of_workers_is_not_forgotten_when_its_deploy_fails() {
    let manager = Manager::with_server();
    let write = |instances: u32, script: &str| {
        let text = format!(
            r#"{{"apps": [{{"name": "x", "script": "{script}", "instances": {instances}, "min_uptime": 100}}]}}"#
        );
        manager.write("apps.json", &text);
    };
    manager.write("bad.js", "process.exit(3)");
    write(1, "app.js");
    manager.ok(&["start", "apps.json"]);
    write(3, "bad.js");
    manager.ends(&["reload", "apps.json"], 1);
    assert_eq!(manager.pids("x").len(), 1);
    write(3, "app.js");
    let told = manager.ok(&["reload", "apps.json", "--plan"]);
    assert!(told.out.contains("it would be scaled to 3"), "{}", told.all());
    manager.ok(&["startOrRestart", "apps.json"]);
    assert_eq!(manager.pids("x").len(), 3);
    // Scaled by hand it stays so, until another number is configured or said.
    manager.ok(&["scale", "x", "2"]);
    manager.ok(&["reload", "apps.json"]);
    assert_eq!(manager.pids("x").len(), 2);
    manager.ok(&["restart", "x", "-i", "3"]);
    assert_eq!(manager.pids("x").len(), 3);
}

#[test]
fn a_changed_script_comes_with_a_reload() {
    let manager = Manager::with_server();
    manager.write("old.json", r#"{"name": "x", "script": "app.js", "min_uptime": 100}"#);
    manager.write("v2/app.js", &SERVER.replace("hello from", "the second from"));
    manager.write("new.json", r#"{"name": "x", "script": "v2/app.js", "min_uptime": 100}"#);
    manager.ok(&["start", "old.json"]);
    assert!(http::get(manager.address("x"), "/").text().starts_with("hello"));
    manager.ok(&["reload", "new.json"]);
    assert!(http::get(manager.address("x"), "/").text().starts_with("the second"));
    // A build whose script is not there changes nothing.
    std::fs::remove_file(manager.file("v2/app.js")).expect("it is there");
    let before = manager.pids("x");
    manager.ends(&["reload", "x"], 1);
    assert_eq!(manager.pids("x"), before);
    assert!(http::get(manager.address("x"), "/").text().starts_with("the second"));
}

#[test]
fn a_link_to_the_current_release_is_followed_anew() {
    let manager = Manager::new();
    manager.write("r1/app.js", &SERVER.replace("hello from", "r1"));
    manager.write("r2/app.js", &SERVER.replace("hello from", "r2"));
    let current = manager.file("current");
    std::os::unix::fs::symlink("r1", &current).expect("a link can be made");
    let mut start = manager.command(&["start", "app.js", "--min-uptime", "100"]);
    start.current_dir(&current).env("PWD", &current);
    assert_eq!(manager.run_as(start, None).code, 0);
    assert!(http::get(manager.address("app"), "/").text().starts_with("r1"));
    std::fs::remove_file(&current).expect("a link can be removed");
    std::os::unix::fs::symlink("r2", &current).expect("a link can be made");
    manager.ok(&["reload", "app"]);
    assert!(http::get(manager.address("app"), "/").text().starts_with("r2"));
}

#[test]
fn a_changed_policy_needs_a_restart_and_says_so() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2", "--policy", "rr", "--min-uptime", "100"]);
    let before = manager.pids("app");
    let refused = manager.ends(&["reload", "app", "--policy", "shared"], 1);
    assert!(refused.err.contains("needs a restart") && refused.err.contains("hint:"), "{}", refused.all());
    assert_eq!((manager.pids("app"), manager.app("app")["policy"].clone()), (before.clone(), "rr".into()));
    manager.ok(&["restart", "app", "--policy", "shared"]);
    assert_eq!(manager.app("app")["policy"], "shared");
    assert!(before.iter().all(|pid| !procfs::runs(*pid)));
    assert_eq!(manager.statuses("app"), ["online", "online"]);
    assert_eq!(manager.restarts("app"), [1, 1]);
    assert!(http::get(manager.address("app"), "/").text().starts_with("hello"));
}

#[test]
fn what_is_said_on_the_command_line_stands_over_the_configuration() {
    let manager = Manager::with_server();
    manager
        .write("apps.json", r#"{"name": "x", "script": "app.js", "kill_timeout": 1000, "env": {"A": "1"}}"#);
    manager.ok(&["start", "apps.json", "--kill-timeout", "2000", "--env", "A=2", "--min-uptime", "100"]);
    assert_eq!(manager.app("x")["spec"]["kill_timeout"], 2000);
    assert_eq!(variable(&manager, "x", "A").as_deref(), Some("2"));
    manager.ok(&["reload", "x", "--env", "A=3", "--", "an", "argument"]);
    assert_eq!(variable(&manager, "x", "A").as_deref(), Some("3"));
    assert_eq!(http::get(manager.address("x"), "/argv").text(), r#"["an","argument"]"#);
}
