//! The first things a person tries: a plain server several times, its own cluster code, what is told about it.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;

use oneport_e2e::wait::within;
use oneport_e2e::{Run, http, place, procfs, tcp};

fn pids(address: std::net::SocketAddr, requests: usize) -> BTreeSet<u32> {
    (0..requests).map(|_| http::get(address, "/").pid()).collect()
}

#[test]
fn a_script_with_its_own_fork_branch_runs_only_the_worker_branch() {
    let app = Run::example("hello.js").instances(4).start();
    let address = app.serving(4);
    let workers: BTreeSet<u32> = app.workers().into_values().collect();
    assert_eq!(pids(address, 12), workers);
    for pid in &workers {
        assert!(procfs::children(*pid).is_empty(), "worker {pid} forked");
    }
    let notices = app.all("notice");
    let about: Vec<_> =
        notices.iter().filter(|notice| notice.text("message").contains("cluster.fork")).collect();
    assert_eq!(about.len(), 1, "one notice about the fork branch: {notices:?}");
    let left = app.stop();
    assert!(!left.out().contains("primary"), "the fork branch ran: {}", left.out());
}

#[test]
fn a_cluster_js_that_requires_the_server_serves() {
    let app = Run::example("cluster.js").instances(2).start();
    let address = app.serving(2);
    assert_eq!(pids(address, 6), app.workers().into_values().collect());
    app.stop();
}

#[test]
fn a_plain_server_runs_four_times_on_one_port() {
    let app = Run::example("net_0.js").instances(4).start();
    let address = app.serving(4);
    app.wait_out_times("server start", 4);
    let answered: BTreeSet<u32> = (0..8).map(|_| tcp::greet(address).unwrap().1).collect();
    assert_eq!(answered, app.workers().into_values().collect());
    let left = app.stop();
    assert!(!left.out().contains("EADDRINUSE"), "{}", left.out());
}

#[test]
fn the_same_server_started_twice_alone_fails_with_eaddrinuse() {
    let port = place::free_port();
    let start = || {
        let mut node = place::node();
        node.arg(place::example("net_0.js")).env("PORT", port.to_string());
        node.stdin(std::process::Stdio::null());
        node
    };
    let mut first = start().stdout(std::process::Stdio::null()).spawn().unwrap();
    oneport_e2e::wait::eventually("the first one to listen", || {
        procfs::listens_on(first.id()).contains(&port).then_some(())
    });
    let second = start().output();
    first.kill().unwrap();
    first.wait().unwrap();
    let second = second.unwrap();
    let said: serde_json::Value = serde_json::from_slice(&second.stdout).unwrap();
    assert_eq!(said["message"], format!("listen EADDRINUSE: address already in use :::{port}"));
    assert_eq!(said["code"], "EADDRINUSE");
    assert_eq!(said["errno"], -98);
    assert_eq!(said["syscall"], "listen");
    assert_eq!(said["address"], "::");
    assert_eq!(said["port"], port);
    assert_eq!(second.status.code(), Some(1));
}

#[test]
fn without_instances_one_worker_runs() {
    let app = Run::example("server.js").start();
    app.serving(1);
    assert_eq!(app.wait_for("primary", |event| event.is("primary")).number("instances"), 1);
    assert_eq!(app.workers().len(), 1);
    app.stop();
}

#[test]
fn the_life_of_a_worker_is_told_in_order() {
    let app = Run::example("server.js").instances(2).args(["--name", "shop"]).start();
    app.serving(2);
    let workers = app.workers();
    let primary = app.pid();
    let left = app.stop();
    let first = &left.events[0];
    assert!(first.is("primary"), "the first line is about the primary: {first:?}");
    assert_eq!(first.pid(), primary);
    assert_eq!(first.text("app"), "shop");
    assert_eq!(first.number("instances"), 2);
    assert!(!first.text("policy").is_empty() && !first.text("why").is_empty());
    for (slot, pid) in workers {
        let told: Vec<&str> = left.events.iter().filter(|event| event.of(pid)).map(|e| e.name()).collect();
        let order = ["started", "online", "listening", "proven", "died"];
        let places: Vec<Option<usize>> =
            order.iter().map(|name| told.iter().position(|seen| seen == name)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "slot {slot}: {told:?}");
        let died = left.events.iter().find(|event| event.is("died") && event.of(pid)).unwrap();
        assert_eq!(died.value["expected"], true, "{died:?}");
        assert_eq!(died.value["code"], 0, "{died:?}");
        assert!(died.value["signal"].is_null(), "{died:?}");
        assert_eq!(died.slot(), slot);
    }
    assert!(left.events.last().unwrap().is("stopped"), "{:?}", left.events.last());
    assert_eq!(left.all("stopped").len(), 1);
}

#[test]
fn the_text_log_tells_pids_address_policy_and_deaths() {
    let app = Run::example("net_0.js").instances(2).text().args(["--policy", "rr"]).start();
    let primary = app.pid();
    let found = app.life().wait(within(oneport_e2e::wait::LONG), |_, _, err| {
        let err = String::from_utf8_lossy(err).into_owned();
        (err.matches(" started").count() >= 2 && err.contains(":::")).then_some(err)
    });
    let told = found.unwrap_or_else(|| panic!("{}", app.life().transcript()));
    assert!(told.contains(&primary.to_string()), "the primary's pid {primary} in: {told}");
    assert!(told.contains("rr"), "the policy in: {told}");
    let workers = procfs::children(primary);
    for pid in &workers {
        assert!(told.contains(&format!("worker {pid} started")), "worker {pid} in: {told}");
    }
    app.wait_out_times("server start", 2);
    let left = app.stop().err();
    for pid in workers {
        assert!(left.contains(&format!("worker {pid} died")), "worker {pid} in: {left}");
    }
}

#[test]
fn output_of_workers_passes_through_byte_for_byte() {
    let app = Run::fixture("bytes.js").start();
    let whole: Vec<u8> = (0..64).flat_map(|_| 0..=255_u8).collect();
    let out =
        app.wait_until("every byte on stdout", |_, out, _| (out.len() >= whole.len()).then(|| out.to_vec()));
    assert!(out == whole, "stdout differs: {} bytes for {}", out.len(), whole.len());
    let line: Vec<u8> =
        b"<<<".iter().copied().chain((0..=255).filter(|b| *b != b'\n')).chain(*b">>>\n").collect();
    app.wait_until("every byte on stderr", |_, _, err| {
        err.windows(line.len()).any(|window| window == line).then_some(())
    });
    app.stop();
}

#[test]
fn express_from_npm_runs_unmodified() {
    from_npm("express_from_npm_runs_unmodified", "express.js", "express is up");
}

#[test]
fn fastify_from_npm_runs_unmodified() {
    from_npm("fastify_from_npm_runs_unmodified", "fastify.js", "fastify is up");
}

fn from_npm(test: &str, script: &str, greeting: &str) {
    let dir = place::root().join("target/e2e-node");
    if !dir.join("node_modules").is_dir() {
        return place::skipped(test, "target/e2e-node has no packages; `cargo xtask test` installs them");
    }
    let app = Run::path(dir.join(script)).instances(4).start();
    let address = app.serving(4);
    app.wait_out_times(greeting, 4);
    assert_eq!(pids(address, 12), app.workers().into_values().collect());
    app.stop();
}
