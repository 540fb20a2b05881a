//! What the kernel says about a process: is it there, which sockets does it listen on, what did it cost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use rustix::process::{Pid, Signal};

/// Sends a signal to one process.
///
/// # Panics
/// If it does not exist.
#[track_caller]
pub fn signal(pid: u32, signal: Signal) {
    let target = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid above 0");
    rustix::process::kill_process(target, signal)
        .unwrap_or_else(|e| panic!("cannot signal process {pid}: {e}"));
}

/// The fields of `/proc/PID/stat` from the state on (the state is field 0). None if the process is gone.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// The state letter of a process; None if it is gone.
pub fn state(pid: u32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

/// The parent of a process; None if it is gone.
pub fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// Does the process exist and is it not a zombie?
pub fn runs(pid: u32) -> bool {
    !matches!(state(pid), None | Some('Z' | 'X'))
}

/// CPU time used so far, in milliseconds (user and system; the kernel counts in hundredths of a second).
pub fn cpu_ms(pid: u32) -> u64 {
    let fields = stat(pid).unwrap_or_default();
    let ticks = |n: usize| fields.get(n).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) * 10
}

/// Resident memory in KiB; 0 if the process is gone.
pub fn rss_kib(pid: u32) -> u64 {
    status_kib(pid, "VmRSS:")
}

/// The most memory that was ever resident, in KiB; 0 if the process is gone.
pub fn peak_rss_kib(pid: u32) -> u64 {
    status_kib(pid, "VmHWM:")
}

fn status_kib(pid: u32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Is a thread of the process in this system call now?
pub fn is_in(pid: u32, call: Call) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut calls = tasks.filter_map(|task| fs::read_to_string(task.path().join("syscall")).ok());
    calls.any(|text| text.split_whitespace().next() == Some(call.number()))
}

/// A system call that a test waits to be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `bind`.
    Bind,
    /// `write`.
    Write,
}

impl Call {
    /// As the kernel numbers it here.
    fn number(self) -> &'static str {
        let old = cfg!(target_arch = "x86_64");
        match self {
            Self::Bind if old => "49",
            Self::Bind => "200",
            Self::Write if old => "1",
            Self::Write => "64",
        }
    }
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// The direct children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
    }
    found
}

/// The inodes of the sockets a process holds.
pub fn sockets(pid: u32) -> BTreeSet<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect()
}

/// The listening TCP sockets of this network namespace, inode to port.
pub fn listeners() -> BTreeMap<u64, u16> {
    let mut found = BTreeMap::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // Field 1 is the local address in hex, 3 the state (0A: LISTEN), 9 the inode.
            let [_, local, _, "0A", _, _, _, _, _, inode, ..] = fields[..] else { continue };
            let port = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
            if let (Some(port), Ok(inode)) = (port, inode.parse()) {
                found.insert(inode, port);
            }
        }
    }
    found
}

/// The ports a process holds listening sockets for.
pub fn listens_on(pid: u32) -> BTreeSet<u16> {
    let all = listeners();
    sockets(pid).iter().filter_map(|inode| all.get(inode).copied()).collect()
}

/// Every process that was started with exactly this entry (`NAME=VALUE`) in its environment, and is no zombie.
pub fn with_entry(entry: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|found| found.file_name().to_str()?.parse::<u32>().ok());
    let has = |pid: &u32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|there| there == entry.as_bytes())
    };
    numbers.filter(|pid| has(pid) && runs(*pid)).collect()
}

/// Was the process started with this variable in its environment?
pub fn has_variable(pid: u32, name: &str) -> bool {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let prefix = [name.as_bytes(), b"="].concat();
    environ.split(|byte| *byte == 0).any(|entry| entry.starts_with(&prefix))
}

/// The directory of this process's cgroup, where the whole hierarchy of the second version is mounted.
pub fn own_cgroup() -> Option<PathBuf> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut fields = mounts.lines().map(|line| line.split(' ').skip(1));
    let at = fields
        .find_map(|mut field| Some((field.next()?, field.next()?)).filter(|(_, kind)| *kind == "cgroup2"))?
        .0;
    Some(PathBuf::from(at).join(path))
}
