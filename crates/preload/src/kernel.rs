//! What the shim asks of the kernel for itself, by number.
//!
//! By number because a call of the C library's functions would come back to our own (`connect`), pass through those of other
//! preloaded libraries, and be a place where a cancelled thread ends: in the middle of ours, with a descriptor in hand.
//! Invariant: failures are values here; `errno` is the program's, and [`quietly`] gives it back.
#![expect(unsafe_code, reason = "system calls by number, errno")]

use core::ffi::{c_int, c_long};

/// How often a call is made again that a signal ended. Signals are blocked meanwhile, but for the two of the C library's own.
const TRIES: u32 = 64;

/// An open descriptor of ours.
pub(crate) struct Fd(c_int);

impl Fd {
    /// Takes over a descriptor that nobody else closes.
    pub(crate) fn new(number: c_int) -> Self {
        Self(number)
    }

    /// The number.
    pub(crate) fn get(&self) -> c_int {
        self.0
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: `close` takes a number, and this one is ours.
        let _ = unsafe { call(libc::SYS_close, [word(self.0), 0, 0, 0, 0, 0]) };
    }
}

/// An `int` as an argument.
pub(crate) fn word(number: c_int) -> usize {
    number as usize
}

/// A pointer as an argument.
pub(crate) fn place<T>(at: &T) -> usize {
    core::ptr::from_ref(at) as usize
}

/// A pointer as an argument, to where the kernel writes.
pub(crate) fn room<T>(at: &mut T) -> usize {
    core::ptr::from_mut(at) as usize
}

/// One call; its error is the kernel's number.
///
/// # Safety
///
/// The arguments are what the call of this number wants.
pub(crate) unsafe fn call(number: c_long, arguments: [usize; 6]) -> Result<usize, c_int> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: promised by the caller; more arguments than a call has are not looked at.
    let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if answer == -1 { Err(errno()) } else { Ok(answer as usize) }
}

/// Makes a call again when a signal ended it.
pub(crate) fn again<T>(mut attempt: impl FnMut() -> Result<T, c_int>) -> Result<T, c_int> {
    for _ in 0..TRIES {
        match attempt() {
            Err(libc::EINTR) => {}
            other => return other,
        }
    }
    Err(libc::EINTR)
}

/// Does something and leaves `errno` as it was.
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let before = errno();
    let outcome = work();
    set_errno(before);
    outcome
}

/// The calling thread's `errno`.
pub(crate) fn errno() -> c_int {
    // SAFETY: takes nothing.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: it is this thread's, for as long as it lives.
    unsafe { place.read() }
}

/// Sets it.
pub(crate) fn set_errno(number: c_int) {
    // SAFETY: takes nothing.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    unsafe { place.write(number) };
}
