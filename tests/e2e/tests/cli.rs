//! The command line: what is passed on to workers, and every wrong input with its exit code, its one line and
//! its hint.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::os::unix::fs::PermissionsExt;

use oneport_e2e::run::oneport;
use oneport_e2e::{Finished, Run, TempDir, http, place};
use serde_json::Value;

/// Nothing was started: what was asked for cannot be done as it was put.
const USAGE: i32 = 2;

/// One line `error: cannot <verb> <object>: <cause>`, one line ` hint: ...`, no traces of a panic.
#[track_caller]
fn refused(left: &Finished, code: i32, words: &[&str]) {
    let err = left.err();
    assert_eq!(left.code(), code, "{err}");
    assert!(!err.contains("panicked") && !err.contains("RUST_BACKTRACE"), "{err}");
    let errors: Vec<&str> = err.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "one error line: {err}");
    let said =
        errors[0].strip_prefix("error: cannot ").unwrap_or_else(|| panic!("no `cannot <verb>`: {err}"));
    assert!(said.contains(": ") && !said.ends_with('.'), "no `<object>: <cause>`: {err}");
    for word in words {
        assert!(said.contains(word), "`{word}` in `{said}`");
    }
    let hints = err.lines().filter(|line| line.starts_with(" hint: ")).count();
    assert_eq!(hints, 1, "one hint: {err}");
}

fn run(words: &[&str]) -> Finished {
    oneport(["run"].iter().chain(words))
}

#[test]
fn a_missing_script() {
    refused(&run(&["./no/such/server.js"]), USAGE, &["`./no/such/server.js`", "no such file"]);
}

#[test]
fn a_missing_program() {
    refused(&run(&["--", "no-such-program-here", "x"]), USAGE, &["no-such-program-here"]);
}

#[test]
fn nothing_to_run() {
    refused(&run(&[]), USAGE, &[]);
}

#[test]
fn a_directory_as_script() {
    let dir = TempDir::new();
    refused(&run(&[dir.path().to_str().unwrap()]), USAGE, &["it is a directory"]);
}

#[test]
fn a_file_that_is_not_executable() {
    let dir = TempDir::new();
    let path = dir.write("program", "\x7fELF nothing");
    refused(&run(&[path.to_str().unwrap()]), USAGE, &["program", "it is not executable"]);
}

#[test]
fn an_interpreter_that_is_not_installed() {
    let script = place::fixture("app.js");
    let left = run(&["--interpreter", "no-such-node", script.to_str().unwrap()]);
    refused(&left, USAGE, &["no-such-node"]);
}

#[test]
fn an_interpreter_by_extension_that_is_not_installed() {
    let dir = TempDir::new();
    let script = dir.write("worker.rb", "puts 1\n");
    let run = Run::path(script).text().env("PATH", dir.path());
    refused(&run.finish(), USAGE, &["ruby"]);
}

#[test]
fn nonsense_as_number_of_instances() {
    for nonsense in ["many", "1.5", "", "4x", "99999999999999999999"] {
        refused(&run(&["-i", nonsense, "x.js"]), USAGE, &[]);
    }
}

#[test]
fn an_unknown_option() {
    refused(&run(&["--frobnicate", "x.js"]), USAGE, &["--frobnicate"]);
}

#[test]
fn an_unknown_command() {
    refused(&oneport(["frobnicate"]), USAGE, &["frobnicate"]);
}

#[test]
fn a_bad_environment_setting() {
    let script = place::fixture("app.js");
    for bad in ["NOVALUE", "=x", ""] {
        refused(&run(&["--env", bad, script.to_str().unwrap()]), USAGE, &[]);
    }
}

#[test]
fn a_bad_duration() {
    for option in ["--kill-timeout", "--listen-timeout", "--drain-timeout", "--min-uptime", "--restart-delay"]
    {
        for bad in ["soon", "-5", "5 parsecs", ""] {
            let left = run(&[&format!("{option}={bad}"), "x.js"]);
            refused(&left, USAGE, &[]);
        }
    }
}

#[test]
fn a_bad_choice() {
    for words in [
        ["--policy", "fair"],
        ["--stop-with", "flowers"],
        ["--stop-signal", "SIGNOPE"],
        ["--log-format", "xml"],
        ["--credits", "0"],
        ["--credits", "lots"],
        ["--max-restarts", "-1"],
    ] {
        refused(&run(&[words[0], words[1], "x.js"]), USAGE, &[]);
    }
}

#[test]
fn a_working_directory_that_is_not_there() {
    let script = place::fixture("app.js");
    let left = run(&["--cwd", "/no/such/dir", script.to_str().unwrap()]);
    refused(&left, USAGE, &["/no/such/dir"]);
}

#[test]
fn help_and_version() {
    let help = oneport(["--help"]);
    assert_eq!(help.code(), 0);
    assert!(help.out().contains("run"), "{}", help.out());
    let run = oneport(["run", "--help"]);
    assert_eq!(run.code(), 0);
    for option in [
        "--instances",
        "--policy",
        "--name",
        "--cwd",
        "--env",
        "--interpreter",
        "--node-args",
        "--credits",
        "--kill-timeout",
        "--listen-timeout",
        "--drain-timeout",
        "--stop-with",
        "--hang-timeout",
        "--wait-ready",
        "--stop-signal",
        "--max-restarts",
        "--min-uptime",
        "--restart-delay",
        "--log-format",
    ] {
        assert!(run.out().contains(option), "{option} in: {}", run.out());
    }
    let version = oneport(["--version"]);
    assert_eq!(version.code(), 0);
    assert!(version.out().starts_with("oneport "), "{}", version.out());
}

#[test]
fn instances_may_follow_the_number_of_processors() {
    let processors = i64::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    for (asked, expected) in
        [("max", processors), ("0", processors), ("-1", (processors - 1).max(1)), ("3", 3)]
    {
        let app = Run::example("never_listens.js").args(["-i", asked]).start();
        let told = app.wait_for("the primary", |event| event.is("primary"));
        assert_eq!(told.number("instances"), expected, "-i {asked}");
        app.wait_count("all workers", usize::try_from(expected).unwrap(), |event| event.is("started"));
        app.stop();
    }
}

fn about(run: Run) -> Value {
    let app = run.start();
    let address = app.serving(1);
    let told = serde_json::from_slice(&http::get(address, "/about").body).unwrap();
    app.stop();
    told
}

#[test]
fn arguments_environment_and_directory_reach_the_worker() {
    let dir = TempDir::new();
    let script = place::fixture("app.js");
    let run =
        Run::target([script.as_os_str(), "--".as_ref(), "--color".as_ref(), "a b".as_ref(), "".as_ref()]);
    let run = run.args(["--env", "GREETING=hello=world", "--env", "EMPTY=", "--node-args", "--no-warnings"]);
    let run = run.args(["--cwd".as_ref(), dir.path().as_os_str()]).env("INHERITED", "yes");
    let told = about(run);
    assert_eq!(told["args"], serde_json::json!(["--color", "a b", ""]));
    assert_eq!(told["exec_args"], serde_json::json!(["--no-warnings"]));
    assert_eq!(told["cwd"], dir.path().canonicalize().unwrap().to_str().unwrap());
    assert_eq!(told["env"]["GREETING"], "hello=world");
    assert_eq!(told["env"]["EMPTY"], "");
    assert_eq!(told["env"]["INHERITED"], "yes");
    assert_eq!(told["env"]["NODE_APP_INSTANCE"], "0");
    for secret in ["NODE_CHANNEL_FD", "NODE_UNIQUE_ID"] {
        assert!(told["env"][secret].is_null(), "{secret} is used up before the program runs");
    }
}

#[test]
fn a_command_after_two_dashes_is_run_as_it_is() {
    let script = place::fixture("app.js");
    let run =
        Run::target(["--".as_ref(), "node".as_ref(), script.as_os_str(), "one".as_ref(), "-i".as_ref()]);
    assert_eq!(about(run)["args"], serde_json::json!(["one", "-i"]));
}

#[test]
fn module_and_common_js_extensions_run_with_node() {
    for (name, text) in [
        (
            "app.mjs",
            "import http from 'node:http'; http.createServer((q, s) => s.end(`${process.pid}`)).listen(0);",
        ),
        ("app.cjs", "require('http').createServer((q, s) => s.end(`${process.pid}`)).listen(0);"),
    ] {
        let dir = TempDir::new();
        let app = Run::path(dir.write(name, text)).instances(2).start();
        let address = app.serving(2);
        http::get(address, "/").pid();
        app.stop();
    }
}

#[test]
fn a_shell_script_a_shebang_and_a_program_run_too() {
    let unattached = ["--attach", "none"];
    let app = Run::target([place::fixture("sleeper.sh").as_os_str(), "--".as_ref(), "one".as_ref()]);
    let app = app.instances(2).args(unattached).start();
    app.wait_out("shell worker 0 args one");
    app.wait_out("shell worker 1 args one");
    app.stop();

    let dir = TempDir::new();
    let script = dir.write("tool", "#!/bin/sh\necho shebang $1\nexec sleep 600\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let app = Run::target([script.as_os_str(), "--".as_ref(), "two".as_ref()]);
    let app = app.args(unattached).start();
    app.wait_out("shebang two");
    app.stop();

    let app = Run::target(["--", "sh", "-c", "echo program; exec sleep 600"]).args(unattached).start();
    app.wait_out("program");
    app.stop();
}

#[test]
fn the_name_is_the_scripts_unless_told_otherwise() {
    let app = Run::example("never_listens.js").start();
    assert_eq!(app.wait_for("the primary", |event| event.is("primary")).text("app"), "never_listens");
    app.stop();
}

#[test]
fn quiet_means_only_the_workers_are_heard() {
    let app = Run::example("net_0.js").text().args(["-q"]).start();
    app.wait_out("server start");
    let left = app.stop();
    assert_eq!(left.err(), "");
}
