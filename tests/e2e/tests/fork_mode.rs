//! Fork mode under the manager: a script of Node that is a forked child with a channel, no worker of a cluster, and may be
//! the primary of one itself; and trees that are left alone.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Command, Output};

use oneport_e2e::wait::eventually;
use oneport_e2e::{Signal, TempDir, http, place, procfs};

/// A daemon of its own, ended with the test.
struct Home(TempDir);

impl Home {
    fn new() -> Home {
        Home(TempDir::new())
    }

    fn run(&self, words: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = Command::new(place::oneport());
        command.args(words).env("ONEPORT_HOME", self.0.path()).env("PATH", place::path());
        command.envs(env.iter().copied()).output().unwrap()
    }

    fn done(&self, words: &[&str], env: &[(&str, &str)]) -> String {
        let output = self.run(words, env);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{words:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Starts a fixture as app `it`.
    fn start(&self, script: &str, words: &[&str], env: &[(&str, &str)]) {
        let script = place::fixture(script);
        let words =
            ["start", script.to_str().unwrap(), "--name", "it"].into_iter().chain(words.iter().copied());
        self.done(&words.collect::<Vec<_>>(), env);
    }

    fn said(&self) -> String {
        self.done(&["logs", "it", "--nostream", "--raw", "--lines", "100"], &[])
    }

    /// Waits until the app has said so.
    fn says(&self, words: &str) -> String {
        eventually(words, || Some(self.said()).filter(|said| said.contains(words)))
    }

    fn list(&self) -> serde_json::Value {
        serde_json::from_str(&self.done(&["jlist"], &[])).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.run(&["kill"], &[]);
    }
}

fn served(address: SocketAddr) -> BTreeSet<u32> {
    (0..10).map(|_| http::get(address, "/").text().trim().parse().unwrap()).collect()
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn a_script_that_forks_is_ready_when_it_says_so_and_is_told_to_shut_down() {
    let home = Home::new();
    let port = place::free_port();
    home.start("forks.js", &["--wait-ready", "--shutdown-with-message"], &[("PORT", &port.to_string())]);
    let env = &home.list()[0]["pm2_env"];
    assert_eq!((env["exec_mode"].as_str(), env["status"].as_str()), (Some("fork_mode"), Some("online")));
    let pid = u32::try_from(home.list()[0]["pid"].as_u64().unwrap()).unwrap();
    // Ready, so both listen.
    let workers = served(local(port));
    assert_eq!(workers.len(), 2);
    assert!(workers.iter().all(|worker| procfs::parent(*worker) == Some(pid)), "they are its own");
    home.says("primary send=function connected=true inherited=[]\n");

    home.done(&["reload", "it"], &[]);
    let others = served(local(port));
    assert!(others.len() == 2 && others.is_disjoint(&workers));
    let said = home.says("bye");
    assert_eq!(said.matches("told \"shutdown\"").count(), 1, "{said}");
    assert!(!procfs::runs(pid));

    home.done(&["stop", "it"], &[]);
    let said = eventually("the second goodbye", || {
        Some(home.said()).filter(|said| said.matches("bye").count() == 2)
    });
    assert!(!said.contains("SIGINT"), "{said}");
}

#[test]
fn a_script_that_never_says_that_it_is_ready_does_not_replace_one_that_did() {
    let home = Home::new();
    let port = place::free_port().to_string();
    home.start("forks.js", &["--wait-ready", "--listen-timeout", "1s"], &[("PORT", &port)]);
    let before = home.list()[0]["pid"].clone();
    let silent = [("PORT", port.as_str()), ("NEVER_READY", "1")];
    let output = home.run(&["reload", "it", "--update-env"], &silent);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(home.list()[0]["pid"], before);
}

#[test]
fn a_script_lives_on_when_it_closes_its_channel_and_gets_the_signal_instead_of_the_message() {
    let home = Home::new();
    let port = place::free_port();
    let env = [("PORT", &*port.to_string()), ("PART", "1")];
    home.start("forks.js", &["--shutdown-with-message", "--kill-timeout", "200"], &env);
    let pid = home.list()[0]["pid"].clone();
    home.says("parted");
    eventually("both serve", || (served(local(port)).len() == 2).then_some(()));
    let after = &home.list()[0];
    assert_eq!((&after["pid"], after["pm2_env"]["restart_time"].as_u64()), (&pid, Some(0)));
    home.done(&["stop", "it"], &[]);
    let said = home.said();
    assert!(said.contains("SIGINT") && !said.contains("told"), "{said}");
}

/// The child's number, once both are up.
fn offspring(home: &Home, words: &[&str]) -> u32 {
    home.start("offspring.js", words, &[]);
    home.says("child up");
    let said = home.says(" of ");
    let line = said.lines().find(|line| line.contains(" of ")).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_tree_is_left_alone_where_that_is_wanted() {
    for mode in [&["--no-treekill"][..], &["--no-treekill", "-x"]] {
        let home = Home::new();
        let child = offspring(&home, mode);
        home.done(&["stop", "it"], &[]);
        home.says("parent SIGINT");
        assert!(procfs::runs(child));
        procfs::signal(child, Signal::TERM);
        home.says("child leaves after 0 SIGINT");
    }
}

#[test]
fn a_tree_ends_with_its_worker_by_default() {
    let home = Home::new();
    let child = offspring(&home, &["--kill-timeout", "100"]);
    home.done(&["stop", "it"], &[]);
    assert!(!procfs::runs(child));
    assert!(!home.said().contains("child leaves after 0"));
}
