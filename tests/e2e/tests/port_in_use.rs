//! A port that is not free: taken by a stranger, by another app, or not allowed.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::net::{SocketAddr, TcpListener};

use oneport_e2e::{App, Run, place, tcp};
use serde_json::Value;

fn errors(app: &App, count: usize) -> Vec<Value> {
    app.wait_until(&format!("{count} errors on stdout"), |_, out, _| {
        let lines: Vec<Value> = String::from_utf8_lossy(out)
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|value| value["code"].is_string())
            .collect();
        (lines.len() >= count).then_some(lines)
    })
}

fn net_0(host: &str, port: u16) -> Run {
    let run = Run::example("net_0.js").instances(2).env("PORT", port.to_string());
    if host.is_empty() { run } else { run.env("HOST", host) }
}

#[test]
fn a_port_held_by_a_stranger_is_told_as_node_words_it_and_the_stranger_is_named() {
    for policy in ["rr", "shared"] {
        let stranger = TcpListener::bind("[::]:0").unwrap();
        let port = stranger.local_addr().unwrap().port();
        let app = net_0("", port).policy(policy).start();
        for said in errors(&app, 2) {
            assert_eq!(said["code"], "EADDRINUSE");
            assert_eq!(said["errno"], -98);
            assert_eq!(said["syscall"], "bind");
            assert_eq!(said["port"], port);
            assert_eq!(said["message"], format!("bind EADDRINUSE null:{port}"));
        }
        let taken = app.wait_for("who holds the port", |event| event.is("taken"));
        assert_eq!(taken.pid(), std::process::id());
        assert!(taken.text("address").ends_with(&format!(":{port}")), "{taken:?}");
        assert!(!taken.text("command").is_empty());
        drop(stranger);
        let address = app.serving(2);
        assert_eq!(address.port(), port, "freed, it was taken by a retry");
        tcp::greet(address).unwrap();
        app.stop();
    }
}

#[test]
fn a_second_app_names_the_primary_of_the_first() {
    let port = place::free_port();
    let first = net_0("127.0.0.1", port).start();
    first.serving(2);
    let second = net_0("127.0.0.1", port).start();
    let taken = second.wait_for("who holds the port", |event| event.is("taken"));
    assert_eq!(taken.pid(), first.pid());
    assert!(taken.text("command").contains("oneport"), "{taken:?}");
    second.stop();
    tcp::greet(SocketAddr::from(([127, 0, 0, 1], port))).expect("the first one is untouched");
    first.stop();
}

#[test]
fn two_apps_share_a_port_number_on_two_addresses_and_are_refused_on_the_other_one() {
    for policy in ["rr", "shared"] {
        let port = place::free_port();
        let run = |host: &str| net_0(host, port).policy(policy);
        let (one, two) = (run("127.0.0.1").start(), run("127.0.0.2").start());
        for (app, host) in [(&one, [127, 0, 0, 1]), (&two, [127, 0, 0, 2])] {
            assert_eq!(app.serving(2), SocketAddr::from((host, port)));
            let pid = tcp::greet(SocketAddr::from((host, port))).unwrap().1;
            assert!(app.workers().values().any(|worker| *worker == pid), "served by the other app");
        }
        for host in ["127.0.0.1", "127.0.0.2"] {
            let intruder = run(host).start();
            for said in errors(&intruder, 2) {
                assert_eq!(said["code"], "EADDRINUSE", "{said}");
                assert_eq!(said["address"], host, "{said}");
                assert_eq!(said["port"], port, "{said}");
            }
            intruder.stop();
        }
        one.stop();
        two.stop();
    }
}

#[test]
fn a_port_taken_for_good_ends_with_exit_1_and_the_last_words() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stranger.local_addr().unwrap().port();
    let left = Run::fixture("app.js")
        .min_uptime("10s")
        .args(["--max-restarts", "1", "--restart-delay", "10"])
        .env("HOST", "127.0.0.1")
        .env("PORT", port.to_string())
        .finish();
    assert_eq!(left.code(), 1, "{}", left.err());
    let errored = left.all("errored");
    assert_eq!(errored.len(), 1, "{}", left.err());
    let words = errored[0].value["last_stderr"].to_string();
    assert!(words.contains(&format!("bind EADDRINUSE 127.0.0.1:{port}")), "{words}");
}

/// Words that run a command without the right to bind low ports; None when that cannot be had.
fn without_low_ports() -> Option<Vec<String>> {
    let start = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok()?;
    if start.trim().parse::<u16>().ok()? <= 1 {
        return None;
    }
    if !rustix::process::geteuid().is_root() {
        return Some(vec!["env".into()]);
    }
    let words = ["setpriv", "--inh-caps=-net_bind_service", "--bounding-set=-net_bind_service"];
    let works = std::process::Command::new(words[0]).args(&words[1..]).arg("true").status();
    works.is_ok_and(|status| status.success()).then(|| words.map(str::to_owned).to_vec())
}

#[test]
fn a_privileged_port_is_eacces_in_the_worker_and_a_hint_for_the_person() {
    let Some(words) = without_low_ports() else {
        return place::skipped("a_privileged_port_is_eacces", "every port may be bound here");
    };
    let run = |words: Vec<String>| {
        net_0("127.0.0.1", 1).wrapped(words).min_uptime("10s").args(["--max-restarts", "1"])
    };
    let left = run(words.clone()).finish();
    assert_eq!(left.code(), 1, "{}", left.err());
    let said: Value = serde_json::from_str(left.out().lines().next().unwrap_or("null")).unwrap();
    assert_eq!(said["code"], "EACCES", "{}", left.out());
    assert_eq!(said["errno"], -13);
    let told = run(words).text().finish();
    let line = told.err().lines().find(|line| line.contains("cannot listen on")).map(str::to_owned);
    let line = line.unwrap_or_else(|| panic!("no `cannot listen on` in: {}", told.err()));
    assert!(line.contains("127.0.0.1:1") && line.contains("ermission denied"), "{line}");
    assert!(told.err().contains("hint: "), "{}", told.err());
}
