//! What `/proc` shows of a process while it waits: its sockets' inodes, what it may do, whose the files are that it makes.
//!
//! What does not live here: what it polls (`polled`). Invariant: reads text that the kernel made up and takes none for
//! well-formed.

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::path::Path;

use super::namespace::shares;
use crate::proc::{read_bounded, unreadable};
use crate::process::Pid;

/// `CAP_NET_BIND_SERVICE`.
const BIND_SERVICE: u32 = 10;

/// The inode of the process's socket: the same number as [`inode`](crate::listen::inode) of a duplicate. `ENOENT`: no such
/// process or descriptor; `EACCES`: not permitted; `ENOTSOCK`: not a socket.
pub fn socket_inode(process: Pid, fd: RawFd) -> io::Result<u64> {
    let target = fs::read_link(format!("/proc/{process}/fd/{fd}"))?;
    parse_socket(&target).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOTSOCK))
}

/// Whether the process may bind ports below [`lowest_free_port`](super::lowest_free_port) (`CAP_NET_BIND_SERVICE` among its
/// effective capabilities). In a user namespace of its own every process may have that, and it counts only for network
/// namespaces made in it: no. `ENOENT`, `ESRCH`: there is no such process; `EACCES`: its namespace is not to be seen.
pub fn may_bind_low(process: Pid) -> io::Result<bool> {
    let status = read_bounded(&format!("/proc/{process}/status"))?;
    let effective = field(&status, "CapEff:").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let effective = effective.ok_or_else(unreadable)?;
    // Nobody comes back from a user namespace, so what is true now was true above.
    Ok(effective & 1 << BIND_SERVICE != 0 && shares(process, "user")?)
}

/// What decides about a file that a process makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maker {
    /// The permissions that it does not give (0 to 0o777).
    pub umask: u32,
    /// Its user for files.
    pub user: u32,
    /// Its group for files.
    pub group: u32,
}

/// The process as a maker of files. `ENOENT`, `ESRCH`: there is no such process; `InvalidData`: Linux before 4.7, which shows
/// no `Umask:`.
pub fn maker(process: Pid) -> io::Result<Maker> {
    parse_maker(&read_bounded(&format!("/proc/{process}/status"))?).ok_or_else(unreadable)
}

fn parse_maker(status: &[u8]) -> Option<Maker> {
    // Real, effective, saved, and the one for files.
    let for_files = |name| field(status, name)?.split_whitespace().nth(3)?.parse().ok();
    let umask = u32::from_str_radix(field(status, "Umask:")?, 8).ok()? & 0o777;
    Some(Maker { umask, user: for_files("Uid:")?, group: for_files("Gid:")? })
}

/// What follows the name in a line of `status`.
fn field<'a>(status: &'a [u8], name: &str) -> Option<&'a str> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name.as_bytes()))?;
    Some(std::str::from_utf8(line).ok()?.trim())
}

fn parse_socket(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Maker, maker, parse_maker, parse_socket};
    use crate::process::own_pid;

    #[test]
    fn only_a_socket_has_a_sockets_inode() {
        assert_eq!(parse_socket("socket:[123]".as_ref()), Some(123));
        for other in ["pipe:[123]", "socket:[]", "socket:[1", "/tmp/socket:[1]", ""] {
            assert_eq!(parse_socket(other.as_ref()), None);
        }
    }

    #[test]
    fn a_maker_of_files_has_a_umask_and_its_identity_for_files() {
        let status = b"Name:\tUmask:\t0777\nUmask:\t0027\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n";
        assert_eq!(parse_maker(status), Some(Maker { umask: 0o027, user: 4, group: 8 }));
        for other in ["", "Umask:\t9\nUid:\t1 2 3 4\nGid:\t1 2 3 4", "Umask:\t22\nUid:\t1 2 3\nGid:\t1 2 3 4"]
        {
            assert_eq!(parse_maker(other.as_bytes()), None);
        }
        assert_eq!(maker(own_pid()).unwrap().user, rustix::process::geteuid().as_raw());
    }
}
