//! The function that stands before the C library's `connect`, to keep a program from connecting what all copies share: a stream
//! would stop listening, and datagrams would be taken from one peer alone.
//!
//! In instructions, because `connect` is a place where a cancelled thread ends: the C library then unwinds the stack, and a frame
//! of Rust that is not compiled to unwind makes it abort the program. Here nothing of ours is on the stack any more when the real
//! one runs. Written for x86-64 alone; elsewhere `connect` is untouched.
#![expect(unsafe_code, reason = "a function of the C library's name, in instructions")]

use core::arch::naked_asm;
use core::ffi::{c_int, c_void};
use core::ptr::null;

use libc::{sockaddr, socklen_t};

use crate::hooks::is_shared;
use crate::kernel::{quietly, set_errno};
use crate::real;
use crate::table::SHARED;

/// As the C library's; see the module.
///
/// # Safety
///
/// As the C library's.
// SAFETY: of the C library's type. The arguments (rdi, rsi, rdx) are kept for the jump; three words on top of the return address
// also leave the stack aligned for the call, as the calling convention wants it.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    naked_asm!(
        "push rdi",
        "push rsi",
        "push rdx",
        "call {way}",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "test rax, rax",
        "jz 2f",
        "jmp rax",
        "2:",
        "mov eax, -1",
        "ret",
        way = sym way,
    )
}

/// Where the call goes on. Null: nowhere, it fails with the `errno` that is set.
extern "C" fn way(fd: c_int) -> *const c_void {
    if !SHARED.is_empty() && quietly(|| is_shared(fd)) {
        // What the kernel answers for a listening socket.
        set_errno(libc::EISCONN);
        return null();
    }
    let real = real::connect();
    if real.is_null() {
        set_errno(libc::ENOSYS);
    }
    real
}
