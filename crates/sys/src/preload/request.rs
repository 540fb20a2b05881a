//! A question of the library, in the types of this crate.
//!
//! Invariant: all of it is what a stranger says, and parts that do not belong together are no question.

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::message::{self, Address, Is, Transport};
use crate::foreign::Name;
use crate::listen::{SocketKind, V6};

/// What was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `bind` to [`Request::name`]. Never to port 0: such a socket is asked about when it listens.
    Bind,
    /// `listen`.
    Listen {
        /// The wished backlog; negative means as much as the kernel allows.
        backlog: i32,
        /// Whether it listened before this call.
        before: Listening,
    },
    /// `shutdown` of a socket that listens, never with `SHUT_WR`.
    Shutdown {
        /// `SHUT_RD` (0), `SHUT_RDWR` (2), or nonsense.
        how: i32,
    },
}

/// Whether a socket listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listening {
    /// It does.
    Already,
    /// It does not.
    NotYet,
}

/// Whether the program itself set `SO_REUSEPORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReusePort {
    /// It did: several of its sockets may have one address.
    Set,
    /// It did not.
    Unset,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What was called.
    pub call: Call,
    /// The program's descriptor; which socket that is says [`socket_inode`](crate::foreign::socket_inode).
    pub fd: RawFd,
    /// Its kind: TCP (multipath included), UDP, or a Unix stream.
    pub kind: SocketKind,
    /// Which families an IPv6 socket serves.
    pub v6: V6,
    /// Whether the program shares its ports with itself.
    pub reuse_port: ReusePort,
    /// At [`Call::Bind`] where it wants to be bound, else where it is: an address, a path as the program gave it (from its own
    /// directory if relative), or [`Name::Unnamed`].
    pub name: Name,
}

impl Request {
    /// `None`: its parts do not belong together.
    pub(super) fn read(words: &message::Request) -> Option<Self> {
        let unix = matches!(words.address, Address::Unix(_));
        let kind = match (unix, words.transport) {
            (false, Transport::Stream) => SocketKind::Tcp,
            (false, Transport::Datagram) => SocketKind::Udp,
            (true, Transport::Stream) => SocketKind::UnixStream,
            (true, Transport::Datagram) => return None,
        };
        let name = match words.address {
            Address::V4(ip, port) => Name::Ip(SocketAddrV4::new(Ipv4Addr::from(ip), port).into()),
            Address::V6(ip, port, scope) => {
                Name::Ip(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope).into())
            }
            Address::Unix(path) => read_path(&path),
        };
        let call = match words.call {
            message::Call::Bind if asks_for_any(&name) => return None,
            message::Call::Bind => Call::Bind,
            message::Call::Listen { backlog } => {
                let before = match words.listens {
                    Is::So => Listening::Already,
                    Is::NotSo => Listening::NotYet,
                };
                Call::Listen { backlog, before }
            }
            message::Call::Shutdown { how } => Call::Shutdown { how },
        };
        let v6 = match words.only_v6 {
            Is::So => V6::Only,
            Is::NotSo => V6::Dual,
        };
        let reuse_port = match words.reuses_port {
            Is::So => ReusePort::Set,
            Is::NotSo => ReusePort::Unset,
        };
        Some(Self { call, fd: words.fd, kind, v6, reuse_port, name })
    }
}

fn read_path(path: &[u8]) -> Name {
    match path.split(|byte| *byte == 0).next() {
        None | Some([]) => Name::Unnamed,
        Some(path) => Name::UnixPath(PathBuf::from(OsString::from_vec(path.to_vec()))),
    }
}

fn asks_for_any(name: &Name) -> bool {
    match name {
        Name::Ip(SocketAddr::V4(address)) => address.port() == 0,
        Name::Ip(SocketAddr::V6(address)) => address.port() == 0,
        Name::Unnamed => true,
        Name::UnixPath(_) | Name::UnixAbstract(_) | Name::Other(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, Listening, Request, ReusePort};
    use crate::foreign::Name;
    use crate::listen::{SocketKind, V6};
    use crate::preload::message::{self, Address, Is, PATH_ROOM, Transport};

    fn words(call: message::Call, address: Address) -> message::Request {
        message::Request {
            token: [b'a'; 32],
            call,
            fd: 5,
            transport: Transport::Stream,
            only_v6: Is::NotSo,
            reuses_port: Is::NotSo,
            listens: Is::NotSo,
            address,
        }
    }

    fn path(text: &[u8]) -> Address {
        let mut path = [0; PATH_ROOM];
        path[..text.len()].copy_from_slice(text);
        Address::Unix(path)
    }

    #[test]
    fn a_question_has_the_types_of_this_crate() {
        let asked = words(message::Call::Bind, Address::V6([0; 16], 80, 3));
        let asked = message::Request {
            only_v6: Is::So,
            reuses_port: Is::So,
            transport: Transport::Datagram,
            ..asked
        };
        let read = Request::read(&asked).unwrap();
        assert_eq!((read.call, read.kind, read.v6), (Call::Bind, SocketKind::Udp, V6::Only));
        assert_eq!(read.reuse_port, ReusePort::Set);
        assert_eq!(read.name, Name::Ip("[::%3]:80".parse().unwrap()));
        let listens =
            message::Request { listens: Is::So, ..words(message::Call::Listen { backlog: -1 }, path(b"/a")) };
        let read = Request::read(&listens).unwrap();
        assert_eq!(read.call, Call::Listen { backlog: -1, before: Listening::Already });
        assert_eq!((read.kind, read.name), (SocketKind::UnixStream, Name::UnixPath("/a".into())));
    }

    #[test]
    fn parts_that_do_not_belong_together_are_no_question() {
        let any = words(message::Call::Bind, Address::V4([0; 4], 0));
        assert_eq!(Request::read(&any), None);
        assert_eq!(Request::read(&words(message::Call::Bind, path(b""))), None);
        let listens = message::Request { call: message::Call::Listen { backlog: 1 }, ..any };
        assert!(Request::read(&listens).is_some());
        let datagrams =
            message::Request { transport: Transport::Datagram, ..words(message::Call::Bind, path(b"/a")) };
        assert_eq!(Request::read(&datagrams), None);
    }
}
