//! From what a program wants to listen on to the query, and from the answer to what it listens with.
//!
//! Invariants: a listener is announced (`listening`) only once it can accept; a port that is not the one asked for is
//! EADDRINUSE, as in Node; whatever is refused here is closed at the primary.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use oneport_sys::listen::{
    LocalAddress, Passed, SocketKind, local_address, passed_kind, set_nonblocking, socket_kind,
    start_listening,
};
use oneport_wire::handoff;
use oneport_wire::node::message::{AddressType, Query};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::fast::Pair;
use super::link::Link;
use super::member::{Answer, Handed, Membership};
use super::options::ListenOptions;

/// What a program wants to listen on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wish<'a> {
    Tcp(SocketAddr),
    /// TCP on every address.
    Any(u16),
    Unix(&'a Path),
    Udp(SocketAddr),
}

/// What it listens with.
#[derive(Debug)]
pub(super) enum Granted {
    /// Connections come over the channel.
    HandedOver { membership: Membership, sockname: Option<SocketAddr>, connections: mpsc::Receiver<Handed> },
    /// Connections come over a stream of their own.
    Stream { membership: Membership, sockname: Option<SocketAddr>, pair: Arc<Pair> },
    /// A socket of its own, listening where that applies, non-blocking.
    /// Beside it, what the primary accepted in its place or a sibling's.
    Socket { membership: Membership, socket: OwnedFd, connections: mpsc::Receiver<Handed> },
}

/// Asks the primary. Errors as of the kernel, also when the primary reports them; `BrokenPipe` when it is gone;
/// `InvalidData` when it answers nonsense. Cancellation safe: what nobody waits for is closed.
pub(super) async fn ask(link: &Arc<Link>, wish: Wish<'_>, options: &ListenOptions) -> io::Result<Granted> {
    let (answer, asked) = link.query(query(wish, options)?).await?;
    let wanted = asked.port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    let (granted, port) = match answer {
        Answer::Failed(error) => return Err(error),
        Answer::HandedOver { membership, sockname, connections } => {
            check_handed_over(wish, options, sockname)?;
            (Granted::HandedOver { membership, sockname, connections }, sockname.map(|name| name.port()))
        }
        Answer::Stream { membership, sockname, pair } => {
            check_handed_over(wish, options, sockname)?;
            (Granted::Stream { membership, sockname, pair }, sockname.map(|name| name.port()))
        }
        Answer::Socket { membership, socket, connections } => {
            check_socket(wish, &socket)?;
            set_nonblocking(socket.as_fd())?;
            match wish {
                // The primary only bound it; joining in is each worker's own `listen` (as Node's workers do).
                Wish::Tcp(_) | Wish::Any(_) | Wish::Unix(_) => {
                    start_listening(socket.as_fd(), options.backlog)?
                }
                Wish::Udp(_) => (),
            }
            let port = match local_address(socket.as_fd())? {
                LocalAddress::Ip(address) => Some(address.port()),
                LocalAddress::Unix(_) | LocalAddress::Other => None,
            };
            (Granted::Socket { membership, socket, connections }, port)
        }
    };
    if let (Some(wanted), Some(port)) = (wanted, port)
        && wanted != port
    {
        return Err(Errno::ADDRINUSE.into());
    }
    link.listening(Query { port: port.map_or(asked.port, |port| Some(i32::from(port))), ..asked })?;
    Ok(granted)
}

/// Under `rr` only what the primary says tells what will come.
fn check_handed_over(
    wish: Wish<'_>,
    options: &ListenOptions,
    sockname: Option<SocketAddr>,
) -> io::Result<()> {
    match (wish, sockname) {
        (Wish::Udp(_), _) => nonsense("the primary hands over connections of a UDP socket"),
        (Wish::Unix(_), Some(_)) => nonsense("the primary listens on a TCP socket instead of a Unix one"),
        (Wish::Tcp(_) | Wish::Any(_), None) if options.fd.is_some() => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "cannot listen: the descriptor is no TCP socket"))
        }
        (Wish::Tcp(_) | Wish::Any(_), _) | (Wish::Unix(_), None) => Ok(()),
    }
}

/// Whether a descriptor can be listened with; whoever sent it may have called it anything.
pub(super) fn check_socket(wish: Wish<'_>, socket: &OwnedFd) -> io::Result<()> {
    let passed = passed_kind(socket.as_fd());
    match (wish, passed) {
        (Wish::Tcp(_) | Wish::Any(_), Passed::TcpBound | Passed::TcpListener)
        | (Wish::Udp(_), Passed::Udp4 | Passed::Udp6)
        | (Wish::Unix(_), Passed::UnixListener) => Ok(()),
        (Wish::Unix(_), Passed::Other) if socket_kind(socket.as_fd()) == SocketKind::UnixStream => Ok(()),
        // libuv keeps the EADDRINUSE of a `bind` for `listen`, which is the worker's: under SCHED_NONE Node's primary
        // shares a socket that is bound to nothing (Node 16 to 26).
        (Wish::Tcp(_) | Wish::Any(1..), Passed::Other) if socket_kind(socket.as_fd()) == SocketKind::Tcp => {
            Err(Errno::ADDRINUSE.into())
        }
        (Wish::Tcp(_) | Wish::Any(_) | Wish::Udp(_) | Wish::Unix(_), passed) => {
            nonsense(&format!("not a socket of that kind but {passed:?}"))
        }
    }
}

fn nonsense<T>(why: &str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("cannot listen: {why}")))
}

/// libuv's flags.
const IPV6_ONLY: u32 = 1;
const REUSE_ADDRESS: u32 = 4;

fn query(wish: Wish<'_>, options: &ListenOptions) -> io::Result<Query<'static>> {
    let ipv6_only = if options.ipv6_only { IPV6_ONLY } else { 0 };
    let query = Query {
        address: None,
        port: None,
        address_type: AddressType::Fd,
        fd: options.fd,
        flags: None,
        backlog: Some(i32::try_from(options.backlog).unwrap_or(i32::MAX)),
        readable_all: false,
        writable_all: false,
        index: 0,
        data: None,
        handoff: Some(handoff::VERSION),
    };
    Ok(match wish {
        Wish::Udp(addr) => {
            let query = Query {
                address_type: if addr.is_ipv4() { AddressType::Udp4 } else { AddressType::Udp6 },
                backlog: None,
                handoff: None,
                ..query
            };
            if options.fd.is_some() {
                return Ok(query);
            }
            let reuse = if options.reuse_address { REUSE_ADDRESS } else { 0 };
            Query {
                address: Some(spell_ip(addr).into()),
                port: Some(addr.port().into()),
                fd: Some(-1),
                flags: Some(ipv6_only | reuse),
                ..query
            }
        }
        Wish::Tcp(_) | Wish::Any(_) | Wish::Unix(_) if options.fd.is_some() => query,
        Wish::Tcp(addr) => Query {
            address: Some(spell_ip(addr).into()),
            port: Some(addr.port().into()),
            address_type: if addr.is_ipv4() { AddressType::Tcp4 } else { AddressType::Tcp6 },
            flags: Some(if addr.is_ipv6() { ipv6_only } else { 0 }),
            ..query
        },
        Wish::Any(port) => Query {
            port: Some(port.into()),
            // Node's placeholder: which family it becomes is the primary's to find out.
            address_type: AddressType::Tcp4,
            flags: Some(ipv6_only),
            ..query
        },
        Wish::Unix(path) => Query {
            address: Some(spell_path(path)?),
            port: Some(-1),
            address_type: AddressType::Pipe,
            readable_all: options.readable_all,
            writable_all: options.writable_all,
            ..query
        },
    })
}

/// The address without its port; a zone by its interface's name, which is what libuv reads.
fn spell_ip(addr: SocketAddr) -> String {
    let SocketAddr::V6(v6) = addr else { return addr.ip().to_string() };
    if v6.scope_id() == 0 {
        return v6.ip().to_string();
    }
    let any = std::net::UdpSocket::bind((std::net::Ipv6Addr::UNSPECIFIED, 0));
    let zone = any.ok().and_then(|any| rustix::net::netdevice::index_to_name(&any, v6.scope_id()).ok());
    match zone {
        Some(zone) => format!("{}%{zone}", v6.ip()),
        None => v6.ip().to_string(),
    }
}

/// The path as the primary can use it: absolute against this worker's directory. An abstract name stays as it is.
fn spell_path(path: &Path) -> io::Result<Cow<'static, str>> {
    let absolute = match path.as_os_str().as_encoded_bytes() {
        [0, ..] => path.to_owned(),
        _ => std::path::absolute(path)?,
    };
    match absolute.into_os_string().into_string() {
        Ok(text) => Ok(text.into()),
        Err(path) => {
            let text = format!("cannot listen on `{}`: not UTF-8", path.display());
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
    }
}
