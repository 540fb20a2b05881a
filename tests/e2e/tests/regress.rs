//! What once went wrong at the edges: workers slow to open all their ports, shortages, processes that escape, peers that
//! do not read, and requests in flight that nobody counts. Named after what holds now.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::{self, File, OpenOptions};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use oneport_e2e::http::Client;
use oneport_e2e::load::{Load, Style};
use oneport_e2e::wait::{eventually, patient, throughout};
use oneport_e2e::{App, Run, Signal, TempDir, http, procfs, tcp};
use rustix::process::Pid;
use serde_json::Value;

fn freeze(pid: u32) {
    procfs::signal(pid, Signal::STOP);
    eventually("the worker to be frozen", || (procfs::state(pid) == Some('T')).then_some(()));
}

/// A client that has asked for `/`.
fn asking(address: SocketAddr) -> Client {
    let mut client = Client::connect(address).unwrap();
    client.send("/", "Connection: close\r\n").unwrap();
    client
}

/// Where the server on `ip` is, once `count` workers listen there.
fn listening_on(app: &App, ip: &str, count: usize) -> SocketAddr {
    let told = app.wait_count(&format!("{count} workers on {ip}"), count, |event| {
        event.is("listening") && event.text("address").starts_with(ip)
    });
    told[0].text("address").parse().unwrap()
}

/// An app whose workers open 127.0.0.1 at once and 127.0.0.2 so many milliseconds later, long after `min_uptime`.
fn two_ports(instances: usize, later: &str) -> (App, [SocketAddr; 2]) {
    let run = Run::fixture("two_ports.js").instances(instances).policy("rr").min_uptime("200ms");
    let app = run.env("LATER", later).start();
    app.serving(instances);
    let ports = ["127.0.0.1", "127.0.0.2"].map(|ip| listening_on(&app, ip, instances));
    (app, ports)
}

fn reload_with_two_ports(instances: usize, later: &str) {
    let (app, ports) = two_ports(instances, later);
    let loads = ports.map(|port| Load::start(port, "/", 2, Style::Close));
    app.signal(Signal::HUP);
    let ended = app.wait_for("the reload to end", |event| event.is("reloaded") || event.is("reload_aborted"));
    assert!(ended.is("reloaded"), "{ended:?}");
    for (load, port) in loads.into_iter().zip(ports) {
        load.wait_more(10);
        let tally = load.stop();
        assert_eq!(tally.lost, Vec::<String>::new(), "of {} on {port}", tally.total());
    }
    app.stop();
}

#[test]
fn a_reload_of_one_worker_that_opens_a_port_late_refuses_nobody_on_either() {
    reload_with_two_ports(1, "1500");
}

#[test]
fn a_reload_of_two_workers_that_open_a_port_late_refuses_nobody_on_either() {
    reload_with_two_ports(2, "700");
}

fn kill_with_two_ports(instances: usize) {
    let (app, ports) = two_ports(instances, "1500");
    let victim = app.worker(0);
    procfs::signal(victim, Signal::KILL);
    // From the death to the second port of the replacement: new ones all the time.
    let mut clients = Vec::new();
    let replaced = app.all("listening").len() + 2;
    eventually("the replacement to listen on both", || {
        clients.extend(ports.map(asking));
        std::thread::sleep(Duration::from_millis(50));
        (app.all("listening").len() >= replaced).then_some(())
    });
    for client in &mut clients {
        assert_ne!(client.receive().expect("it waits and is served").pid(), victim);
    }
    drop(clients);
    app.stop();
}

#[test]
fn while_a_killed_worker_is_replaced_clients_of_both_its_ports_wait() {
    kill_with_two_ports(1);
}

#[test]
fn while_one_of_two_workers_is_replaced_clients_of_both_ports_are_served() {
    kill_with_two_ports(2);
}

#[test]
fn a_worker_killed_while_descriptors_are_short_is_replaced_and_its_clients_are_served() {
    let run = Run::fixture("app.js").policy("rr");
    let app = run.wrapped(["sh", "-c", "ulimit -n 64; exec \"$0\" \"$@\""]).start();
    let address = app.serving(1);
    let victim = app.worker(0);
    freeze(victim);
    let mut clients: Vec<Client> = (0..150).map(|_| asking(address)).collect();
    app.wait_until("the shortage to be told", |events, _, _| {
        events.iter().any(|event| event.value["message"].to_string().contains("descriptors")).then_some(())
    });
    clients.drain(40..60); // some lose patience
    procfs::signal(victim, Signal::KILL);
    for client in &mut clients {
        assert_ne!(client.receive().expect("served by the replacement").pid(), victim);
    }
    assert_eq!(app.all("died").len(), 1, "{:?}", app.all("died"));
    drop(clients);
    app.stop();
}

/// A process group that nobody else will end.
struct Escaped(Pid);

impl Escaped {
    fn found_in(file: &Path) -> Escaped {
        let pid = eventually("the escaped process to say who it is", || {
            fs::read_to_string(file).ok()?.trim().parse().ok().and_then(Pid::from_raw)
        });
        Escaped(pid)
    }

    fn lives(&self) -> bool {
        procfs::runs(u32::try_from(self.0.as_raw_nonzero().get()).unwrap())
    }
}

impl Drop for Escaped {
    fn drop(&mut self) {
        // ESRCH: it is gone already, which is what is wanted.
        let _ = rustix::process::kill_process_group(self.0, Signal::KILL);
    }
}

#[test]
fn a_process_that_escaped_and_talks_on_the_channel_for_ever_holds_up_nothing() {
    let dir = TempDir::new();
    let run = Run::fixture("escape.js").instances(2).policy("rr").env("MARK", dir.file("mark"));
    let app = run.env("PIDFILE", dir.file("pid")).start();
    let address = app.serving(2);
    let escaped = Escaped::found_in(&dir.file("pid"));
    let first = tcp::pid_in(&fs::read_to_string(dir.file("mark")).unwrap());
    let slot = app.wait_for("its start", |event| event.is("started") && event.of(first)).slot();
    for _ in 0..5 {
        http::get(address, "/");
    }
    // It may be gone already: the escaped process can break its lines in two.
    if procfs::runs(first) {
        procfs::signal(first, Signal::KILL);
    }
    app.wait_for("a replacement", |event| event.is("proven") && event.slot() == slot && !event.of(first));
    for _ in 0..5 {
        assert_ne!(http::get(address, "/").pid(), first);
    }
    assert!(escaped.lives(), "it was found, so this test tests nothing");
    let began = Instant::now();
    app.stop();
    assert!(began.elapsed() < patient(Duration::from_secs(4)), "{:?}", began.elapsed());
}

#[test]
fn a_process_that_escaped_does_not_hold_up_the_stop_of_its_worker() {
    let dir = TempDir::new();
    let run = Run::fixture("escape.js").policy("rr").env("MARK", dir.file("mark"));
    let run = run.args(["--drain-timeout", "1s", "--kill-timeout", "1s"]);
    let app = run.env("PIDFILE", dir.file("pid")).start();
    app.serving(1);
    let escaped = Escaped::found_in(&dir.file("pid"));
    let began = Instant::now();
    app.stop();
    assert!(began.elapsed() < patient(Duration::from_secs(5)), "{:?}", began.elapsed());
    assert!(escaped.lives(), "it was found, so this test tests nothing");
}

#[test]
fn a_worker_that_attaches_much_and_never_reads_does_not_make_the_primary_grow() {
    let dir = TempDir::new();
    let run = Run::fixture("heavy.js").instances(2).policy("rr").env("GO", dir.file("go"));
    let app = run.env("MARK", dir.file("mark")).start();
    app.serving(2);
    let address = listening_on(&app, "127.0.0.2", 2);
    let villain = app.worker(0);
    let ended = || app.all("died").iter().any(|event| event.of(villain));
    dir.write("go", "");
    app.wait_out("misbehaving");
    let load = Load::start(address, "/", 4, Style::Close);
    throughout(patient(Duration::from_secs(2)), "the primary stays small", || {
        procfs::rss_kib(app.pid()) < 100 * 1024
    });
    load.wait_more(20);
    // If it still lives, it is held back: what it was handed is given back when it dies.
    if !ended() {
        procfs::signal(villain, Signal::KILL);
    }
    app.wait_for("a replacement", |event| event.is("proven") && event.slot() == 0 && !event.of(villain));
    let tally = load.stop();
    assert!(tally.lost.len() <= 2, "{:?}", tally.lost);
    app.stop();
}

#[test]
fn a_worker_that_cannot_be_told_anything_any_more_is_replaced_and_its_client_served() {
    let dir = TempDir::new();
    let run = Run::fixture("deaf.js").instances(2).policy("rr").env("SHUT", env!("CARGO_BIN_EXE_e2e-shut"));
    let app = run.env("GO", dir.file("go")).env("MARK", dir.file("mark")).start();
    let address = app.serving(2);
    let deaf = app.worker(0);
    dir.write("go", "");
    app.wait_out(&format!("deaf {deaf} 0"));
    let mut clients: Vec<Client> = (0..8).map(|_| asking(address)).collect();
    for client in &mut clients {
        assert_ne!(client.receive().expect("served by another").pid(), deaf);
    }
    app.wait_for("its end", |event| event.is("died") && event.of(deaf));
    app.wait_for("a replacement", |event| event.is("proven") && event.slot() == 0 && !event.of(deaf));
    app.stop();
}

/// A request in flight to a server that the primary knows nothing of, at this signal.
fn exclusive_in_flight(signal: Signal) -> (App, Client) {
    let app = Run::fixture("exclusive.js").env("SLOW", "1500").start();
    app.wait_for("a proven worker", |event| event.is("proven"));
    let out = app.wait_out("at 127.0.0.1:");
    let address = out.lines().find_map(|line| line.strip_prefix("at ")?.split(' ').next()?.parse().ok());
    let client = asking(address.unwrap());
    app.wait_out("asked ");
    app.signal(signal);
    (app, client)
}

#[test]
fn sigterm_answers_a_request_in_flight_to_an_exclusive_server() {
    let (app, mut client) = exclusive_in_flight(Signal::TERM);
    assert_eq!(client.receive().expect("answered").status, 200);
    assert_eq!(app.ended().code(), 0);
}

#[test]
fn a_reload_answers_a_request_in_flight_to_an_exclusive_server() {
    let (app, mut client) = exclusive_in_flight(Signal::HUP);
    assert_eq!(client.receive().expect("answered").status, 200);
    app.wait_for("the reload to be done", |event| event.is("reloaded"));
    app.stop();
}

/// A stranger on `[::1]` whose port is free everywhere else.
fn stranger_on_ipv6() -> (TcpListener, u16) {
    eventually("a port only taken on [::1]", || {
        let stranger = TcpListener::bind("[::1]:0").unwrap();
        let port = stranger.local_addr().unwrap().port();
        TcpListener::bind(("0.0.0.0", port)).is_ok().then_some((stranger, port))
    })
}

#[test]
fn a_stranger_on_the_ipv6_loopback_only_makes_a_listen_without_host_fail_as_in_node() {
    for policy in ["rr", "shared"] {
        let (stranger, port) = stranger_on_ipv6();
        let run = Run::fixture("listen.js").instances(2).policy(policy).env("LISTEN", format!("[{port}]"));
        let app = run.start();
        let told: Vec<Value> = app.wait_until("both workers to say what came of listen", |_, out, _| {
            let out = String::from_utf8_lossy(out);
            let lines: Vec<Value> = out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            (lines.len() >= 2).then_some(lines)
        });
        for line in told {
            assert_eq!(line["error"]["code"], "EADDRINUSE", "{policy}: {line}");
        }
        let refused = TcpStream::connect(("127.0.0.1", port)).map(drop);
        assert!(refused.is_err(), "{policy}: somebody listens on 0.0.0.0:{port}");
        app.stop();
        drop(stranger);
    }
}

#[test]
fn stop_with_signal_lets_a_response_with_pauses_arrive_whole() {
    let app = Run::fixture("stream.js").args(["--stop-with", "signal"]).policy("rr").start();
    let address = app.serving(1);
    let mut client = asking(address);
    app.wait_out("piece 4");
    app.signal(Signal::TERM);
    let text = client.receive().expect("the whole response").text();
    assert!(text.starts_with("piece 4\npiece 3\npiece 2\npiece 1\nhello from "), "{text}");
    assert_eq!(app.ended().code(), 0);
}

/// A named pipe that stays open and is never read.
fn unread_pipe(path: PathBuf) -> (PathBuf, File) {
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let held = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    (path, held)
}

#[test]
fn a_reader_of_stdout_that_is_stuck_does_not_hold_up_the_end() {
    let dir = TempDir::new();
    let (path, held) = unread_pipe(dir.file("out"));
    let run = Run::fixture("talkative.js").env("OUT", path);
    let run = run.args(["--drain-timeout", "1s", "--kill-timeout", "1s"]);
    let app = run.wrapped(["sh", "-c", "exec \"$0\" \"$@\" > \"$OUT\""]).start();
    app.serving(1);
    eventually("the pipe to be full", || {
        (rustix::io::ioctl_fionread(&held).unwrap() >= 60 * 1024).then_some(())
    });
    let began = Instant::now();
    app.stop();
    assert!(began.elapsed() < patient(Duration::from_secs(6)), "{:?}", began.elapsed());
    drop(held);
}
