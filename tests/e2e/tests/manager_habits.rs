//! What fingers type that have typed `pm2` for years, and what they expect of it.

use std::time::Duration;

use oneport_e2e::Signal;
use oneport_e2e::manager::Manager;
use oneport_e2e::wait::{eventually, throughout};

/// Says so at once, and again when it is told to go on.
const TALKER: &str = r"
console.log('banner ' + process.pid);
process.on('SIGUSR2', () => console.log('later ' + process.pid));
setInterval(() => {}, 1000);
";

fn talker() -> Manager {
    let manager = Manager::new();
    manager.write("talk.js", TALKER);
    manager
}

#[test]
fn options_may_stand_before_the_verb_and_unknown_ones_of_pm2_break_nothing() {
    let manager = talker();
    let silent = manager.ok(&["-s", "--min-uptime", "100", "start", "talk.js"]);
    assert_eq!(silent.all(), "code 0\n");
    let told = manager.ok(&[
        "start",
        "talk.js",
        "-f",
        "--ext",
        "js",
        "--hp",
        "/x",
        "-u",
        "me",
        "--no-auto-exit",
        "--json",
    ]);
    assert!(told.err.contains("mean nothing here") && told.err.lines().count() == 1, "{}", told.all());
    assert!(manager.ok(&["-m", "ls"]).out.contains("talk"));
    assert!(manager.ok(&["-v"]).out.starts_with("oneport "));
    assert!(manager.ok(&["examples"]).out.contains("oneport reload"));
    let told = manager.ends(&["deploy", "production"], 2);
    assert!(told.err.contains("migrate-from-pm2.md"), "{}", told.all());
    let told = manager.ends(&["stop"], 2);
    assert!(told.err.contains("it needs <APP>"), "{}", told.all());
}

#[test]
fn apps_are_meant_by_their_script_and_whole_lines_of_shell_are_started() {
    let manager = talker();
    manager.ok(&["start", "talk.js", "-n", "other", "--min-uptime", "100"]);
    manager.ok(&["restart", "talk.js"]);
    manager.ok(&["stop", "./talk.js"]);
    assert_eq!(manager.statuses("other"), ["stopped"]);
    // The file is meant, and none of that name elsewhere.
    manager.write("elsewhere/talk.js", TALKER);
    manager.ok(&["start", "elsewhere/talk.js", "-n", "far", "--min-uptime", "100"]);
    manager.ok(&["delete", "talk.js"]);
    assert_eq!(manager.names(), ["far"]);
    manager.ok(&["start", "echo first && exec node talk.js", "-n", "line", "--min-uptime", "100"]);
    let log = manager.in_home("logs/line-out.log");
    eventually("both", || {
        std::fs::read_to_string(&log).ok().filter(|text| text.contains("first\nbanner")).map(drop)
    });
    manager.ok(&["start", "--watch", "talk.js", "--min-uptime", "100"]);
    assert_eq!(manager.app("talk")["spec"]["watch"], true);
    manager.ok(&["restart", "talk", "--no-watch"]);
    assert!(manager.app("talk")["spec"]["watch"].is_null());
}

#[test]
fn fork_mode_is_for_every_language_and_standard_input_stays_open() {
    let manager = Manager::new();
    manager.write("lines.py", "import sys\nprint('up', flush=True)\nfor line in sys.stdin:\n    print('got ' + line, end='', flush=True)\n");
    for (name, more) in [("plain", &[][..]), ("forked", &["-x"])] {
        let words = [&["start", "lines.py", "-n", name, "--min-uptime", "300"][..], more].concat();
        manager.ok(&words);
        manager.ok(&["send", name, "a line"]);
        let log = manager.in_home(&format!("logs/{name}-out.log"));
        eventually("the line", || {
            std::fs::read_to_string(&log).ok().filter(|text| text.contains("got a line")).map(drop)
        });
    }
    assert_eq!(
        (&manager.app("forked")["mode"], &manager.app("plain")["mode"]),
        (&"fork".into(), &"cluster".into())
    );
}

#[test]
fn attach_shows_everything_from_the_first_moment_on_and_ends_with_ctrl_c() {
    let manager = talker();
    for words in
        [&["start", "talk.js", "--min-uptime", "100", "--attach"][..], &["restart", "talk", "--attach"]]
    {
        let attached = manager.begin(words);
        attached.wait_for("banner");
        manager.ok(&["sendSignal", "SIGUSR2", "talk"]);
        attached.wait_for("later");
        attached.signal(Signal::INT);
        let outcome = attached.end();
        assert_eq!(outcome.code, 130, "{}", outcome.all());
        assert_eq!(outcome.out.matches("banner").count(), 1, "{}", outcome.all());
    }
    assert_eq!(manager.statuses("talk"), ["online"]);
    // What failed is not followed.
    manager.write("bad.js", "process.exit(3)");
    manager.ends(&["start", "bad.js", "--attach", "--max-restarts", "0"], 1);
}

#[test]
fn in_the_foreground_everything_is_shown_also_of_what_ends_at_once() {
    let manager = talker();
    manager.write("once.js", "console.log('all of it');");
    let told = manager.ok(&["start", "once.js", "--no-daemon", "--no-autorestart"]);
    assert!(told.out.contains("all of it"), "{}", told.all());
    let stays = manager.begin(&["start", "talk.js", "--min-uptime", "100", "--no-daemon"]);
    stays.wait_for("banner");
    stays.signal(Signal::TERM);
    assert_eq!(stays.end().code, 0);
}

#[test]
fn in_the_foreground_a_primary_that_is_killed_is_no_end_and_more_workers_are_shown() {
    let manager = talker();
    let stays = manager.begin(&["start", "talk.js", "--min-uptime", "100", "--no-daemon"]);
    stays.wait_for("banner");
    let before = manager.primary("talk");
    manager.kill_9(before);
    manager.wait("another primary", |apps| {
        let up = apps[0]["workers"][0]["status"] == "online" && apps[0]["primary_pid"] != before;
        (up && apps[0]["job"].is_null()).then_some(())
    });
    let both = |text: &str| text.matches("banner").count();
    eventually("its words", || (both(&stays.told()) == 2).then_some(()));
    manager.ok(&["scale", "talk", "2"]);
    eventually("those of the other", || (both(&stays.told()) == 3).then_some(()));
    stays.signal(Signal::INT);
    assert_eq!(stays.end().code, 0);
}

#[test]
fn in_the_foreground_an_end_in_the_middle_of_the_start_takes_everything_along() {
    let manager = Manager::new();
    manager.write("late.js", "console.log('here'); setInterval(() => {}, 1000);");
    for signal in [Signal::TERM, Signal::INT] {
        let stays = manager.begin(&["start", "late.js", "--wait-ready", "--no-daemon"]);
        stays.wait_for("start of");
        manager.wait("a worker", |apps| apps.first()?["workers"][0]["pid"].is_u64().then_some(()));
        let (daemon, primary) = (manager.daemon(), manager.primary("late"));
        stays.signal(signal);
        let outcome = stays.end();
        assert_eq!(outcome.code, 0, "{}", outcome.all());
        assert!(![daemon, primary].iter().any(|pid| oneport_e2e::procfs::runs(*pid)));
    }
}

#[test]
fn streams_of_somebody_else_are_no_log_files() {
    let manager = talker();
    let told =
        manager.ok(&["start", "talk.js", "-o", "/dev/stdout", "-e", "/dev/stderr", "--min-uptime", "100"]);
    assert!(told.err.contains("`/dev/stdout` as a log file means nothing here"), "{}", told.all());
    let log = manager.in_home("logs/talk-out.log");
    eventually("its words", || {
        std::fs::read_to_string(&log).ok().filter(|text| text.contains("banner")).map(drop)
    });
}

#[test]
fn values_that_cannot_be_used_leave_nothing_on_the_list() {
    let manager = talker();
    for bad in [
        &["--policy", "foo"][..],
        &["--tier", "z"],
        &["--ready-on", "nothing"],
        &["--port", "x"],
        &["--listen", "::"],
        &["--credits", "999"],
        &["--uid", "no-such-user"],
        &["--gid", "no-such-group"],
        &["--attach=foo"],
    ] {
        let outcome = manager.ends(&[&["start", "talk.js"][..], bad].concat(), 2);
        assert!(
            outcome.err.contains("cannot ") && !outcome.err.contains("primary"),
            "{bad:?}: {}",
            outcome.all()
        );
    }
    assert!(manager.apps().is_empty());
}

#[test]
fn what_says_nothing_of_a_configuration_is_warned_of_and_a_plan_tells_of_the_environment() {
    let manager = talker();
    manager.ok(&["start", "talk.js", "--min-uptime", "100"]);
    let told = manager.ok(&["reload", "talk", "--env", "production"]);
    assert!(told.err.contains("it changes nothing"), "{}", told.all());
    let mut plan = manager.command(&["reload", "talk", "--update-env", "--plan"]);
    plan.env("COLOUR", "blue");
    let told = manager.run_as(plan, None);
    assert!(told.out.contains("env.COLOUR") && told.out.contains("blue"), "{}", told.all());
    assert_eq!(manager.restarts("talk"), [1]);
}

#[test]
fn what_was_saved_is_not_lost_when_everything_is_killed() {
    let manager = talker().env("PORT", "4321");
    manager.ok(&["start", "talk.js", "--min-uptime", "100"]);
    manager.ok(&["save"]);
    let port = || {
        let text = std::fs::read_to_string(manager.in_home("save.json")).expect("a list");
        let saved: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        saved["apps"][0]["environment"]["PORT"].clone()
    };
    assert_eq!(port(), "4321");
    let primary = manager.primary("talk");
    manager.kill_9(manager.daemon());
    manager.kill_9(primary);
    // The next daemon is started in another environment.
    for words in [&["list"][..], &["save"]] {
        let mut command = manager.command(words);
        command.env_remove("PORT");
        assert_eq!(manager.run_as(command, None).code, 0);
    }
    assert_eq!(port(), "4321");
    manager.wait_status("talk", "online");
}

#[test]
fn a_pid_file_that_is_a_pipe_or_a_link_holds_nobody_up() {
    let manager = talker();
    let outside = manager.outside().join("precious");
    std::fs::write(&outside, "precious").expect("a file can be written");
    std::os::unix::fs::symlink(&outside, manager.file("link.pid")).expect("a link can be made");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        manager.file("pipe.pid"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a pipe can be made");
    for name in ["pipe", "link"] {
        manager.ok(&["start", "talk.js", "-n", name, "-p", &format!("{name}.pid"), "--min-uptime", "100"]);
    }
    assert_eq!(std::fs::read_to_string(&outside).expect("it is there"), "precious");
    manager.ok(&["delete", "all"]);
}

#[test]
fn the_app_that_has_a_port_is_named_to_the_one_that_wants_it() {
    let port = oneport_e2e::place::free_port();
    let manager = Manager::with_server().env("PORT", port.to_string());
    manager.ok(&["start", "app.js", "-n", "first", "--min-uptime", "100"]);
    let told = manager.ends(&["start", "app.js", "-n", "second", "--max-restarts", "0"], 1);
    assert!(told.err.contains("the app `first` has"), "{}", told.all());
    throughout(Duration::from_millis(100), "the first one serves", || {
        manager.statuses("first") == ["online"]
    });
}
