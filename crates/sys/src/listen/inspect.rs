//! Asking a descriptor what it is.
//!
//! Needed for descriptors that come from others: inherited ones named by `listen({fd})`, handles sent by workers.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, getsockname, socket_with, sockopt,
};

/// What kind of socket a descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketKind {
    /// A stream over IPv4 or IPv6.
    Tcp,
    /// A Unix stream.
    UnixStream,
    /// Datagrams over IPv4 or IPv6.
    Udp,
    /// Unix datagrams.
    UnixDatagram,
    /// Another socket, or no socket at all.
    Other,
}

/// What a descriptor that somebody passed to us is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// TCP over IPv4 or IPv6, listening.
    TcpListener,
    /// A TCP connection: established, still connecting, or ended by its peer.
    TcpStream,
    /// TCP, bound and neither listening nor connected: one may listen on it.
    TcpBound,
    /// A Unix stream socket that listens.
    UnixListener,
    /// A connected Unix stream, also when its peer is gone.
    UnixStream,
    /// Datagrams over IPv4.
    Udp4,
    /// Datagrams over IPv6.
    Udp6,
    /// Anything else: another kind of socket, a stream socket that is neither bound nor connected, a Unix stream socket
    /// that is bound and no more, no socket at all.
    Other,
}

/// Where a socket is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalAddress {
    /// IPv4 or IPv6; port 0 when not bound.
    Ip(SocketAddr),
    /// A Unix path as it was given to `bind`, an abstract name with its leading NUL, or `None` when not bound.
    Unix(Option<PathBuf>),
    /// Another family.
    Other,
}

/// The kind of socket; never fails, a descriptor that is no socket is `Other`. MPTCP counts as TCP: it answers the
/// same calls.
pub fn socket_kind(fd: BorrowedFd<'_>) -> SocketKind {
    let (Ok(domain), Ok(kind)) = (sockopt::socket_domain(fd), sockopt::socket_type(fd)) else {
        return SocketKind::Other;
    };
    let internet = domain == AddressFamily::INET || domain == AddressFamily::INET6;
    let unix = domain == AddressFamily::UNIX;
    if internet && kind == SocketType::STREAM {
        SocketKind::Tcp
    } else if internet && kind == SocketType::DGRAM {
        SocketKind::Udp
    } else if unix && kind == SocketType::STREAM {
        SocketKind::UnixStream
    } else if unix && kind == SocketType::DGRAM {
        SocketKind::UnixDatagram
    } else {
        SocketKind::Other
    }
}

/// What a passed descriptor is, as the kernel knows it and whatever its sender called it; never fails.
pub fn passed_kind(fd: BorrowedFd<'_>) -> Passed {
    match socket_kind(fd) {
        SocketKind::Tcp if is_listening(fd) => Passed::TcpListener,
        SocketKind::Tcp if !is_unconnected(fd) => Passed::TcpStream,
        SocketKind::Tcp if has_port(fd) => Passed::TcpBound,
        SocketKind::UnixStream if is_listening(fd) => Passed::UnixListener,
        SocketKind::UnixStream if !is_unconnected(fd) => Passed::UnixStream,
        SocketKind::Udp => match sockopt::socket_domain(fd) {
            Ok(AddressFamily::INET) => Passed::Udp4,
            Ok(_) => Passed::Udp6,
            Err(_) => Passed::Other,
        },
        SocketKind::Tcp | SocketKind::UnixStream | SocketKind::UnixDatagram | SocketKind::Other => {
            Passed::Other
        }
    }
}

/// Whether a stream socket was never connected. Asking for the peer's address would not tell: `getpeername` says
/// `ENOTCONN` for a connection that its client reset, too. `poll` tells them apart, and takes nothing (`SO_ERROR` would): both
/// are hung up (state CLOSE), but the end of a connection also shuts down its reading side (Linux 2.6.17 to 6.x).
fn is_unconnected(fd: BorrowedFd<'_>) -> bool {
    let ready = look(fd, PollFlags::RDHUP);
    ready.contains(PollFlags::HUP) && !ready.contains(PollFlags::RDHUP)
}

/// One look with `poll`; nothing when that fails.
fn look(fd: BorrowedFd<'_>, wanted: PollFlags) -> PollFlags {
    let mut asked = [PollFd::new(&fd, wanted)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let answered = rustix::io::retry_on_intr(|| poll(&mut asked, Some(&at_once)));
    let [asked] = asked;
    if answered.is_ok() { asked.revents() } else { PollFlags::empty() }
}

fn has_port(fd: BorrowedFd<'_>) -> bool {
    matches!(local_address(fd), Ok(LocalAddress::Ip(address)) if address.port() != 0)
}

/// The address a socket is bound to. `ENOTSOCK` when it is none.
pub fn local_address(fd: BorrowedFd<'_>) -> io::Result<LocalAddress> {
    let name = getsockname(fd)?;
    if let Ok(address) = SocketAddr::try_from(name.clone()) {
        return Ok(LocalAddress::Ip(address));
    }
    let Ok(unix) = SocketAddrUnix::try_from(name) else { return Ok(LocalAddress::Other) };
    let path = match unix.abstract_name() {
        // How an unbound socket reads here; nobody binds the abstract name of no bytes.
        Some([]) => None,
        Some(name) => Some([&[0], name].concat()),
        None => unix.path_bytes().map(<[u8]>::to_vec),
    };
    Ok(LocalAddress::Unix(path.map(|bytes| PathBuf::from(OsString::from_vec(bytes)))))
}

/// Whether the socket listens now (`SO_ACCEPTCONN`); `false` for anything that is no socket.
pub fn is_listening(fd: BorrowedFd<'_>) -> bool {
    sockopt::socket_acceptconn(fd).unwrap_or(false)
}

/// Whether the socket was allowed to share its address (`SO_REUSEPORT`), by whomever; `false` for anything that is no
/// internet socket.
pub fn reuses_port(fd: BorrowedFd<'_>) -> bool {
    sockopt::socket_reuseport(fd).unwrap_or(false)
}

/// Whether it is an IPv6 socket that does not serve IPv4 (`IPV6_V6ONLY`).
pub fn only_v6(fd: BorrowedFd<'_>) -> bool {
    sockopt::ipv6_v6only(fd).unwrap_or(false)
}

/// Whether a connection waits to be accepted or a datagram to be received, at this moment. `false` once the reading side is
/// shut: `poll` calls such a datagram socket readable for ever.
pub fn waiting(fd: BorrowedFd<'_>) -> bool {
    let ready = look(fd, PollFlags::IN | PollFlags::RDHUP);
    ready.contains(PollFlags::IN) && !ready.contains(PollFlags::RDHUP)
}

/// The number of the file behind the descriptor; for a socket the one in `/proc/PID/fd` and in
/// [`ListenQueue`](crate::diag::ListenQueue), the same in every process that holds it.
pub fn inode(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(rustix::fs::fstat(fd)?.st_ino)
}

/// Makes the open file description non-blocking, for every process that shares it. One worker's blocking read on a
/// shared description would otherwise stop its whole event loop.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, true)?)
}

/// The number of a network interface, the zone of a link-local address. `ENODEV`: there is none of that name.
pub fn interface_index(name: &str) -> io::Result<u32> {
    let any = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(rustix::net::netdevice::name_to_index(&any, name)?)
}
