//! The verbs of the manager that only show or print something.

use oneport_e2e::manager::Manager;

#[test]
fn the_list_is_plain_in_a_pipe_and_has_everybody() {
    let manager = Manager::with_three();
    let list = manager.ok(&["list"]).out;
    assert!(!list.contains('\u{1b}'), "no colours in a pipe: {list}");
    for word in ["id", "name", "mode", "pid", "uptime", "status", "cpu", "mem", "online", "back"] {
        assert!(list.contains(word), "{word} is missing in {list}");
    }
    for alias in ["ls", "l", "ps", "status"] {
        assert_eq!(manager.ok(&[alias]).out.lines().count(), list.lines().count(), "{alias}");
    }
    let mini = manager.ok(&["list", "-m"]).out;
    assert!(mini.contains('a') && !mini.contains('│'), "{mini}");
    let sorted = manager.ok(&["list", "--sort", "name:desc"]).out;
    let (c, a) = (sorted.find(" c ").expect("c"), sorted.find(" a ").expect("a"));
    assert!(c < a, "{sorted}");
    assert!(manager.ok(&["stop", "a", "-s"]).out.is_empty(), "--silent");
}

#[test]
fn jlist_has_the_names_that_scripts_read() {
    let manager = Manager::with_three();
    manager.ok(&["stop", "c"]);
    let told: serde_json::Value = serde_json::from_str(&manager.ok(&["jlist"]).out).expect("JSON");
    let all = told.as_array().expect("an array");
    assert_eq!(all.len(), 4);
    for one in all {
        let stopped = one["name"] == "c";
        assert_eq!(one["pm2_env"]["status"], if stopped { "stopped" } else { "online" });
        assert!(one["pm_id"].is_u64() && one["pm2_env"]["pm_id"] == one["pm_id"]);
        assert_eq!(one["pid"].as_u64().expect("a pid") == 0, stopped);
        assert!(one["monit"]["memory"].is_u64() && one["monit"]["cpu"].is_number());
        assert_eq!(one["pm2_env"]["restart_time"], 0);
        assert!(one["pm2_env"]["pm_uptime"].is_u64() && one["pm2_env"]["pm_exec_path"].is_string());
        assert_eq!(one["pm2_env"]["exec_mode"], "cluster_mode");
    }
    assert!(manager.ok(&["prettylist"]).out.contains("pm_id"));
}

#[test]
fn describe_shows_one_that_runs_and_one_that_does_not() {
    let manager = Manager::with_three();
    let pid = manager.pids("b")[0];
    for verb in ["describe", "show", "info", "desc"] {
        let told = manager.ok(&[verb, "b"]).out;
        assert!(told.contains("online") && told.contains(&pid.to_string()), "{told}");
        assert!(told.contains("b-out.log") && told.contains("queue.js"), "{told}");
    }
    manager.ok(&["stop", "b"]);
    let told = manager.ok(&["describe", "b"]).out;
    assert!(told.contains("stopped") && !told.contains(&pid.to_string()), "{told}");
}

#[test]
fn pid_and_id_print_what_scripts_take() {
    let manager = Manager::with_three();
    let pids: Vec<String> = manager.pids("a").iter().map(u32::to_string).collect();
    assert_eq!(manager.ok(&["pid", "a"]).out, format!("{}\n", pids.join("\n")));
    assert_eq!(manager.ok(&["pid"]).out.lines().count(), 4);
    assert_eq!(manager.ok(&["id", "a"]).out.trim(), "[ 0, 1 ]");
    assert_eq!(manager.ok(&["id", "nobody"]).out.trim(), "[  ]");
    for (id, pid) in manager.ids("a").iter().zip(&pids) {
        let file = std::fs::read_to_string(manager.in_home(&format!("pids/a-{id}.pid"))).expect("a pid file");
        assert_eq!(file.trim(), pid);
    }
}

#[test]
fn completion_prints_a_script_that_bash_takes() {
    let manager = Manager::new();
    let script = manager.ok(&["completion", "bash"]).out;
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", &format!("{script}\ncomplete -p oneport")]);
    let outcome = manager.run_as(bash, None);
    assert!(outcome.code == 0 && outcome.out.contains("oneport"), "{}", outcome.all());
    assert!(manager.living().is_empty(), "no daemon was needed");
}

#[test]
fn samples_are_written_once_and_can_be_read() {
    let manager = Manager::new();
    for (form, file) in [("simple", "oneport.toml"), ("ecosystem", "ecosystem.config.js")] {
        manager.ok(&["init", form]);
        let written = std::fs::read_to_string(manager.file(file)).expect("it is written");
        assert!(written.contains("script"), "{written}");
        let again = manager.ends(&["init", form], 1);
        assert!(again.err.contains(file) && again.err.contains("hint:"), "{}", again.all());
        assert_eq!(std::fs::read_to_string(manager.file(file)).expect("it stays"), written);
    }
}

#[test]
fn env_hides_what_looks_like_a_secret() {
    let manager = Manager::with_server().env("MY_API_TOKEN", "hunter2").env("COLOUR", "red");
    manager.ok(&["start", "app.js"]);
    let told = manager.ok(&["env", "0"]).out;
    assert!(told.contains("COLOUR") && told.contains("red") && told.contains("MY_API_TOKEN"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    assert!(manager.ok(&["env", "app", "--show-secrets"]).out.contains("hunter2"));
    for verb in [&["list", "--json"][..], &["jlist"], &["describe", "app"]] {
        assert!(!manager.ok(verb).out.contains("hunter2"), "{verb:?}");
    }
}
