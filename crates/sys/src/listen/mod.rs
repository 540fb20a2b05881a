//! Making sockets that others listen on: TCP and UDP here, Unix paths in `unix` and `rights`, questions in `inspect`; several
//! sockets of one address in `group`, the choice among them in [`selector`], and whether one lets clients in in [`door`].
//!
//! What does not live here: who may have which port. Invariant: every socket is non-blocking and close-on-exec, and
//! binding is separate from listening, because a shared handle is bound by the primary and listened on by the worker.

mod bpf;
pub mod door;
mod group;
mod inspect;
mod interface;
mod rights;
pub mod selector;
mod unix;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

pub(crate) use bpf::attach_loaded;
pub use group::{bind_here, bound_to, rehome, set_reuse_port};
pub use inspect::{
    LocalAddress, Passed, SocketKind, inode, interface_index, is_listening, local_address, only_v6,
    passed_kind, reuses_port, set_nonblocking, socket_kind, waiting,
};
pub use interface::{interface_of, set_interface};
pub use rights::{chmod_unix, make_as};
pub use unix::{UnixIdentity, UnixMode, bind_unix, name_again, second_name, unlink_if_ours};

/// Whether an IPv6 socket also serves IPv4. No meaning for IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum V6 {
    /// Both families (`IPV6_V6ONLY` off).
    Dual,
    /// IPv6 alone (`IPV6_V6ONLY` on).
    Only,
}

/// Whether a UDP address may be bound by several sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// A second bind of the address fails with `EADDRINUSE`.
    Exclusive,
    /// `SO_REUSEADDR`: on Linux several UDP sockets that all set it share the address; unicast goes to the last one bound.
    Address,
}

/// Binds a TCP socket, without listening. `SO_REUSEADDR` is set as libuv does, so a port in TIME_WAIT can be had; on
/// Linux it also lets two sockets *bind* one address as long as neither listens, so a taken port may show as `EADDRINUSE`
/// only in [`start_listening`]. Otherwise `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, `EAFNOSUPPORT`.
pub fn bind_tcp(addr: SocketAddr, v6: V6) -> io::Result<OwnedFd> {
    let socket = open_socket(addr, SocketType::STREAM, v6)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &addr)?;
    Ok(socket)
}

/// Binds a TCP port of every address: IPv6 and IPv4 together, or IPv4 alone on a host without IPv6. A taken port is taken
/// all the same, and who wants [`V6::Only`] gets nothing else. Node falls back on other errors of `bind` as well, but never
/// on a taken port: libuv keeps that one for `listen` (all majors).
pub fn bind_tcp_anywhere(port: u16, v6: V6) -> io::Result<OwnedFd> {
    bind_tcp((Ipv6Addr::UNSPECIFIED, port).into(), v6).or_else(|cause| {
        if cause.kind() == io::ErrorKind::AddrInUse || v6 == V6::Only {
            return Err(cause);
        }
        bind_tcp((Ipv4Addr::UNSPECIFIED, port).into(), v6)
    })
}

/// Binds a UDP socket. Errors as for [`bind_tcp`].
pub fn bind_udp(addr: SocketAddr, v6: V6, reuse: Reuse) -> io::Result<OwnedFd> {
    let socket = open_socket(addr, SocketType::DGRAM, v6)?;
    match reuse {
        Reuse::Exclusive => {}
        Reuse::Address => sockopt::set_socket_reuseaddr(&socket, true)?,
    }
    bind(&socket, &addr)?;
    Ok(socket)
}

/// Starts listening, or changes the backlog of a socket that listens already. The kernel caps the backlog at
/// `net.core.somaxconn`. `EADDRINUSE` when another socket listens on the address.
pub fn start_listening(fd: BorrowedFd<'_>, backlog: u32) -> io::Result<()> {
    Ok(rustix::net::listen(fd, i32::try_from(backlog).unwrap_or(i32::MAX))?)
}

pub(crate) fn open_socket(addr: SocketAddr, kind: SocketType, v6: V6) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    match addr {
        SocketAddr::V4(_) => Ok(socket_with(AddressFamily::INET, kind, flags, None)?),
        SocketAddr::V6(_) => {
            let socket = socket_with(AddressFamily::INET6, kind, flags, None)?;
            // Said either way: the default is the administrator's (net.ipv6.bindv6only).
            sockopt::set_ipv6_v6only(&socket, v6 == V6::Only)?;
            Ok(socket)
        }
    }
}
