//! Which descriptors are open, asked without allocating.
//!
//! Two callers need that: the initialiser that runs before `main`, and the child between `fork` and `exec`. Both
//! may only use raw system calls and the stack.
#![expect(unsafe_code, reason = "raw open, getdents64, fcntl and close: rustix allocates for directories")]

use libc::c_int;

/// Descriptors tried one by one when `/proc` is not mounted.
const FALLBACK_END: c_int = 1024;

/// Room for directory entries; the kernel wants 8-byte alignment of each record.
#[repr(C, align(8))]
struct Records([u8; 2048]);

/// Calls `visit` for every open descriptor from 3 on; without `/proc` only below 1024. Async-signal-safe as long
/// as `visit` is. `visit` may change flags but must not open or close descriptors.
pub(crate) fn visit_open_fds(mut visit: impl FnMut(c_int)) {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the path is a NUL-terminated constant.
    let dir = unsafe { libc::open(c"/proc/self/fd".as_ptr(), flags) };
    if dir < 0 {
        for fd in 3..FALLBACK_END {
            if fd_flags(fd).is_some() {
                visit(fd);
            }
        }
        return;
    }
    let mut records = Records([0; 2048]);
    loop {
        let room = records.0.len();
        // SAFETY: `records` is writable for `room` bytes and outlives the call.
        let filled = unsafe { libc::syscall(libc::SYS_getdents64, dir, records.0.as_mut_ptr(), room) };
        let Ok(filled @ 1..) = usize::try_from(filled) else { break };
        let mut rest = records.0.get(..filled).unwrap_or(&[]);
        // struct linux_dirent64: inode u64, offset i64, record length u16, type u8, name.
        while let Some(&[low, high]) = rest.get(16..18) {
            let length = usize::from(u16::from_ne_bytes([low, high]));
            let Some(record) = rest.get(..length) else { break };
            if let Some(fd) = record.get(19..).and_then(parse_number)
                && fd >= 3
                && fd != dir
            {
                visit(fd);
            }
            rest = match rest.get(length..) {
                Some(next) if length > 0 => next,
                Some(_) | None => break,
            };
        }
    }
    // SAFETY: `dir` was opened above and nobody else knows it.
    unsafe { libc::close(dir) };
}

/// The descriptor's flags (`FD_CLOEXEC` or 0), or `None` when it is not open.
pub(crate) fn fd_flags(fd: c_int) -> Option<c_int> {
    // SAFETY: F_GETFD takes no pointer; a number that is not open answers EBADF.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    (flags >= 0).then_some(flags)
}

/// Sets the descriptor's flags; a number that is not open is ignored.
pub(crate) fn set_fd_flags(fd: c_int, flags: c_int) {
    // SAFETY: F_SETFD takes an integer and changes nothing but the close-on-exec flag.
    unsafe { libc::fcntl(fd, libc::F_SETFD, flags) };
}

/// The decimal number before the first NUL byte.
fn parse_number(name: &[u8]) -> Option<c_int> {
    let digits = name.split(|byte| *byte == 0).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::{fd_flags, set_fd_flags, visit_open_fds};

    #[test]
    fn every_open_descriptor_is_visited_once() {
        // More than one buffer of directory entries.
        let files: Vec<_> = (0..200).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let mut seen = Vec::new();
        visit_open_fds(|fd| seen.push(fd));
        for file in &files {
            assert_eq!(seen.iter().filter(|fd| **fd == file.as_raw_fd()).count(), 1);
        }
        assert!(seen.iter().all(|fd| *fd >= 3));
    }

    #[test]
    fn flags_are_set_and_a_closed_number_has_none() {
        let file = std::fs::File::open("/dev/null").unwrap();
        set_fd_flags(file.as_raw_fd(), 0);
        assert_eq!(fd_flags(file.as_raw_fd()), Some(0));
        set_fd_flags(file.as_raw_fd(), libc::FD_CLOEXEC);
        assert_eq!(fd_flags(file.as_raw_fd()), Some(libc::FD_CLOEXEC));
        assert_eq!(fd_flags(i32::MAX), None);
    }
}
