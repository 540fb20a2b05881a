//! The home directory: who may use it, what is in it and with which rights, and what is not as it should be.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use oneport_e2e::manager::{Manager, SERVER};
use oneport_e2e::{http, place};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

fn mode(path: &Path) -> u32 {
    let facts = std::fs::symlink_metadata(path).unwrap_or_else(|e| panic!("`{}`: {e}", path.display()));
    facts.permissions().mode() & 0o777
}

/// Everything below a directory, with itself.
fn all_below(path: &Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("a directory").flatten() {
            found.extend(all_below(&entry.path()));
        }
    }
    found
}

/// `oneport WORDS` as the user nobody; none where this test may not become that.
fn as_nobody(manager: &Manager, words: &[&str]) -> Option<Command> {
    let id = Command::new("id").arg("-u").output().ok()?;
    if id.stdout != b"0\n" {
        return None;
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(place::oneport()).args(words);
    manager.prepare(&mut command);
    Some(command)
}

#[test]
fn nothing_of_it_is_open_to_others() {
    let manager = Manager::new();
    manager.write("app.js", &format!("console.log('a line'); {SERVER}"));
    manager.ok(&["start", "app.js", "-i", "2"]);
    manager.ok(&["save"]);
    oneport_e2e::wait::eventually("a log", || manager.in_home("logs/app-out-0.log").exists().then_some(()));
    assert_eq!(mode(manager.home()), 0o700);
    let is_pid = |path: &Path| path.extension().is_some_and(|end| end == "pid");
    // Numbers of processes are no secret, and a pid file may lie where others are to read it.
    for path in all_below(manager.home()).into_iter().filter(|path| !is_pid(path)) {
        let kind = std::fs::symlink_metadata(&path).expect("it is there").file_type();
        let others = mode(&path) & 0o007;
        assert_eq!(others, 0, "`{}` has mode {:o}", path.display(), mode(&path));
        if std::os::unix::fs::FileTypeExt::is_socket(&kind) {
            assert_eq!(mode(&path), 0o600, "`{}`", path.display());
        }
    }
}

#[test]
fn one_that_was_open_is_closed_with_a_warning_and_one_that_others_may_write_to_is_refused() {
    let manager = Manager::new();
    std::fs::create_dir(manager.home()).expect("a directory can be made");
    std::fs::set_permissions(manager.home(), PermissionsExt::from_mode(0o755)).expect("it is ours");
    let outcome = manager.ok(&["ping"]);
    assert!(outcome.err.contains("was open to others"), "{}", outcome.all());
    assert_eq!(mode(manager.home()), 0o700);
    manager.ok(&["kill"]);
    std::fs::set_permissions(manager.home(), PermissionsExt::from_mode(0o777)).expect("it is ours");
    let outcome = manager.ends(&["ping"], 1);
    assert!(
        outcome.err.contains("others may write to it") && outcome.err.contains("hint:"),
        "{}",
        outcome.all()
    );
}

#[test]
fn another_users_home_and_socket_are_refused() {
    let manager = Manager::new();
    let Some(ping) = as_nobody(&manager, &["list"]) else {
        return place::skipped("another_users_home_and_socket_are_refused", "only root can become nobody");
    };
    manager.ok(&["ping"]);
    let outcome = manager.run_as(ping, None);
    assert_ne!(outcome.code, 0, "{}", outcome.all());
    assert!(outcome.err.contains("cannot use") && outcome.err.contains("home"), "{}", outcome.all());
    // Even who can reach the socket is asked who he is.
    for path in [manager.outside(), manager.home()] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o711)).expect("it is ours");
    }
    let socket = manager.in_home("daemon.sock");
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).expect("it is ours");
    // Credentials belong to a thread: this one becomes another user, and the test goes on as it was.
    let ask = move || {
        let (user, group) = (Uid::from_raw(65534), Gid::from_raw(65534));
        set_thread_res_gid(group, group, group).and_then(|()| set_thread_res_uid(user, user, user))?;
        let mut client = http::Client::unix(&socket)?;
        client.get("/v1/apps").map(|answer| (answer.status, answer.text()))
    };
    let (status, text) = std::thread::spawn(ask).join().expect("no panic").expect("an answer");
    assert!(status == 403 && text.contains("another user"), "{status}: {text}");
}

#[test]
fn one_that_cannot_be_made_or_written_is_said_so() {
    let manager = Manager::new();
    let in_the_way = manager.write("file", "");
    let manager = manager.at(&in_the_way);
    let outcome = manager.run(&["list"]);
    assert!(outcome.code == 1 && outcome.err.contains("a file is in the way"), "{}", outcome.all());
    let below = in_the_way.join("home");
    let manager = manager.at(&below);
    let outcome = manager.run(&["list"]);
    assert!(outcome.code == 1 && outcome.err.contains("cannot "), "{}", outcome.all());
    let manager = manager.at("/proc/oneport-home");
    let outcome = manager.run(&["start", "x.js"]);
    assert!(outcome.code == 1 && outcome.err.contains("/proc/oneport-home"), "{}", outcome.all());
    assert!(outcome.err.contains("hint:"), "{}", outcome.all());
}

#[test]
fn a_read_only_home_is_said_so() {
    let manager = Manager::new();
    let home = manager.home().to_owned();
    std::fs::create_dir(&home).expect("a directory can be made");
    // In a mount namespace of its own, which ends with the command.
    let mut command = Command::new("unshare");
    let script = format!(
        "mount --bind {0} {0} && mount -o remount,ro,bind {0} && exec {1} list",
        home.display(),
        place::oneport().display()
    );
    command.args(["--map-root-user", "--mount", "sh", "-c", &script]);
    manager.prepare(&mut command);
    let outcome = manager.run_as(command, None);
    if outcome.err.contains("unshare") || outcome.err.contains("mount") {
        return place::skipped("a_read_only_home_is_said_so", "no mount namespace can be had here");
    }
    assert_eq!(outcome.code, 1, "{}", outcome.all());
    assert!(outcome.err.contains("read-only"), "{}", outcome.all());
}

#[test]
fn a_path_that_is_too_long_for_a_socket_works() {
    let manager = Manager::with_server();
    let long = manager.outside().join("d".repeat(100)).join("e".repeat(60)).join("home");
    let manager = manager.at(&long);
    manager.ok(&["start", "app.js"]);
    assert!(http::get(manager.address("app"), "/").text().contains("hello"));
    manager.ok(&["reload", "app"]);
    let daemon = manager.daemon();
    manager.kill_9(daemon);
    assert_eq!(manager.statuses("app"), ["online"]);
    manager.ok(&["delete", "app"]);
}

#[test]
fn traces_that_cannot_be_read_are_put_aside_and_the_others_are_found() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js"]);
    let pids = manager.pids("app");
    manager.kill_9(manager.daemon());
    std::fs::write(manager.in_home("run/7.json"), "{\"pid\": 1, \"start_").expect("it is ours");
    std::fs::write(manager.in_home("run/8.json"), "").expect("it is ours");
    std::fs::write(manager.in_home("run/x.json"), "{}").expect("it is ours");
    std::fs::create_dir(manager.in_home("run/9.json")).expect("it is ours");
    assert_eq!(manager.pids("app"), pids);
    assert!(manager.in_home("run/7.broken").exists(), "{}", manager.log());
    assert_eq!(
        std::fs::read_to_string(manager.in_home("run/7.broken")).expect("kept"),
        "{\"pid\": 1, \"start_"
    );
    manager.ok(&["start", "app.js", "-n", "second"]);
    assert_eq!(manager.names(), ["app", "second"]);
}

#[test]
fn a_relative_home_and_one_in_home_are_found() {
    let manager = Manager::new();
    let mut ping = manager.command(&["ping"]);
    ping.env("ONEPORT_HOME", "../home");
    let told = manager.run_as(ping, None);
    assert!(told.code == 0 && told.out.contains("pong"), "{}", told.all());
    let daemon = manager.daemon();
    assert!(manager.ok(&["ping"]).out.contains(&format!("pid {daemon},")), "it is the same home");
    let at_home = manager.outside().join(".oneport");
    let mut ping = manager.command(&["ping"]);
    ping.env_remove("ONEPORT_HOME");
    let told = manager.run_as(ping, None);
    let mut kill = manager.command(&["kill"]);
    kill.env_remove("ONEPORT_HOME");
    assert_eq!(manager.run_as(kill, None).code, 0);
    assert!(told.code == 0 && told.out.contains(at_home.to_str().expect("UTF-8")), "{}", told.all());
    let mut nowhere = manager.command(&["list"]);
    nowhere.env_remove("ONEPORT_HOME").env_remove("HOME");
    let told = manager.run_as(nowhere, None);
    assert!(told.code == 1 && told.err.contains("ONEPORT_HOME"), "{}", told.all());
}
