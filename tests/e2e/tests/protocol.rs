//! What a worker and its primary tell each other: refusals, closing servers, messages, handles, and servers
//! that need more than plain TCP.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use oneport_e2e::http::Client;
use oneport_e2e::run::client_patience;
use oneport_e2e::wait::{eventually, throughout};
use oneport_e2e::{App, Run, TempDir, http, place, procfs, tcp};

#[test]
fn a_connection_every_worker_refuses_waits_until_one_takes_it() {
    let app = Run::example("max_connections.js").instances(2).policy("rr").start();
    let address = app.serving(2);
    let (mut first, one) = tcp::greet(address).unwrap();
    let (mut second, two) = tcp::greet(address).unwrap();
    assert_ne!(one, two);
    let third = tcp::connect(address).unwrap();
    third.set_nonblocking(true).unwrap();
    let before = procfs::cpu_ms(app.pid());
    throughout(
        Duration::from_millis(400),
        "the third connection waits, open and unanswered",
        || matches!((&third).read(&mut [0; 1]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock),
    );
    let spent = procfs::cpu_ms(app.pid()) - before;
    assert!(spent <= 100, "the primary spent {spent} ms on one waiting connection in 400 ms");
    assert_eq!(tcp::ask(&mut first, "leave\n").unwrap(), "bye");
    drop(first);
    third.set_nonblocking(false).unwrap();
    assert_eq!(tcp::pid_in(&tcp::line(&third).unwrap()), one, "the freed place is taken");
    tcp::ask(&mut second, "leave\n").unwrap();
    drop((second, third));
    app.stop();
}

#[test]
fn a_connection_one_worker_refuses_is_served_by_another() {
    let run = Run::fixture("hold.js").instances(2).policy("rr").env("LIMIT_SLOT", "0").env("LIMIT", "1");
    let app = run.start();
    let address = app.serving(2);
    let held: Vec<(TcpStream, u32)> = (0..10).map(|_| tcp::greet(address).unwrap()).collect();
    let by_limited = held.iter().filter(|(_, pid)| *pid == app.worker(0)).count();
    assert_eq!(by_limited, 1, "maxConnections = 1 holds");
    drop(held);
    app.stop();
}

#[test]
fn a_server_closed_in_one_of_four_workers_leaves_the_port_to_three() {
    for policy in ["rr", "shared"] {
        let app = Run::example("close_one.js").instances(4).policy(policy).start();
        let address = app.serving(4);
        let closer = http::get(address, "/close").pid();
        app.wait_out(&format!("closed in {closer}"));
        let pids: BTreeSet<u32> = (0..30).map(|_| http::get(address, "/").pid()).collect();
        assert!(!pids.contains(&closer), "a closed server was asked under {policy}");
        if policy == "rr" {
            assert_eq!(pids.len(), 3);
        }
        assert!(procfs::runs(closer), "the worker itself lives on");
        assert!(app.all("died").is_empty());
        app.stop();
    }
}

/// One worker that takes one connection, one client served by it, three waiting.
fn one_served_three_waiting(app: &App) -> (TcpStream, Vec<TcpStream>) {
    let address = app.serving(1);
    let (served, _) = tcp::greet(address).unwrap();
    let waiting: Vec<TcpStream> = (0..3).map(|_| tcp::connect(address).unwrap()).collect();
    eventually("the primary to have accepted them", || {
        let held = procfs::sockets(app.pid()).len();
        (held >= 4).then_some(())
    });
    (served, waiting)
}

#[test]
fn clients_that_wait_when_the_last_server_closes_are_not_left_hanging() {
    // Node leaves the connection that was refused last open and unanswered for ever (defect B3).
    let port = place::free_port();
    let app = Run::fixture("close_last.js").policy("rr").env("PORT", port.to_string()).start();
    let (mut served, waiting) = one_served_three_waiting(&app);
    assert_eq!(tcp::ask(&mut served, "close").unwrap(), "closing");
    for mut stream in waiting {
        match tcp::rest(&mut stream) {
            Ok(_) => {}
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "left hanging: {e}"),
        }
    }
    eventually("the port to be closed", || TcpStream::connect(("127.0.0.1", port)).is_err().then_some(()));
    TcpListener::bind(("127.0.0.1", port)).expect("the port is free again");
    app.stop();
}

#[test]
fn clients_that_wait_are_served_when_the_last_server_listens_again_at_once() {
    let port = place::free_port();
    let app =
        Run::fixture("close_last.js").policy("rr").env("PORT", port.to_string()).env("AGAIN", "1").start();
    let (mut served, waiting) = one_served_three_waiting(&app);
    assert_eq!(tcp::ask(&mut served, "close").unwrap(), "closing");
    for stream in waiting {
        assert_eq!(tcp::pid_in(&tcp::line(&stream).unwrap()), app.worker(0));
    }
    app.stop();
}

#[test]
fn listening_twice_on_port_0_gives_the_same_two_ports_in_every_worker() {
    for policy in ["rr", "shared"] {
        let app = Run::example("listen_twice.js").instances(2).policy(policy).start();
        app.wait_count("2 workers with 2 servers", 4, |event| event.is("listening"));
        app.wait_count("2 proven workers", 2, |event| event.is("proven"));
        let out = app.wait_until("4 ports on stdout", |_, out, _| {
            let out = String::from_utf8_lossy(out).into_owned();
            (out.lines().count() >= 4).then_some(out)
        });
        let port = |which: &str| -> u16 {
            let said: BTreeSet<u16> =
                out.lines().filter_map(|line| line.strip_prefix(which)?.trim().parse().ok()).collect();
            assert_eq!(said.len(), 1, "one {which} port under {policy}: {out}");
            *said.first().unwrap()
        };
        let (first, second) = (port("first"), port("second"));
        assert_ne!(first, second);
        for (which, port) in [("first", first), ("second", second)] {
            for _ in 0..4 {
                let answer = http::get(SocketAddr::from(([127, 0, 0, 1], port)), "/");
                assert!(answer.text().starts_with(which), "{}", answer.text());
            }
        }
        app.stop();
    }
}

#[test]
fn one_port_closed_and_opened_in_turns_by_two_workers_stays_usable() {
    let port = place::free_port();
    let run = Run::fixture("turns.js").instances(2).policy("rr");
    let app = run.env("PORT", port.to_string()).env("ROUNDS", "15").start();
    let out = app.wait_out_times("settled", 2);
    assert!(!out.contains("failed"), "{out}");
    app.serving(2);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let pids: BTreeSet<u32> = (0..6).map(|_| tcp::greet(address).unwrap().1).collect();
    assert_eq!(pids.len(), 2);
    app.stop();
}

#[test]
fn a_worker_whose_first_listen_failed_still_shares_with_its_siblings() {
    // Up to Node 20 the worker's index is then out of step, and Node's primary takes it for another server
    // (defect B6).
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stranger.local_addr().unwrap().port();
    let dir = TempDir::new();
    let run = Run::fixture("retry.js").instances(2).policy("rr");
    let app = run.env("PORT", port.to_string()).env("GO", dir.file("go")).start();
    app.wait_out("EADDRINUSE in 0");
    drop(stranger);
    app.wait_out("listening in 0");
    dir.write("go", "");
    let out = app.wait_out("listening in 1");
    assert!(!out.contains("EADDRINUSE in 1"), "{out}");
    app.serving(2);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let pids: BTreeSet<u32> = (0..6).map(|_| tcp::greet(address).unwrap().1).collect();
    assert_eq!(pids, app.workers().into_values().collect());
    app.stop();
}

#[test]
fn messages_of_the_program_are_taken_and_harmless() {
    let app = Run::fixture("messages.js").instances(2).start();
    let address = app.serving(2);
    app.wait_out_times("all taken in ", 2);
    assert!(app.all("violation").is_empty(), "{:?}", app.all("violation"));
    for _ in 0..4 {
        tcp::greet(address).unwrap();
    }
    assert!(app.all("died").is_empty());
    let left = app.stop();
    assert!(!left.out().contains("not taken"), "{}", left.out());
}

#[test]
fn handles_sent_by_a_worker_are_acknowledged_and_closed() {
    let app = Run::fixture("handles.js").instances(2).policy("rr").start();
    let address = app.serving(2);
    let before = procfs::descriptors(app.pid());
    app.wait_out_times("acknowledged in ", 2);
    for _ in 0..10 {
        tcp::greet(address).unwrap();
    }
    eventually("the primary to have closed what it was sent", || {
        (procfs::descriptors(app.pid()) <= before + 1).then_some(())
    });
    let left = app.stop();
    assert!(!left.out().contains("failed"), "{}", left.out());
}

#[test]
fn a_worker_that_leaves_by_disconnect_goes_without_losing_a_request() {
    let app = Run::fixture("app.js").instances(2).start();
    let address = app.serving(2);
    let leaver = http::get(address, "/leave").pid();
    for _ in 0..20 {
        http::get(address, "/");
    }
    let died = app.wait_for("the worker to leave", |event| event.is("died") && event.of(leaver));
    assert_eq!(died.value["code"], 0, "{died:?}");
    for _ in 0..4 {
        assert_ne!(http::get(address, "/").pid(), leaver);
    }
    app.stop();
}

#[test]
fn a_worker_that_kills_itself_through_cluster_is_answered() {
    // worker.kill() in the worker waits for the primary's answer to `exitedAfterDisconnect`.
    let app = Run::fixture("app.js").instances(2).start();
    let address = app.serving(2);
    let gone = http::get(address, "/kill-me").pid();
    let died = app.wait_for("the worker to go", |event| event.is("died") && event.of(gone));
    assert_eq!(died.value["code"], 0, "{died:?}");
    http::get(address, "/");
    app.stop();
}

#[test]
fn tls_sessions_resume_across_workers() {
    let dir = TempDir::new();
    let (key, cert) = (dir.file("key.pem"), dir.file("cert.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"])
        .args(["-keyout".as_ref(), key.as_os_str(), "-out".as_ref(), cert.as_os_str()])
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for policy in ["rr", "shared"] {
        let run = Run::example("https_tickets.js").instances(2).policy(policy);
        let app = run.env("KEY", &key).env("CERT", &cert).start();
        let address = app.serving(2);
        // One full handshake, then five more connections that offer its ticket.
        let client = Command::new("openssl")
            .args(["s_client", "-tls1_2", "-reconnect", "-connect", &address.to_string()])
            .stdin(Stdio::null())
            .output()
            .expect("openssl runs");
        let told = String::from_utf8_lossy(&client.stdout).into_owned();
        assert_eq!(told.matches("Reused, TLSv1.2").count(), 5, "policy {policy}: {told}");
        let out = app.wait_out_times("resumed", 5);
        let pids: BTreeSet<u32> = out.lines().map(tcp::pid_in).collect();
        if policy == "rr" {
            assert_eq!(pids.len(), 2, "both workers took part: {out}");
        }
        app.stop();
    }
}

#[test]
fn http2_is_served_by_every_worker() {
    let app = Run::example("http2.js").instances(2).policy("rr").start();
    let address = app.serving(2);
    let client = place::node().arg(place::fixture("h2_client.js")).arg(address.port().to_string()).output();
    let client = client.unwrap();
    let told = String::from_utf8_lossy(&client.stdout).into_owned();
    let pids: Vec<u32> = told.lines().map(tcp::pid_in).collect();
    assert_eq!(pids.len(), 6, "{told}");
    assert_eq!(pids.into_iter().collect::<BTreeSet<_>>(), app.workers().into_values().collect());
    app.stop();
}

/// A text frame from a client: masked, shorter than 126 bytes.
fn frame(text: &str) -> Vec<u8> {
    let mask = [7, 11, 13, 17];
    let mut bytes = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap()];
    bytes.extend(mask);
    bytes.extend(text.bytes().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

fn frame_text(client: &mut Client) -> String {
    let mut head = [0; 2];
    client.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 0x81, "a whole text frame");
    let mut body = vec![0; usize::from(head[1])];
    client.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

fn check_websocket(address: SocketAddr) -> u32 {
    let mut client = Client::connect(address).unwrap();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    client.send("/", upgrade).unwrap();
    let response = client.receive().unwrap();
    assert_eq!(response.status, 101);
    // The answer to this key is the example of RFC 6455, section 1.3.
    let accept = ("sec-websocket-accept".to_owned(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned());
    assert!(response.headers.contains(&accept), "{:?}", response.headers);
    let pid = tcp::pid_in(&frame_text(&mut client));
    for n in 0..3 {
        client.write_all(&frame(&format!("message {n}"))).unwrap();
        assert_eq!(frame_text(&mut client), format!("message {n} from {pid}"));
    }
    pid
}

#[test]
fn websockets_stay_with_their_worker() {
    let app = Run::example("websocket.js").instances(2).policy("rr").start();
    let address = app.serving(2);
    let pids: BTreeSet<u32> = (0..4).map(|_| check_websocket(address)).collect();
    assert_eq!(pids, app.workers().into_values().collect());
    app.stop();
}

#[test]
fn the_ws_package_from_npm_runs_unmodified() {
    let dir = place::root().join("target/e2e-node");
    if !dir.join("node_modules").is_dir() {
        let why = "target/e2e-node has no packages; `cargo xtask test` installs them";
        return place::skipped("the_ws_package_from_npm_runs_unmodified", why);
    }
    let app = Run::path(dir.join("ws.js")).instances(2).policy("rr").start();
    let address = app.serving(2);
    let pids: BTreeSet<u32> = (0..4).map(|_| check_websocket(address)).collect();
    assert_eq!(pids, app.workers().into_values().collect());
    app.stop();
}

#[test]
fn udp_echo_with_four_workers_answers_every_datagram() {
    let app = Run::example("udp_echo.js").instances(4).start();
    let address = app.serving(4);
    let workers: BTreeSet<u32> = app.workers().into_values().collect();
    for n in 0..40 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(client_patience())).unwrap();
        socket.send_to(format!("ping {n}").as_bytes(), address).unwrap();
        let mut bytes = [0; 2000];
        let (length, from) = socket.recv_from(&mut bytes).expect("an echo");
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        assert_eq!(from, address, "the answer comes from the shared port");
        assert!(text.starts_with(&format!("ping {n} from ")), "{text}");
        assert!(workers.contains(&tcp::pid_in(&text)));
    }
    assert!(app.all("listening").iter().all(|event| event.text("kind") == "udp"));
    app.stop();
}

#[test]
fn every_message_is_shown_with_two_v() {
    let app = Run::example("net_0.js").policy("rr").text().args(["-vv"]).start();
    let text = app.wait_err("listening");
    assert!(text.contains("queryServer"), "{text}");
    let address = eventually("the port", || {
        procfs::listens_on(app.pid()).first().map(|port| SocketAddr::from(([127, 0, 0, 1], *port)))
    });
    tcp::greet(address).unwrap();
    app.wait_err("newconn");
    app.wait_err("accepted");
    app.stop();
}
