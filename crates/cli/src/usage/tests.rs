use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{SHORTEST, Usage};

/// A child that is ended with the test.
struct Running(Child);

impl Running {
    fn shell(script: &str) -> Running {
        Running(Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What it started ends of itself when it reads its end of input.
        drop(self.0.stdin.take());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn own() -> i32 {
    std::process::id().cast_signed()
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_busy_worker_takes_a_cpu_and_an_idle_one_none() {
    let busy = Running::shell("while :; do :; done");
    let idle = Running::shell("read x");
    let workers = [(7, busy.pid()), (9, idle.pid())];
    let mut usage = Usage::default();
    assert!(usage.take(&workers, &[])[&7].cpu.is_some(), "since its start");
    // Others share the processors, so the whole CPU is not asked for.
    eventually("the share since the last look", || {
        let samples = usage.take(&workers, &[]);
        let cpu = |key: u32| samples[&key].cpu.unwrap();
        cpu(7) > 10.0 && cpu(7) < 150.0 && cpu(9) < 5.0
    });
}

#[test]
fn what_a_worker_started_counts_with_it() {
    let alone = Running::shell("read x");
    let parent = Running::shell("sh -c 'sh -c \"read x\"; :' ; :");
    let workers = [(1, alone.pid()), (2, parent.pid())];
    let mut usage = Usage::default();
    eventually("memory of three shells", || {
        let samples = usage.take(&workers, &[]);
        let memory = |key: u32| samples[&key].memory.unwrap_or(0);
        memory(1) > 0 && memory(2) > 2 * memory(1)
    });
    let child = Running::shell("x=$(head -c 30000000 /dev/zero | tr '\\0' x); read y");
    eventually("memory that was allocated", || {
        usage.take(&[(3, child.pid())], &[])[&3].memory.is_some_and(|memory| memory > 30_000_000)
    });
}

#[test]
fn two_looks_in_one_moment_give_the_same_share() {
    let mut usage = Usage::default();
    let first = usage.take(&[(1, own())], &[])[&1].cpu;
    let begun = Instant::now();
    let second = usage.take(&[(1, own())], &[])[&1].cpu;
    if begun.elapsed() < Duration::from_nanos(SHORTEST / 2) {
        assert_eq!(first, second);
    }
}

#[test]
fn connections_are_counted_for_who_holds_them() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stranger = Running::shell("read x");
        let workers = [(1, own()), (2, stranger.pid())];
        let mut usage = Usage::default();
        let mut count = |key: u32| usage.take(&workers, &[port])[&key].connections;
        assert_eq!((count(1), count(2)), (Some(0), Some(0)));
        let clients: Vec<TcpStream> =
            (0..3).map(|_| TcpStream::connect(listener.local_addr().unwrap()).unwrap()).collect();
        assert_eq!(count(1), Some(0), "they wait for an accept");
        let mut served: Vec<TcpStream> = (0..3).map(|_| listener.accept().unwrap().0).collect();
        assert_eq!((count(1), count(2)), (Some(3), Some(0)));
        let _same = served[0].try_clone().unwrap();
        assert_eq!(count(1), Some(3), "a duplicate is the same connection");
        let shared = Stdio::from(OwnedFd::from(served[1].try_clone().unwrap()));
        let child = Running(Command::new("cat").stdin(shared).spawn().unwrap());
        assert_eq!(count(1), Some(3), "and so is one that a child has as well");
        drop(child);
        drop((served.pop(), clients));
        eventually("one less", || count(1) == Some(2));
    }
}

#[test]
fn who_is_gone_has_an_empty_sample_and_is_forgotten() {
    let mut usage = Usage::default();
    let mut child = Running::shell("read x");
    assert!(usage.take(&[(1, child.pid())], &[80])[&1].memory.is_some());
    child.0.kill().unwrap();
    let gone = child.pid();
    // Not waited for yet: a zombie uses nothing either.
    eventually("it is dead", || usage.take(&[(1, gone)], &[80])[&1] == super::Sample::default());
    child.0.wait().unwrap();
    assert_eq!(usage.take(&[(1, gone), (2, -1), (3, 0)], &[])[&2], super::Sample::default());
    assert!(usage.seen.is_empty());
    usage.take(&[(1, own())], &[]);
    assert_eq!(usage.seen.len(), 1);
    assert_eq!(usage.take(&[], &[]).len(), 0);
    assert!(usage.seen.is_empty());
}

#[test]
fn more_descriptors_than_can_be_looked_at_in_time_are_not_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let _served = listener.accept().unwrap();
    let port = listener.local_addr().unwrap().port();
    let inodes = oneport_sys::diag::connection_inodes(&[port], 10).unwrap().unwrap();
    let [family] = oneport_sys::proc::families(&[oneport_sys::process::own_pid()]).try_into().unwrap();
    assert_eq!(super::connections::of_family(&family, &inodes, &mut 10_000), Some(Some(1)));
    assert_eq!(super::connections::of_family(&family, &inodes, &mut 2), None);
}
