//! What `/proc` says about processes: who descends from whom, CPU time, memory, state.
//!
//! Reading only; ending processes is `server.rs`. A process that vanishes while it is read counts as nothing,
//! never as an error: every figure here is taken from live, changing trees.

use rustix::param::clock_ticks_per_second;
use rustix::process::Pid;
use std::collections::HashMap;
use std::fs;

/// Every process below `root`, children before grandchildren, `root` itself left out.
///
/// Built from the parent in each `/proc/PID/stat` rather than from `children`, which kernels built without
/// `CONFIG_PROC_CHILDREN` lack.
pub(crate) fn descendants(root: Pid) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if let Some(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![root.as_raw_pid()];
    while let Some(pid) = next.pop() {
        // `remove`, so that even a table read while pids were reused cannot send us in a circle.
        for child in children.remove(&pid).unwrap_or_default() {
            found.extend(Pid::from_raw(child));
            next.push(child);
        }
    }
    found
}

/// The processes that `root` has started itself, or adopted.
pub(crate) fn children(root: Pid) -> Vec<Pid> {
    let mut found = descendants(root);
    found.retain(|pid| stat(pid.as_raw_pid()).is_some_and(|stat| stat.parent == root.as_raw_pid()));
    found
}

/// The state letter of `pid` (`R`, `S`, `T`, `Z` ...), or `None` once it is gone.
pub(crate) fn state(pid: Pid) -> Option<char> {
    stat(pid.as_raw_pid()).map(|stat| stat.state)
}

/// CPU time `pid` has used, in nanoseconds.
///
/// The scheduler's own accounting, exact but without threads that have ended; those are in `stat`, which counts in
/// ticks (10 ms) and rounds down. The larger of the two misses neither.
pub(crate) fn cpu_ns(pid: Pid) -> u64 {
    let pid = pid.as_raw_pid();
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let living: u64 = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    let tick = 1_000_000_000 / clock_ticks_per_second().max(1);
    living.max(stat(pid).map_or(0, |stat| stat.ticks * tick))
}

/// CPU time of `pid` in clock ticks, as `top` sees it: what falls into none of them is not there.
pub(crate) fn ticks(pid: Pid) -> u64 {
    stat(pid.as_raw_pid()).map_or(0, |stat| stat.ticks)
}

/// How many descriptors `pid` has.
pub(crate) fn open_files(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{}/fd", pid.as_raw_pid())).map_or(0, Iterator::count)
}

/// How often the living threads of `pid` went to wait for something.
pub(crate) fn switches(pid: Pid) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", pid.as_raw_pid())) else { return 0 };
    let statuses = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    statuses.filter_map(|status| field(&status, "voluntary_ctxt_switches:")).sum()
}

/// Whether every thread of `pid` has a tracer.
pub(crate) fn is_traced(pid: Pid) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", pid.as_raw_pid())) else { return false };
    tasks.flatten().all(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        field(&status, "TracerPid:").is_some_and(|tracer| tracer != 0)
    })
}

/// How many TCP sockets listen on `address`, whatever their ports.
pub(crate) fn listeners(address: [u8; 4]) -> usize {
    /// TCP_LISTEN, as `/proc/net/tcp` spells states.
    const LISTEN: &str = "0A";
    // Addresses stand there as the machine stores them, in hexadecimal.
    let address = format!("{:08X}:", u32::from_ne_bytes(address));
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let is_one = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().is_some_and(|local| local.starts_with(&address));
        local && fields.nth(1) == Some(LISTEN)
    };
    table.lines().skip(1).filter(is_one).count()
}

/// Resident memory of `pid` in KiB: all of it, shared pages included.
pub(crate) fn rss_kib(pid: Pid) -> Option<u64> {
    field(&fs::read_to_string(format!("/proc/{}/status", pid.as_raw_pid())).ok()?, "VmRSS:")
}

/// Proportional memory of `pid` in KiB: shared pages divided among their sharers.
pub(crate) fn pss_kib(pid: Pid) -> Option<u64> {
    field(&fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.as_raw_pid())).ok()?, "Pss:")
}

/// The few fields of `/proc/PID/stat` that are used.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: i32,
    /// User and system time of all threads that are or were, in clock ticks.
    ticks: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command name stands in parentheses and may itself contain them and spaces: fields count from the last one.
fn parse_stat(line: &str) -> Option<Stat> {
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        ticks: number(11)? + number(12)?,
    })
}

/// The number after `name` in a `Name:   123 kB` listing.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// Held by every test that has children: one of them counts and ends all there are.
    pub(crate) fn with_children() -> MutexGuard<'static, ()> {
        static CHILDREN: Mutex<()> = Mutex::new(());
        CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn a_command_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let line = "12 (a) S (b c) T 7 12 12 0 -1 4194304 100 0 0 0 31 11 0 0 20 0 1 0";
        assert_eq!(parse_stat(line), Some(Stat { state: 'T', parent: 7, ticks: 42 }));
        assert_eq!(parse_stat("garbage"), None);
    }

    #[test]
    fn the_own_process_has_memory_cpu_time_and_a_parent() {
        let me = rustix::process::getpid();
        assert!(rss_kib(me).is_some_and(|kib| kib > 0));
        assert!(cpu_ns(me) > 0);
        let parent = rustix::process::getppid().expect("a test has a parent");
        assert!(descendants(parent).contains(&me));
    }

    #[test]
    fn listeners_of_one_address_are_counted_and_connections_are_not() {
        const OWN: [u8; 4] = [127, 77, 0, 9];
        let listen = || std::net::TcpListener::bind((std::net::Ipv4Addr::from(OWN), 0)).expect("a listener");
        let (one, _two) = (listen(), listen());
        let _client = std::net::TcpStream::connect(one.local_addr().expect("bound")).expect("a connection");
        let _server = one.accept().expect("accepted");
        assert_eq!((listeners(OWN), listeners([127, 77, 0, 8])), (2, 0));
    }

    #[test]
    fn each_wait_of_a_process_is_counted() {
        use std::io::{Read, Write};
        use std::process::{Command, Stdio};
        let _only_one = with_children();
        // Not this process: the counts of threads that end are lost.
        let mut cat =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("cat starts");
        let pid = Pid::from_child(&cat);
        let (mut to, mut from) = (cat.stdin.take().expect("piped"), cat.stdout.take().expect("piped"));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        // What it finds when it asks again is no wait.
        let mut echo = || {
            while state(pid) != Some('S') {
                assert!(std::time::Instant::now() < deadline, "cat does not wait");
                std::thread::yield_now();
            }
            to.write_all(b"x").expect("cat reads");
            from.read_exact(&mut [0]).expect("cat writes");
        };
        echo();
        let before = switches(pid);
        // All but the last wait are over when the last byte is back.
        (0..10).for_each(|_| echo());
        assert!(switches(pid) >= before + 9, "{before} before, {} after", switches(pid));
        assert!(!is_traced(pid));
        drop(to);
        assert!(cat.wait().expect("cat ends").success());
    }

    #[test]
    fn a_process_that_does_not_exist_counts_as_nothing() {
        // Above PID_MAX_LIMIT, so never in use.
        let nobody = Pid::from_raw(i32::MAX).expect("positive");
        assert_eq!((cpu_ns(nobody), rss_kib(nobody), state(nobody)), (0, None, None));
    }
}
