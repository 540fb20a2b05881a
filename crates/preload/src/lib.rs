//! The library that `LD_PRELOAD` puts into a program whose `bind` and `listen` cannot be trapped by the kernel: it asks the
//! primary and, if told so, puts the primary's socket over the program's descriptor. Every copy then has the same socket.
//!
//! What lives here: the four functions that stand before the C library's. What does not: which address is whose; the shim decides
//! nothing. Invariant: it runs in a stranger's process, so nothing allocates, takes a lock, panics, or leaves a descriptor, a
//! blocked signal or another `errno` behind; and whenever no primary answers, the program's own call happens.
//!
//! Reached are programs that call the C library for it: no static ones, no setuid ones, and no Go, which makes its calls itself.
#![no_std]

// A library without the standard one must abort on panic, and only a whole build can be told to (`--profile preload`, which is
// what ships). Any other build takes the missing parts from the standard library; nothing else here uses it.
#[cfg(panic = "unwind")]
extern crate std as _;

mod ask;
#[cfg(target_arch = "x86_64")]
mod connect;
mod hooks;
mod kernel;
#[allow(dead_code, reason = "the other half of the words is the primary's")]
mod message;
mod real;
mod replace;
mod setup;
mod socket;
mod table;

#[cfg(target_arch = "x86_64")]
pub use connect::connect;
pub use hooks::{bind, listen, shutdown};

#[cfg(panic = "abort")]
#[expect(unsafe_code, reason = "abort is the C library's")]
#[panic_handler]
fn abort(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: takes nothing.
    unsafe { libc::abort() }
}
