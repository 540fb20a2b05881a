//! A process with everything it started, and what each of these uses: for any number of workers with one reading of `/proc`.
//!
//! What lives here: descent alone, which is cheap. What does not: who left its parents and is still the worker's to end
//! (`tree`, which reads every environment). Invariant: what is looked at is bounded, whatever a worker starts.

use std::collections::{HashMap, VecDeque};
use std::fs;

use super::{Stat, all_pids, read_bounded, read_stat};
use crate::process::Pid;

/// Children are listed by the thread that started them, so each thread of each member is a file to read (3 us). Above so many
/// one pass over all processes (10 us each) is the cheaper way, and bounded by the machine.
const MOST_THREADS: i32 = 512;
/// Members of one family; a worker that starts more is not measured to the last.
const MOST_MEMBERS: usize = 4096;

/// One process of a family, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relative {
    /// Its number.
    pub pid: Pid,
    /// Its start, in clock ticks since boot: together with the number it names a process for ever.
    pub start_ticks: u64,
    /// Processor time of all its threads, those that ended included, in nanoseconds; counted in clock ticks.
    pub cpu_ns: u64,
    /// Resident memory in bytes, shared pages included.
    pub rss: u64,
}

impl Relative {
    fn new(pid: Pid, stat: &Stat) -> Self {
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        Self {
            pid,
            start_ticks: stat.start_ticks,
            cpu_ns: stat.cpu_ticks.saturating_mul(1_000_000_000 / clock_ticks()),
            rss: stat.rss_pages.saturating_mul(page),
        }
    }

    /// When it started, in nanoseconds since boot.
    pub fn start_ns(&self) -> u64 {
        self.start_ticks.saturating_mul(1_000_000_000 / clock_ticks())
    }
}

fn clock_ticks() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}

/// The families of these, in their order: each itself first, then those that descend from it now. Empty for a process that is
/// gone. Zombies are not in it, nor is who lost a parent on the way; one that begins or ends meanwhile may or may not be.
pub fn families(roots: &[Pid]) -> Vec<Vec<Relative>> {
    let mut threads = 0;
    let one_by_one: Option<Vec<_>> = roots.iter().map(|root| descend(*root, &mut threads)).collect();
    one_by_one.unwrap_or_else(|| from_table(roots))
}

/// By what each thread says of its children. `None`: the kernel does not say (CONFIG_PROC_CHILDREN), or there are too many
/// threads.
fn descend(root: Pid, threads: &mut i32) -> Option<Vec<Relative>> {
    let mut family = Vec::new();
    let mut next = VecDeque::from([(root, None)]);
    while let Some((pid, parent)) = next.pop_front() {
        let Ok(stat) = read_stat(pid) else { continue };
        // A number that was given to another process since it was listed.
        let is_other = parent.is_some_and(|parent: Pid| parent.get() != stat.parent);
        if is_other || !stat.is_live() {
            continue;
        }
        *threads = threads.saturating_add(stat.threads);
        if *threads > MOST_THREADS {
            return None;
        }
        family.push(Relative::new(pid, &stat));
        if family.len() >= MOST_MEMBERS {
            break;
        }
        for child in children(pid, stat.threads)? {
            next.push_back((child, Some(pid)));
        }
    }
    Some(family)
}

fn children(pid: Pid, threads: i32) -> Option<Vec<Pid>> {
    let mut found = Vec::new();
    if threads == 1 {
        read_children(&format!("/proc/{pid}/task/{pid}"), &mut found)?;
        return Some(found);
    }
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Some(found) };
    for task in tasks.flatten() {
        if let Some(path) = task.path().to_str() {
            read_children(path, &mut found)?;
        }
    }
    Some(found)
}

/// `None`: there is no such file for a thread that is there.
fn read_children(task: &str, found: &mut Vec<Pid>) -> Option<()> {
    let Ok(text) = read_bounded(&format!("{task}/children")) else {
        return if fs::exists(task).unwrap_or(false) { None } else { Some(()) };
    };
    let numbers = text.split(|byte| *byte == b' ').filter_map(|number| str::from_utf8(number).ok());
    found.extend(numbers.filter_map(|number| number.parse().ok().and_then(Pid::new)));
    Some(())
}

fn from_table(roots: &[Pid]) -> Vec<Vec<Relative>> {
    let mut members: HashMap<i32, Relative> = HashMap::new();
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for pid in all_pids() {
        let Ok(stat) = read_stat(pid) else { continue };
        if stat.is_live() {
            members.insert(pid.get(), Relative::new(pid, &stat));
            children.entry(stat.parent).or_default().push(pid.get());
        }
    }
    let family = |root: &Pid| {
        let mut family = Vec::new();
        let mut next = VecDeque::from([root.get()]);
        while let Some(number) = next.pop_front().filter(|_| family.len() < MOST_MEMBERS) {
            if let Some(member) = members.get(&number) {
                family.push(*member);
                next.extend(children.get(&number).into_iter().flatten());
            }
        }
        family
    };
    roots.iter().map(family).collect()
}

#[cfg(test)]
mod tests {
    use super::{descend, families, from_table};
    use crate::process::{Pid, own_pid};

    #[test]
    fn both_ways_find_the_same_family() {
        let command = "sleep 1000 & sleep 1000 & wait";
        let mut shell = std::process::Command::new("sh").args(["-c", command]).spawn().unwrap();
        let root = Pid::new(shell.id().cast_signed()).unwrap();
        let pids = |family: &[super::Relative]| {
            let mut pids: Vec<Pid> = family.iter().map(|member| member.pid).collect();
            pids.sort_unstable();
            pids
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while families(&[root])[0].len() < 3 {
            assert!(std::time::Instant::now() < deadline, "no children in time");
            std::thread::yield_now();
        }
        let [table] = from_table(&[root]).try_into().unwrap();
        if let Some(listed) = descend(root, &mut 0) {
            assert_eq!((listed.first().unwrap().pid, pids(&listed)), (root, pids(&table)));
        }
        assert_eq!(table.len(), 3);
        for child in table.iter().filter(|member| member.pid != root) {
            let child = rustix::process::Pid::from_raw(child.pid.get()).unwrap();
            rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
        }
        shell.wait().unwrap();
    }

    #[test]
    fn a_family_with_too_many_threads_is_read_from_the_table() {
        assert_eq!(descend(own_pid(), &mut super::MOST_THREADS.clone()), None);
        let [own, nobody] = families(&[own_pid(), Pid::new(i32::MAX).unwrap()]).try_into().unwrap();
        assert_eq!(own.first().unwrap().pid, own_pid());
        assert!(own.first().unwrap().rss > 0 && nobody.is_empty());
    }
}
