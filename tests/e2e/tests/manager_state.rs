//! What outlives a daemon: saved apps, PM2's list; and that nothing grows in the long run.

use oneport_e2e::manager::{Manager, SERVER};
use oneport_e2e::wait::eventually;
use oneport_e2e::{http, procfs};
use serde_json::{Value, json};

fn essence(manager: &Manager) -> Vec<Value> {
    let apps = manager.apps();
    let of = |app: &Value| {
        let workers = app["workers"].as_array().into_iter().flatten();
        let workers: Vec<Value> = workers.map(|one| json!([one["id"], one["slot"], one["status"]])).collect();
        json!([app["name"], app["namespace"], app["spec"]["kill_timeout"], app["spec"]["env"], workers])
    };
    apps.iter().map(of).collect()
}

/// Several apps with a history.
fn history(manager: &Manager) {
    manager.write("app.js", SERVER);
    manager.write(
        "apps.json",
        r#"{"apps": [
            {"name": "web", "script": "app.js", "instances": 2, "kill_timeout": 4321, "env": {"A": "1"}},
            {"name": "gone", "script": "app.js"},
            {"name": "off", "script": "app.js", "namespace": "back", "instances": 2},
            {"name": "half", "script": "app.js", "namespace": "back", "instances": 2}
        ]}"#,
    );
    manager.ok(&["start", "apps.json"]);
    manager.ok(&["delete", "gone"]);
    manager.ok(&["scale", "web", "3"]);
    manager.ok(&["stop", "off"]);
    let half = manager.ids("half")[1].to_string();
    manager.ok(&["stop", &half]);
}

#[test]
fn what_was_saved_comes_back_as_it_was() {
    let manager = Manager::new();
    history(&manager);
    let (before, pids) = (essence(&manager), manager.pids("web"));
    manager.ok(&["save"]);
    manager.ok(&["kill"]);
    assert!(pids.iter().all(|pid| !procfs::runs(*pid)));
    assert!(manager.apps().is_empty(), "nothing comes by itself");
    manager.ok(&["resurrect"]);
    assert_eq!(essence(&manager), before);
    let env: Value = serde_json::from_str(&http::get(manager.address("web"), "/env").text()).expect("JSON");
    assert_eq!(env["A"], "1");
    // Once more changes nothing.
    let pids = manager.pids("web");
    manager.ok(&["resurrect"]);
    assert_eq!((essence(&manager), manager.pids("web")), (before, pids));
}

#[test]
fn the_list_names_what_is_not_as_saved() {
    let manager = Manager::with_server();
    let told = || manager.ok(&["list"]).err;
    manager.ok(&["start", "app.js", "-n", "one", "-i", "max"]);
    assert_eq!(told(), "", "nothing was ever saved");
    manager.ok(&["save"]);
    assert_eq!(told(), "");
    manager.ok(&["kill"]);
    manager.ok(&["resurrect"]);
    assert_eq!(told(), "");
    manager.ok(&["stop", "one"]);
    assert_eq!(told(), "");
    manager.ok(&["start", "app.js", "-n", "two"]);
    assert!(told().contains("not as saved: two; `oneport save` saves it"), "{}", told());
    manager.ok(&["scale", "one", "+1"]);
    assert!(told().contains("not as saved: one, two; `oneport save` saves them"), "{}", told());
    manager.ok(&["save"]);
    assert_eq!(told(), "");
    manager.ok(&["delete", "one"]);
    assert!(told().contains("not as saved: one;"), "{}", told());
    assert_eq!(manager.ok(&["list", "--silent"]).err, "");
}

#[test]
fn a_daemon_that_is_to_resurrect_does_so_by_itself() {
    let manager = Manager::new();
    history(&manager);
    let before = essence(&manager);
    manager.ok(&["dump"]);
    manager.ok(&["kill"]);
    // More than once: a service is restarted, too.
    for _ in 0..2 {
        let daemon = manager.begin(&["daemon", "--foreground", "--resurrect"]);
        manager.wait("all as before", |_| (essence(&manager) == before).then_some(()));
        assert_eq!(manager.daemon(), daemon.pid());
        daemon.signal(oneport_e2e::Signal::TERM);
        let outcome = daemon.end();
        assert_eq!(outcome.code, 0, "{}", outcome.all());
    }
    // But what was deleted since does not come back because the daemon was killed.
    let daemon = manager.begin(&["daemon", "--foreground", "--resurrect"]);
    manager.wait("all as before", |_| (essence(&manager) == before).then_some(()));
    manager.ok(&["delete", "all"]);
    manager.kill_9(daemon.pid());
    let daemon = manager.begin(&["daemon", "--foreground", "--resurrect"]);
    daemon.wait_for("daemon: started");
    assert!(manager.apps().is_empty());
    daemon.signal(oneport_e2e::Signal::TERM);
    assert_eq!(daemon.end().code, 0);
}

#[test]
fn a_daemon_of_a_service_takes_over_from_one_that_a_command_has_started() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2", "--min-uptime", "100"]);
    let (before, old) = (essence(&manager), manager.daemon());
    let pids = manager.pids("app");
    let daemon = manager.begin(&["daemon", "--foreground", "--resurrect"]);
    daemon.wait_for("daemon: started");
    assert_eq!((manager.daemon(), manager.pids("app")), (daemon.pid(), pids));
    assert_eq!(essence(&manager), before);
    eventually("the end of the other", || (!procfs::runs(old)).then_some(()));
    // Neither a command's daemon nor another service's pushes it out.
    manager.ok(&["daemon"]);
    let told = manager.ends(&["daemon", "--foreground"], 1);
    assert!(told.err.contains("this daemon is a service's own"), "{}", told.all());
    assert_eq!(manager.daemon(), daemon.pid());
    daemon.signal(oneport_e2e::Signal::TERM);
    assert_eq!(daemon.end().code, 0);
}

#[test]
fn a_second_save_keeps_the_first_and_an_empty_list_replaces_nothing() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-n", "one"]);
    manager.ok(&["save"]);
    manager.ok(&["start", "app.js", "-n", "two"]);
    manager.ok(&["save"]);
    let names = |file: &str| {
        let text = std::fs::read_to_string(manager.in_home(file)).expect("it is there");
        let saved: Value = serde_json::from_str(&text).expect("JSON");
        let apps = saved["apps"].as_array().cloned().unwrap_or_default();
        apps.iter().map(|app| app["spec"]["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (names("save.json"), names("save.1.json")),
        (vec!["one".into(), "two".into()], vec!["one".to_owned()])
    );
    manager.ok(&["delete", "all"]);
    let refused = manager.ends(&["save"], 1);
    assert!(refused.err.contains("empty list") && refused.err.contains("--force"), "{}", refused.all());
    assert_eq!(names("save.json"), ["one", "two"]);
    manager.ok(&["save", "--force"]);
    assert!(names("save.json").is_empty());
    assert_eq!(names("save.1.json"), ["one", "two"]);
}

#[test]
fn a_broken_list_is_put_aside_and_the_one_before_is_used() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-n", "one"]);
    manager.ok(&["save"]);
    manager.ok(&["start", "app.js", "-n", "two"]);
    manager.ok(&["save"]);
    manager.ok(&["kill"]);
    let text = std::fs::read_to_string(manager.in_home("save.json")).expect("it is there");
    std::fs::write(manager.in_home("save.json"), &text[..text.len() / 2]).expect("it is ours");
    let outcome = manager.ok(&["resurrect"]);
    assert!(outcome.err.contains("save.json"), "{}", outcome.all());
    assert_eq!(manager.names(), ["one"]);
    let kept = std::fs::read_dir(manager.home()).expect("the home").flatten().any(|entry| {
        std::fs::read_to_string(entry.path()).is_ok_and(|found| found == text[..text.len() / 2])
    });
    assert!(kept, "the broken one is kept for who wants to look");
    manager.ok(&["delete", "all"]);
    for file in ["save.json", "save.1.json", "save.2.json"] {
        drop(std::fs::remove_file(manager.in_home(file)));
    }
    let outcome = manager.run(&["resurrect"]);
    assert!(outcome.code <= 1 && !outcome.all().contains("panic"), "{}", outcome.all());
}

#[test]
fn no_inherited_secret_is_written_anywhere() {
    let manager =
        Manager::with_server().env("SECRET_TOKEN", "hunter2-inherited").env("DATABASE_URL", "hunter2-url");
    manager.ok(&["start", "app.js", "-i", "2", "--min-uptime", "100"]);
    let env: Value = serde_json::from_str(&http::get(manager.address("app"), "/env").text()).expect("JSON");
    assert_eq!(env["SECRET_TOKEN"], "hunter2-inherited", "the worker has it");
    let saved = manager.ok(&["save"]);
    assert!(
        saved.out.contains("of the environment of app") && saved.out.contains("not saved"),
        "{}",
        saved.all()
    );
    manager.ok(&["reload", "app", "--update-env"]);
    manager.ok(&["scale", "app", "3"]);
    let mut looked = 0;
    let mut folders = vec![manager.home().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                looked += 1;
                let text = String::from_utf8_lossy(&bytes);
                assert!(!text.contains("hunter2"), "`{}` holds it: {text}", path.display());
            }
        }
    }
    assert!(looked >= 4, "{looked}");
    // Nor does the daemon have it in its own environment, for others of this machine to ask.
    let environ = std::fs::read(format!("/proc/{}/environ", manager.daemon())).expect("it is ours");
    assert!(!String::from_utf8_lossy(&environ).contains("hunter2"));
}

#[test]
fn pm2s_list_becomes_apps_here() {
    let manager = Manager::with_server();
    let record = |name: &str, id: u32, status: &str| {
        json!({
            "name": name, "pm_id": id, "namespace": "default", "pm_exec_path": manager.file("app.js"),
            "pm_cwd": manager.dir(), "exec_mode": "cluster_mode", "exec_interpreter": "node", "instances": 2,
            "status": status, "autorestart": true, "kill_timeout": 3000, "args": ["one", "two words"], "node_args": [],
            "env": {"PATH": std::env::var("PATH").expect("a PATH"), "PORT": "0", "COLOUR": "red", "DB_PASSWORD": "hunter2"}, "COLOUR": "red", "NODE_APP_INSTANCE": id,
        })
    };
    let dump = json!([record("web", 0, "online"), record("web", 1, "online"), record("off", 2, "stopped")]);
    manager.write("dump.pm2", &dump.to_string());
    let outcome = manager.ok(&["import", "dump.pm2"]);
    assert_eq!(manager.names(), ["off", "web"]);
    assert_eq!((manager.ids("web"), manager.statuses("web")), (vec![0, 1], vec!["online".to_owned(); 2]));
    assert_eq!(manager.statuses("off"), ["stopped"]);
    assert_eq!(manager.app("web")["spec"]["kill_timeout"], 3000);
    assert_eq!(http::get(manager.address("web"), "/argv").text(), r#"["one","two words"]"#);
    assert!(outcome.err.contains("DB_PASSWORD") && !outcome.all().contains("hunter2"), "{}", outcome.all());
    let bad = manager.write("bad.pm2", "[{");
    let outcome = manager.ends(&["import", bad.to_str().expect("UTF-8")], 1);
    assert!(outcome.err.contains("bad.pm2"), "{}", outcome.all());
    manager.ends(&["import", "nothing.pm2"], 1);
}

#[test]
fn fifty_reloads_leave_no_descriptor_and_no_memory_behind() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2", "--min-uptime", "1"]);
    let (daemon, primary) = (manager.daemon(), manager.primary("app"));
    let cost = || [daemon, primary].map(|pid| (procfs::descriptors(pid), procfs::rss_kib(pid)));
    let mut early = None;
    for round in 1..=50 {
        manager.ok(&["reload", "app", "-s"]);
        if round == 10 {
            early = Some(cost());
        }
    }
    let (early, late) = (early.expect("ten rounds"), cost());
    assert_eq!(manager.restarts("app"), [50, 50]);
    for (before, after) in early.iter().zip(&late) {
        assert!(after.0 <= before.0 + 2, "descriptors of daemon and primary: {early:?}, then {late:?}");
        assert!(after.1 <= before.1 + 3 * 1024, "KiB of daemon and primary: {early:?}, then {late:?}");
    }
    eprintln!("(descriptors, KiB) of daemon and primary after 10 reloads: {early:?}, after 50: {late:?}");
    let living = manager.living().len();
    assert_eq!(living, 4, "daemon, primary and two workers");
}
