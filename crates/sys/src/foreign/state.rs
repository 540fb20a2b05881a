//! What `/proc` shows of a process while it waits: its sockets' inodes, what it polls, what it may do.
//!
//! Invariant: reads text that the kernel made up and takes none for well-formed; however many descriptors the process has,
//! only so many are looked at.

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::path::Path;

use crate::proc::{read_bounded, unreadable};
use crate::process::Pid;

/// Descriptors looked at, and epoll sets among them.
const MOST_DESCRIPTORS: usize = 1 << 16;
const MOST_SETS: usize = 64;

/// `CAP_NET_BIND_SERVICE`.
const BIND_SERVICE: u32 = 10;

/// The inode of the process's socket: the same number as [`inode`](crate::listen::inode) of a duplicate. `ENOENT`: no such
/// process or descriptor; `EACCES`: not permitted; `ENOTSOCK`: not a socket.
pub fn socket_inode(process: Pid, fd: RawFd) -> io::Result<u64> {
    let target = fs::read_link(format!("/proc/{process}/fd/{fd}"))?;
    parse_socket(&target).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOTSOCK))
}

/// Whether one of the process's epoll sets watches this socket, under whatever number. Such a registration stays with the socket
/// when another is put in its place, and the program never hears of the other. `false` also when it cannot be known: not
/// permitted, or no socket. Looks at 65,536 descriptors and 64 sets at most (Linux 4.13 names inodes there).
pub fn is_polled(process: Pid, fd: RawFd) -> bool {
    let (Ok(inode), Ok(entries)) = (socket_inode(process, fd), fs::read_dir(format!("/proc/{process}/fd")))
    else {
        return false;
    };
    entries
        .flatten()
        .take(MOST_DESCRIPTORS)
        .filter(|entry| {
            fs::read_link(entry.path()).is_ok_and(|target| target == Path::new("anon_inode:[eventpoll]"))
        })
        .take(MOST_SETS)
        .filter_map(|set| {
            let number = set.file_name();
            read_bounded(&format!("/proc/{process}/fdinfo/{}", number.to_str()?)).ok()
        })
        .any(|text| text.split(|byte| *byte == b'\n').any(|line| parse_watched(line) == Some(inode)))
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

/// `tfd: 5 events: 19 data: 5  pos:0 ino:2a sdev:8`; the inode is hexadecimal.
fn parse_watched(line: &[u8]) -> Option<u64> {
    let fields = std::str::from_utf8(line.strip_prefix(b"tfd:")?).ok()?;
    let inode = fields.split_ascii_whitespace().find_map(|field| field.strip_prefix("ino:"))?;
    u64::from_str_radix(inode, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{parse_socket, parse_watched};

    #[test]
    fn only_a_line_of_a_watched_descriptor_has_an_inode() {
        let line = b"tfd:        5 events:       19 data:                5  pos:0 ino:2a sdev:8";
        assert_eq!(parse_watched(line), Some(42));
        for other in [&b"pos:\t0"[..], b"ino:\t42", b"tfd: 5 events: 19", b"tfd: 5 ino:xyz", b""] {
            assert_eq!(parse_watched(other), None);
        }
    }

    #[test]
    fn only_a_socket_has_a_sockets_inode() {
        assert_eq!(parse_socket("socket:[123]".as_ref()), Some(123));
        for other in ["pipe:[123]", "socket:[]", "socket:[1", "/tmp/socket:[1]", ""] {
            assert_eq!(parse_socket(other.as_ref()), None);
        }
    }
}
