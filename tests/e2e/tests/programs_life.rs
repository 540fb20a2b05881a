//! The life of programs behind one port: what a crash, a reload and a stop do to those who are connected or wait.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use oneport_e2e::http::Client;
use oneport_e2e::load::{Load, Style};
use oneport_e2e::programs::{all_answer_http, build, c, http_server, odd, run};
use oneport_e2e::wait::{eventually, patient};
use oneport_e2e::{App, Run, Signal, TempDir, place, procfs, tcp};

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn server(name: &str, port: u16) -> Run {
    run([c(name).into_os_string(), port.to_string().into()])
}

/// The example `echo4444.c`.
fn echo(port: u16) -> Run {
    let built = build::c(&place::root().join("examples/programs/echo4444.c"), build::Link::Dynamic);
    run([built.expect("there is a C compiler").into_os_string(), port.to_string().into()])
}

fn reload(app: &App) {
    app.signal(Signal::HUP);
    let done = app.wait_for("the end of the reload", |e| e.is("reloaded") || e.is("reload_aborted"));
    assert!(done.is("reloaded"), "{}", done.value);
}

/// 40 connections wait, about half of them for a copy that is stopped and then killed. All are answered.
fn nobody_who_waits_is_lost(program: &str, attach: &str) {
    let app = server(program, place::free_port()).args(["--attach", attach]).instances(2).start();
    let address = app.serving(2);
    let victim = app.worker(0);
    procfs::signal(victim, Signal::STOP);
    eventually("the victim to be stopped", || (procfs::state(victim) == Some('T')).then_some(()));
    let mut waiting: Vec<Client> = (0..40)
        .map(|_| {
            let mut client = Client::connect(address).expect("there is room in the queue");
            client.send("/", "Connection: close\r\n").unwrap();
            client
        })
        .collect();
    procfs::signal(victim, Signal::KILL);
    let next = app.wait_for("the replacement", |e| e.is("started") && e.slot() == 0 && !e.of(victim)).pid();
    let mut of_next = 0;
    for (number, client) in waiting.iter_mut().enumerate() {
        let pid = client.receive().unwrap_or_else(|e| panic!("connection {number} of 40: {e}")).pid();
        assert_ne!(pid, victim);
        of_next += usize::from(pid == next);
    }
    assert!(of_next > 0, "the replacement served what waited for the victim");
    app.stop();
}

#[test]
fn what_waits_in_the_queue_of_a_killed_copy_is_served_by_its_replacement() {
    nobody_who_waits_is_lost("block", "own");
}

#[test]
fn what_waits_for_a_killed_copy_that_registers_early_is_served_too() {
    nobody_who_waits_is_lost("epoll_early", "own");
}

#[test]
fn what_waits_in_the_queue_of_a_killed_copy_is_served_in_slot_mode_too() {
    nobody_who_waits_is_lost("block", "slot");
}

#[test]
fn a_reload_of_a_python_server_without_handlers_loses_nothing_at_200_requests_a_second() {
    // 100 clients and half a second for each request: 200 a second, 100 of them in hand at any time; fewer on a machine
    // that needs patience.
    let path = format!("/slow?ms={}", patient(Duration::from_millis(500)).as_millis());
    let app = http_server([place::free_port().to_string()]).instances(4).env("THREADS", "1").start();
    let address = app.serving(4);
    let old = app.workers();
    let load = Load::start(address, &path, 100, Style::Close);
    load.wait_more(200);
    reload(&app);
    load.wait_more(200);
    let tally = load.stop();
    assert_eq!(tally.lost, Vec::<String>::new(), "of {} requests", tally.total());
    assert!(old.values().all(|pid| !procfs::runs(*pid) && tally.answered.contains_key(pid)), "{old:?}");
    app.stop();
}

#[test]
fn a_stop_under_load_finishes_what_was_begun() {
    let app = http_server([place::free_port().to_string()]).instances(2).env("THREADS", "1").start();
    let address = app.serving(2);
    let mut begun: Vec<Client> = (0..10)
        .map(|_| {
            let mut client = Client::connect(address).unwrap();
            client.send("/slow?ms=700", "Connection: close\r\n").unwrap();
            client
        })
        .collect();
    app.signal(Signal::TERM);
    for client in &mut begun {
        assert_eq!(client.receive().expect("what was begun is finished").status, 200);
    }
    assert_eq!(app.ended().code(), 0);
}

/// How many copies listen in the largest test; 512 is the most there may be. Each has a BPF program of its own, and when about a thousand are freed in
/// one go Linux 6.18 may hang for good: all workers of its work queue `events` wait for the lock of whoever frees one, and
/// that one waits for work in the same queue (`bpf_prog_pack_free`, `__purge_vmap_area_lazy`).
fn many() -> usize {
    if std::env::var("ONEPORT_TEST_ALL").is_ok_and(|value| value == "1") { 500 } else { 60 }
}

#[test]
fn a_crowd_of_copies_listens_behind_one_port() {
    let copies = many();
    let app = server("block", place::free_port()).args(["--attach", "own"]).instances(copies).start();
    let address = app.serving(copies);
    let load = Load::start(address, "/", 4, Style::Close);
    load.wait_more(2 * copies);
    let tally = load.stop();
    assert_eq!(tally.lost, Vec::<String>::new());
    assert!(tally.answered.len() > copies / 2, "{} of {copies} copies answered", tally.answered.len());
    assert_eq!(app.all("died").len(), 0);
    app.stop();
}

/// A connection, the copy that accepted it and the process that serves it.
fn conversation(address: SocketAddr) -> (std::net::TcpStream, u32, u32) {
    let stream = tcp::connect(address).unwrap();
    let greeting = tcp::line(&stream).unwrap();
    let numbers: Vec<u32> =
        greeting.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect();
    (stream, numbers[0], numbers[1])
}

#[test]
fn a_child_that_serves_one_connection_survives_the_crash_of_its_parent() {
    let app = echo(place::free_port()).args(["--attach", "own"]).instances(2).start();
    let address = app.serving(2);
    let (mut stream, copy, child) = conversation(address);
    assert_eq!(tcp::ask(&mut stream, "before\n").unwrap(), "before");
    procfs::signal(copy, Signal::KILL);
    app.wait_for("the replacement to be proven", |e| e.is("proven") && !e.of(copy) && e.worker() > 2);
    assert_eq!(tcp::ask(&mut stream, "after\n").expect("its child goes on"), "after");
    tcp::ask(&mut stream, ":exit\n").expect_err("it ends as it always does");
    eventually("the child to be gone", || (!procfs::runs(child)).then_some(()));
    app.stop();
}

#[test]
fn such_a_child_is_ended_when_the_drain_timeout_has_passed() {
    let options = ["--attach", "own", "--drain-timeout", "500ms"];
    let app = echo(place::free_port()).args(options).instances(2).start();
    let (mut stream, copy, child) = conversation(app.serving(2));
    procfs::signal(copy, Signal::KILL);
    assert_eq!(tcp::rest(&mut stream).unwrap_or_default(), b"", "cut off");
    eventually("the child to be gone", || (!procfs::runs(child)).then_some(()));
    app.stop();
}

#[test]
fn a_reload_waits_for_children_that_serve() {
    let app = echo(place::free_port()).args(["--attach", "own"]).instances(1).start();
    let (mut stream, copy, _) = conversation(app.serving(1));
    app.signal(Signal::HUP);
    app.wait_for("the old copy to be drained", |e| e.is("draining") && e.of(copy));
    assert_eq!(tcp::ask(&mut stream, "still there\n").unwrap(), "still there");
    assert!(procfs::runs(copy), "it waits for its child");
    tcp::ask(&mut stream, ":exit\n").expect_err("it ends as it always does");
    app.wait_for("the reload to be done", |e| e.is("reloaded"));
    assert!(!procfs::runs(copy));
    app.stop();
}

#[test]
fn a_broken_new_version_changes_nothing() {
    let dir = TempDir::new();
    let good = std::fs::read_to_string(oneport_e2e::programs::source("python/http_server.py")).unwrap();
    let script = dir.write("app.py", &good);
    let words = [script.into_os_string(), "--".into(), place::free_port().to_string().into()];
    let app = Run::target(words).instances(2).start();
    let address = app.serving(2);
    let old = app.workers();
    dir.write("app.py", "import sys\nsys.exit('broken build')\n");
    let load = Load::start(address, "/", 2, Style::Close);
    app.signal(Signal::HUP);
    let aborted = app.wait_for("the reload to be given up", |e| e.is("reload_aborted"));
    assert!(aborted.value["last_stderr"].to_string().contains("broken build"), "{}", aborted.value);
    load.wait_more(20);
    let tally = load.stop();
    assert_eq!(tally.lost, Vec::<String>::new());
    assert_eq!(app.workers(), old);
    app.stop();
}

#[test]
fn a_flood_of_output_costs_the_primary_no_memory() {
    // Two copies write 64 MiB to a reader that reads nothing until both wait for it.
    let (mut reader, writer) = std::io::pipe().unwrap();
    let app = odd("flood", [place::free_port().to_string()]).instances(2).stdout(writer.into()).start();
    let address = app.serving(2);
    let mut looks_in_a_row = 0;
    eventually("both copies to wait for the reader", || {
        let both = app.workers().into_values().all(|copy| procfs::is_in(copy, procfs::Call::Write));
        looks_in_a_row = if both { looks_in_a_row + 1 } else { 0 };
        (looks_in_a_row == 20).then_some(())
    });
    let read = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()).unwrap());
    all_answer_http(&app, address);
    let peak = procfs::peak_rss_kib(app.pid());
    assert!(peak < 32 * 1024, "the primary had {peak} KiB");
    app.stop();
    assert_eq!(read.join().unwrap(), 2 * 512 * 655 * 100, "every byte is read");
}

#[test]
fn a_copy_that_shuts_its_listener_down_leaves_the_port_to_the_others() {
    for policy in ["auto", "shared"] {
        let run = odd("shuts", [place::free_port().to_string()]).instances(2).args(["--policy", policy]);
        let app = run.start();
        let address = app.serving(2);
        let shut = app.worker(0);
        procfs::signal(shut, Signal::USR1);
        app.wait_out("shut down");
        for number in 0..20 {
            let asked = oneport_e2e::http::try_get(address, "/");
            let pid = asked.unwrap_or_else(|e| panic!("{policy}: request {number}: {e}")).pid();
            assert!(policy == "shared" || pid != shut, "{policy}: served by who shut its listener");
        }
        app.stop();
    }
}

#[test]
fn the_example_runs_four_copies_behind_one_port() {
    let port = place::free_port();
    let app = echo(port).instances(4).start();
    assert_eq!(app.serving(4).port(), port);
    let mut copies = std::collections::BTreeSet::new();
    eventually("a greeting of each copy", || {
        let (mut stream, copy, _) = conversation(local(port));
        assert_eq!(tcp::ask(&mut stream, "is anybody there\n").unwrap(), "is anybody there");
        tcp::ask(&mut stream, ":exit\n").expect_err("it closes");
        copies.insert(copy);
        (copies.len() == 4).then_some(())
    });
    let script = place::root().join("examples/programs/hello.py");
    let words = [script.into_os_string(), "--".into(), place::free_port().to_string().into()];
    let python = Run::target(words).instances(4).start();
    all_answer_http(&python, python.serving(4));
    python.stop();
    app.stop();
}

#[test]
fn a_kept_connection_is_cut_at_the_drain_timeout() {
    let options = ["--attach", "own", "--drain-timeout", "400ms"];
    let app = echo(place::free_port()).args(options).start();
    let (mut stream, copy, _) = conversation(app.serving(1));
    reload(&app);
    assert!(!procfs::runs(copy));
    assert_eq!(tcp::rest(&mut stream).unwrap_or_default(), b"", "cut off");
    app.stop();
}

#[test]
fn what_waits_for_a_slot_that_is_given_up_is_served_all_the_same() {
    let dir = TempDir::new();
    let words = [place::free_port().to_string(), dir.file("doom").to_str().unwrap().to_owned()];
    let limits = ["--max-restarts", "2", "--restart-delay", "10"];
    let app = odd("doomed", words).instances(2).min_uptime("3s").args(limits).start();
    let address = app.serving(2);
    let victim = app.worker(1);
    procfs::signal(victim, Signal::STOP);
    eventually("the victim to be stopped", || (procfs::state(victim) == Some('T')).then_some(()));
    let mut waiting: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = Client::connect(address).expect("there is room in the queue");
            client.send("/", "Connection: close\r\n").unwrap();
            client
        })
        .collect();
    dir.write("doom", "");
    procfs::signal(victim, Signal::KILL);
    app.wait_for("the slot to be given up", |event| event.is("errored"));
    for (number, client) in waiting.iter_mut().enumerate() {
        client.receive().unwrap_or_else(|e| panic!("connection {number} of 20: {e}"));
    }
    // Nothing of the slot is left in the choice.
    for _ in 0..40 {
        oneport_e2e::http::get(address, "/");
    }
    app.stop();
}

#[test]
fn reloads_and_crashes_leave_no_descriptor_behind() {
    let app = server("block", place::free_port()).instances(2).args(["--attach", "own"]).start();
    let address = app.serving(2);
    let descriptors = procfs::descriptors(app.pid());
    for round in 1..=3 {
        app.signal(Signal::HUP);
        app.wait_count("a reload", round, |event| event.is("reloaded"));
        let victim = app.worker(0);
        procfs::signal(victim, Signal::KILL);
        let died = app.wait_for("its death", |e| e.is("died") && e.of(victim)).at;
        app.wait_for("the replacement", |e| e.is("proven") && e.slot() == 0 && e.at > died);
        all_answer_http(&app, address);
    }
    eventually("the descriptors of the dead to be closed", || {
        (procfs::descriptors(app.pid()) <= descriptors + 1).then_some(())
    });
    app.stop();
}
