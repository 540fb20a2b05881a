//! The notify descriptor: receiving trapped calls and answering them.
//!
//! Invariant: nothing here waits. A caller that is gone is an answer, no error; every call is answered at most once.
#![expect(unsafe_code, reason = "the ioctls of a notify descriptor and the sizes of its structures")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};

use super::{Call, CallId};
use crate::foreign::AtExec;

/// Room after a structure for what a newer kernel may add to it: it copies as many bytes as it knows fields.
const GROWTH: usize = 24;

/// A structure of ours with that room.
#[repr(C)]
struct Padded<T> {
    value: T,
    growth: [u64; GROWTH],
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The call returns with it.
    Delivered,
    /// Nobody waits any more: the caller has died, or a signal has ended its wait (then it may call again).
    CallerGone,
}

/// How a caller waits for the answer to a call that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// Only death ends its wait (Linux 5.19). A call not yet received can still be interrupted and then begins anew; before
    /// Linux 6.18 a signal that came together with the answer could win as well. So what was done for a call must be
    /// harmless when done again ([`bind_here`](crate::listen::bind_here)).
    Killable,
    /// Any signal with a handler ends its wait: the call fails with `EINTR`, or begins anew, though it was carried out.
    Interruptible,
}

/// Where the calls of one child and all its descendants arrive. Readable when one waits; hung up when no process under the
/// filter is left (before Linux 6.11: once they were reaped). When the last duplicate closes, all that wait and all
/// later calls fail with `ENOSYS`; sockets that listen already are not affected.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    waits: Waits,
    kept: Option<RawFd>,
}

impl Listener {
    pub(super) fn new(fd: OwnedFd, waits: Waits, kept: Option<RawFd>) -> Self {
        Self { fd, waits, kept }
    }

    /// Takes over a notify descriptor of a predecessor, with what it knew of it ([`waits`](Self::waits),
    /// [`kept`](Self::kept)). `EINVAL`: the descriptor is something else.
    pub fn take_over(fd: OwnedFd, waits: Waits, kept: Option<RawFd>) -> io::Result<Self> {
        let listener = Self { fd, waits, kept };
        match listener.ask(CallId::from_raw(0)) {
            Ok(()) | Err(Errno::NOENT) => Ok(listener),
            Err(_) => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    }

    /// How callers wait.
    pub fn waits(&self) -> Waits {
        self.waits
    }

    /// The number of the duplicate that the program was left, when [`Traps::keep`](super::Traps::keep) asked for one.
    pub fn kept(&self) -> Option<RawFd> {
        self.kept
    }

    /// The next call. `None`: none waits; or one did and its caller is gone; or it is not one of ours and was let through.
    /// Ask again when the descriptor is readable. Only one holder of the descriptor may receive at a time: with two,
    /// the kernel could make this wait.
    pub fn receive(&self) -> io::Result<Option<Call>> {
        // The kernel knows no non-blocking receive (6.18).
        if !self.is_readable()? {
            return Ok(None);
        }
        check_sizes()?;
        let data = libc::seccomp_data { nr: 0, arch: 0, instruction_pointer: 0, args: [0; 6] };
        // All zero, or the kernel refuses it.
        let value = libc::seccomp_notif { id: 0, pid: 0, flags: 0, data };
        let mut room = Padded { value, growth: [0; GROWTH] };
        match self.ioctl(libc::SECCOMP_IOCTL_NOTIF_RECV, &mut room) {
            Ok(()) => {}
            // ENOENT: gone between our look and the receive. EINTR: a signal to us; it is still there.
            Err(Errno::NOENT | Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let call = Call::read(&room.value);
        if call.is_none() {
            self.let_through(CallId::from_raw(room.value.id))?;
        }
        Ok(call)
    }

    /// Whether the caller still waits. What was learnt of it by number (its memory, its descriptors) was its own if this
    /// is true afterwards.
    pub fn is_waiting(&self, id: CallId) -> bool {
        self.ask(id).is_ok()
    }

    /// Makes the call return 0, or fail with the error's number (`EIO` when it has none); the kernel itself does nothing
    /// for it. `EINPROGRESS`: it was answered already.
    pub fn answer(&self, id: CallId, outcome: io::Result<()>) -> io::Result<Delivery> {
        let errno = match outcome {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().filter(|errno| *errno > 0).unwrap_or(libc::EIO),
        };
        self.respond(libc::seccomp_notif_resp { id: id.0, val: 0, error: -errno, flags: 0 })
    }

    /// Lets the kernel carry the call out as if it had not been trapped. It reads the caller's memory again, so what it
    /// finds may differ from what we found there.
    pub fn let_through(&self, id: CallId) -> io::Result<Delivery> {
        let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
        self.respond(libc::seccomp_notif_resp { id: id.0, val: 0, error: 0, flags })
    }

    /// Puts a duplicate of `fd` in place of the caller's `target`; the call still waits, so that more can be done before its
    /// program sees it. (Putting it and answering at once, `SECCOMP_ADDFD_FLAG_SEND` of Linux 5.14, would make the call return the
    /// descriptor's number, which no caller of `listen` expects.) `Delivered`: it is there. What was registered in an epoll set under that number stays with the old
    /// socket, unless it is [registered again](crate::foreign::register_again). `EBADF`: the number is above the caller's
    /// limit.
    pub fn put(
        &self,
        id: CallId,
        target: RawFd,
        fd: BorrowedFd<'_>,
        at_exec: AtExec,
    ) -> io::Result<Delivery> {
        let newfd_flags = match at_exec {
            AtExec::Closes => libc::O_CLOEXEC.cast_unsigned(),
            AtExec::Stays => 0,
        };
        let mut added = libc::seccomp_notif_addfd {
            id: id.0,
            flags: libc::SECCOMP_ADDFD_FLAG_SETFD as u32,
            srcfd: fd.as_raw_fd().cast_unsigned(),
            newfd: target.cast_unsigned(),
            newfd_flags,
        };
        match retry_on_intr(|| self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ADDFD, &mut added)) {
            Ok(()) => Ok(Delivery::Delivered),
            Err(Errno::NOENT | Errno::SRCH) => Ok(Delivery::CallerGone),
            Err(error) => Err(error.into()),
        }
    }

    fn respond(&self, value: libc::seccomp_notif_resp) -> io::Result<Delivery> {
        check_sizes()?;
        let mut response = Padded { value, growth: [0; GROWTH] };
        match retry_on_intr(|| self.ioctl(libc::SECCOMP_IOCTL_NOTIF_SEND, &mut response)) {
            Ok(()) => Ok(Delivery::Delivered),
            Err(Errno::NOENT) => Ok(Delivery::CallerGone),
            Err(error) => Err(error.into()),
        }
    }

    fn ask(&self, id: CallId) -> Result<(), Errno> {
        let mut number = id.0;
        retry_on_intr(|| self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &mut number))
    }

    fn is_readable(&self) -> io::Result<bool> {
        let mut asked = [PollFd::new(&self.fd, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        retry_on_intr(|| poll(&mut asked, Some(&at_once)))?;
        let [asked] = asked;
        Ok(asked.revents().contains(PollFlags::IN))
    }

    /// `T` is what the request asks for: all four structures are plain numbers, and whatever the kernel writes there is one.
    fn ioctl<T>(&self, request: libc::Ioctl, argument: &mut T) -> Result<(), Errno> {
        // SAFETY: `argument` is valid for reads and writes of what the kernel copies, see `check_sizes`.
        let failed = unsafe { libc::ioctl(self.fd.as_raw_fd(), request, std::ptr::from_mut(argument)) };
        if failed < 0 {
            return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO));
        }
        Ok(())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `EOVERFLOW` when this kernel's structures do not fit ours with their room. Asked once.
fn check_sizes() -> io::Result<()> {
    static FITS: OnceLock<bool> = OnceLock::new();
    let fits = *FITS.get_or_init(|| {
        let mut sizes =
            libc::seccomp_notif_sizes { seccomp_notif: 0, seccomp_notif_resp: 0, seccomp_data: 0 };
        let (operation, no_flags) = (libc::SECCOMP_GET_NOTIF_SIZES, 0 as libc::c_ulong);
        // SAFETY: the answer goes to memory of the right type.
        let failed = unsafe { libc::syscall(libc::SYS_seccomp, operation, no_flags, &mut sizes) } != 0;
        // Who has a listener has the call (Linux 5.0); if it fails all the same, somebody forbids us to ask.
        failed
            || usize::from(sizes.seccomp_notif) <= size_of::<Padded<libc::seccomp_notif>>()
                && usize::from(sizes.seccomp_notif_resp) <= size_of::<Padded<libc::seccomp_notif_resp>>()
    });
    if fits { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EOVERFLOW)) }
}
