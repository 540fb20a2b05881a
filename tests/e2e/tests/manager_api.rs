//! The control API, as any program sees it that speaks HTTP over a Unix socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use oneport_e2e::manager::Manager;
use oneport_e2e::run::client_patience;
use oneport_e2e::wait::eventually;
use serde_json::{Value, json};

fn connect(manager: &Manager) -> UnixStream {
    let stream = UnixStream::connect(manager.in_home("daemon.sock")).expect("a daemon answers");
    stream.set_read_timeout(Some(client_patience())).expect("a socket has timeouts");
    stream
}

fn ask(manager: &Manager, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = connect(manager);
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let text = answer.split_once("\r\n\r\n").expect("a head").1;
    (status, serde_json::from_str(text).unwrap_or(Value::Null))
}

#[test]
fn it_says_who_it_is_and_what_there_is() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2"]);
    let (status, welcome) = ask(&manager, "GET", "/v1", "");
    assert_eq!((status, &welcome["pid"]), (200, &json!(manager.daemon())));
    assert_eq!(welcome["home"], manager.home().display().to_string());
    let (status, apps) = ask(&manager, "GET", "/v1/apps", "");
    assert_eq!((status, apps.as_array().map(Vec::len)), (200, Some(1)));
    assert_eq!(apps[0]["workers"].as_array().map(Vec::len), Some(2));
    let (status, app) = ask(&manager, "GET", "/v1/apps/app", "");
    assert_eq!((status, &app["name"]), (200, &json!("app")));
}

#[test]
fn what_is_wrong_has_its_status_and_its_reason() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js"]);
    for (method, path, body, wanted) in [
        ("GET", "/v1/nothing", "", 404),
        ("GET", "/v2", "", 404),
        ("GET", "/v1/apps/nobody", "", 404),
        ("POST", "/v1/apps/nobody/stop", "{}", 404),
        ("GET", "/v1/apps/app/jobs/99", "", 404),
        ("POST", "/v1/apps", "{", 400),
        ("POST", "/v1/apps", "[]", 400),
        ("POST", "/v1/apps", r#"{"spec": {"name": "x", "script": "y", "nonsense": 1}}"#, 400),
        ("POST", "/v1/apps", r#"{"spec": {"name": "", "script": "y"}}"#, 400),
        ("POST", "/v1/apps", r#"{"spec": {"name": "app", "script": "y"}}"#, 409),
        ("POST", "/v1/apps/app/stop", r#"{"ids": [77]}"#, 404),
        ("POST", "/v1/apps/app/stop", r#"{"idz": [0]}"#, 400),
        ("POST", "/v1/apps/app/scale", r#"{"to": 1}"#, 409),
        ("POST", "/v1/apps/app/signal", r#"{"signal": "SIGNOTHING"}"#, 400),
        ("GET", "/v1/apps/app/jobs/-1", "", 400),
        ("GET", "/v1/apps/app/jobs/x/watch", "", 400),
    ] {
        let (status, answer) = ask(&manager, method, path, body);
        assert_eq!(status, wanted, "{method} {path} {body}: {answer}");
        if path != "/v2" && path != "/v1/nothing" {
            assert!(
                answer["error"].as_str().is_some_and(|text| text.starts_with("cannot ")),
                "{path}: {answer}"
            );
            assert!(answer["kind"].is_string(), "{path}: {answer}");
        }
    }
    let (status, answer) = ask(&manager, "DELETE", "/v1", "");
    assert_eq!(status, 405);
    assert!(answer["error"].as_str().is_some_and(|text| text.starts_with("cannot DELETE")), "{answer}");
    assert_eq!(manager.names(), ["app"]);
}

#[test]
fn noise_does_it_no_harm() {
    let manager = Manager::new();
    manager.ok(&["ping"]);
    for noise in [&b"\0\0\0\0"[..], b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n", &[b'A'; 100_000]] {
        let mut stream = connect(&manager);
        // It may have been closed by then.
        drop(stream.write_all(noise));
        drop(stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        assert!(!String::from_utf8_lossy(&answer).contains(" 200 "));
    }
    // Those who say nothing keep nobody waiting.
    let idle: Vec<UnixStream> = (0..50).map(|_| connect(&manager)).collect();
    assert!(manager.apps().is_empty());
    drop(idle);
    let long = "x".repeat(20 * 1024 * 1024);
    let mut stream = connect(&manager);
    drop(stream.write_all(
        format!("POST /v1/apps HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", long.len()).as_bytes(),
    ));
    drop(stream.write_all(long.as_bytes()));
    let mut answer = [0; 16];
    let read = stream.read(&mut answer).unwrap_or(0);
    assert!(!answer[..read].starts_with(b"HTTP/1.1 2"), "{answer:?}");
    let daemon = manager.daemon();
    assert!(oneport_e2e::procfs::rss_kib(daemon) < 64 * 1024, "it kept the noise");
    assert!(manager.apps().is_empty());
}

#[test]
fn whoever_does_not_come_to_an_end_is_let_go_and_leaves_room_for_others() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "--min-uptime", "100"]);
    let of_primary = manager.in_home("run/1.sock");
    let half = |path: &std::path::Path, text: &str| {
        let mut stream = UnixStream::connect(path).expect("somebody listens");
        stream.set_read_timeout(Some(client_patience() * 2)).expect("a socket has timeouts");
        stream.write_all(text.as_bytes()).expect("there is room");
        stream
    };
    let body = "POST /v1/apps/app/stop HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{";
    let mut halves = Vec::new();
    for path in [&manager.in_home("daemon.sock"), &of_primary] {
        halves.push(half(path, "GET /v1/apps HTTP/1.1\r\nhost:"));
        halves.push(half(path, body));
    }
    // More than are let in at a time: whoever comes next waits for room.
    let idle: Vec<UnixStream> = (0..300).map(|_| connect(&manager)).collect();
    assert_eq!(manager.statuses("app"), ["online"]);
    for mut stream in halves {
        let mut told = String::new();
        stream.read_to_string(&mut told).expect("its end");
        assert!(
            told.is_empty() || told.starts_with("HTTP/1.1 408") || told.contains("does not come in time"),
            "{told}"
        );
    }
    drop(idle);
    assert_eq!(manager.statuses("app"), ["online"], "nothing was done");
}

#[test]
fn what_was_asked_of_a_primary_that_hung_is_not_done_when_it_goes_on() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "--min-uptime", "100"]);
    let primary = manager.primary("app");
    oneport_e2e::procfs::signal(primary, oneport_e2e::Signal::STOP);
    let outcome = manager.run(&["stop", "app"]);
    assert_eq!(outcome.code, 1, "{}", outcome.all());
    assert!(outcome.err.contains("its primary does not answer in time"), "{}", outcome.all());
    oneport_e2e::procfs::signal(primary, oneport_e2e::Signal::CONT);
    manager.wait("it answers again", |apps| apps[0]["workers"][0]["pid"].is_u64().then_some(()));
    assert_eq!(manager.statuses("app"), ["online"], "who asked was told that it was not done");
    assert!(manager.app("app")["job"].is_null());
}

#[test]
fn kill_ends_what_does_not_answer_as_well() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "--min-uptime", "100"]);
    let (primary, worker) = (manager.primary("app"), manager.pids("app")[0]);
    oneport_e2e::procfs::signal(primary, oneport_e2e::Signal::STOP);
    let outcome = manager.ok(&["kill"]);
    assert!(outcome.out.contains("still ending: app"), "{}", outcome.all());
    oneport_e2e::wait::eventually("their end", || {
        let runs = [primary, worker].iter().any(|pid| oneport_e2e::procfs::runs(*pid));
        (!runs).then_some(())
    });
}

#[test]
fn events_tell_of_a_restart_as_it_happens() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-n", "web"]);
    let mut stream = connect(&manager);
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n").expect("it is read");
    let mut lines = BufReader::new(stream).lines();
    while !lines.next().expect("a head").expect("a head").is_empty() {}
    let old = manager.pids("web")[0];
    manager.ok(&["restart", "web"]);
    let new = manager.pids("web")[0];
    let mut told = Vec::new();
    let wanted = |told: &[Value]| {
        let worker = |status: &str, pid: u32| {
            told.iter().any(|one| one["event"] == "worker" && one["status"] == status && one["pid"] == pid)
        };
        let job = told.iter().any(|one| one["job"]["kind"] == "restart" && one["job"]["state"] == "done");
        worker("stopping", old) && worker("online", new) && job
    };
    while !wanted(&told) {
        let line = lines.next().unwrap_or_else(|| panic!("the stream ended after {told:#?}"));
        let line = line.unwrap_or_else(|e| panic!("{e} after {told:#?}"));
        // Lines come as chunks, each with its length before it.
        if let Ok(event @ Value::Object(_)) = serde_json::from_str::<Value>(&line) {
            assert!(event["app"] == "web" && event["at"].as_u64() > Some(1_600_000_000_000), "{event}");
            told.push(event);
        }
    }
}

#[test]
fn an_app_is_made_watched_and_deleted_without_the_command_line() {
    let manager = Manager::with_server();
    manager.ok(&["ping"]);
    let wanted = json!({
        "spec": {"name": "a/b c", "script": manager.file("app.js"), "cwd": manager.dir(), "instances": 2},
        "environment": {"PATH": std::env::var("PATH").expect("a PATH"), "PORT": "0"},
    });
    let (status, view) = ask(&manager, "POST", "/v1/apps", &wanted.to_string());
    assert_eq!(status, 200, "{view}");
    let (status, job) = ask(&manager, "GET", "/v1/apps/a%2Fb%20c/jobs/1", "");
    assert_eq!((status, &job["kind"]), (200, &json!("start")));
    eventually("both online", || {
        let (_, app) = ask(&manager, "GET", "/v1/apps/a%2Fb%20c", "");
        let online = app["workers"].as_array()?.iter().all(|worker| worker["status"] == "online");
        (online && app["job"].is_null()).then_some(())
    });
    assert_eq!(manager.pids("a/b c").len(), 2);
    manager.ok(&["reload", "a/b c"]);
    let (status, job) = ask(&manager, "POST", "/v1/apps/a%2Fb%20c/delete", "{}");
    assert_eq!((status, &job["kind"]), (200, &json!("delete")));
    eventually("nobody", || manager.apps().is_empty().then_some(()));
}
