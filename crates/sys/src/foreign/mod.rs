//! Looking into another process that waits for us: its memory and descriptors here, what `/proc` shows of them in `state`,
//! which of its epoll sets watch a socket in `polled`, the rules it lives under in `rules`, and where in `namespace`.
//!
//! What does not live here: being asked (`seccomp`), and what `/proc` says about processes at leisure (`proc`). Everything
//! names a process or thread by number, and a number may be given anew: what was learnt holds only if the caller
//! [still waits](crate::seccomp::Listener::is_waiting) afterwards. Invariant: nothing of the other process is changed
//! here but by [`register_again`], and nothing it says is trusted to be well-formed.
//!
//! Permissions: memory and descriptors need what attaching a debugger needs (same user and dumpable, or `CAP_SYS_PTRACE`;
//! with Yama's `ptrace_scope` 1 also an ancestor); its own capabilities must be among ours.

mod name;
mod namespace;
mod polled;
mod rules;
mod state;
mod table;

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

use rustix::io::Errno;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::proc::{read_bounded, unreadable};
use crate::process::Pid;

pub use name::{MAX_NAME, Name};
pub use namespace::{Home, Network};
pub use polled::{Registration, is_polled, register_again, registrations};
pub use rules::lowest_free_port;
pub use state::{Maker, maker, may_bind_low, socket_inode};

/// `PIDFD_THREAD` (Linux 6.9).
const PIDFD_THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL.cast_unsigned());

/// What kind of socket a descriptor is, by the kernel's name of its protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6, or over both.
    Tcp6,
    /// Multipath TCP; Go's `net` makes such listeners by default since Go 1.24.
    Mptcp4,
    /// Multipath TCP over IPv6, or over both.
    Mptcp6,
    /// UDP over IPv4.
    Udp4,
    /// UDP over IPv6, or over both.
    Udp6,
    /// A Unix stream; kernels before 5.15 call every Unix socket just `UNIX`, which is [`Other`](Self::Other).
    UnixStream,
    /// Another, by the kernel's name for it.
    Other(String),
}

/// Whether operations on an open file description wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// They wait.
    Waits,
    /// They fail with `EAGAIN` (`O_NONBLOCK`).
    Never,
}

/// What becomes of a descriptor when its process executes another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtExec {
    /// It closes (`O_CLOEXEC`).
    Closes,
    /// It stays open.
    Stays,
}

/// The process a thread belongs to. `ENOENT` or `ESRCH`: there is no such thread.
pub fn process_of(thread: Pid) -> io::Result<Pid> {
    let status = read_bounded(&format!("/proc/{thread}/status"))?;
    let group = status
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"Tgid:"))
        .and_then(|number| std::str::from_utf8(number).ok()?.trim().parse().ok());
    group.and_then(Pid::new).ok_or_else(unreadable)
}

/// A pidfd of the thread, for [`take_fd`]; before Linux 6.9 of its process, which serves as long as the first thread lives.
/// Close-on-exec. `ESRCH`, before 6.9 also `ENOENT`: there is no such thread.
pub fn open_thread(thread: Pid) -> io::Result<OwnedFd> {
    match pidfd_open(thread.as_rustix(), PIDFD_THREAD) {
        Err(Errno::INVAL) => Ok(pidfd_open(process_of(thread)?.as_rustix(), PidfdFlags::empty())?),
        other => Ok(other?),
    }
}

/// A duplicate of the process's descriptor: the same open file description, so what is done to it (options, `bind`,
/// `listen`) is done to the process's own socket. Close-on-exec. `EBADF`: it has no such descriptor; `EPERM`: not
/// permitted, by the rules above or by a filter such as Docker's default one; `ESRCH`: the process has ended; `ENOSYS`: Linux
/// before 5.6.
pub fn take_fd(pidfd: BorrowedFd<'_>, fd: RawFd) -> io::Result<OwnedFd> {
    // The number is a stranger's, and rustix asserts that it is none the kernel would refuse.
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    Ok(pidfd_getfd(pidfd, fd, PidfdGetfdFlags::empty())?)
}

/// The address that lies in the thread's memory, as `bind` would read it. `EINVAL` and `EFAULT` are what `bind` itself
/// would answer to such an address. `EACCES`: not permitted; `ENOENT`, `ESRCH`: there is no such thread.
pub fn read_address(thread: Pid, address: u64, length: u32) -> io::Result<Name> {
    let fault = || io::Error::from_raw_os_error(libc::EFAULT);
    let mut bytes = [0; MAX_NAME];
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let room = bytes.get_mut(..length).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    // Docker's default filter forbids process_vm_readv, not this.
    let memory = open_memory(thread)?;
    // A file offset is signed; the upper half of addresses is the kernel's anyway.
    if i64::try_from(address).is_err() {
        return Err(fault());
    }
    memory.read_exact_at(room, address).map_err(|error| match error.raw_os_error() {
        // Nothing is mapped there, or the end of it came too early.
        Some(libc::EIO) | None => fault(),
        Some(_) => error,
    })?;
    Name::parse(room)
}

/// Whether we may look into the process, without looking: `EACCES` when not, for example because it is not dumpable
/// (`prctl(PR_SET_DUMPABLE)`, or an executable nobody may read) and we are not privileged.
pub fn check_access(process: Pid) -> io::Result<()> {
    open_memory(process).map(drop)
}

/// What kind of socket the process's descriptor is; this needs less permission than [`take_fd`]. `ENOENT`: no such process
/// or descriptor; `EACCES`: not permitted; `ENODATA` or `EOPNOTSUPP`: not a socket.
pub fn protocol_of(process: Pid, fd: RawFd) -> io::Result<Protocol> {
    // Room for more than `struct proto` has (32).
    let mut name = [0; 64];
    let path = format!("/proc/{process}/fd/{fd}");
    let length = rustix::fs::getxattr(path, "system.sockprotoname", &mut name[..])?;
    // The kernel counts the terminating NUL.
    let name = name.get(..length).unwrap_or(&[]).split(|byte| *byte == 0).next().unwrap_or(&[]);
    Ok(match name {
        b"TCP" => Protocol::Tcp4,
        b"TCPv6" => Protocol::Tcp6,
        b"MPTCP" => Protocol::Mptcp4,
        b"MPTCPv6" => Protocol::Mptcp6,
        b"UDP" => Protocol::Udp4,
        b"UDPv6" => Protocol::Udp6,
        b"UNIX-STREAM" => Protocol::UnixStream,
        other => Protocol::Other(String::from_utf8_lossy(other).into_owned()),
    })
}

/// The flags of the process's descriptor, for a socket that shall stand in its place. `ENOENT`: no such process or
/// descriptor; `EACCES`: not permitted.
pub fn fd_flags(process: Pid, fd: RawFd) -> io::Result<(Blocking, AtExec)> {
    let info = read_bounded(&format!("/proc/{process}/fdinfo/{fd}"))?;
    let flags = info
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"flags:"))
        .and_then(|octal| i32::from_str_radix(std::str::from_utf8(octal).ok()?.trim(), 8).ok())
        .ok_or_else(unreadable)?;
    let blocking = if flags & libc::O_NONBLOCK == 0 { Blocking::Waits } else { Blocking::Never };
    let at_exec = if flags & libc::O_CLOEXEC == 0 { AtExec::Stays } else { AtExec::Closes };
    Ok((blocking, at_exec))
}

fn open_memory(thread: Pid) -> io::Result<File> {
    File::open(format!("/proc/{thread}/mem"))
}
