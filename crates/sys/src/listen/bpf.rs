//! Classic BPF for sockets: the instructions that are used here, and handing a listing to the kernel.
//!
//! Invariant: a listing is checked by the kernel when it is attached, whole; a listing that was refused changes nothing. A
//! load beyond the packet ends a program with the answer 0.
#![expect(unsafe_code, reason = "socket options that take a program: rustix has none")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use libc::sock_filter;

/// Longest program the kernel takes (`BPF_MAXINSNS`).
pub(super) const MOST_INSTRUCTIONS: usize = 4096;

pub(super) const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
pub(super) const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
pub(super) const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
/// Loads from X + k.
pub(super) const LOAD_HALF_AT_X: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_IND;
/// X becomes four times the low half of the byte at k: the length of an IPv4 header.
pub(super) const X_FROM_LENGTH: u32 = libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH;
pub(super) const X_FROM_K: u32 = libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM;
pub(super) const X_FROM_IT: u32 = libc::BPF_MISC | libc::BPF_TAX;
pub(super) const IT_FROM_X: u32 = libc::BPF_MISC | libc::BPF_TXA;
pub(super) const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
pub(super) const ADD: u32 = libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K;
pub(super) const MULTIPLY: u32 = libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K;
pub(super) const MODULO: u32 = libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K;
pub(super) const SHIFT_RIGHT: u32 = libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K;
pub(super) const XOR_X: u32 = libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X;
pub(super) const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
pub(super) const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
pub(super) const JUMP_IF_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
pub(super) const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
pub(super) const RETURN_IT: u32 = libc::BPF_RET | libc::BPF_A;

/// One instruction: `jt` and `jf` count what is passed over when the condition holds and when it does not. Every code fits:
/// classic BPF has 16 bits for it.
pub(super) fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

/// Gives the socket a program by one of the options that take one. `EINVAL`: no instruction or too many.
pub(super) fn attach_program(
    fd: BorrowedFd<'_>,
    option: libc::c_int,
    listing: &mut [sock_filter],
) -> io::Result<()> {
    let length = u16::try_from(listing.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len: length, filter: listing.as_mut_ptr() };
    set_option(fd, option, &program)
}

/// Makes the whole group of a listening socket choose by a program that is loaded (`SO_ATTACH_REUSEPORT_EBPF`), in place of
/// the one it has. `EINVAL`: it is in no group.
pub(crate) fn attach_loaded(fd: BorrowedFd<'_>, program: RawFd) -> io::Result<()> {
    set_option(fd, libc::SO_ATTACH_REUSEPORT_EBPF, &program)
}

/// Sets an option of `SOL_SOCKET`.
pub(super) fn set_option<T>(fd: BorrowedFd<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    let value = std::ptr::from_ref(value).cast();
    // SAFETY: `value` is readable for `length` bytes, and a program's listing lives until its caller returns.
    let failed = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, value, length) } != 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}
