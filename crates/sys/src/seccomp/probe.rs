//! What can be had here, found out by doing it once with a child of our own.
//!
//! What does not live here: what follows from it. Invariant: the child runs no program and makes async-signal-safe calls only; it
//! is ended and reaped before the answer, whatever became of it, and its parent waits a bounded time.
//!
//! The kernel has no other way to ask: whether a filter may be installed is known when it is (and then it stays), and what a
//! container's own filter, Yama or another security module forbids is known by being refused.
#![expect(unsafe_code, reason = "a fork without exec: clone, bind, poll, _exit, and waiting for it")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Signal, kill_process};

use super::install::Install;
use super::{Call, Delivery, Listener, Traps, Unavailable, Waits, prepare};
use crate::foreign::{AtExec, open_thread, take_fd};
use crate::process::Pid;

/// How long the child may take for each step; it needs less than a millisecond.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at a child that was killed.
const DYING: Duration = Duration::from_micros(100);
/// After this the child ends by itself, should its parent be gone. Milliseconds.
const CHILD_LIVES: libc::c_int = 10_000;

/// What can be had with children of this process, as this user.
#[derive(Debug)]
pub struct Reach {
    /// Whether a child can be trapped, and how its calls then wait.
    pub traps: Result<Waits, Unavailable>,
    /// Whether a child's descriptor can be duplicated by [`take_fd`]. `EPERM`: forbidden, for example by Docker's default
    /// filter; `ENOSYS`: Linux before 5.6.
    pub takes: io::Result<()>,
    /// Whether a descriptor can be put into a trapped child by [`Listener::put`]. `EINVAL`: Linux before 5.9; where
    /// nothing can be trapped, the number of that refusal.
    pub adds: io::Result<()>,
}

/// Tries it; takes about a millisecond and at most some seconds. An error means that it could not be tried (no process,
/// memory or descriptor to be had), not that it cannot be had. The child is as a program of this user is after its start. So one of another user, or
/// one that makes itself undumpable, may be out of reach though this child is not.
pub fn probe() -> io::Result<Reach> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
        .or_else(|_| socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None))?;
    let (install, receipt) = match prepare(Traps::default(), 0) {
        Ok(both) => both,
        Err(error) => {
            let unavailable = Unavailable::of(&error).ok_or(error)?;
            let refused = || Err(io::Error::from_raw_os_error(unavailable.errno()));
            return Ok(Reach { traps: Err(unavailable), takes: refused(), adds: refused() });
        }
    };
    let child = Trial::start(&install, &socket)?;
    // The child's end is now the child's alone, so that its death is seen.
    drop(install);
    match wait_readable(&receipt) {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let refused = || Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
            return Ok(Reach { traps: Err(Unavailable::hangs()), takes: refused(), adds: refused() });
        }
        other => other?,
    }
    let takes = child.take(&socket);
    match receipt.collect() {
        Ok(listener) => {
            let adds = child.put(&listener, &socket)?;
            Ok(Reach { traps: Ok(listener.waits()), takes, adds })
        }
        Err(error) => {
            let unavailable = Unavailable::of(&error).ok_or(error)?;
            let adds = Err(io::Error::from_raw_os_error(unavailable.errno()));
            Ok(Reach { traps: Err(unavailable), takes, adds })
        }
    }
}

/// A copy of this process that does what it is tried with. Ended and reaped when dropped.
struct Trial(Pid);

impl Trial {
    /// The raw call, with no signal for its end: the program around us may have handlers for children it knows nothing of, or may
    /// wait for any child; both see only children that end with SIGCHLD.
    fn start(install: &Install, socket: &OwnedFd) -> io::Result<Self> {
        let (no_signal, nothing) = (0 as libc::c_ulong, 0 as libc::c_ulong);
        // SAFETY: without a stack and flags this is a fork; the child goes on in `act`, which never returns.
        let pid = unsafe { libc::syscall(libc::SYS_clone, no_signal, nothing, nothing, nothing, nothing) };
        if pid == 0 {
            act(install, socket);
        }
        match i32::try_from(pid).ok().and_then(Pid::new) {
            Some(pid) => Ok(Self(pid)),
            None => Err(io::Error::last_os_error()),
        }
    }

    /// The child has the same descriptors as we had at its start.
    fn take(&self, socket: &OwnedFd) -> io::Result<()> {
        let pidfd = open_thread(self.0)?;
        take_fd(pidfd.as_fd(), socket.as_raw_fd()).map(drop)
    }

    /// The child's own socket in place of itself.
    fn put(&self, listener: &Listener, socket: &OwnedFd) -> io::Result<io::Result<()>> {
        wait_readable(listener)?;
        let Some(Call { id, .. }) = listener.receive()? else {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        };
        let placed = listener.put(id, socket.as_raw_fd(), socket.as_fd(), AtExec::Closes);
        Ok(placed.and_then(|delivery| match delivery {
            Delivery::Delivered => Ok(()),
            Delivery::CallerGone => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }))
    }
}

impl Drop for Trial {
    /// Nobody else reaps it, so its number is still its own; and a process that waits for an answer can be killed. One that
    /// hangs in the kernel cannot: it is left behind.
    fn drop(&mut self) {
        let _ = kill_process(self.0.as_rustix(), Signal::KILL);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let how = libc::__WALL | libc::WNOHANG;
            // SAFETY: no status is asked for. `__WALL`: children without an end signal are not waited for otherwise.
            let reaped = unsafe { libc::waitpid(self.0.get(), std::ptr::null_mut(), how) };
            if reaped > 0 || reaped < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return;
            }
            std::thread::sleep(DYING);
        }
    }
}

/// In the child: everything it does. It does not end by itself while its parent may still want to look at it.
fn act(install: &Install, socket: &OwnedFd) -> ! {
    let (dumpable, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // A process whose file gave it capabilities is not, and neither is its copy, but a program that it executes is. Whom
    // that lets look into the copy is who holds its capabilities as well.
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, dumpable, unused, unused, unused) };
    if install.install().is_ok() {
        let (nowhere, no_length) = (std::ptr::null::<libc::sockaddr>(), 0 as libc::socklen_t);
        // SAFETY: an address of no length is not read; the call is trapped before that anyway.
        unsafe { libc::bind(socket.as_raw_fd(), nowhere, no_length) };
    }
    // SAFETY: no descriptors: only waits.
    unsafe { libc::poll(std::ptr::null_mut(), 0, CHILD_LIVES) };
    // SAFETY: ends this process without running anything of the parent's.
    unsafe { libc::_exit(0) }
}

/// `TimedOut` when it is neither readable nor hung up in time.
fn wait_readable(fd: &impl AsFd) -> io::Result<()> {
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    match rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&patience)))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}
