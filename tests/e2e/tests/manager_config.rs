//! Configuration files: every form, every mistake, and what of them workers see.

use oneport_e2e::http;
use oneport_e2e::manager::Manager;
use serde_json::Value;

fn env_of(manager: &Manager, app: &str) -> Value {
    serde_json::from_str(&http::get(manager.address(app), "/env").text()).expect("JSON")
}

#[test]
fn every_form_is_read() {
    for (file, text) in [
        ("oneport.toml", "[[app]]\nname = 'web'\nscript = 'app.js'\ninstances = 2\nenv = { A = '1' }\n"),
        (
            "ecosystem.config.js",
            "module.exports = {apps: [{name: 'web', script: './app.js', instances: 1 + 1, env: {A: 1}}]}",
        ),
        (
            "ecosystem.config.cjs",
            "module.exports = [{name: 'web', script: 'app.js', instances: '2', env: {A: '1'}}]",
        ),
        (
            "ecosystem.config.mjs",
            "export default {apps: {name: 'web', exec: 'app.js', instances: 2, env: {A: 1}}}",
        ),
        (
            "ecosystem.json",
            "{ // comments are allowed\n apps: [{name: 'web', script: 'app.js', instances: 2, env: {A: '1',},},], }",
        ),
        (
            "process.json",
            r#"{"apps": [{"name": "web", "script": "app.js", "instances": 2, "env": {"A": "1"}}]}"#,
        ),
        ("apps.yml", "apps:\n  - name: web\n    script: app.js\n    instances: 2\n    env:\n      A: 1\n"),
    ] {
        let manager = Manager::with_server();
        manager.write(file, text);
        manager.ok(&["start", file]);
        assert_eq!(manager.pids("web").len(), 2, "{file}");
        assert_eq!(env_of(&manager, "web")["A"], "1", "{file}");
    }
}

#[test]
fn start_alone_finds_the_file_of_the_directory() {
    for file in ["oneport.toml", "ecosystem.config.js", "ecosystem.config.json", "process.json"] {
        let manager = Manager::with_server();
        let text = match file {
            "oneport.toml" => "[[app]]\nname = 'web'\nscript = 'app.js'\n",
            "ecosystem.config.js" => "module.exports = {apps: [{name: 'web', script: 'app.js'}]}",
            _ => r#"{"apps": [{"name": "web", "script": "app.js"}]}"#,
        };
        manager.write(file, text);
        manager.ok(&["start"]);
        assert_eq!(manager.names(), ["web"], "{file}");
    }
    let manager = Manager::new();
    let outcome = manager.ends(&["start"], 2);
    assert!(outcome.err.contains("no configuration here"), "{}", outcome.all());
}

#[test]
fn variables_of_pm2_stand_in_for_what_the_configuration_does_not_say() {
    let manager = Manager::with_server().env("PM2_KILL_TIMEOUT", "2500").env("PM2_KILL_SIGNAL", "SIGTERM");
    manager.write("oneport.toml", "[[app]]\nname = 'web'\nscript = 'app.js'\nstop_signal = 'SIGUSR2'\n");
    let spec = || {
        let list: Value = serde_json::from_str(&manager.ok(&["list", "--json"]).out).expect("JSON");
        let spec = &list["apps"][0]["spec"];
        (spec["kill_timeout"].clone(), spec["stop_signal"].clone())
    };
    let expected = (Value::from(2500), Value::from("SIGUSR2"));
    let told = manager.ok(&["start"]).err;
    assert!(told.contains("kill_timeout is that of PM2_KILL_TIMEOUT"), "{told}");
    assert!(!told.contains("PM2_KILL_SIGNAL"), "{told}");
    assert_eq!(spec(), expected);
    // Nothing of it is lost when the same configuration is applied once more.
    manager.ok(&["reload", "oneport.toml"]);
    assert_eq!(spec(), expected);
    manager.ok(&["stop", "web"]);
    manager.ok(&["start", "web"]);
    assert_eq!(spec(), expected);
}

#[test]
fn json_on_standard_input_starts_and_deletes() {
    let manager = Manager::with_server();
    let text = r#"{"apps": [{"name": "web", "script": "app.js"}, {"name": "api", "script": "app.js"}]}"#;
    let outcome = manager.run_as(manager.command(&["start", "-"]), Some(text));
    assert_eq!(outcome.code, 0, "{}", outcome.all());
    assert_eq!(manager.names(), ["api", "web"]);
    let one = r#"[{"name": "web", "script": "app.js"}]"#;
    let outcome = manager.run_as(manager.command(&["delete", "-"]), Some(one));
    assert_eq!(outcome.code, 0, "{}", outcome.all());
    assert_eq!(manager.names(), ["api"]);
    for bad in ["", "{", r#"{"apps": [{"name": "x"}]}"#, "[1]"] {
        let outcome = manager.run_as(manager.command(&["start", "-"]), Some(bad));
        assert!(outcome.code == 1 && outcome.err.starts_with("error: "), "`{bad}`: {}", outcome.all());
    }
    assert_eq!(manager.names(), ["api"]);
}

#[test]
fn only_and_env_choose() {
    let manager = Manager::with_server();
    manager.write(
        "ecosystem.config.js",
        "const of = (name) => ({name, script: 'app.js', min_uptime: 100, env: {A: 'plain', B: 'plain'}, env_production: {A: 'prod'}});\n\
         module.exports = {apps: ['a', 'b', 'c'].map(of)};",
    );
    manager.ok(&["start", "ecosystem.config.js", "--only", "a,c", "--env", "production"]);
    assert_eq!(manager.names(), ["a", "c"]);
    let env = env_of(&manager, "a");
    assert_eq!((&env["A"], &env["B"]), (&Value::from("prod"), &Value::from("plain")));
    manager.ok(&["reload", "ecosystem.config.js", "--only", "c"]);
    assert_eq!(
        (env_of(&manager, "a")["A"].clone(), env_of(&manager, "c")["A"].clone()),
        ("prod".into(), "plain".into())
    );
    assert_eq!((manager.restarts("a"), manager.restarts("c")), (vec![0], vec![1]));
    let outcome = manager.ends(&["start", "ecosystem.config.js", "--only", "nobody"], 1);
    assert!(outcome.err.contains("nobody"), "{}", outcome.all());
    let outcome = manager.run(&["start", "ecosystem.config.js", "--only", "b", "--env", "staging"]);
    assert!(outcome.err.contains("staging"), "an unknown block is said: {}", outcome.all());
}

#[test]
fn mistakes_start_nothing_and_are_shown_where_they_are() {
    let manager = Manager::with_server();
    for (file, text, expected) in [
        ("a.json", r#"{"apps": [{"name": "x", "script": "app.js",, }]}"#, "a.json"),
        ("b.json", r#"{"apps": [{"name": "x", "script": "app.js", "instances": "lots"}]}"#, "instances"),
        ("c.yml", "apps:\n - name: x\n  script: [", "c.yml"),
        (
            "oneport.toml",
            "[[app]]\nname = 'x'\nscript = 'app.js'\nmax_memory_restart = 'heavy'\n",
            "max_memory_restart",
        ),
        ("d.config.js", "throw new Error('not today')", "not today"),
        ("e.config.js", "module.exports = 5", "e.config.js"),
        ("f.json", r#"{"apps": [{"name": "x"}]}"#, "script"),
        (
            "g.json",
            r#"{"apps": [{"name": "x", "script": "app.js"}, {"name": "y", "script": "app.js", "cron_restart": "often"}]}"#,
            "cron_restart",
        ),
        ("h.json", "", "h.json"),
        ("i.json", r#"{"apps": []}"#, "i.json"),
    ] {
        manager.write(file, text);
        let outcome = manager.ends(&["start", file], 1);
        assert!(outcome.err.contains(expected), "{file}: {}", outcome.all());
    }
    manager.ends(&["start", "missing.json"], 1);
    manager.ends(&["start", "missing.config.js"], 1);
    manager.ends(&["reload", "missing.json"], 1);
    assert!(manager.apps().is_empty());
    // An unknown key is no error, and no secret.
    manager.write("typo.json", r#"{"apps": [{"name": "x", "script": "app.js", "instnaces": 2}]}"#);
    let outcome = manager.ok(&["start", "typo.json"]);
    assert!(outcome.err.contains("instnaces") && outcome.err.contains("instances"), "{}", outcome.all());
}

#[test]
fn workers_see_their_place_in_pm2s_names() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-n", "first"]);
    manager.write(
        "apps.json",
        r#"{"apps": [{"name": "web", "script": "app.js", "instances": 2, "policy": "rr", "namespace": "front"}]}"#,
    );
    manager.ok(&["start", "apps.json"]);
    let address = manager.address("web");
    let mut seen = std::collections::BTreeMap::new();
    oneport_e2e::wait::eventually("both answer", || {
        let env: Value = serde_json::from_str(&http::get(address, "/env").text()).expect("JSON");
        seen.insert(env["NODE_APP_INSTANCE"].as_str()?.to_owned(), env);
        (seen.len() == 2).then_some(())
    });
    for (number, (id, slot)) in seen.keys().zip([("1", "0"), ("2", "1")]) {
        let env = &seen[number];
        let of = |name: &str| env[name].as_str().unwrap_or_default().to_owned();
        assert_eq!((number.as_str(), of("pm_id").as_str(), of("INSTANCE_ID").as_str()), (slot, id, slot));
        assert_eq!((of("name"), of("namespace")), ("web".into(), "front".into()));
        assert_eq!((of("instances"), of("exec_mode")), ("2".into(), "cluster_mode".into()));
        assert_eq!(of("ONEPORT_HOME"), manager.home().display().to_string());
    }
}

#[test]
fn instance_and_increment_variables_count_by_slot() {
    let manager = Manager::with_server();
    manager.write(
        "apps.json",
        r#"{"apps": [{"name": "web", "script": "app.js", "instances": 3, "policy": "rr", "instance_var": "MY_NUMBER",
            "increment_var": "METRICS_PORT", "env": {"METRICS_PORT": "9100"}}]}"#,
    );
    manager.ok(&["start", "apps.json"]);
    let address = manager.address("web");
    let mut seen = std::collections::BTreeSet::new();
    oneport_e2e::wait::eventually("all three answer", || {
        let env: Value = serde_json::from_str(&http::get(address, "/env").text()).expect("JSON");
        assert!(env["NODE_APP_INSTANCE"].is_null());
        seen.insert((env["MY_NUMBER"].as_str()?.to_owned(), env["METRICS_PORT"].as_str()?.to_owned()));
        (seen.len() == 3).then_some(())
    });
    let pairs: Vec<(&str, &str)> = seen.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(pairs, [("0", "9100"), ("1", "9101"), ("2", "9102")]);
}

#[test]
fn what_is_filtered_does_not_reach_the_worker() {
    let manager = Manager::with_server().env("AWS_KEY", "k").env("AWS_ID", "i").env("COLOUR", "red");
    manager.ok(&["start", "app.js", "--filter-env", "AWS_"]);
    let env = env_of(&manager, "app");
    assert!(env["AWS_KEY"].is_null() && env["AWS_ID"].is_null() && env["COLOUR"] == "red", "{env}");
    manager.write(
        "apps.json",
        r#"{"apps": [{"name": "bare", "script": "app.js", "filter_env": true, "env": {"PORT": "0", "OWN": "1"}}]}"#,
    );
    manager.ok(&["start", "apps.json"]);
    let env = env_of(&manager, "bare");
    assert!(env["COLOUR"].is_null() && env["OWN"] == "1", "{env}");
}

#[test]
fn the_port_key_is_short_for_the_variable() {
    let port = oneport_e2e::place::free_port();
    let manager = Manager::with_server();
    manager.write(
        "apps.json",
        &format!(r#"{{"apps": [{{"name": "web", "script": "app.js", "port": {port}}}]}}"#),
    );
    manager.ok(&["start", "apps.json"]);
    assert!(http::get(([127, 0, 0, 1], port).into(), "/").text().contains("hello"));
    assert!(manager.ok(&["list"]).out.contains(&port.to_string()), "the port is in the table");
}
