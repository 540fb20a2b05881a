//! Putting the primary's socket over the program's descriptor.
//!
//! Options and flags belong to the socket and to its open file description, which all copies share from then on. So what this
//! copy wants is added to what is there, and nothing that a sibling relies on is taken away: above all a copy that is just
//! starting, and still waits in its calls, must not make the accepting of a running one wait.
#![expect(unsafe_code, reason = "flags and dup3 by number")]

use core::ffi::c_int;

use crate::kernel::{Fd, call, word};
use crate::socket::{cookie, read_option, write_option};
use crate::table::SHARED;

/// Options that connections inherit from their listener, or that matter for datagrams. Not among them: what `bind` has used up
/// (`SO_REUSEADDR`, `SO_REUSEPORT`, `IPV6_V6ONLY`).
const CARRIED: [(c_int, c_int); 18] = [
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::SOL_SOCKET, libc::SO_LINGER),
    (libc::SOL_SOCKET, libc::SO_OOBINLINE),
    (libc::SOL_SOCKET, libc::SO_BROADCAST),
    (libc::SOL_SOCKET, libc::SO_RCVTIMEO),
    (libc::SOL_SOCKET, libc::SO_SNDTIMEO),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
    (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
    (libc::IPPROTO_TCP, libc::TCP_FASTOPEN),
    (libc::IPPROTO_IP, libc::IP_TOS),
    (libc::IPPROTO_IP, libc::IP_PKTINFO),
    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
];

/// Their sizes read as twice what was set.
const BUFFERS: [c_int; 2] = [libc::SO_RCVBUF, libc::SO_SNDBUF];

/// Longest of their values (`struct timeval`, `struct linger`).
const VALUE_ROOM: usize = 16;

/// Puts it there, close-on-exec if what it replaces was. The error is for the program.
pub(crate) fn replace(fd: c_int, shared: &Fd) -> Result<(), c_int> {
    let at_exec = flags_of(fd, libc::F_GETFD)?;
    carry_options(fd, shared.get());
    carry_nonblocking(fd, shared.get())?;
    // Before it stands there: another thread may shut the descriptor down at any time.
    if let Some(cookie) = cookie(shared.get()) {
        SHARED.put(cookie);
    }
    let cloexec = if at_exec & libc::FD_CLOEXEC == 0 { 0 } else { libc::O_CLOEXEC };
    // SAFETY: takes numbers.
    unsafe { call(libc::SYS_dup3, [word(shared.get()), word(fd), word(cloexec), 0, 0, 0]) }.map(|_| ())
}

fn carry_options(from: c_int, to: c_int) {
    for (level, name) in CARRIED {
        let (mut wanted, mut present) = ([0; VALUE_ROOM], [0; VALUE_ROOM]);
        let length = read_option(from, level, name, &mut wanted);
        if length != read_option(to, level, name, &mut present) || wanted == present {
            continue;
        }
        if let Some(value) = length.and_then(|length| wanted.get(..length)) {
            write_option(to, level, name, value);
        }
    }
    for name in BUFFERS {
        let (mut wanted, mut present) = ([0; 4], [0; 4]);
        let read = read_option(from, libc::SOL_SOCKET, name, &mut wanted);
        read_option(to, libc::SOL_SOCKET, name, &mut present);
        if read.is_some() && wanted != present {
            let size = c_int::from_ne_bytes(wanted) / 2;
            write_option(to, libc::SOL_SOCKET, name, &size.to_ne_bytes());
        }
    }
}

fn carry_nonblocking(from: c_int, to: c_int) -> Result<(), c_int> {
    let (wanted, present) = (flags_of(from, libc::F_GETFL)?, flags_of(to, libc::F_GETFL)?);
    if wanted & libc::O_NONBLOCK == 0 || present & libc::O_NONBLOCK != 0 {
        return Ok(());
    }
    let flags = present | libc::O_NONBLOCK;
    // SAFETY: takes numbers.
    unsafe { call(libc::SYS_fcntl, [word(to), word(libc::F_SETFL), word(flags), 0, 0, 0]) }.map(|_| ())
}

fn flags_of(fd: c_int, order: c_int) -> Result<c_int, c_int> {
    // SAFETY: takes numbers.
    unsafe { call(libc::SYS_fcntl, [word(fd), word(order), 0, 0, 0, 0]) }.map(|flags| flags as c_int)
}
