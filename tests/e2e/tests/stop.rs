//! SIGTERM and SIGINT: what is in flight is answered, everything ends, the exit code says what happened.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use oneport_e2e::http::Client;
use oneport_e2e::{App, Run, Signal, http, procfs};

/// Requests of `ms` each, handed off already when this returns.
fn in_flight(app: &App, count: usize, ms: u32) -> Vec<Client> {
    let address = app.serving(2);
    let slow: Vec<Client> = (0..count)
        .map(|_| {
            let mut client = Client::connect(address).unwrap();
            client.send(&format!("/slow?ms={ms}"), "").unwrap();
            client
        })
        .collect();
    // One answer of each worker after them, over the same queues.
    for _ in 0..4 {
        http::get(address, "/");
    }
    slow
}

fn drains(signal: Signal, policy: &str) {
    let app = Run::fixture("app.js").instances(2).policy(policy).start();
    let mut slow = in_flight(&app, 8, 500);
    app.signal(signal);
    for client in &mut slow {
        assert_eq!(client.receive().expect("answered").status, 200);
    }
    let left = app.ended();
    assert_eq!(left.code(), 0, "{}", left.err());
    let died = left.all("died");
    assert!(died.iter().all(|event| event.value["expected"] == true), "{died:?}");
    assert!(left.events.last().unwrap().is("stopped"));
}

#[test]
fn sigterm_answers_what_is_in_flight_and_exits_0() {
    drains(Signal::TERM, "rr");
}

#[test]
fn sigint_does_the_same() {
    drains(Signal::INT, "rr");
}

#[test]
fn under_shared_it_is_the_same() {
    drains(Signal::TERM, "shared");
}

#[test]
fn a_second_sigint_ends_at_once_with_130() {
    let app = Run::fixture("app.js").instances(2).start();
    let slow = in_flight(&app, 4, 60_000);
    app.signal(Signal::INT);
    app.wait_for("the stop to begin", |event| ["draining", "stopping"].contains(&event.name()));
    let workers = app.workers();
    let began = Instant::now();
    app.signal(Signal::INT);
    let left = app.ended();
    assert_eq!(left.code(), 130, "{}", left.err());
    assert!(began.elapsed() < oneport_e2e::wait::patient(Duration::from_secs(3)));
    for pid in workers.into_values() {
        oneport_e2e::wait::eventually("no worker to be left", || (!procfs::runs(pid)).then_some(()));
    }
    drop(slow);
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let app = Run::fixture("app.js").instances(2).start();
    let slow = in_flight(&app, 4, 60_000);
    app.signal(Signal::TERM);
    app.wait_for("the stop to begin", |event| ["draining", "stopping"].contains(&event.name()));
    let workers = app.workers();
    let began = Instant::now();
    app.signal(Signal::TERM);
    app.ended();
    assert!(began.elapsed() < oneport_e2e::wait::patient(Duration::from_secs(3)));
    for pid in workers.into_values() {
        oneport_e2e::wait::eventually("no worker to be left", || (!procfs::runs(pid)).then_some(()));
    }
    drop(slow);
}

#[test]
fn a_request_longer_than_the_drain_timeout_is_cut() {
    let run =
        Run::fixture("app.js").instances(2).args(["--drain-timeout", "300ms", "--kill-timeout", "300ms"]);
    let app = run.start();
    let slow = in_flight(&app, 2, 60_000);
    app.stop();
    drop(slow);
}

#[test]
fn a_worker_that_ignores_every_request_to_leave_is_killed() {
    let run = Run::fixture("stubborn.js").args(["--stop-with", "signal", "--kill-timeout", "200ms"]);
    let app = run.args(["--drain-timeout", "200ms"]).start();
    app.serving(1);
    let pid = app.worker(0);
    app.signal(Signal::TERM);
    app.wait_out("ignores SIG");
    let died = app.wait_for("the death", |event| event.is("died") && event.of(pid));
    assert_eq!(died.value["signal"], "SIGKILL");
    assert_eq!(died.value["expected"], true);
    assert_eq!(app.ended().code(), 0);
}

#[test]
fn a_worker_that_lives_on_after_disconnect_gets_the_signal_and_then_sigkill() {
    let run = Run::fixture("stubborn.js").args(["--stop-with", "disconnect", "--kill-timeout", "200ms"]);
    let app = run.args(["--drain-timeout", "200ms"]).start();
    app.serving(1);
    app.signal(Signal::TERM);
    let left = app.ended();
    assert_eq!(left.code(), 0);
    assert_eq!(left.all("died")[0].value["signal"], "SIGKILL");
}

#[test]
fn stop_with_signal_lets_the_handler_clean_up_before_any_disconnect() {
    for (options, name) in [(&[][..], "SIGINT"), (&["--stop-signal", "SIGUSR2"][..], "SIGUSR2")] {
        let run = Run::fixture("cleanup.js").instances(2).args(["--stop-with", "signal"]).args(options);
        let app = run.start();
        app.serving(2);
        let left = app.stop();
        let expected = format!("cleanup on {name} disconnected=false");
        assert_eq!(left.out().matches(&expected).count(), 2, "{}", left.out());
        assert!(left.all("died").iter().all(|event| event.value["expected"] == true));
    }
}

#[test]
fn stop_with_signal_waits_for_open_requests_first() {
    let app = Run::fixture("app.js").instances(2).args(["--stop-with", "signal"]).start();
    let mut slow = in_flight(&app, 4, 500);
    app.signal(Signal::TERM);
    for client in &mut slow {
        assert_eq!(client.receive().expect("answered before the signal").status, 200);
    }
    drop(slow);
    assert_eq!(app.ended().code(), 0);
}

/// Asks over one connection again and again until its server has ended it. A request that was sent is answered.
fn asks_until_the_end(stream: TcpStream, answered: &AtomicUsize) {
    let mut client = Client::over(stream.try_clone().unwrap());
    loop {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let sent = Instant::now();
        match client.get("/slow?ms=40") {
            Ok(response) => assert_eq!(response.status, 200),
            // It met the end of a connection at rest, which no server can exclude.
            Err(_) if sent.elapsed() < Duration::from_millis(5) => return,
            Err(error) => panic!("a request is lost after {:?}: {error}", sent.elapsed()),
        }
        answered.fetch_add(1, Ordering::Relaxed);
        // The pause between two requests, and the look whether it has ended meanwhile.
        stream.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
        match stream.peek(&mut [0]) {
            Ok(0) => return,
            Ok(_) => panic!("nobody has asked for more"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("ended in disorder: {error}"),
        }
    }
}

#[test]
fn stop_with_signal_ends_connections_over_which_clients_ask_again_and_again() {
    // So many that there is no moment in which none of them is used.
    const CLIENTS: usize = 20;
    let run = Run::fixture("app.js").instances(2).args(["--stop-with", "signal", "--drain-timeout", "120s"]);
    let app = run.start();
    let address = app.serving(2);
    let answered = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (stream, answered) = (TcpStream::connect(address).unwrap(), answered.clone());
            thread::spawn(move || asks_until_the_end(stream, &answered))
        })
        .collect();
    oneport_e2e::wait::eventually("the clients to be served", || {
        (answered.load(Ordering::Relaxed) >= 2 * CLIENTS).then_some(())
    });
    let began = Instant::now();
    app.signal(Signal::TERM);
    for client in clients {
        client.join().expect("nothing is lost");
    }
    assert_eq!(app.ended().code(), 0);
    assert!(began.elapsed() < Duration::from_secs(60), "it took until the end of the drain time");
}

#[test]
fn a_stop_before_the_workers_are_up_ends_everything() {
    let app = Run::fixture("app.js").instances(4).start();
    app.wait_for("the first worker", |event| event.is("started"));
    app.stop();
}

#[test]
fn a_stop_during_the_pause_before_a_restart_ends_at_once() {
    let app = Run::fixture("crash.js").args(["--restart-delay", "60s"]).start();
    app.wait_for("the pause", |event| event.is("restarting"));
    let began = Instant::now();
    app.stop();
    assert!(began.elapsed() < oneport_e2e::wait::patient(Duration::from_secs(3)));
}

#[test]
fn connections_waiting_in_the_primary_are_served_before_it_stops() {
    let app = Run::example("blocks.js").policy("rr").env("BLOCK_MS", "600").start();
    let address = app.serving(1);
    let mut clients = vec![Client::connect(address).unwrap()];
    clients[0].send("/block", "").unwrap();
    for _ in 0..10 {
        let mut client = Client::connect(address).unwrap();
        client.send("/", "").unwrap();
        clients.push(client);
    }
    let before = procfs::sockets(app.pid()).len();
    assert!(before > 0);
    oneport_e2e::wait::eventually("the connections to be accepted", || {
        (procfs::sockets(app.pid()).len() >= 8).then_some(())
    });
    app.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(client.receive().expect("served before the stop").status, 200);
    }
    drop(clients);
    assert_eq!(app.ended().code(), 0);
}

#[test]
fn an_idle_keep_alive_connection_does_not_hold_up_the_stop() {
    let app = Run::fixture("app.js").start();
    let address = app.serving(1);
    let mut idle = Client::connect(address).unwrap();
    idle.get("/").unwrap();
    let began = Instant::now();
    app.stop();
    // Up to Node 18, closing a server leaves idle connections open until they time out (5 s).
    let limit = if oneport_e2e::place::node_major() <= 18 { 8 } else { 3 };
    assert!(began.elapsed() < oneport_e2e::wait::patient(Duration::from_secs(limit)));
}
