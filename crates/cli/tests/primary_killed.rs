//! A primary that is killed comes back as the app is by then, and not as it was once started.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A home directory with a daemon that ends with the test.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Home {
        let path = std::env::temp_dir().join(format!("oneport-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Home(path)
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oneport"));
        command.args(words).env("ONEPORT_HOME", &self.0).env("GREETING", "hello").stdin(Stdio::null());
        command.output().unwrap()
    }

    fn done(&self, words: &[&str]) {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn app(&self) -> Value {
        let list: Value = serde_json::from_slice(&self.run(&["list", "--json"]).stdout).unwrap();
        list["apps"][0].clone()
    }

    /// Waits until the app is as it is wanted.
    fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let late = Instant::now() + Duration::from_secs(20);
        loop {
            let app = self.app();
            if is(&app) {
                return app;
            }
            assert!(Instant::now() < late, "{what}: {app:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.run(&["kill"]);
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn primary_of(app: &Value) -> Option<i64> {
    app["primary_pid"].as_i64()
}

/// Ends it, and waits for its end: until then it may still answer, or break off.
fn kill(pid: i64) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    let stat = Path::new("/proc").join(pid.to_string()).join("stat");
    let late = Instant::now() + Duration::from_secs(20);
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < late, "{pid} does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn environment_of(pid: i64) -> String {
    let text = std::fs::read(Path::new("/proc").join(pid.to_string()).join("environ")).unwrap_or_default();
    String::from_utf8_lossy(&text).replace('\0', "\n")
}

fn online(app: &Value) -> usize {
    let workers = app["workers"].as_array().map_or(&[][..], Vec::as_slice);
    workers.iter().filter(|worker| worker["status"] == "online").count()
}

#[test]
fn a_killed_primary_comes_back_with_what_was_changed_since() {
    let home = Home::new("changed");
    home.done(&["start", "sleep", "-x", "-i", "3", "--env", "COLOUR=red", "--", "1000"]);
    home.done(&["scale", "sleep", "1"]);
    home.done(&["restart", "sleep", "--env", "COLOUR=blue"]);
    let before = primary_of(&home.app()).unwrap();
    kill(before);
    let app = home
        .until("it comes back", |app| primary_of(app).is_some_and(|pid| pid != before) && online(app) > 0);
    assert_eq!(app["workers"].as_array().unwrap().len(), 1, "{app:#}");
    assert_eq!(app["spec"]["env"]["COLOUR"], "blue", "{app:#}");
    let environment = environment_of(app["workers"][0]["pid"].as_i64().unwrap());
    assert!(environment.contains("COLOUR=blue") && environment.contains("GREETING=hello"), "{environment}");
}

#[test]
fn workers_that_were_scaled_away_do_not_come_again_with_another_daemon() {
    let home = Home::new("scaled");
    home.done(&["start", "sleep", "-x", "-i", "3", "--", "1000"]);
    home.done(&["scale", "sleep", "1"]);
    let daemon: i64 = std::fs::read_to_string(home.0.join("daemon.pid")).unwrap().trim().parse().unwrap();
    kill(daemon);
    let before = primary_of(&home.app()).unwrap();
    kill(before);
    let app = home
        .until("it comes back", |app| primary_of(app).is_some_and(|pid| pid != before) && online(app) > 0);
    assert_eq!(app["workers"].as_array().unwrap().len(), 1, "{app:#}");
}
