//! What holds for this process: its limits, and what keeps it from having more rights than it has.

use std::fs;
use std::io;
use std::path::PathBuf;

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::process::{Resource, getrlimit};

/// The first user namespace has this number on every Linux (`PROC_USER_INIT_INO`).
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";

/// What keeps rights from this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether a program can have more rights than who starts it.
    pub privileges: Privileges,
    /// Whose rights those are that it has.
    pub user_namespace: UserNamespace,
    /// Whether it lives under a seccomp filter, which may refuse what its rights allow.
    pub filtered: bool,
}

/// Whether file capabilities and setuid bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privileges {
    /// They do.
    Gained,
    /// `no_new_privs` is set, for this process and all below it.
    Kept,
}

/// Where capabilities count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserNamespace {
    /// Everywhere.
    First,
    /// Only for what belongs to the namespace; to load BPF programs takes those of the first.
    Below,
}

/// What `/proc` says of this process; what it does not say does not hold.
pub fn standing() -> io::Result<Standing> {
    let status = fs::read_to_string("/proc/self/status")?;
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse::<u32>().ok()).unwrap_or(0)
    };
    // Without such namespaces there is one.
    let namespace = fs::read_link("/proc/self/ns/user").ok();
    let is_first = namespace.is_none_or(|name| name.as_os_str() == FIRST_USER_NAMESPACE);
    Ok(Standing {
        privileges: if number("NoNewPrivs") == 0 { Privileges::Gained } else { Privileges::Kept },
        user_namespace: if is_first { UserNamespace::First } else { UserNamespace::Below },
        filtered: number("Seccomp") == 2,
    })
}

/// A limit of this process; none: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What holds.
    pub soft: Option<u64>,
    /// What it may be raised to.
    pub hard: Option<u64>,
}

/// Open descriptors (`RLIMIT_NOFILE`).
pub fn nofile() -> Limit {
    let limit = getrlimit(Resource::Nofile);
    Limit { soft: limit.current, hard: limit.maximum }
}

/// The file that this process executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executable {
    /// Where it lies.
    pub path: PathBuf,
    /// Whether file capabilities count where it lies: not on a file system that is mounted `nosuid`.
    pub privileges: Privileges,
}

/// Ours.
pub fn executable() -> io::Result<Executable> {
    let path = std::env::current_exe()?;
    let nosuid = statvfs("/proc/self/exe")?.f_flag.contains(StatVfsMountFlags::NOSUID);
    let privileges = if nosuid { Privileges::Kept } else { Privileges::Gained };
    Ok(Executable { path, privileges })
}

#[cfg(test)]
mod tests {
    use super::{executable, nofile, standing};

    #[test]
    fn this_process_can_be_asked_about() {
        standing().unwrap();
        assert_eq!(executable().unwrap().path, std::env::current_exe().unwrap());
        let limit = nofile();
        let (soft, hard) = (limit.soft.unwrap_or(u64::MAX), limit.hard.unwrap_or(u64::MAX));
        assert!(soft > 0 && soft <= hard);
    }
}
