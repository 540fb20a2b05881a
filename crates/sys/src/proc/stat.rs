//! `/proc/PID/stat`, the fields this crate needs.

use std::io;

use super::{read_bounded, unreadable};
use crate::process::Pid;

/// One process in the tree of processes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    /// State letter; `Z` and `X` are ended.
    pub(crate) state: u8,
    /// Parent, 0 for none.
    pub(crate) parent: i32,
    /// Process group.
    pub(crate) group: i32,
    /// Session.
    pub(crate) session: i32,
    /// User and system time, in ticks.
    pub(crate) cpu_ticks: u64,
    /// Threads; 1 for a zombie.
    pub(crate) threads: i32,
    /// Start, in ticks since boot.
    pub(crate) start_ticks: u64,
    /// Resident pages, as exact as the kernel keeps them between its own countings.
    pub(crate) rss_pages: u64,
}

impl Stat {
    /// Whether it still runs. A process whose first thread ended while others run shows `Z` as well (and counts more
    /// than one thread until they are gone).
    pub(crate) fn is_live(&self) -> bool {
        self.threads > 1 || !matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// Reads and parses it.
pub(crate) fn read_stat(pid: Pid) -> io::Result<Stat> {
    let bytes = read_bounded(&format!("/proc/{pid}/stat"))?;
    parse_stat(&bytes).ok_or_else(unreadable)
}

/// The second field is the program's name in parentheses and may contain anything, parentheses and blanks included;
/// what follows the last `)` is safe to split.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let end = bytes.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(bytes.get(end + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<i32>().ok();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        parent: number(1)?,
        group: number(2)?,
        session: number(3)?,
        cpu_ticks: ticks(11)?.saturating_add(ticks(12)?),
        threads: number(17)?,
        start_ticks: ticks(19)?,
        rss_pages: ticks(21)?,
    })
}

#[cfg(test)]
mod tests {
    use super::parse_stat;

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let line = b"42 (a) Z 7 (b) S 1 40 39 0 -1 4 0 0 0 0 5 6 0 0 20 0 1 0 777 4096 12";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.state, stat.parent, stat.group, stat.session), (b'S', 1, 40, 39));
        assert_eq!((stat.cpu_ticks, stat.start_ticks, stat.rss_pages), (11, 777, 12));
        assert!(stat.is_live());
    }

    #[test]
    fn a_zombie_first_thread_with_others_running_is_live() {
        let zombie = b"7 (x) Z 1 7 7 0 -1 4 0 0 0 0 5 6 0 0 20 0 1 0 777 0 0";
        assert!(!parse_stat(zombie).unwrap().is_live());
        let others = b"7 (x) Z 1 7 7 0 -1 4 0 0 0 0 5 6 0 0 20 0 3 0 777 0 0";
        assert!(parse_stat(others).unwrap().is_live());
    }

    #[test]
    fn a_cut_line_is_refused() {
        assert!(parse_stat(b"42 (x) S 1 2").is_none());
        assert!(parse_stat(b"").is_none());
        assert!(parse_stat(b")").is_none());
    }
}
