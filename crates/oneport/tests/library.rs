//! A primary and library workers, end to end: the workers are this very test binary, started again to run only
//! `entry_of_the_worker`, which does nothing in the tests' own process.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test says so by failing")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use oneport::{Cluster, Conduct, EndCause, Event, Events, Exit, Policy, Settings, Slot, Worker, WorkerId};
use oneport_sys::process::{Pid, Signal, signal_group};

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs in workers: answers each connection with the worker's number and slot.
#[test]
fn entry_of_the_worker() {
    let Some(worker) = oneport::worker() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = oneport::TcpListener::bind("127.0.0.1:0").await.unwrap();
        if std::env::var_os("TEST_BINDS_TWICE").is_some() {
            let port = listener.local_addr().unwrap().port();
            let second = oneport::TcpListener::bind(("127.0.0.1", port)).await;
            assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
        }
        while let Ok((mut stream, _)) = listener.accept().await {
            let text = format!("{} {}", worker.id().0, worker.slot().map_or(-1, |slot| i64::from(slot.0)));
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await;
        }
    });
}

struct Test {
    cluster: Cluster,
    events: Events,
    workers: BTreeMap<WorkerId, Worker>,
}

impl Test {
    fn start(workers: u32, change: impl FnOnce(&mut Settings)) -> Test {
        let mut settings = Settings::new(std::env::current_exe().unwrap());
        settings.args = ["entry_of_the_worker", "--exact", "--nocapture"].map(Into::into).to_vec();
        settings.conduct = Conduct { min_uptime: Duration::from_millis(50), ..Conduct::default() };
        change(&mut settings);
        let (cluster, events) = Cluster::start(settings).unwrap();
        cluster.scale(workers).unwrap();
        Test { cluster, events, workers: BTreeMap::new() }
    }

    /// The next event that fits; every other is only noted.
    fn wait<T>(&mut self, what: &str, mut fits: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let next = runtime.block_on(async { tokio::time::timeout(left, self.events.recv()).await });
            let event = next.unwrap_or_else(|_| panic!("{what} did not happen in time"));
            let event = event.unwrap_or_else(|| panic!("the cluster ended before: {what}"));
            match &event {
                Event::Fork { worker, .. } => _ = self.workers.insert(worker.id(), worker.clone()),
                Event::Exit { worker, .. } => _ = self.workers.remove(&worker.id()),
                _ => {}
            }
            if let Some(found) = fits(&event) {
                return found;
            }
        }
    }

    /// Waits until so many workers listen; where.
    fn listening(&mut self, workers: usize) -> SocketAddr {
        let mut address = None;
        for _ in 0..workers {
            address = Some(self.wait("a worker listens", |event| match event {
                Event::Listening { address, .. } => address.socket,
                _ => None,
            }));
        }
        for _ in 0..workers {
            self.wait("a worker is proven", |event| matches!(event, Event::Proven { .. }).then_some(()));
        }
        address.unwrap()
    }

    fn stop(mut self) {
        self.cluster.stop().unwrap();
        self.wait("the stop", |event| matches!(event, Event::Stopped).then_some(()));
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        let _ = self.cluster.stop_now();
        while !matches!(self.events.blocking_recv(), Some(Event::Stopped) | None) {}
    }
}

/// Which worker answered, and its slot.
fn ask(address: SocketAddr) -> (u32, i64) {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (id, slot) = answer.split_once(' ').unwrap_or_else(|| panic!("no answer: {answer:?}"));
    (id.parse().unwrap(), slot.parse().unwrap())
}

#[test]
fn library_workers_share_a_port_in_strict_rotation() {
    let mut test = Test::start(3, |_| {});
    let address = test.listening(3);
    let answers: Vec<u32> = (0..9).map(|_| ask(address).0).collect();
    for turn in answers.chunks(3) {
        let mut turn = turn.to_vec();
        turn.sort();
        assert_eq!(turn, [1, 2, 3]);
    }
    test.stop();
}

#[test]
fn library_workers_share_a_socket_under_the_shared_policy() {
    let mut test = Test::start(2, |settings| settings.conduct.policy = Policy::Shared);
    let address = test.listening(2);
    for _ in 0..20 {
        assert!((1..=2).contains(&ask(address).0));
    }
    test.stop();
}

#[test]
fn a_second_bind_of_one_address_in_one_worker_is_refused() {
    let mut test = Test::start(1, |settings| settings.env.push(("TEST_BINDS_TWICE".into(), "1".into())));
    let address = test.listening(1);
    assert_eq!(ask(address), (1, 0));
    test.stop();
}

#[test]
fn a_killed_worker_is_replaced_in_its_slot_and_the_port_stays() {
    let mut test = Test::start(1, |_| {});
    let address = test.listening(1);
    let victim = test.workers[&WorkerId(1)].clone();
    signal_group(Pid::new(victim.pid()).unwrap(), Signal::KILL).unwrap();
    let died = test.wait("the death", |event| match event {
        Event::Exit { worker, exit, cause } => Some((worker.id(), *exit, *cause)),
        _ => None,
    });
    assert_eq!(died, (WorkerId(1), Exit::Signal(9), EndCause::ByItself));
    // Nobody listens right now; the connection waits for the successor.
    assert_eq!(ask(address), (2, 0));
    test.stop();
}

#[test]
fn a_reload_replaces_every_worker_and_loses_nothing() {
    let mut test = Test::start(2, |_| {});
    let address = test.listening(2);
    test.cluster.reload().unwrap();
    let asking = std::thread::spawn(move || (0..200).map(|_| ask(address).0).collect::<Vec<_>>());
    let replaced = test.wait("the reload", |event| match event {
        Event::ReloadDone { replaced, .. } => Some(*replaced),
        _ => None,
    });
    assert_eq!(replaced, 2);
    assert_eq!(asking.join().unwrap().len(), 200);
    assert_eq!(test.workers.keys().copied().collect::<Vec<_>>(), [WorkerId(3), WorkerId(4)]);
    test.stop();
}

#[test]
fn scaling_up_and_down_keeps_the_lowest_slots() {
    let mut test = Test::start(1, |_| {});
    test.listening(1);
    test.cluster.scale(3).unwrap();
    test.listening(2);
    test.cluster.scale(1).unwrap();
    for _ in 0..2 {
        let slot = test.wait("a worker leaves", |event| match event {
            Event::Exit { worker, cause: EndCause::Asked, .. } => worker.slot(),
            _ => None,
        });
        assert_ne!(slot, Slot(0));
    }
    assert_eq!(test.workers.len(), 1);
    test.stop();
}

#[test]
fn a_program_that_cannot_be_started_is_given_up_and_says_why() {
    let mut test = Test::start(1, |settings| {
        settings.exec = "/nonexistent/program".into();
        settings.conduct.max_restarts = 2;
        settings.conduct.restart_delay = Some(Duration::from_millis(1));
    });
    let kind = test.wait("the failure", |event| match event {
        Event::Error { error, .. } => Some(error.kind()),
        _ => None,
    });
    assert_eq!(kind, std::io::ErrorKind::NotFound);
    test.wait("giving up", |event| matches!(event, Event::AllErrored).then_some(()));
    test.stop();
}

#[test]
fn a_worker_that_talks_to_an_owner_who_does_not_listen_is_held_back() {
    let mut test = Test::start(1, |settings| {
        settings.exec = "/bin/sh".into();
        settings.args = ["-c", "while :; do echo 1 >&3; done"].map(Into::into).to_vec();
    });
    let pid = test.wait("the start", |event| match event {
        Event::Fork { worker, .. } => Pid::new(worker.pid()),
        _ => None,
    });
    // It is held back once it uses no more CPU time: its writes wait.
    let deadline = Instant::now() + PATIENCE;
    let used = || oneport_sys::proc::cpu_ns(pid).unwrap();
    let mut before = 0;
    while used() != before || before == 0 {
        assert!(Instant::now() < deadline, "it talks on");
        before = used();
        std::thread::park_timeout(Duration::from_millis(100));
    }
    // What waited is all there, and once it was taken the worker goes on: far more than ever waited.
    for _ in 0..50_000 {
        test.wait("a message", |event| matches!(event, Event::Message { .. }).then_some(()));
    }
    assert!(used() > before);
    test.workers[&WorkerId(1)].end_now().unwrap();
}

#[test]
fn dropping_every_handle_ends_the_workers() {
    let mut test = Test::start(1, |_| {});
    test.listening(1);
    let pid = Pid::new(test.workers[&WorkerId(1)].pid()).unwrap();
    let pidfd = rustix::process::pidfd_open(
        rustix::process::Pid::from_raw(pid.get()).unwrap(),
        rustix::process::PidfdFlags::empty(),
    )
    .unwrap();
    drop(test);
    let mut wanted = [rustix::event::PollFd::from_borrowed_fd(pidfd.as_fd(), rustix::event::PollFlags::IN)];
    let patience = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut wanted, Some(&patience)).unwrap(), 1, "the worker lives on");
}

#[test]
fn the_death_of_a_worker_leaves_another_clusters_worker_of_the_same_number_alone() {
    let mut first = Test::start(1, |_| {});
    let mut second = Test::start(1, |_| {});
    first.listening(1);
    let address = second.listening(1);
    first.workers[&WorkerId(1)].end_now().unwrap();
    first.wait("the death", |event| matches!(event, Event::Exit { .. }).then_some(()));
    assert_eq!(ask(address), (1, 0));
    first.stop();
    second.stop();
}

#[test]
fn alone_a_listener_binds_for_itself() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert!(oneport::is_primary() && oneport::worker().is_none());
        let listener = oneport::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::thread::spawn(move || {
            TcpStream::connect(address).unwrap().write_all(b"x").unwrap();
        });
        let (_, peer) = listener.accept().await.unwrap();
        assert!(peer.ip().is_loopback());
        client.join().unwrap();
        let taken = oneport::TcpListener::bind(address).await.unwrap_err();
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    });
}
