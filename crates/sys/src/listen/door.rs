//! The door of a listening socket: whether clients may begin a connection there.
//!
//! What does not live here: which of several sockets a client is sent to (`selector`). Invariant: a shut door refuses nobody
//! and loses nothing; a client's first packet is dropped in silence and comes again.
//!
//! A TCP client repeats its SYN after 1, 3, 7 ... seconds, so it is served late rather than refused. What has begun goes on:
//! handshakes under way complete, and what waits in the queue can be accepted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketType, connect, sockopt};

use super::bpf::{AND, JUMP_IF_EQUAL, LOAD_BYTE, RETURN, attach_program, instruction};
use super::{SocketKind, V6, bound_to, open_socket, set_nonblocking, socket_kind, start_listening};

/// The filter of a TCP socket sees the packet from its TCP header on (Linux 6.18, both families); the flags are in byte 13.
const FLAGS: u32 = 13;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// "Keep all of the packet" and "drop it".
const KEEP: u32 = u32::MAX;
const DROP: u32 = 0;

/// Drops every SYN without ACK that comes to this socket (`SO_ATTACH_FILTER`). Takes the place of a filter that the program
/// itself attached. Connections whose handshake completes meanwhile inherit the filter, where it has nothing to drop. Done
/// already: no error. `EPROTOTYPE`: no TCP socket; `EPERM`: the program locked its own filter
/// (`SO_LOCK_FILTER`), or a filter needs CAP_NET_ADMIN, as on TCP sockets in Linux 6.18.44 and 6.1.192, where earlier ones
/// took it from everybody; `EOPNOTSUPP`: multipath TCP, which takes no filter (Linux 6.18).
pub fn shut_door(fd: BorrowedFd<'_>) -> io::Result<()> {
    check_tcp(fd)?;
    let mut listing = [
        /* 0 */ instruction(LOAD_BYTE, FLAGS, 0, 0), // the flags
        /* 1 */ instruction(AND, SYN | ACK, 0, 0), // these two
        /* 2 */ instruction(JUMP_IF_EQUAL, SYN, 0, 1), // not the first packet of a connection: 4
        /* 3 */ instruction(RETURN, DROP, 0, 0),
        /* 4 */ instruction(RETURN, KEEP, 0, 0),
    ];
    attach_program(fd, libc::SO_ATTACH_FILTER, &mut listing)
}

/// Lets clients in again (`SO_DETACH_FILTER`); no error if the door was open. Errors as [`shut_door`].
pub fn open_door(fd: BorrowedFd<'_>) -> io::Result<()> {
    check_tcp(fd)?;
    match super::bpf::set_option(fd, libc::SO_DETACH_FILTER, &0i32) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// Lets a bound socket listen whose door is shut for good, without a filter and so without a privilege: its queue is full
/// of connections of our own, which nobody accepts, and the kernel drops the SYNs of everybody else. Somebody who comes
/// between the first two moments may wait in that queue until he gives up. Errors: those of connecting to an address
/// of this machine; `ETIMEDOUT`: something between it and us keeps us out.
pub fn listen_shut(fd: BorrowedFd<'_>) -> io::Result<()> {
    check_tcp(fd)?;
    let mut address = bound_to(fd)?.ok_or(io::ErrorKind::AddrNotAvailable)?;
    address.set_ip(match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    });
    // A queue of 1 is full with 2 (every Linux). With 0 every SYN would look like a flood, and the log say so.
    start_listening(fd, 1)?;
    for _ in 0..2 {
        come_in(address)?;
    }
    Ok(())
}

/// What begins here is over in the same moment; this is for a machine that is slow.
const PATIENCE: Duration = Duration::from_millis(200);

fn come_in(address: SocketAddr) -> io::Result<()> {
    let client = open_socket(address, SocketType::STREAM, V6::Dual)?;
    set_nonblocking(client.as_fd())?;
    match connect(&client, &address) {
        Ok(()) => return Ok(()),
        Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let within = Timespec { tv_sec: 0, tv_nsec: PATIENCE.subsec_nanos().into() };
    if poll(&mut [PollFd::new(&client, PollFlags::OUT)], Some(&within))? == 0 {
        return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
    }
    // It ends its part; the other one stays in the queue.
    Ok(sockopt::socket_error(&client)??)
}

/// Datagrams have no flags: the filter would look into what they carry.
fn check_tcp(fd: BorrowedFd<'_>) -> io::Result<()> {
    match socket_kind(fd) {
        SocketKind::Tcp => Ok(()),
        SocketKind::Udp | SocketKind::UnixStream | SocketKind::UnixDatagram | SocketKind::Other => {
            Err(io::Error::from_raw_os_error(libc::EPROTOTYPE))
        }
    }
}
