//! `start` in all its forms: scripts, programs, whole commands, what is on the list already.

use std::net::SocketAddr;

use oneport_e2e::manager::{Manager, QUEUE, SERVER};
use oneport_e2e::wait::eventually;
use oneport_e2e::{http, procfs};
use serde_json::Value;

fn told(address: SocketAddr, path: &str) -> Value {
    serde_json::from_str(&http::get(address, path).text()).expect("JSON")
}

#[test]
fn a_script_is_an_app_of_its_name_and_has_the_arguments_behind_the_dashes() {
    let manager = Manager::with_server();
    let said = manager.ok(&["start", "app.js", "--", "--verbose", "-i", "a b"]).out;
    assert!(said.contains("[app](0) ✓"), "{said}");
    let app = manager.app("app");
    assert_eq!(app["spec"]["script"], manager.file("app.js").display().to_string());
    assert_eq!(app["spec"]["cwd"], manager.dir().display().to_string());
    assert_eq!(told(manager.address("app"), "/argv"), serde_json::json!(["--verbose", "-i", "a b"]));
}

#[test]
fn several_scripts_are_several_apps() {
    let manager = Manager::with_server();
    manager.write("other.js", SERVER);
    manager.ok(&["start", "app.js", "./other.js", "-i", "2", "--namespace", "both"]);
    assert_eq!(manager.names(), ["app", "other"]);
    assert_eq!((manager.ids("app"), manager.ids("other")), (vec![0, 1], vec![2, 3]));
    assert!(manager.apps().iter().all(|app| app["namespace"] == "both"));
    // One that is wrong does not hold the others up.
    manager.write("third.js", SERVER);
    let outcome = manager.ends(&["start", "nothing.js", "third.js"], 1);
    assert!(outcome.err.contains("nothing.js"), "{}", outcome.all());
    assert_eq!(manager.names(), ["app", "other", "third"]);
}

#[test]
fn max_is_one_worker_for_each_cpu() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "max", "-n", "many"]);
    let cpus = std::thread::available_parallelism().expect("a number of CPUs").get();
    assert_eq!(manager.pids("many").len(), cpus);
    let minus = format!("-{cpus}");
    manager.ok(&["start", "app.js", "-i", &minus, "-n", "few"]);
    assert_eq!(manager.pids("few").len(), 1, "at least one");
}

#[test]
fn the_same_name_twice_is_refused_and_force_gives_it_a_number() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js"]);
    let before = manager.pids("app");
    let refused = manager.ends(&["start", "app.js"], 1);
    assert!(
        refused.err.contains("there is an app of this name") && refused.err.contains("hint:"),
        "{}",
        refused.all()
    );
    assert_eq!((manager.names(), manager.pids("app")), (vec!["app".to_owned()], before));
    manager.ok(&["start", "app.js", "-f"]);
    assert_eq!(manager.names(), ["app", "app-1"]);
}

#[test]
fn a_configuration_may_ask_for_another_of_the_same_name() {
    let manager = Manager::new();
    manager.write("queue.js", QUEUE);
    manager.write(
        "apps.json",
        r#"{"apps": [{"name": "q", "script": "queue.js", "force": true, "min_uptime": 100}]}"#,
    );
    manager.ok(&["start", "apps.json"]);
    manager.ok(&["start", "apps.json"]);
    assert_eq!(manager.names(), ["q", "q-1"]);
}

#[test]
fn the_script_of_a_stopped_app_starts_it_again_and_a_name_that_runs_is_restarted() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2"]);
    let (ids, first) = (manager.ids("app"), manager.pids("app"));
    manager.ok(&["stop", "app"]);
    assert_eq!((manager.statuses("app"), manager.pids("app")), (vec!["stopped".to_owned(); 2], vec![0, 0]));
    assert!(first.iter().all(|pid| !procfs::runs(*pid)));
    manager.ok(&["start", "app.js"]);
    assert_eq!((manager.ids("app"), manager.statuses("app")), (ids, vec!["online".to_owned(); 2]));
    let second = manager.pids("app");
    manager.ok(&["start", "app"]);
    assert!(manager.pids("app").iter().all(|pid| !second.contains(pid)), "restarted, as PM2 does");
}

#[test]
fn paths_are_meant_from_where_the_command_is_given() {
    let manager = Manager::new();
    manager.write("deep/er/app.js", SERVER);
    let mut command = manager.command(&["start", "../er/app.js"]);
    command.current_dir(manager.file("deep/er"));
    assert_eq!(manager.run_as(command, None).code, 0);
    let app = manager.app("app");
    assert_eq!(app["spec"]["cwd"], manager.file("deep/er").display().to_string());
    assert_eq!(
        http::get(manager.address("app"), "/cwd").text(),
        manager.file("deep/er").display().to_string()
    );
    manager.ok(&["start", "er/app.js", "--cwd", "deep", "-n", "second"]);
    assert_eq!(manager.app("second")["spec"]["cwd"], manager.file("deep").display().to_string());
}

#[test]
fn programs_and_whole_commands_are_started_as_they_are() {
    let manager = Manager::new();
    manager.write(
        "package.json",
        r#"{"name": "x", "version": "7.8.9", "scripts": {"serve": "node app.js tail"}}"#,
    );
    manager.write("app.js", SERVER);
    manager.ok(&["start", "sleep", "--min-uptime", "100", "--", "1000"]);
    assert_eq!(manager.app("sleep")["mode"], "cluster");
    let mut words = vec!["start", "-n", "npm", "--", "npm", "run", "serve"];
    if procfs::runs(1) && std::process::Command::new("npm").arg("-v").output().is_err() {
        words = vec!["start", "-n", "npm", "--", "sh", "-c", "exec node app.js tail"];
    }
    manager.ok(&words);
    let address = manager.address("npm");
    assert_eq!(told(address, "/argv"), serde_json::json!(["tail"]));
    let pid = manager.pids("npm")[0];
    let tree: Vec<u32> = manager.living();
    manager.ok(&["delete", "npm"]);
    assert!(!procfs::runs(pid) && http::try_get(address, "/").is_err());
    let left: Vec<u32> = tree.into_iter().filter(|pid| procfs::runs(*pid)).collect();
    // The daemon, and primary and worker of the other.
    assert_eq!(left.len(), 3, "all of npm's tree is gone: {left:?}");
}

#[test]
fn a_python_server_runs_four_times_behind_one_port_and_is_restarted() {
    let manager = Manager::new().env("PORT", oneport_e2e::place::free_port().to_string());
    manager.write(
        "serve.py",
        "import os\nfrom http.server import *\n\
         class H(BaseHTTPRequestHandler):\n    def do_GET(self):\n        self.send_response(200)\n        self.end_headers()\n        \
         self.wfile.write(b'hello from %d' % os.getpid())\n    def log_message(self, *a): pass\n\
         ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()\n",
    );
    manager.ok(&["start", "serve.py", "-i", "4"]);
    let address = manager.address("serve");
    let first = manager.pids("serve");
    let who = || (0..40).map(|_| http::get(address, "/").pid()).collect::<std::collections::BTreeSet<u32>>();
    // Each gets its share once it is proven.
    eventually("more than one answers", || (who().len() > 1).then_some(()));
    assert!(who().iter().all(|pid| first.contains(pid)), "{:?} of {first:?}", who());
    manager.ok(&["restart", "serve"]);
    let second = manager.pids("serve");
    assert!(second.len() == 4 && second.iter().all(|pid| !first.contains(pid) && *pid > 0));
    assert!(who().iter().all(|pid| second.contains(pid)));
}

#[test]
fn what_cannot_be_started_is_said_with_its_last_words() {
    let manager = Manager::new();
    manager.write("broken.js", "console.error('no database'); process.exit(3);");
    let missing = manager.ends(&["start", "nothing.js"], 1);
    assert!(
        missing.err.starts_with("error: cannot ") && missing.err.contains("nothing.js"),
        "{}",
        missing.all()
    );
    assert!(manager.apps().is_empty(), "nothing is put on the list");
    let broken = manager.ends(&["start", "broken.js"], 1);
    assert!(
        broken.err.contains("ended with code 3") && broken.err.contains("no database"),
        "{}",
        broken.all()
    );
    assert_eq!(manager.names(), ["broken"]);
    let bad = manager.run(&["start", "broken.js", "-n", "again", "--policy", "random"]);
    assert!(bad.err.contains("random"), "{}", bad.all());
    let nowhere = manager.ends(&["start", "broken.js", "--cwd", "nowhere"], 1);
    assert!(nowhere.err.contains("nowhere"), "{}", nowhere.all());
}

#[test]
fn one_that_is_not_to_be_started_is_only_put_on_the_list() {
    let manager = Manager::new();
    manager.write("queue.js", QUEUE);
    manager.ok(&["start", "queue.js", "-i", "2", "--no-autostart", "--min-uptime", "100"]);
    assert_eq!(manager.statuses("queue"), ["stopped", "stopped"]);
    manager.ok(&["start", "queue"]);
    assert_eq!(manager.statuses("queue"), ["online", "online"]);
}

/// Sockets that listen on this port, of whatever process.
fn listeners(port: u16) -> usize {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let local = format!(":{port:04X}");
    let listens = |line: &&str| {
        let mut fields = line.split_whitespace();
        fields.nth(1).is_some_and(|at| at.ends_with(&local)) && fields.nth(1) == Some("0A")
    };
    tables.iter().flat_map(|table| table.lines()).filter(listens).count()
}

#[test]
fn a_server_that_would_fail_a_second_time_runs_three_times_with_one_listener_under_rr() {
    let manager = Manager::new().env("PORT", "0");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/node/net_0.js");
    manager.ok(&["start", script, "-i", "3", "--policy", "rr"]);
    let address = manager.address("net_0");
    assert_eq!(listeners(address.port()), 1);
    let pids = manager.pids("net_0");
    let mut heard: Vec<u32> = (0..3)
        .map(|_| {
            let answer = std::io::read_to_string(std::net::TcpStream::connect(address).unwrap()).unwrap();
            answer.trim().strip_prefix("hello from ").unwrap().parse().unwrap()
        })
        .collect();
    heard.sort_unstable();
    let mut expected = pids.clone();
    expected.sort_unstable();
    assert_eq!(heard, expected);
    let shown = || manager.ok(&["logs", "--nostream", "--raw"]).out.matches("server start").count();
    eventually("each has said so", || (shown() == 3).then_some(()));
}
