//! Every form of `listen()` and `bind()` a Node worker can ask for, under both policies.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use oneport_e2e::run::{client_patience, reach};
use oneport_e2e::{App, Run, TempDir, place, procfs, tcp};
use serde_json::{Value, json};

const POLICIES: [&str; 2] = ["rr", "shared"];

fn listen(policy: &str, form: &Value) -> Run {
    Run::fixture("listen.js").instances(2).policy(policy).env("LISTEN", form.to_string())
}

/// What `count` workers said on stdout about their server.
fn said(app: &App, count: usize) -> Vec<Value> {
    app.wait_until(&format!("{count} workers to say what came of listen"), |_, out, _| {
        let lines: Vec<Value> =
            String::from_utf8_lossy(out).lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (lines.len() >= count).then_some(lines)
    })
}

/// Both workers tell the same address, the life lines tell it, and clients are served there.
fn check_tcp(app: &App, family: &str, ip: &str) -> SocketAddr {
    app.serving(2);
    let told = app.all("listening");
    let lines = said(app, 2);
    for line in &lines {
        assert_eq!(line["address"], lines[0]["address"], "both have one address");
        assert_eq!(line["address"]["family"], family);
        assert_eq!(line["address"]["address"], ip);
    }
    let port = &lines[0]["address"]["port"];
    for event in &told {
        assert_eq!(event.text("kind"), "tcp");
        assert!(event.text("address").ends_with(&format!(":{port}")), "{event:?}, port {port}");
    }
    let address = reach(told[0].text("address"));
    let pids: BTreeSet<u32> = (0..8).map(|_| tcp::greet(address).unwrap().1).collect();
    let workers: BTreeSet<u32> = app.workers().into_values().collect();
    assert!(pids.is_subset(&workers), "{pids:?} of {workers:?}");
    address
}

#[test]
fn a_port_without_a_host() {
    for policy in POLICIES {
        let app = listen(policy, &json!([0])).start();
        let address = check_tcp(&app, "IPv6", "::");
        let v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port()));
        tcp::greet(v6).expect("dual stack: IPv6 as well");
        app.stop();
    }
}

#[test]
fn a_fixed_port() {
    for policy in POLICIES {
        let port = place::free_port();
        let app = listen(policy, &json!([port])).start();
        assert_eq!(check_tcp(&app, "IPv6", "::").port(), port);
        app.stop();
    }
}

#[test]
fn a_port_with_an_ipv4_host() {
    for policy in POLICIES {
        let app = listen(policy, &json!([0, "127.0.0.1"])).start();
        check_tcp(&app, "IPv4", "127.0.0.1");
        app.stop();
    }
}

#[test]
fn a_port_with_an_ipv6_host() {
    for policy in POLICIES {
        let app = listen(policy, &json!([0, "::1"])).start();
        check_tcp(&app, "IPv6", "::1");
        app.stop();
    }
}

#[test]
fn a_host_name_is_resolved_in_the_worker() {
    for policy in POLICIES {
        let app = listen(policy, &json!([0, "localhost"])).start();
        app.serving(2);
        let lines = said(&app, 2);
        assert!(
            ["127.0.0.1", "::1"].contains(&lines[0]["address"]["address"].as_str().unwrap()),
            "{lines:?}"
        );
        tcp::greet(reach(app.all("listening")[0].text("address"))).unwrap();
        app.stop();
    }
}

#[test]
fn ipv6_only_leaves_ipv4_alone() {
    for policy in POLICIES {
        let app = listen(policy, &json!([{"port": 0, "host": "::", "ipv6Only": true}])).start();
        app.serving(2);
        said(&app, 2);
        let port = reach(app.all("listening")[0].text("address")).port();
        tcp::greet(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port))).unwrap();
        let v4 = TcpStream::connect(("127.0.0.1", port)).map(drop);
        assert_eq!(v4.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused, "policy {policy}");
        app.stop();
    }
}

/// The accept queue's limit of a listening port, as `ss` shows it in `Send-Q`.
fn backlog(port: u16) -> u32 {
    let out = Command::new("ss").args(["-ltnH", &format!("sport = :{port}")]).output().expect("ss runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let field = text.split_whitespace().nth(2).and_then(|field| field.parse().ok());
    field.unwrap_or_else(|| panic!("no backlog for port {port} in `{text}`"))
}

#[test]
fn the_backlog_asked_for_is_the_backlog_of_the_socket() {
    for policy in POLICIES {
        let app = listen(policy, &json!([{"port": 0, "host": "127.0.0.1", "backlog": 17}])).start();
        let address = check_tcp(&app, "IPv4", "127.0.0.1");
        assert_eq!(backlog(address.port()), 17, "policy {policy}");
        app.stop();
    }
}

#[test]
fn without_a_backlog_it_is_511_as_in_node() {
    for policy in POLICIES {
        let app = listen(policy, &json!([0, "127.0.0.1"])).start();
        let address = check_tcp(&app, "IPv4", "127.0.0.1");
        assert_eq!(backlog(address.port()), 511, "policy {policy}");
        app.stop();
    }
}

fn check_unix(app: &App, told: &Path, path: &Path) {
    app.wait_count("2 proven workers", 2, |event| event.is("proven"));
    for event in app.wait_count("2 workers listening", 2, |event| event.is("listening")) {
        assert_eq!(event.text("kind"), "unix");
        assert_eq!(Path::new(event.text("address")), told);
    }
    let workers: BTreeSet<u32> = app.workers().into_values().collect();
    for _ in 0..6 {
        let stream = std::os::unix::net::UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(client_patience())).unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut &stream, &mut text).unwrap();
        assert!(workers.contains(&tcp::pid_in(&text)), "{text}");
    }
}

#[test]
fn a_unix_socket_by_absolute_path_is_gone_after_the_stop() {
    for policy in POLICIES {
        let dir = TempDir::new();
        let path = dir.file("a.sock");
        let app = listen(policy, &json!([path])).start();
        check_unix(&app, &path, &path);
        app.stop();
        assert!(!path.exists(), "the socket file was left behind under {policy}");
    }
}

#[test]
fn a_unix_socket_by_relative_path_is_relative_to_the_worker() {
    for policy in POLICIES {
        let dir = TempDir::new();
        let real = dir.path().canonicalize().unwrap().join("relative.sock");
        let app = listen(policy, &json!(["relative.sock"]))
            .args(["--cwd".as_ref(), dir.path().as_os_str()])
            .start();
        check_unix(&app, &real, &real);
        app.stop();
    }
}

/// A directory whose path alone is longer than a socket address may be.
fn deep(dir: &TempDir) -> PathBuf {
    let deep = dir.path().canonicalize().unwrap().join("d".repeat(60)).join("e".repeat(60));
    std::fs::create_dir_all(&deep).unwrap();
    deep
}

#[test]
fn an_over_long_unix_path_is_reached_through_the_working_directory() {
    for policy in POLICIES {
        let dir = TempDir::new();
        let deep = deep(&dir);
        let app = listen(policy, &json!(["long.sock"])).cwd(&deep).start();
        // The client, too, needs a shorter name: a descriptor of the directory.
        let handle = std::fs::File::open(&deep).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&handle);
        let short = PathBuf::from(format!("/proc/self/fd/{number}/long.sock"));
        check_unix(&app, &deep.join("long.sock"), &short);
        app.stop();
    }
}

#[test]
fn a_stale_unix_socket_is_replaced() {
    for policy in POLICIES {
        let dir = TempDir::new();
        let path = dir.file("stale.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // leaves the file behind
        let app = listen(policy, &json!([path])).start();
        check_unix(&app, &path, &path);
        app.stop();
    }
}

#[test]
fn a_unix_socket_another_process_listens_on_is_refused_and_stays() {
    let dir = TempDir::new();
    let path = dir.file("taken.sock");
    let stranger = std::os::unix::net::UnixListener::bind(&path).unwrap();
    for policy in POLICIES {
        let app = listen(policy, &json!([path])).start();
        for line in said(&app, 2) {
            assert_eq!(line["error"]["code"], "EADDRINUSE", "{line}");
            assert_eq!(line["error"]["errno"], -98, "{line}");
        }
        app.stop();
        assert!(path.exists(), "a stranger's socket file was removed under {policy}");
    }
    drop(stranger);
}

#[test]
fn a_unix_path_in_a_missing_directory_is_eacces_as_in_node() {
    for policy in POLICIES {
        let dir = TempDir::new();
        let app = listen(policy, &json!([dir.file("missing/a.sock")])).start();
        for line in said(&app, 2) {
            assert_eq!(line["error"]["code"], "EACCES", "{line}");
            assert_eq!(line["error"]["errno"], -13, "{line}");
        }
        app.stop();
    }
}

#[test]
fn readable_all_and_writable_all_open_the_socket_file() {
    for policy in POLICIES {
        let dir = TempDir::new();
        let path = dir.file("open.sock");
        let app = listen(policy, &json!([{"path": path, "readableAll": true, "writableAll": true}])).start();
        check_unix(&app, &path, &path);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o666, 0o666, "mode {mode:o} under {policy}");
        app.stop();
    }
}

/// Hands `fd` to the primary as its descriptor 9 (through its stdin, so that no other process gets it).
fn with_descriptor_nine(run: Run, fd: std::os::fd::OwnedFd) -> Run {
    run.wrapped(["sh", "-c", "exec \"$0\" \"$@\" 9<&0 </dev/null"]).stdin(fd)
}

#[test]
fn a_descriptor_the_primary_inherited() {
    for policy in POLICIES {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = with_descriptor_nine(listen(policy, &json!([{"fd": 9}])), listener.into()).start();
        assert_eq!(check_tcp(&app, "IPv4", "127.0.0.1").port(), port);
        app.stop();
    }
}

#[test]
fn a_descriptor_nobody_inherited_is_ebadf() {
    for policy in POLICIES {
        let app = listen(policy, &json!([{"fd": 77}])).start();
        for line in said(&app, 2) {
            assert_eq!(line["error"]["code"], "EBADF", "{line}");
        }
        app.stop();
    }
}

#[test]
fn an_exclusive_server_has_a_port_of_its_own() {
    for policy in POLICIES {
        let form = json!([{"port": 0, "host": "127.0.0.1", "exclusive": true}]);
        let app = listen(policy, &form).start();
        let lines = said(&app, 2);
        assert_ne!(lines[0]["address"]["port"], lines[1]["address"]["port"]);
        for line in lines {
            let port = u16::try_from(line["address"]["port"].as_u64().unwrap()).unwrap();
            let pid = tcp::greet(SocketAddr::from(([127, 0, 0, 1], port))).unwrap().1;
            assert_eq!(Some(u64::from(pid)), line["pid"].as_u64());
        }
        assert!(app.all("listening").is_empty(), "the primary was never asked");
        app.stop();
    }
}

#[test]
fn reuse_port_works_with_or_without_the_primary() {
    // From Node 22 on the worker opens its own socket and never asks; before, the option is unknown.
    let port = place::free_port();
    let form = json!([{"port": port, "host": "127.0.0.1", "reusePort": true}]);
    let app = listen("rr", &form).start();
    for line in said(&app, 2) {
        assert_eq!(line["address"]["port"], port, "{line}");
    }
    let workers: BTreeSet<u32> = app.workers().into_values().collect();
    for _ in 0..8 {
        assert!(workers.contains(&tcp::greet(SocketAddr::from(([127, 0, 0, 1], port))).unwrap().1));
    }
    let by_primary = procfs::listens_on(app.pid()).contains(&port);
    assert_eq!(by_primary, place::node_major() < 22);
    app.stop();
}

#[test]
fn a_second_worker_with_other_flags_is_told_and_not_ignored() {
    // Node ignores what later workers ask for (defect B7): the second one would serve IPv4 unknowingly.
    let port = place::free_port();
    let app = Run::fixture("listen.js")
        .instances(2)
        .policy("rr")
        .env("LISTEN_0", json!([{"port": port, "host": "::", "ipv6Only": false}]).to_string())
        .env("LISTEN_1", json!([{"port": port, "host": "::", "ipv6Only": true}]).to_string())
        .start();
    let lines = said(&app, 2);
    let failed = lines.iter().filter(|line| !line["error"].is_null()).count();
    assert_eq!(failed, 1, "one of the two contradicting wishes is refused: {lines:?}");
    app.stop();
}

#[test]
fn a_later_worker_with_a_larger_backlog_gets_it() {
    // Node ignores the backlog of every worker but the first (defect B7).
    let port = place::free_port();
    let app = Run::fixture("listen.js")
        .instances(2)
        .policy("rr")
        .env("LISTEN_0", json!([{"port": port, "host": "127.0.0.1", "backlog": 16}]).to_string())
        .env("LISTEN_1", json!([{"port": port, "host": "127.0.0.1", "backlog": 64}]).to_string())
        .start();
    app.listening(2);
    assert_eq!(backlog(port), 64);
    app.stop();
}

fn bind(policy: &str, socket: &Value, form: &Value) -> Run {
    let run = Run::fixture("bind.js").instances(2).policy(policy);
    run.env("SOCKET", socket.to_string()).env("BIND", form.to_string())
}

fn check_udp(app: &App, client: &str) -> SocketAddr {
    let told = app.wait_count("2 workers listening", 2, |event| event.is("listening"));
    for event in &told {
        assert_eq!(event.text("kind"), "udp");
        assert_eq!(event.text("address"), told[0].text("address"));
    }
    let port = reach(told[0].text("address")).port();
    let workers: BTreeSet<u32> = app.workers().into_values().collect();
    let address = SocketAddr::new(client.parse().unwrap(), port);
    for n in 0..6 {
        let answer = udp_ask(address, &format!("ping {n}"));
        assert!(answer.starts_with(&format!("ping {n} from ")), "{answer}");
        assert!(workers.contains(&tcp::pid_in(&answer)), "{answer}");
    }
    address
}

fn udp_ask(address: SocketAddr, text: &str) -> String {
    let local = if address.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" };
    let socket = UdpSocket::bind(local).unwrap();
    socket.set_read_timeout(Some(client_patience())).unwrap();
    socket.send_to(text.as_bytes(), address).unwrap();
    let mut bytes = [0; 2000];
    let (length, _) = socket.recv_from(&mut bytes).expect("a datagram comes back");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[test]
fn udp_on_every_address() {
    for policy in POLICIES {
        let app = bind(policy, &json!("udp4"), &json!({"port": 0})).start();
        check_udp(&app, "127.0.0.1");
        app.stop();
    }
}

#[test]
fn udp_on_one_address() {
    for policy in POLICIES {
        let app = bind(policy, &json!("udp4"), &json!({"port": 0, "address": "127.0.0.1"})).start();
        check_udp(&app, "127.0.0.1");
        app.stop();
    }
}

#[test]
fn udp6_with_ipv6_only_and_reuse_addr() {
    for policy in POLICIES {
        let socket = json!({"type": "udp6", "ipv6Only": true, "reuseAddr": true});
        let app = bind(policy, &socket, &json!({"port": 0})).start();
        let address = check_udp(&app, "::1");
        // ipv6Only: the same port is still free for IPv4.
        UdpSocket::bind(("0.0.0.0", address.port())).expect("IPv4 is left alone");
        app.stop();
    }
}

#[test]
fn udp_port_taken_by_a_stranger_is_an_error() {
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = stranger.local_addr().unwrap().port();
    for policy in POLICIES {
        let app = bind(policy, &json!("udp4"), &json!({"port": port, "address": "127.0.0.1"})).start();
        for line in said(&app, 2) {
            assert_eq!(line["error"]["code"], "EADDRINUSE", "{line}");
        }
        app.stop();
    }
}

#[test]
fn udp_by_a_descriptor_the_primary_inherited() {
    for policy in POLICIES {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let run = bind(policy, &json!("udp4"), &json!({"fd": 9}));
        let app = with_descriptor_nine(run, socket.into()).start();
        said(&app, 2);
        let answer = udp_ask(SocketAddr::from(([127, 0, 0, 1], port)), "ping");
        assert!(answer.starts_with("ping from "), "{answer}");
        app.stop();
    }
}
