//! The table of processes at one moment, read once for any number of trees: who belongs to which.
//!
//! What does not live here: signals, and what is done about the members. Invariant: what is kept of a stranger's environment
//! is bounded. Reading costs two files of `/proc` for each live process, looking up next to nothing.

use std::collections::HashMap;

use super::{MARK_VARIABLE, Member};
use crate::proc::{all_pids, read_bounded, read_stat};
use crate::process::{Pid, own_pid};

/// Marks kept of one process. An environment may have a variable more than once: oneport within oneport does.
const MOST_MARKS: usize = 16;
/// Longest mark kept; one of ours has three numbers.
const LONGEST_MARK: usize = 128;

/// All processes there were, but for this one.
#[derive(Debug, Default)]
pub struct Table {
    /// In rising order of their numbers.
    rows: Vec<Row>,
    /// By number, and by the numbers of parent, group and session: places in `rows`.
    places: HashMap<i32, usize>,
    children: HashMap<i32, Vec<usize>>,
    led: HashMap<i32, Vec<usize>>,
    marked: HashMap<Box<[u8]>, Vec<usize>>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    member: Member,
    condition: Condition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Live,
    /// Kept, for it can still be somebody's group leader, though no longer anybody's parent.
    Zombie,
}

impl Table {
    /// Reads it. A process that begins meanwhile may or may not be in it.
    pub fn read() -> Self {
        let own = own_pid();
        let mut table = Self::default();
        for pid in all_pids().into_iter().filter(|pid| *pid != own) {
            let Ok(stat) = read_stat(pid) else { continue };
            let place = table.rows.len();
            let condition = if stat.is_live() { Condition::Live } else { Condition::Zombie };
            table.rows.push(Row { member: Member { pid, start_ticks: stat.start_ticks }, condition });
            table.places.insert(pid.get(), place);
            table.children.entry(stat.parent).or_default().push(place);
            table.led.entry(stat.group).or_default().push(place);
            if stat.session != stat.group {
                table.led.entry(stat.session).or_default().push(place);
            }
            match condition {
                Condition::Live => table.note_marks(pid, place),
                Condition::Zombie => {}
            }
        }
        table
    }

    /// Another user's environment cannot be read, and has none.
    fn note_marks(&mut self, pid: Pid, place: usize) {
        let Ok(environ) = read_bounded(&format!("/proc/{pid}/environ")) else { return };
        for mark in marks(&environ).take(MOST_MARKS) {
            let places = self.marked.entry(mark.into()).or_default();
            if places.last() != Some(&place) {
                places.push(place);
            }
        }
    }

    /// As [`members`](super::members), at the moment of the table.
    pub fn members(&self, root: Pid, mark: &str) -> Vec<Pid> {
        self.members_of(root, mark).map(|member| member.pid).collect()
    }

    /// In rising order of their numbers.
    pub(super) fn members_of(&self, root: Pid, mark: &str) -> impl Iterator<Item = Member> {
        let mut next: Vec<usize> = self.places.get(&root.get()).copied().into_iter().collect();
        next.extend(self.led.get(&root.get()).into_iter().flatten());
        next.extend(self.marked.get(mark.as_bytes()).into_iter().flatten());
        let mut chosen = vec![false; self.rows.len()];
        while let Some(place) = next.pop() {
            let (Some(seen), Some(row)) = (chosen.get_mut(place), self.rows.get(place)) else { continue };
            if !std::mem::replace(seen, true) {
                next.extend(self.children.get(&row.member.pid.get()).into_iter().flatten());
            }
        }
        let rows = self.rows.iter().zip(chosen).filter(|(_, chosen)| *chosen);
        rows.filter(|(row, _)| row.condition == Condition::Live).map(|(row, _)| row.member)
    }
}

/// The marks that a process was started with.
fn marks(environ: &[u8]) -> impl Iterator<Item = &[u8]> {
    let entries = environ.split(|byte| *byte == 0);
    let values = entries.filter_map(|entry| entry.strip_prefix(MARK_VARIABLE.as_bytes())?.strip_prefix(b"="));
    // A primary that is somebody's worker itself passes on what it was marked with.
    let each = values.flat_map(|value| value.split(|byte| *byte == b','));
    each.filter(|mark| mark.len() <= LONGEST_MARK)
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_MARK, marks};

    #[test]
    fn only_whole_entries_of_the_variable_are_marks() {
        let environ = b"A=1\0ONEPORT_WORKER=7.8.9\0XONEPORT_WORKER=x\0ONEPORT_WORKERS=y\0ONEPORT_WORKER=\0ONEPORT_WORKER";
        assert_eq!(marks(environ).collect::<Vec<_>>(), [&b"7.8.9"[..], b""]);
        let nested = b"ONEPORT_WORKER=7.8.9,4.5.6";
        assert_eq!(marks(nested).collect::<Vec<_>>(), [&b"7.8.9"[..], b"4.5.6"]);
        let long = [b"ONEPORT_WORKER=".to_vec(), vec![b'1'; LONGEST_MARK + 1]].concat();
        assert_eq!(marks(&long).count(), 0);
    }
}
