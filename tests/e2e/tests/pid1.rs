//! As the first process of a container: it reaps what strangers leave, and SIGTERM drains.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use oneport_e2e::http::Client;
use oneport_e2e::wait::eventually;
use oneport_e2e::{App, Run, Signal, http, place, procfs};
use serde_json::Value;

const UNSHARE: [&str; 4] = ["unshare", "--pid", "--fork", "--mount-proc"];

fn permitted(test: &str) -> bool {
    let probe = Command::new(UNSHARE[0]).args(&UNSHARE[1..]).arg("true").stderr(Stdio::null()).status();
    let works = probe.is_ok_and(|status| status.success());
    if !works {
        place::skipped(test, "a PID namespace may not be made here");
    }
    works
}

/// The app, and the pid of its primary as seen from outside of the namespace.
fn start(script: &str) -> (App, u32, SocketAddr) {
    // --kill-child: nothing is left in the namespace when the test gives up.
    let words = UNSHARE.into_iter().chain(["--kill-child"]);
    let app = Run::fixture(script).instances(2).policy("rr").wrapped(words).in_pid_namespace().start();
    let address = app.serving(2);
    let primary = eventually("the primary inside", || procfs::children(app.pid()).first().copied());
    assert_eq!(app.all("primary")[0].pid(), 1, "inside it is process 1");
    (app, primary, address)
}

#[test]
fn the_first_process_reaps_what_strangers_leave() {
    if !permitted("the_first_process_reaps_what_strangers_leave") {
        return;
    }
    let (app, primary, address) = start("orphans.js");
    eventually("the orphans to have ended and to be reaped", || {
        let told: Value = serde_json::from_slice(&http::get(address, "/").body).unwrap();
        (told["sleepers"] == 0 && told["zombies"] == 0).then_some(())
    });
    assert!(app.all("died").is_empty(), "no worker was mistaken for an orphan");
    procfs::signal(primary, Signal::TERM);
    assert_eq!(app.ended().code(), 0);
}

#[test]
fn the_first_process_drains_on_sigterm() {
    if !permitted("the_first_process_drains_on_sigterm") {
        return;
    }
    let (app, primary, address) = start("app.js");
    let mut slow = Client::connect(address).unwrap();
    slow.send("/slow?ms=400", "").unwrap();
    for _ in 0..3 {
        http::get(address, "/");
    }
    procfs::signal(primary, Signal::TERM);
    assert_eq!(slow.receive().expect("answered").status, 200);
    let left = app.ended();
    assert_eq!(left.code(), 0, "{}", left.err());
    assert!(left.events.last().unwrap().is("stopped"));
}

#[test]
fn a_worker_that_dies_under_the_first_process_is_replaced() {
    if !permitted("a_worker_that_dies_under_the_first_process_is_replaced") {
        return;
    }
    let (app, primary, address) = start("app.js");
    http::get(address, "/exit?code=7");
    let died = app.wait_for("the death", |event| event.is("died"));
    assert_eq!(died.value["code"], 7, "process 1 did not reap its own worker as a stranger");
    app.wait_count("the replacement", 3, |event| event.is("proven"));
    http::get(address, "/");
    procfs::signal(primary, Signal::TERM);
    assert_eq!(app.ended().code(), 0);
}
