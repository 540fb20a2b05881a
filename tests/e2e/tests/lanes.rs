//! Node workers that each have a socket of their own, under every policy and tier that gives them one.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use oneport_e2e::load::{Load, Style};
use oneport_e2e::wait::{eventually, throughout};
use oneport_e2e::{App, Run, Signal, http, place, procfs, tcp};
use rustix::net::{AddressFamily, SocketType, bind, connect, listen, socket, sockopt};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// How workers get connections, as options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placing {
    LeastA,
    LeastB,
    LeastC,
    Hash,
    Sticky,
}

impl Placing {
    fn options(self) -> &'static [&'static str] {
        match self {
            Placing::LeastA => &["--policy", "least", "--tier", "a"],
            Placing::LeastB => &["--policy", "least", "--tier", "b"],
            Placing::LeastC => &["--policy", "least", "--tier", "c"],
            Placing::Hash => &["--policy", "hash"],
            Placing::Sticky => &["--policy", "sticky"],
        }
    }

    fn run(self, fixture: &str, instances: usize) -> Run {
        Run::fixture(fixture).instances(instances).args(self.options().iter().copied())
    }

    /// The tier that was asked for, if this machine or user may have it.
    fn is_had(self, app: &App) -> bool {
        let tier = app.all("primary")[0].value["tier"].as_str().map(str::to_owned);
        let wanted = match self {
            Placing::LeastA => Some("A"),
            Placing::LeastB => Some("B"),
            Placing::LeastC => Some("C"),
            Placing::Hash | Placing::Sticky => None,
        };
        let had = tier.as_deref() == wanted;
        if !had {
            place::skipped(&format!("{self:?}"), "the tier cannot be had here");
        }
        had
    }
}

macro_rules! under_each {
    ($($scenario:ident),* $(,)?) => {
        mod least_a { $(#[test] fn $scenario() { super::$scenario(super::Placing::LeastA); })* }
        mod least_b { $(#[test] fn $scenario() { super::$scenario(super::Placing::LeastB); })* }
        mod least_c { $(#[test] fn $scenario() { super::$scenario(super::Placing::LeastC); })* }
        mod hash { $(#[test] fn $scenario() { super::$scenario(super::Placing::Hash); })* }
        mod sticky { $(#[test] fn $scenario() { super::$scenario(super::Placing::Sticky); })* }
    };
}

under_each! {
    a_reload_under_load_loses_nothing,
    what_waits_for_a_killed_worker_is_served,
    a_worker_that_closes_its_server_costs_nobody_an_answer,
    a_taken_port_stays_taken,
    every_worker_listens_on_a_socket_of_its_own,
    the_only_worker_is_replaced_without_a_gap,
}

fn a_reload_under_load_loses_nothing(placing: Placing) {
    let app = placing.run("app.js", 3).start();
    let address = app.serving(3);
    let loads = [Style::Close, Style::KeepAlive].map(|style| Load::start(address, "/", 4, style));
    loads.iter().for_each(|load| load.wait_more(100));
    for round in 1..=2 {
        app.signal(Signal::HUP);
        app.wait_count("the reload to be done", round, |event| event.is("reloaded"));
    }
    loads.iter().for_each(|load| load.wait_more(100));
    for load in loads {
        let tally = load.stop();
        assert_eq!(tally.lost, Vec::<String>::new(), "of {} requests under {placing:?}", tally.total());
    }
    app.stop();
}

/// Many wait with a worker that does nothing; whoever gets them, each is answered.
fn what_waits_for_a_killed_worker_is_served(placing: Placing) {
    let app = placing.run("hold.js", 2).start();
    let address = app.serving(2);
    let victim = app.worker(0);
    procfs::signal(victim, Signal::STOP);
    let clients: Vec<TcpStream> = (0..40).map(|_| tcp::connect(address).unwrap()).collect();
    procfs::signal(victim, Signal::KILL);
    app.wait_for("the replacement", |event| event.is("proven") && event.slot() == 0 && !event.of(victim));
    for client in &clients {
        let pid = tcp::pid_in(&tcp::line(client).unwrap());
        assert_ne!(pid, victim);
    }
    drop(clients);
    app.stop();
}

fn a_worker_that_closes_its_server_costs_nobody_an_answer(placing: Placing) {
    let app = placing.run("app.js", 3).start();
    let address = app.serving(3);
    let load = Load::start(address, "/", 4, Style::Close);
    load.wait_more(50);
    // It closes its servers and leaves by itself.
    let leaves = http::get(address, "/leave").text();
    let pid = tcp::pid_in(&leaves);
    app.wait_for("its end", |event| event.is("died") && event.of(pid));
    load.wait_more(50);
    let tally = load.stop();
    assert_eq!(tally.lost, Vec::<String>::new(), "of {} requests under {placing:?}", tally.total());
    if placing == Placing::Hash || placing == Placing::Sticky {
        assert!(app.all("rescued").is_empty(), "nobody was without progress");
    }
    app.stop();
}

fn a_taken_port_stays_taken(placing: Placing) {
    let port = place::free_port();
    let app = placing.run("listen_twice.js", 2).env("PORT", port.to_string()).start();
    app.wait_out_times("second EADDRINUSE", 2);
    let second = placing.run("listen_twice.js", 1).env("PORT", port.to_string()).start();
    second.wait_for("the refusal", |event| event.is("taken"));
    // A wildcard would take it, too.
    let wide = placing.run("hold.js", 1).env("PORT", port.to_string()).start();
    wide.wait_for("the refusal", |event| event.is("taken"));
    let mine: BTreeSet<u32> = app.workers().into_values().collect();
    for _ in 0..20 {
        let (_, pid) = tcp::greet((Ipv4Addr::LOCALHOST, port).into()).unwrap();
        assert!(mine.contains(&pid));
    }
    app.stop();
}

fn every_worker_listens_on_a_socket_of_its_own(placing: Placing) {
    let app = placing.run("hold.js", 3).start();
    let port = app.serving(3).port();
    let of = |pid: u32| -> BTreeSet<u64> {
        let listening = procfs::listeners();
        procfs::sockets(pid).into_iter().filter(|inode| listening.get(inode) == Some(&port)).collect()
    };
    let each: Vec<BTreeSet<u64>> = app.workers().into_values().map(of).collect();
    assert!(each.iter().all(|sockets| sockets.len() == 1), "{each:?}");
    let all: BTreeSet<u64> = each.into_iter().flatten().collect();
    assert_eq!(all.len(), 3);
    assert!(of(app.pid()).is_superset(&all), "the primary has each of them, too");
    app.stop();
    assert!(!procfs::listeners().values().any(|listening| *listening == port), "nobody listens afterwards");
}

fn the_only_worker_is_replaced_without_a_gap(placing: Placing) {
    let app = placing.run("app.js", 1).start();
    let address = app.serving(1);
    let load = Load::start(address, "/", 2, Style::Close);
    load.wait_more(20);
    app.signal(Signal::HUP);
    app.wait_for("the reload to be done", |event| event.is("reloaded"));
    load.wait_more(20);
    assert_eq!(load.stop().lost, Vec::<String>::new());
    app.stop();
}

/// One connection after the other, all of them held: how many each worker has.
fn held(address: SocketAddr, count: usize) -> (Vec<TcpStream>, BTreeMap<u32, usize>) {
    let mut held = Vec::new();
    let mut by_worker = BTreeMap::new();
    for _ in 0..count {
        let (stream, pid) = tcp::greet(address).unwrap();
        held.push(stream);
        *by_worker.entry(pid).or_default() += 1;
    }
    (held, by_worker)
}

#[test]
fn sixty_four_long_connections_are_sixteen_each_where_the_kernel_counts() {
    let app = Placing::LeastA.run("hold.js", 4).args(["--drain-timeout", "200ms"]).start();
    let address = app.serving(4);
    if Placing::LeastA.is_had(&app) {
        let (_held, by_worker) = held(address, 64);
        assert_eq!(by_worker.into_values().collect::<Vec<_>>(), [16; 4]);
    }
    app.stop();
}

#[test]
fn a_newcomer_is_not_given_everything() {
    let app = Placing::LeastA.run("hold.js", 2).args(["--drain-timeout", "200ms"]).start();
    let address = app.serving(2);
    if Placing::LeastA.is_had(&app) {
        let (_held, _) = held(address, 60);
        procfs::signal(app.worker(0), Signal::KILL);
        let next = app.wait_count("the replacement", 3, |event| event.is("proven")).remove(2);
        let (_more, by_worker) = held(address, 20);
        let newcomer = by_worker.get(&next.pid()).copied().unwrap_or(0);
        // One that is slow to begin may even lose some to its sibling.
        assert!(newcomer <= 15, "{newcomer} of 20");
    }
    app.stop();
}

/// A request that blocks a worker for longer than any test waits for others.
fn blocked(app: &App, address: SocketAddr) -> TcpStream {
    let before: BTreeMap<u32, u64> =
        app.workers().into_values().map(|pid| (pid, procfs::cpu_ms(pid))).collect();
    let mut blocks = TcpStream::connect(address).unwrap();
    blocks.write_all(b"GET /block HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    // Before it is in the middle of that, it may take others.
    eventually("a worker to be busy", || {
        before.iter().find(|(pid, cpu)| procfs::cpu_ms(**pid) > **cpu + 200)
    });
    blocks
}

fn those_who_wait_for_a_blocked_worker_are_given_to_others(placing: Placing) {
    let run = Run::example("blocks.js").instances(2).args(placing.options().iter().copied());
    let app = run.env("BLOCK_MS", "8000").env("PORT", "0").start();
    let address = app.serving(2);
    if placing.is_had(&app) {
        let _blocks = blocked(&app, address);
        let began = Instant::now();
        let clients: Vec<_> =
            (0..40).map(|_| std::thread::spawn(move || http::get(address, "/").pid())).collect();
        let served: BTreeSet<u32> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        assert_eq!(served.len(), 1, "the other one served all");
        app.wait_for("it to be told", |event| {
            event.is("rescued") && event.value["connections"].as_u64().is_some_and(|count| count > 0)
        });
        assert!(began.elapsed() < Duration::from_secs(6), "not one waited for the blocked one");
    }
    app.stop();
}

#[test]
fn those_who_wait_for_a_blocked_worker_are_given_to_others_in_tier_a() {
    those_who_wait_for_a_blocked_worker_are_given_to_others(Placing::LeastA);
}

#[test]
fn those_who_wait_for_a_blocked_worker_are_given_to_others_in_tier_b() {
    those_who_wait_for_a_blocked_worker_are_given_to_others(Placing::LeastB);
}

#[test]
fn those_who_wait_for_a_blocked_worker_are_given_to_others_in_tier_c() {
    those_who_wait_for_a_blocked_worker_are_given_to_others(Placing::LeastC);
}

/// A connection from one address of the loopback network.
fn from(client: u8, address: SocketAddr) -> TcpStream {
    let made = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&made, &SocketAddr::from(([127, 0, 1, client], 0))).unwrap();
    connect(&made, &address).unwrap();
    TcpStream::from(made)
}

fn served_from(client: u8, address: SocketAddr) -> u32 {
    tcp::pid_in(&tcp::line(&from(client, address)).unwrap())
}

#[test]
fn under_sticky_an_address_stays_with_its_slot() {
    let app = Placing::Sticky.run("hold.js", 4).start();
    let address = SocketAddr::from(([127, 0, 0, 1], app.serving(4).port()));
    let slots = |app: &App| -> Vec<i64> {
        let of: BTreeMap<u32, i64> = app.workers().into_iter().map(|(slot, pid)| (pid, slot)).collect();
        (1..=40).map(|client| of[&served_from(client, address)]).collect()
    };
    let first = slots(&app);
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 4, "{first:?}");
    assert_eq!(slots(&app), first);
    app.signal(Signal::HUP);
    app.wait_for("the reload to be done", |event| event.is("reloaded"));
    app.wait_count("the old ones to be gone", 4, |event| event.is("died"));
    assert_eq!(slots(&app), first, "after a reload");
    app.stop();
}

/// Of the same user, with SO_REUSEPORT: nothing keeps it out, so it is told.
#[test]
fn a_stranger_that_joins_is_named_and_gets_nothing() {
    let app = Placing::LeastC.run("hold.js", 2).start();
    let port = app.serving(2).port();
    let family = AddressFamily::INET6;
    let stranger: OwnedFd = socket(family, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_reuseport(&stranger, true).unwrap();
    sockopt::set_ipv6_v6only(&stranger, false).unwrap();
    bind(&stranger, &SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port))).unwrap();
    listen(&stranger, 16).unwrap();
    // It is looked again when somebody joins.
    procfs::signal(app.worker(0), Signal::KILL);
    let told = app.wait_for("the stranger to be told", |event| event.is("stranger"));
    assert_eq!(told.value["pid"].as_u64(), Some(u64::from(std::process::id())));
    app.wait_count("the replacement", 3, |event| event.is("proven"));
    let mine: BTreeSet<u32> = app.workers().into_values().collect();
    for _ in 0..40 {
        let (_, pid) = tcp::greet(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
        assert!(mine.contains(&pid));
    }
    app.stop();
}

#[test]
fn an_idle_app_uses_no_processor_time() {
    let app = Placing::LeastC.run("app.js", 2).start();
    let address = app.serving(2);
    for _ in 0..20 {
        http::get(address, "/");
    }
    let used = || procfs::cpu_ms(app.pid());
    let before = eventually("it to become quiet", || {
        let before = used();
        let start = Instant::now();
        let mut quiet = true;
        throughout(Duration::from_millis(300), "time to pass", || {
            quiet &= used() == before;
            start.elapsed() < Duration::from_secs(20)
        });
        quiet.then_some(before)
    });
    throughout(Duration::from_secs(2), "no processor time", || used() == before);
    app.stop();
}

/// An old worker does nothing until it is ended, while more wait for it than the primary has descriptors for.
#[test]
fn those_who_wait_for_a_worker_that_a_reload_ends_outlast_a_shortage_of_descriptors() {
    let app = Placing::Hash.run("hold.js", 1).args(["--drain-timeout", "2s"]).start();
    let address = app.serving(1);
    let old = app.worker(0);
    procfs::signal(old, Signal::STOP);
    let clients: Vec<TcpStream> = (0..100).map(|_| tcp::connect(address).unwrap()).collect();
    app.signal(Signal::HUP);
    let next = app.wait_for("the new worker", |event| event.is("proven") && !event.of(old)).pid();
    let enough = procfs::descriptors(app.pid()) as u64 + 20;
    let limit = Rlimit { current: Some(enough), maximum: Some(enough) };
    prlimit(Pid::from_raw(app.pid().cast_signed()), Resource::Nofile, limit).unwrap();
    app.wait_for("the shortage", |event| event.value["message"].to_string().contains("descriptors"));
    for client in &clients {
        assert_eq!(tcp::pid_in(&tcp::line(client).unwrap()), next);
    }
    app.stop();
}

#[test]
fn without_any_privilege_it_serves_and_says_how() {
    let words = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
    ];
    let app = Run::fixture("app.js").instances(2).wrapped(words).start();
    let address = app.serving(2);
    let first = &app.all("primary")[0];
    assert_eq!((first.text("policy"), first.value["tier"].as_str()), ("least", Some("C")), "{}", first.value);
    let load = Load::start(address, "/", 4, Style::Close);
    load.wait_more(200);
    assert_eq!(load.stop().lost, Vec::<String>::new());
    app.stop();
}

fn effective(status: &str) -> u64 {
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    u64::from_str_radix(bits, 16).unwrap()
}

#[test]
fn no_thread_has_rights_in_effect_between_the_calls_that_need_them() {
    // CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF.
    const RIGHTS: u64 = 1 << 12 | 1 << 38 | 1 << 39;
    let app = Placing::LeastA.run("hold.js", 2).start();
    app.serving(2);
    // CAP_SYS_PTRACE: without it root would not see into its own workers.
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let sees = !rustix::process::geteuid().is_root() || effective(&own) & 1 << 19 != 0;
    if Placing::LeastA.is_had(&app) && sees {
        let in_effect = || -> Vec<u64> {
            let threads = std::fs::read_dir(format!("/proc/{}/task", app.pid())).unwrap();
            let status = threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("status")));
            status.filter_map(|status| Some(effective(&status.ok()?))).collect()
        };
        assert!(in_effect().len() > 1, "there is a thread that measures, too");
        eventually("all rights to be down", || {
            in_effect().iter().all(|bits| bits & RIGHTS == 0).then_some(())
        });
    }
    app.stop();
}

#[test]
fn under_hash_each_client_of_udp_stays_with_one_worker() {
    let port = place::free_port();
    let run = Placing::Hash.run("bind.js", 3).env("SOCKET", r#""udp4""#);
    let app = run.env("BIND", format!(r#"{{"port":{port},"address":"127.0.0.1"}}"#)).start();
    app.wait_count("all to be bound", 3, |event| event.is("proven"));
    let clients: Vec<std::net::UdpSocket> = (0..24)
        .map(|_| {
            let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            client.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
            client.connect(("127.0.0.1", port)).unwrap();
            client
        })
        .collect();
    let answers = || -> Vec<u32> {
        let ask = |client: &std::net::UdpSocket| {
            client.send(b"x").unwrap();
            let mut text = [0; 64];
            let length = client.recv(&mut text).unwrap();
            tcp::pid_in(std::str::from_utf8(&text[..length]).unwrap())
        };
        clients.iter().map(ask).collect()
    };
    let first = answers();
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3, "{first:?}");
    assert_eq!(answers(), first);
    app.stop();
}

#[test]
fn who_has_no_privilege_is_granted_what_the_kernel_needs_by_who_has() {
    let trial = Placing::LeastA.run("hold.js", 1).start();
    trial.serving(1);
    let may_grant = Placing::LeastA.is_had(&trial) && rustix::process::geteuid().is_root();
    trial.stop();
    if !may_grant {
        return;
    }
    let words = ["grant", "--user", "65534", "--"].map(std::ffi::OsString::from);
    let run = Run::fixture("hold.js").instances(4).args(["--drain-timeout", "200ms"]);
    let app = run.wrapped(std::iter::once(place::oneport().into_os_string()).chain(words)).start();
    let address = app.serving(4);
    assert_eq!(app.all("primary")[0].value["tier"], "A");
    let status = std::fs::read_to_string(format!("/proc/{}/status", app.pid())).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    assert_eq!(field("CapPrm:"), "0000000000000000");
    assert_eq!(field("Uid:"), "65534\t65534\t65534\t65534");
    let (_held, by_worker) = held(address, 64);
    assert_eq!(by_worker.into_values().collect::<Vec<_>>(), [16; 4]);
    app.stop();
}
