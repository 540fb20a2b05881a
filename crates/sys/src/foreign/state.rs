//! What `/proc` shows of a process while it waits: its sockets' inodes, what it may do.
//!
//! What does not live here: what it polls (`polled`). Invariant: reads text that the kernel made up and takes none for
//! well-formed.

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::path::Path;

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
/// effective capabilities). In a user namespace of its own that counts only for network namespaces made in it. `ENOENT`,
/// `ESRCH`: there is no such process.
pub fn may_bind_low(process: Pid) -> io::Result<bool> {
    let status = read_bounded(&format!("/proc/{process}/status"))?;
    let effective = status
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"CapEff:"))
        .and_then(|digits| u64::from_str_radix(std::str::from_utf8(digits).ok()?.trim(), 16).ok());
    effective.map(|set| set & 1 << BIND_SERVICE != 0).ok_or_else(unreadable)
}

fn parse_socket(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse_socket;

    #[test]
    fn only_a_socket_has_a_sockets_inode() {
        assert_eq!(parse_socket("socket:[123]".as_ref()), Some(123));
        for other in ["pipe:[123]", "socket:[]", "socket:[1", "/tmp/socket:[1]", ""] {
            assert_eq!(parse_socket(other.as_ref()), None);
        }
    }
}
