//! What stands between oneport and the server: shells, npm, another oneport. The server is the descendant that listens.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use oneport_e2e::programs::{all_answer_http, c, python, run, source};
use oneport_e2e::wait::eventually;
use oneport_e2e::{Signal, place, procfs};

fn port() -> String {
    place::free_port().to_string()
}

#[test]
fn the_server_behind_a_shell_is_attached() {
    let script = source("python/http_server.py");
    let line = format!("'{}' -B '{}' {}; true", python().display(), script.display(), port());
    let app = run(["sh", "-c", &line]).instances(3).start();
    let address = app.serving(3);
    all_answer_http(&app, address);
    app.signal(Signal::HUP);
    app.wait_for("the reload to be done", |event| event.is("reloaded"));
    all_answer_http(&app, address);
    let left = app.stop();
    assert!(left.all("died").iter().all(|event| event.value["expected"] == true), "{}", left.err());
}

#[test]
fn the_server_behind_two_shells_and_an_exec_is_attached() {
    let line = format!("sh -c 'exec \"{}\" {}'; true", c("block").display(), port());
    let app = run(["sh", "-c", &line]).instances(2).start();
    all_answer_http(&app, app.serving(2));
    app.stop();
}

#[test]
fn npm_start_runs_several_copies() {
    let run = run(["npm", "start"]).instances(2).cwd(source("node/npm")).env("PORT", port());
    let app = run.env("npm_config_update_notifier", "false").start();
    let address = app.serving(2);
    all_answer_http(&app, address);
    let wrapper = app.worker(0);
    let node = oneport_e2e::http::get(address, "/").pid();
    assert_ne!(node, wrapper);
    for name in ["NODE_CHANNEL_FD", "NODE_UNIQUE_ID"] {
        assert!(!procfs::has_variable(node, name), "`{name}` reached the server");
    }
    app.signal(Signal::HUP);
    app.wait_for("the reload to be done", |event| event.is("reloaded"));
    all_answer_http(&app, address);
    app.stop();
    assert!(!procfs::runs(node), "the server outlived npm");
}

#[test]
fn a_script_named_alone_runs_in_its_interpreter() {
    let script = source("python/http_server.py");
    let words = [script.into_os_string(), "--".into(), port().into()];
    let run = oneport_e2e::Run::target(words).instances(2).env("PYTHONDONTWRITEBYTECODE", "1");
    let app = run.start();
    all_answer_http(&app, app.serving(2));
    app.stop();
}

/// Two copies of `oneport run -i 2` of a C server, which is `inner`'s whole command line.
fn inside(inner: &[String]) -> oneport_e2e::Run {
    run(inner).instances(1).args(["--max-restarts", "1"])
}

fn inner(port: u16) -> String {
    let (oneport, server) = (place::oneport(), c("block"));
    format!("'{}' run -i 2 --min-uptime 100 -- '{}' {port}", oneport.display(), server.display())
}

#[test]
fn oneport_as_a_worker_keeps_its_copies_to_itself() {
    let port = place::free_port();
    let line = inner(port).replace('\'', "");
    let app = inside(&line.split(' ').map(str::to_owned).collect::<Vec<_>>()).start();
    app.wait_err("worker");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut copies = BTreeSet::new();
    eventually("answers of both inner copies", || {
        copies.insert(oneport_e2e::http::try_get(address, "/").ok()?.pid());
        (copies.len() == 2).then_some(())
    });
    app.stop();
    assert!(copies.into_iter().all(|pid| !procfs::runs(pid)), "the inner copies are gone");
}

#[test]
fn oneport_behind_a_shell_falls_back_or_says_why_it_cannot() {
    // The kernel has one listener for notifications per process tree: the inner one cannot trap what is trapped already.
    let line = format!("{}; true", inner(place::free_port()));
    let app = inside(&["sh".to_owned(), "-c".to_owned(), line]).start();
    let said = app.wait_until("a line about the fallback", |_, _, err| {
        let err = String::from_utf8_lossy(err).into_owned();
        let line =
            err.lines().find(|line| line.contains("supervisor above") || line.contains("attach preload"));
        line.map(str::to_owned)
    });
    assert!(!said.is_empty());
}
