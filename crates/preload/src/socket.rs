//! Asking a descriptor of the program what it is, and reading the addresses it passes.
//!
//! Invariant: nothing here changes anything. What is not a socket that the primary could stand for is `None`.
#![expect(unsafe_code, reason = "options and addresses through pointers")]

use core::ffi::c_int;
use core::slice;

use libc::{sockaddr, socklen_t};

use crate::kernel::{call, room, word};
use crate::message::{Address, Is, PATH_ROOM, Transport};

/// Longest address (`sockaddr_storage`).
const ADDRESS_ROOM: usize = 128;

/// Addresses at least this long are ones: `sockaddr_in`, and `sockaddr_in6` without its scope, which the kernel still takes.
const V4_LENGTH: usize = 16;
const V6_SHORT_LENGTH: usize = 24;
const UNIX_LENGTH: usize = 2 + PATH_ROOM;

/// Linux 5.6; no name for it in older C libraries.
const IPPROTO_MPTCP: c_int = 262;

/// A socket that the primary could stand for.
pub(crate) struct Socket {
    pub(crate) cookie: u64,
    pub(crate) family: c_int,
    pub(crate) transport: Transport,
}

/// What it is: TCP, UDP, or a Unix stream. Others have streams as well (SCTP), so the protocol is asked, not the type.
pub(crate) fn look(fd: c_int) -> Option<Socket> {
    let (family, protocol) = (number(fd, libc::SO_DOMAIN)?, number(fd, libc::SO_PROTOCOL)?);
    let transport = match (family, protocol) {
        (libc::AF_INET | libc::AF_INET6, libc::IPPROTO_TCP | IPPROTO_MPTCP) => Transport::Stream,
        (libc::AF_INET | libc::AF_INET6, libc::IPPROTO_UDP) => Transport::Datagram,
        (libc::AF_UNIX, _) if number(fd, libc::SO_TYPE)? == libc::SOCK_STREAM => Transport::Stream,
        _ => return None,
    };
    Some(Socket { cookie: cookie(fd)?, family, transport })
}

/// The socket's name for as long as the machine runs.
pub(crate) fn cookie(fd: c_int) -> Option<u64> {
    let mut cookie = [0; 8];
    read_option(fd, libc::SOL_SOCKET, libc::SO_COOKIE, &mut cookie)?;
    Some(u64::from_ne_bytes(cookie)).filter(|cookie| *cookie != 0)
}

/// Whether it listens.
pub(crate) fn listens(fd: c_int) -> Is {
    Is::of(number(fd, libc::SO_ACCEPTCONN) == Some(1))
}

/// Whether the program set `SO_REUSEPORT`.
pub(crate) fn reuses_port(fd: c_int) -> Is {
    Is::of(number(fd, libc::SO_REUSEPORT) == Some(1))
}

/// Whether it serves IPv6 alone.
pub(crate) fn only_v6(fd: c_int) -> Is {
    let mut value = [0; 4];
    let known = read_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &mut value);
    Is::of(known.is_some() && i32::from_ne_bytes(value) != 0)
}

fn number(fd: c_int, name: c_int) -> Option<c_int> {
    let mut value = [0; 4];
    read_option(fd, libc::SOL_SOCKET, name, &mut value)?;
    Some(c_int::from_ne_bytes(value))
}

/// Reads an option; answers how many bytes of `value` it has.
pub(crate) fn read_option<const N: usize>(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: &mut [u8; N],
) -> Option<usize> {
    let mut length = N as socklen_t;
    let arguments = [word(fd), word(level), word(name), room(value), room(&mut length), 0];
    // SAFETY: the kernel writes at most `length` bytes to `value`, and how many it wrote to `length`.
    unsafe { call(libc::SYS_getsockopt, arguments) }.ok()?;
    Some(length as usize)
}

/// Sets an option, if it can be set.
pub(crate) fn write_option(fd: c_int, level: c_int, name: c_int, value: &[u8]) {
    let arguments = [word(fd), word(level), word(name), value.as_ptr() as usize, value.len(), 0];
    // SAFETY: the kernel reads as many bytes as `value` has.
    let _ = unsafe { call(libc::SYS_setsockopt, arguments) };
}

/// The address that the program passed. `None`: its form is the kernel's to refuse, or nothing of the primary's.
///
/// # Safety
///
/// Unless null, `length` bytes can be read there. The kernel would answer `EFAULT` to a program that passes less; here
/// it ends.
pub(crate) unsafe fn passed(address: *const sockaddr, length: socklen_t) -> Option<Address> {
    let length = length as usize;
    if address.is_null() || length > ADDRESS_ROOM {
        return None;
    }
    // SAFETY: promised by the caller.
    parse(unsafe { slice::from_raw_parts(address.cast(), length) })
}

/// Where the socket is bound; port 0, or no path, when it is not.
pub(crate) fn bound(fd: c_int) -> Option<Address> {
    let mut name = [0_u8; ADDRESS_ROOM];
    let mut length = ADDRESS_ROOM as socklen_t;
    let arguments = [word(fd), room(&mut name), room(&mut length), 0, 0, 0];
    // SAFETY: the kernel writes at most `length` bytes to `name`, and the address's length to `length`.
    unsafe { call(libc::SYS_getsockname, arguments) }.ok()?;
    parse(name.get(..length as usize)?)
}

fn parse(bytes: &[u8]) -> Option<Address> {
    let (family, body) = bytes.split_first_chunk()?;
    match c_int::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET if bytes.len() >= V4_LENGTH => Some(Address::V4(chunk(bytes, 4)?, port(bytes)?)),
        libc::AF_INET6 if bytes.len() >= V6_SHORT_LENGTH => {
            let scope = chunk(bytes, 24).map_or(0, u32::from_ne_bytes);
            Some(Address::V6(chunk(bytes, 8)?, port(bytes)?, scope))
        }
        libc::AF_UNIX if bytes.len() <= UNIX_LENGTH => {
            let mut path = [0; PATH_ROOM];
            for (place, byte) in path.iter_mut().zip(body.iter().take_while(|byte| **byte != 0)) {
                *place = *byte;
            }
            Some(Address::Unix(path))
        }
        _ => None,
    }
}

fn port(bytes: &[u8]) -> Option<u16> {
    chunk(bytes, 2).map(u16::from_be_bytes)
}

fn chunk<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

/// Whether an address leaves the choice to the kernel, or is how an unbound socket reads.
pub(crate) fn is_open(address: &Address) -> bool {
    match address {
        Address::V4(_, port) | Address::V6(_, port, _) => *port == 0,
        // Abstract names and the request for any read so too; they are nothing of the primary's.
        Address::Unix(path) => path.first() == Some(&0),
    }
}

/// Whether it is of the family of the socket; any other the kernel refuses.
pub(crate) fn is_of(address: &Address, family: c_int) -> bool {
    match address {
        Address::V4(..) => family == libc::AF_INET,
        Address::V6(..) => family == libc::AF_INET6,
        Address::Unix(_) => family == libc::AF_UNIX,
    }
}
