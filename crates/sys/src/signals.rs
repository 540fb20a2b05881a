//! Receiving signals as something to read: a blocked set and a signalfd.
//!
//! What does not live here: what a signal means. Invariant: no handler of ours ever runs.
//!
//! A signal that was ignored when this process started (`nohup` ignores SIGHUP, a background shell SIGINT) stays
//! ignored: the kernel drops it before the signalfd sees it, unless somebody changes the disposition. Ask
//! [`is_ignored`] and say so rather than waiting for it.
#![expect(
    unsafe_code,
    reason = "signal sets, pthread_sigmask, signalfd and sigaction: rustix has no safe calls"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::signal::Signal;

/// Size of `struct signalfd_siginfo`; its first field is the number.
const RECORD: usize = 128;

/// Delivers blocked signals, one per read; non-blocking and close-on-exec.
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

/// Blocks the signals in the calling thread and returns what delivers them. Call it in `main` before any other
/// thread exists: threads started later inherit the mask, a thread that already runs would still be ended by them.
pub fn block(signals: &[Signal]) -> io::Result<SignalFd> {
    let set = collect_set(signals);
    // SAFETY: `set` is initialised; no old mask is asked for.
    let failed = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    // SAFETY: -1 asks for a new descriptor; `set` is initialised.
    let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, nobody else knows it.
    Ok(SignalFd { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
}

impl SignalFd {
    /// The next signal, or `None` when none waits. Several deliveries of one signal may be one.
    pub fn read(&self) -> io::Result<Option<Signal>> {
        let mut record = [0; RECORD];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut record)) {
            Ok(RECORD) => {
                let [a, b, c, d, ..] = record;
                Ok(i32::try_from(u32::from_ne_bytes([a, b, c, d])).ok().and_then(Signal::from_number))
            }
            Ok(_) | Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the next signal.
    pub fn wait(&self) -> io::Result<Signal> {
        loop {
            if let Some(signal) = self.read()? {
                return Ok(signal);
            }
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether the signal is ignored in this process. Rust's runtime ignores SIGPIPE; for every other signal that nobody
/// here touched the answer is what was inherited.
pub fn is_ignored(signal: Signal) -> bool {
    let mut present = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks only; the answer goes to memory of the right type.
    let failed = unsafe { libc::sigaction(signal.number(), std::ptr::null(), present.as_mut_ptr()) };
    // SAFETY: all zeroes is a valid value, whether or not the call filled it.
    let present = unsafe { present.assume_init() };
    failed == 0 && present.sa_sigaction == libc::SIG_IGN
}

/// Gives the signal, 1 to 64, its default disposition in this process. The raw call, because the C library refuses the
/// numbers it keeps for itself (32, 33) though a parent may have left them ignored. Async-signal-safe.
pub(crate) fn restore_default(signal: libc::c_int) {
    // The kernel's struct (handler, flags, restorer, 64-bit mask) is no larger than this; all zeroes is SIG_DFL.
    let action = [0u64; 8];
    let (unasked, mask_size) = (std::ptr::null_mut::<u64>(), 8usize);
    // SAFETY: `action` is readable for longer than the kernel's struct; the old action is not asked for. Refusals
    // (SIGKILL, SIGSTOP) change nothing.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), unasked, mask_size) };
}

/// Unblocks every signal in the calling thread. Async-signal-safe.
pub(crate) fn clear_mask() {
    let set = collect_set(&[]);
    // SAFETY: `set` is initialised; no old mask is asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut()) };
}

fn collect_set(signals: &[Signal]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: writes an empty set to memory of the right type.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised by the call above (and all zeroes is the empty set anyway).
    let mut set = unsafe { set.assume_init() };
    for signal in signals {
        // SAFETY: `set` is initialised and the number is a standard signal.
        unsafe { libc::sigaddset(&mut set, signal.number()) };
    }
    set
}
