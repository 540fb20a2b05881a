//! How a primary answers a query: what came of it, and the name under which a socket is known.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::fields::Fields;
use super::reader::Reader;
use super::write::Object;
use crate::Violation;
use crate::node::errno::Errno;

/// What came of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The primary listens and hands connections off.
    RoundRobin {
        /// What the worker's `server.address()` says. Its port must be the one asked for unless that was 0: Node
        /// takes another for EADDRINUSE. Unix sockets have none.
        sockname: Option<SockName<'a>>,
    },
    /// The socket itself goes with the reply, bound; the worker listens and accepts.
    Shared {
        /// What the socket is.
        kind: NativeKind,
    },
    /// The primary listens and hands connections off over the [stream](crate::handoff) whose end goes with the reply, a
    /// Unix stream socket. Only for workers that offered it.
    HandOff {
        /// As in [`RoundRobin`](Self::RoundRobin).
        sockname: Option<SockName<'a>>,
        /// The version of the stream that will be spoken, from 1 to what was offered.
        version: u32,
    },
    /// No socket; the worker's `listen()` fails with this.
    Failed {
        /// Why.
        errno: Errno,
    },
}

/// What a socket of the cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NativeKind {
    /// TCP or Unix stream (`net.Native`).
    Net,
    /// UDP (`dgram.Native`).
    Dgram,
}

/// The local name of a listening TCP socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SockName<'a> {
    /// IP address.
    pub address: Cow<'a, str>,
    /// IPv4 or IPv6.
    pub family: Family,
    /// 1 to 65535.
    pub port: u16,
}

/// An address family as Node spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// `IPv4`.
    Ipv4,
    /// `IPv6`.
    Ipv6,
}

impl From<SocketAddr> for SockName<'static> {
    fn from(name: SocketAddr) -> Self {
        let family = if name.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        Self { address: Cow::Owned(name.ip().to_string()), family, port: name.port() }
    }
}

impl<'a> SockName<'a> {
    pub(super) fn decode(fields: Fields<'a>) -> Result<Self, Violation> {
        let reader = Reader { act: "reply", fields };
        let family = match &*reader.text("family", reader.fields.family)? {
            "IPv4" => Family::Ipv4,
            "IPv6" => Family::Ipv6,
            _ => return Err(reader.not("family", "IPv4 or IPv6")),
        };
        let port = u16::try_from(reader.int("port", reader.fields.port)?)
            .map_err(|_| reader.not("port", "a port number"))?;
        Ok(Self { address: reader.text("address", reader.fields.address)?, family, port })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let family = match self.family {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        };
        let mut object = Object::begin(out);
        object.text("address", &self.address).text("family", family).int("port", self.port).end();
    }
}
