//! The one network interface that a socket is for (`SO_BINDTODEVICE`), by its number.
//!
//! What does not live here: interfaces by name (`inspect`).
#![expect(unsafe_code, reason = "SO_BINDTOIFINDEX: rustix does not have it")]

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Both calls have it since Linux 5.0.
const OPTION: libc::c_int = libc::SO_BINDTOIFINDEX;

/// The interface that the socket is for, whichever way it was chosen; `None`: all, or Linux is before 5.0.
pub fn interface_of(fd: BorrowedFd<'_>) -> io::Result<Option<NonZeroU32>> {
    let mut index: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of_val(&index)).map_err(io::Error::other)?;
    let room = (&raw mut index).cast();
    // SAFETY: the kernel writes at most `length` bytes to `index`, a plain number, and how many it wrote to `length`.
    let failed =
        unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, OPTION, room, &mut length) } != 0;
    let error = if failed { Some(io::Error::last_os_error()) } else { None };
    match error {
        None => Ok(NonZeroU32::new(index.cast_unsigned())),
        Some(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(None),
        Some(error) => Err(error),
    }
}

/// Chooses it. `EPERM`: it has one already, or Linux is before 5.7, and we have no `CAP_NET_RAW`; `ENODEV`: there is none.
pub fn set_interface(fd: BorrowedFd<'_>, index: NonZeroU32) -> io::Result<()> {
    let index = index.get().cast_signed();
    let length = libc::socklen_t::try_from(size_of_val(&index)).map_err(io::Error::other)?;
    let value = (&raw const index).cast();
    // SAFETY: the kernel reads `length` bytes of `index`.
    let failed = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, OPTION, value, length) } != 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}
