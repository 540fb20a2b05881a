//! Sockets of one address: joining a group of `SO_REUSEPORT`, binding a socket somebody else made.
//!
//! What does not live here: how the kernel chooses among them (`selector`). Invariant: what was done already is not done
//! again and is no error, because a trapped call may come twice.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{bind, connect_unspec, sockopt};

use super::{LocalAddress, local_address, start_listening};

/// Lets the socket share its address with others of the same user that were asked the same (`SO_REUSEPORT`). Before `bind`
/// to a port by number; for port 0 after it, because a UDP `bind` to port 0 may otherwise be given a port that another
/// such socket has.
pub fn set_reuse_port(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(sockopt::set_socket_reuseport(fd, true)?)
}

/// Binds an existing socket; no error if it is bound there already (a wished port 0 is met by any port, a scope of 0 by any
/// scope). `EINVAL`: bound elsewhere; `EAFNOSUPPORT` (or `EINVAL`): an address of another family; else as [`bind_tcp`](super::bind_tcp).
pub fn bind_here(fd: BorrowedFd<'_>, addr: SocketAddr) -> io::Result<()> {
    match bind(fd, &addr) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL) if is_bound_to(fd, addr) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The address the socket is bound to; `None` while it has no port. `EAFNOSUPPORT`: neither IPv4 nor IPv6; `ENOTSOCK`.
pub fn bound_to(fd: BorrowedFd<'_>) -> io::Result<Option<SocketAddr>> {
    match local_address(fd)? {
        LocalAddress::Ip(address) if address.port() == 0 => Ok(None),
        LocalAddress::Ip(address) => Ok(Some(address)),
        LocalAddress::Unix(_) | LocalAddress::Other => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
    }
}

/// Gives a TCP socket that was bound to port 0 an address it shares with others, on which it does not listen yet: `listen`,
/// `connect` to nothing, [`set_reuse_port`], `bind`. Disconnecting gives up the port, but only of a socket that listens, and
/// only a port that the kernel chose; a port bound by number stays, and the second `bind` fails with `EINVAL` (Linux
/// 6.18). Between the two the old port accepts for a moment, and whoever connects to it is reset. Nothing is done to one
/// that is there already.
pub fn rehome(fd: BorrowedFd<'_>, addr: SocketAddr) -> io::Result<()> {
    if !is_bound_to(fd, addr) {
        start_listening(fd, 1)?;
        connect_unspec(fd)?;
        set_reuse_port(fd)?;
        bind(fd, &addr)?;
    }
    Ok(())
}

fn is_bound_to(fd: BorrowedFd<'_>, wanted: SocketAddr) -> bool {
    let Ok(Some(bound)) = bound_to(fd) else { return false };
    let same_port = wanted.port() == 0 || wanted.port() == bound.port();
    let same_scope = match (wanted, bound) {
        (SocketAddr::V6(wanted), SocketAddr::V6(bound)) => {
            wanted.scope_id() == 0 || wanted.scope_id() == bound.scope_id()
        }
        (SocketAddr::V4(_) | SocketAddr::V6(_), SocketAddr::V4(_) | SocketAddr::V6(_)) => true,
    };
    wanted.ip() == bound.ip() && same_port && same_scope
}
