//! Which listeners of a program are the app's, and where they are: port 0, both families, UDP, published and
//! excluded ports, helpers that are left alone.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use oneport_e2e::programs::{all_answer, all_answer_http, http_server, odd};
use oneport_e2e::wait::patient;
use oneport_e2e::{App, place, tcp};

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The words behind `label` of every line that has it, once there are `count`.
fn said(app: &App, label: &str, count: usize) -> Vec<Vec<String>> {
    app.wait_until(&format!("{count} times `{label}`"), |_, out, _| {
        let out = String::from_utf8_lossy(out).into_owned();
        let complete = out.rsplit_once('\n').map_or("", |(complete, _)| complete);
        let words = |line: &str| {
            let (_, rest) = line.split_once(label)?;
            Some(rest.split_whitespace().map(str::to_owned).collect())
        };
        let found: Vec<Vec<String>> = complete.lines().filter_map(words).collect();
        (found.len() >= count).then_some(found)
    })
}

#[test]
fn ports_of_the_kernels_choice_are_agreed_and_clients_on_port_0_are_left_alone() {
    let none: [&str; 0] = [];
    let app = odd("port_0", none).instances(3).start();
    let lines = said(&app, "ports ", 3);
    for line in &lines {
        assert_eq!(line[3], "ok", "its client that was bound to port 0: {line:?}");
        assert_eq!(line[..2], lines[0][..2], "the ports of all copies: {lines:?}");
    }
    let ports: BTreeSet<u16> = lines[0][..2].iter().map(|port| port.parse().unwrap()).collect();
    assert_eq!(ports.len(), 2, "two listeners, two ports");
    app.wait_count("3 proven workers", 3, |event| event.is("proven"));
    for port in ports {
        all_answer_http(&app, local(port));
    }
    app.stop();
}

#[test]
fn a_replacement_gets_the_ports_that_were_agreed() {
    let none: [&str; 0] = [];
    let app = odd("port_0", none).instances(2).start();
    said(&app, "ports ", 2);
    app.wait_count("2 proven workers", 2, |event| event.is("proven"));
    oneport_e2e::procfs::signal(app.worker(0), oneport_e2e::Signal::KILL);
    let lines = said(&app, "ports ", 3);
    assert_eq!(lines[2], lines[0], "ports of the replacement");
    app.stop();
}

#[test]
fn copies_share_a_port_of_ipv6() {
    let port = place::free_port();
    let app = http_server([port.to_string(), "::1".into()]).instances(2).start();
    let address = app.serving(2);
    assert_eq!(address, SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
    all_answer_http(&app, address);
    app.stop();
}

#[test]
fn a_dual_stack_socket_serves_both_families_in_every_copy() {
    let port = place::free_port();
    let app = http_server([port.to_string(), "::".into()]).instances(2).start();
    app.serving(2);
    all_answer_http(&app, local(port));
    all_answer_http(&app, SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
    app.stop();
}

/// One datagram from a socket of its own, and who answered.
fn datagram(to: SocketAddr) -> io::Result<u32> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(patient(Duration::from_secs(5))))?;
    socket.send_to(b"who", to)?;
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer)?;
    Ok(tcp::pid_in(&String::from_utf8_lossy(&answer[..length])))
}

#[test]
fn copies_share_a_listed_udp_port() {
    let port = place::free_port();
    let app = odd("udp", [port.to_string()]).instances(2).args(["--port", &format!("{port}/udp")]).start();
    app.serving(2);
    all_answer(&app, || datagram(local(port)));
    app.stop();
}

#[test]
fn datagrams_of_one_client_go_to_one_copy() {
    let port = place::free_port();
    let app = odd("udp", [port.to_string()]).instances(3).args(["--port", &format!("{port}/udp")]).start();
    app.serving(3);
    for _ in 0..8 {
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.set_read_timeout(Some(patient(Duration::from_secs(5)))).unwrap();
        client.connect(local(port)).unwrap();
        let answers: BTreeSet<Vec<u8>> = (0..10)
            .map(|_| {
                let mut answer = [0; 64];
                client.send(b"who").unwrap();
                let length = client.recv(&mut answer).expect("an answer");
                answer[..length].to_vec()
            })
            .collect();
        assert_eq!(answers.len(), 1, "one client, one copy");
    }
    app.stop();
}

#[test]
fn a_published_port_is_served_and_the_programs_own_is_not() {
    let (outside, inside) = (place::free_port(), place::free_port());
    let app = http_server([inside.to_string()])
        .instances(2)
        .args(["--publish", &format!("{outside}:{inside}")])
        .start();
    let address = app.serving(2);
    assert_eq!(address, local(outside));
    all_answer_http(&app, address);
    let refused = TcpStream::connect(local(inside)).map(drop).map_err(|e| e.kind());
    assert_eq!(refused, Err(io::ErrorKind::ConnectionRefused), "the port inside");
    app.stop();
}

/// Two copies that listen on two ports, of which the second is not the app's: the kernel gives that to one of them.
fn only_the_first_port_is_the_apps(options: impl Fn(u16, u16) -> [String; 2]) {
    let (port, other) = (place::free_port(), place::free_port());
    let words = [port.to_string(), other.to_string()];
    let app = odd("outside", words).instances(2).args(options(port, other)).start();
    let mut outcomes: Vec<String> = said(&app, "other port: ", 2).concat();
    outcomes.sort();
    assert_eq!(outcomes, ["EADDRINUSE", "ok"]);
    app.serving(2);
    all_answer_http(&app, local(port));
    app.stop();
}

#[test]
fn an_excluded_port_is_left_to_the_kernel() {
    only_the_first_port_is_the_apps(|_, other| ["--exclude-port".into(), other.to_string()]);
}

#[test]
fn a_port_outside_the_list_is_left_to_the_kernel() {
    only_the_first_port_is_the_apps(|port, _| ["--port".into(), port.to_string()]);
}

#[test]
fn without_a_list_every_tcp_port_is_the_apps() {
    let (port, other) = (place::free_port(), place::free_port());
    let app = odd("outside", [port.to_string(), other.to_string()]).instances(2).start();
    assert_eq!(said(&app, "other port: ", 2).concat(), ["ok", "ok"]);
    app.stop();
}

#[test]
fn helper_sockets_on_port_0_of_loopback_stay_each_copys_own() {
    let port = place::free_port();
    let app = odd("helper", [port.to_string()]).instances(3).start();
    let helpers: BTreeSet<String> = said(&app, "helper ", 3).into_iter().flatten().collect();
    assert_eq!(helpers.len(), 3, "{helpers:?}");
    all_answer_http(&app, app.serving(3));
    app.stop();
}

/// A port below the first one that everybody may bind, free now; None where that cannot be tried.
fn low_port() -> Option<u16> {
    let start = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok()?;
    let start: u16 = start.trim().parse().ok()?;
    (500..start.min(1024)).find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
}

#[test]
fn a_low_port_is_granted_to_a_worker_without_privileges_where_the_settings_say_so() {
    let Some(port) = low_port().filter(|_| rustix::process::geteuid().is_root()) else {
        return place::skipped("a_low_port_is_granted", "low ports need root here, or are everybody's");
    };
    let app = odd("drops", [port.to_string()]).instances(2).args(["--low-ports"]).start();
    assert_eq!(said(&app, "uid ", 2).concat(), ["65534", "65534"]);
    all_answer_http(&app, app.serving(2));
    app.stop();
    let refused = odd("drops", [port.to_string()]).args(["--max-restarts", "1"]).min_uptime("10s").finish();
    assert_eq!(refused.code(), 1);
    assert!(refused.err().contains("Permission denied"), "{}", refused.err());
    assert!(refused.err().contains("low-ports"), "the remedy is named: {}", refused.err());
}
