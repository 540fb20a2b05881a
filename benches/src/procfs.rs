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
mod tests {
    use super::*;

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
    fn a_process_that_does_not_exist_counts_as_nothing() {
        // Above PID_MAX_LIMIT, so never in use.
        let nobody = Pid::from_raw(i32::MAX).expect("positive");
        assert_eq!((cpu_ns(nobody), rss_kib(nobody), state(nobody)), (0, None, None));
    }
}
