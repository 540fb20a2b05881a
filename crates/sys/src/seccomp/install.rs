//! Installing the filter in a child about to exec, and getting the notify descriptor back from it.
//!
//! Invariant: [`Install::install`] makes only async-signal-safe calls on the stack. The parent never waits for the report:
//! it looks once exec succeeded or failed, and then the report was sent or will never be.
#![expect(unsafe_code, reason = "prctl, seccomp and F_DUPFD to an inheritable number, in the child")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_ulong, sock_filter};

use super::{Listener, Traps, Unavailable, Waits, filter};
use crate::fdpass::{channel_pair, receive, send};
use crate::placement;

/// Not a sandbox, so leave the processor's speculation as it is: before Linux 5.16 any filter slows every thread under
/// it down (Speculative Store Bypass). The flag is as old as 4.17.
const FLAGS: c_ulong = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;

/// What a report begins with; four bytes of a number follow.
const TRAPPED_KILLABLE: u8 = b'k';
const TRAPPED_INTERRUPTIBLE: u8 = b'i';
const REFUSED: u8 = b'r';
const REPORT: usize = 5;

/// "Nothing is kept" in the number of a report.
const NOT_KEPT: i32 = -1;

/// The child's half.
pub(crate) struct Install {
    listing: [sock_filter; 10],
    report: OwnedFd,
    keep: Option<RawFd>,
}

/// The parent's half.
pub(crate) struct Receipt(OwnedFd);

/// Both halves. `above`: the first number that is not one of those the child shall have after exec.
pub(crate) fn prepare(traps: Traps, above: RawFd) -> io::Result<(Install, Receipt)> {
    let Some(native) = filter::NATIVE else { return Err(Unavailable::explain(libc::ENOSYS)) };
    let (ours, theirs) = channel_pair()?;
    let report = placement::lift(theirs, above)?;
    let listing = filter::listing(native, traps.shutdown);
    Ok((Install { listing, report, keep: traps.keep }, Receipt(ours)))
}

impl Install {
    /// In the child, as the last thing before exec: std neither binds nor listens between.
    pub(crate) fn install(&self) -> io::Result<()> {
        let (notify, waits) = match self.set_filter() {
            Ok(installed) => installed,
            Err(error) => {
                let _ = send(self.report.as_fd(), &spell(REFUSED, error.raw_os_error().unwrap_or(0)), None);
                return Err(error);
            }
        };
        let kept = match self.keep {
            Some(least) => duplicate_inheritable(&notify, least)?,
            None => NOT_KEPT,
        };
        let how = match waits {
            Waits::Killable => TRAPPED_KILLABLE,
            Waits::Interruptible => TRAPPED_INTERRUPTIBLE,
        };
        // A fresh socket has room for five bytes. Our own copy closes here; the one in flight keeps the listener alive.
        send(self.report.as_fd(), &spell(how, kept), Some(notify.as_fd())).map(drop)
    }

    fn set_filter(&self) -> io::Result<(OwnedFd, Waits)> {
        let (on, unused): (c_ulong, c_ulong) = (1, 0);
        // SAFETY: plain numbers.
        if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, on, unused, unused, unused) } != 0 {
            return Err(io::Error::last_os_error());
        }
        match self.call(FLAGS | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
            Ok(notify) => Ok((notify, Waits::Killable)),
            // Before Linux 5.19 the flag is unknown. If that was not the reason, this fails with the reason.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                Ok((self.call(FLAGS)?, Waits::Interruptible))
            }
            Err(error) => Err(error),
        }
    }

    fn call(&self, flags: c_ulong) -> io::Result<OwnedFd> {
        let program =
            libc::sock_fprog { len: self.listing.len() as u16, filter: self.listing.as_ptr().cast_mut() };
        // SAFETY: `program` and the listing it points to are alive; the kernel only reads them.
        let fd = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &program) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made (close-on-exec by the kernel), nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    }
}

impl Receipt {
    /// After exec succeeded, or once the report is [readable](AsFd::as_fd): the listener, or the reason why there is none.
    pub(crate) fn collect(&self) -> io::Result<Listener> {
        let mut report = [0; REPORT];
        let received = match receive(self.0.as_fd(), &mut report) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(ended_early()),
            other => other?,
        };
        let (how, kept) = read(report);
        let waits = match how {
            TRAPPED_KILLABLE => Waits::Killable,
            TRAPPED_INTERRUPTIBLE => Waits::Interruptible,
            REFUSED => return Err(Unavailable::explain(kept)),
            _ => return Err(ended_early()),
        };
        // Without it the report was cut short by our own limit of descriptors.
        let fd = received.fd.ok_or_else(|| io::Error::from_raw_os_error(libc::EMFILE))?;
        Ok(Listener::new(fd, waits, (kept != NOT_KEPT).then_some(kept)))
    }

    /// After spawn failed: the same error, or the reason if the filter was it.
    pub(crate) fn explain(&self, error: io::Error) -> io::Error {
        let mut report = [0; REPORT];
        let received = receive(self.0.as_fd(), &mut report);
        match (received, read(report)) {
            (Ok(_), (REFUSED, errno)) => Unavailable::explain(errno),
            (Ok(_) | Err(_), _) => error,
        }
    }
}

impl AsFd for Receipt {
    /// Readable when the report is there, hung up when none will come.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Std takes a child that is killed between fork and exec for a success: its report pipe closes in silence.
fn ended_early() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "cannot start program: the process ended before exec")
}

fn spell(how: u8, number: i32) -> [u8; REPORT] {
    let [a, b, c, d] = number.to_ne_bytes();
    [how, a, b, c, d]
}

fn read([how, a, b, c, d]: [u8; REPORT]) -> (u8, i32) {
    (how, i32::from_ne_bytes([a, b, c, d]))
}

pub(crate) fn duplicate_inheritable(fd: &OwnedFd, least: RawFd) -> io::Result<RawFd> {
    // SAFETY: plain numbers. The copy is left open on purpose: it is the program's.
    let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD, least) };
    if copy < 0 { Err(io::Error::last_os_error()) } else { Ok(copy) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, AsRawFd};

    use super::{REFUSED, Receipt, TRAPPED_KILLABLE, prepare, spell};
    use crate::fdpass::{channel_pair, send};
    use crate::seccomp::{Reason, Traps, Unavailable};

    #[test]
    fn a_child_that_ended_before_its_report_keeps_nobody_waiting() {
        // Its end still open, as while another thread's child has inherited it, and closed.
        let (ours, theirs) = channel_pair().unwrap();
        let receipt = Receipt(ours);
        assert_eq!(receipt.collect().unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        drop(theirs);
        assert_eq!(receipt.collect().unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        let error = std::io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(receipt.explain(error).raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn a_report_without_its_descriptor_is_our_own_limit() {
        let (ours, theirs) = channel_pair().unwrap();
        send(theirs.as_fd(), &spell(TRAPPED_KILLABLE, 900), None).unwrap();
        assert_eq!(Receipt(ours).collect().unwrap_err().raw_os_error(), Some(libc::EMFILE));
    }

    #[test]
    fn a_refused_filter_is_the_reason_of_the_failure() {
        let (ours, theirs) = channel_pair().unwrap();
        send(theirs.as_fd(), &spell(REFUSED, libc::EPERM), None).unwrap();
        let error = Receipt(ours).explain(std::io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(Unavailable::of(&error).map(Unavailable::reason), Some(Reason::Refused));
    }

    #[test]
    fn the_report_lies_above_the_numbers_of_the_child() {
        let (install, _receipt) = prepare(Traps::default(), 200).unwrap();
        assert!(install.report.as_raw_fd() >= 200);
    }
}
