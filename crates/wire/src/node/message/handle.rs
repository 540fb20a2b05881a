//! The envelope of a message that carries a descriptor, and the notes by which two processes count sockets they
//! passed on. Every envelope is answered by the receiver with an ACK or a NACK, in order.

use std::borrow::Cow;

use super::reader::Reader;
use super::write::Object;
use super::{HANDLE, Json};
use crate::Violation;

/// The `type` of an envelope: what the receiver makes of the descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandleKind<'a> {
    /// `net.Native`: a TCP or Unix stream socket as it is (connections and listening sockets of the cluster).
    NetNative,
    /// `dgram.Native`: a UDP socket as it is (of the cluster).
    DgramNative,
    /// `net.Server`: a user's listening socket.
    NetServer,
    /// `net.Socket`: a user's connection.
    NetSocket,
    /// `dgram.Socket`: a user's UDP socket, with its `dgramType`.
    DgramSocket(DgramType),
    /// `net.BoundSocket` (Node 26): a TCP socket bound and not listening.
    NetBoundSocket,
    /// A type unknown here. Acknowledge and close it.
    Other(Cow<'a, str>),
}

impl HandleKind<'_> {
    fn name(&self) -> &str {
        match self {
            Self::NetNative => "net.Native",
            Self::DgramNative => "dgram.Native",
            Self::NetServer => "net.Server",
            Self::NetSocket => "net.Socket",
            Self::DgramSocket(_) => "dgram.Socket",
            Self::NetBoundSocket => "net.BoundSocket",
            Self::Other(name) => name,
        }
    }
}

/// The address family of a user's UDP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DgramType {
    /// IPv4.
    Udp4,
    /// IPv6.
    Udp6,
}

/// A user's message with a handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandleEnvelope<'a> {
    /// What the handle is.
    pub kind: HandleKind<'a>,
    /// The message beside it.
    pub message: Json<'a>,
    /// For a connection that a server of the sender accepted: the server's key, under which
    /// [`SocketNote`]s will ask for it.
    pub key: Option<Cow<'a, str>>,
}

impl<'a> HandleEnvelope<'a> {
    pub(super) fn decode(reader: &Reader<'a>) -> Result<Self, Violation> {
        let fields = &reader.fields;
        let name = reader.text("type", fields.kind)?;
        let kind = match &*name {
            "net.Native" => HandleKind::NetNative,
            "dgram.Native" => HandleKind::DgramNative,
            "net.Server" => HandleKind::NetServer,
            "net.Socket" => HandleKind::NetSocket,
            "net.BoundSocket" => HandleKind::NetBoundSocket,
            "dgram.Socket" => match &*reader.text("dgramType", fields.dgram_type)? {
                "udp4" => HandleKind::DgramSocket(DgramType::Udp4),
                "udp6" => HandleKind::DgramSocket(DgramType::Udp6),
                _ => return Err(reader.not("dgramType", "udp4 or udp6")),
            },
            _ => HandleKind::Other(name),
        };
        let Some(message) = fields.msg else { return Err(reader.wrong("`msg` is missing")) };
        let key = reader.text_if("key", fields.key)?;
        Ok(Self { kind, message: Json::scanned(message.get()), key })
    }

    /// The same, without the line it was read from.
    #[must_use]
    pub fn into_owned(self) -> HandleEnvelope<'static> {
        let kind = match self.kind {
            HandleKind::NetNative => HandleKind::NetNative,
            HandleKind::DgramNative => HandleKind::DgramNative,
            HandleKind::NetServer => HandleKind::NetServer,
            HandleKind::NetSocket => HandleKind::NetSocket,
            HandleKind::DgramSocket(family) => HandleKind::DgramSocket(family),
            HandleKind::NetBoundSocket => HandleKind::NetBoundSocket,
            HandleKind::Other(name) => HandleKind::Other(Cow::Owned(name.into_owned())),
        };
        let key = self.key.map(|key| Cow::Owned(key.into_owned()));
        HandleEnvelope { kind, message: self.message.into_owned(), key }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.text("cmd", HANDLE).text("type", self.kind.name()).json("msg", &self.message);
        match self.kind {
            HandleKind::DgramSocket(DgramType::Udp4) => _ = object.text("dgramType", "udp4"),
            HandleKind::DgramSocket(DgramType::Udp6) => _ = object.text("dgramType", "udp6"),
            HandleKind::NetNative
            | HandleKind::DgramNative
            | HandleKind::NetServer
            | HandleKind::NetSocket
            | HandleKind::NetBoundSocket
            | HandleKind::Other(_) => (),
        }
        if let Some(key) = &self.key {
            object.text("key", key);
        }
        object.end();
    }
}

/// Book-keeping about connections of one server that were passed to the other process; `key` names the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketNote<'a> {
    /// How many of them do you still have open? Answered by [`Count`](Self::Count).
    GetCount {
        /// The server.
        key: Cow<'a, str>,
    },
    /// So many.
    Count {
        /// The server.
        key: Cow<'a, str>,
        /// Open connections.
        count: i64,
    },
    /// Tell me once they are all closed. Answered by [`AllClosed`](Self::AllClosed).
    NotifyClose {
        /// The server.
        key: Cow<'a, str>,
    },
    /// They are.
    AllClosed {
        /// The server.
        key: Cow<'a, str>,
    },
}

impl<'a> SocketNote<'a> {
    /// The note that `cmd` names, if it names one. `fields` are consumed only then.
    pub(super) fn decode(reader: &Reader<'a>) -> Result<Self, Violation> {
        let key = reader.text("key", reader.fields.key)?;
        Ok(match reader.act {
            GET_COUNT => Self::GetCount { key },
            COUNT => Self::Count { key, count: reader.int("count", reader.fields.count)? },
            NOTIFY_CLOSE => Self::NotifyClose { key },
            _ => Self::AllClosed { key },
        })
    }

    /// The server it is about.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::GetCount { key }
            | Self::Count { key, .. }
            | Self::NotifyClose { key }
            | Self::AllClosed { key } => key,
        }
    }

    /// The same, without the line it was read from.
    #[must_use]
    pub fn into_owned(self) -> SocketNote<'static> {
        let owned = |key: Cow<'a, str>| Cow::Owned(key.into_owned());
        match self {
            Self::GetCount { key } => SocketNote::GetCount { key: owned(key) },
            Self::Count { key, count } => SocketNote::Count { key: owned(key), count },
            Self::NotifyClose { key } => SocketNote::NotifyClose { key: owned(key) },
            Self::AllClosed { key } => SocketNote::AllClosed { key: owned(key) },
        }
    }

    /// The constant for `cmd`, if it is one of these notes.
    pub(super) fn cmd(cmd: &str) -> Option<&'static str> {
        [GET_COUNT, COUNT, NOTIFY_CLOSE, ALL_CLOSED].into_iter().find(|known| *known == cmd)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        match self {
            Self::GetCount { key } => object.text("cmd", GET_COUNT).text("key", key),
            Self::Count { key, count } => object.text("cmd", COUNT).text("key", key).int("count", *count),
            Self::NotifyClose { key } => object.text("cmd", NOTIFY_CLOSE).text("key", key),
            Self::AllClosed { key } => object.text("cmd", ALL_CLOSED).text("key", key),
        }
        .end();
    }
}

const GET_COUNT: &str = "NODE_SOCKET_GET_COUNT";
const COUNT: &str = "NODE_SOCKET_COUNT";
const NOTIFY_CLOSE: &str = "NODE_SOCKET_NOTIFY_CLOSE";
const ALL_CLOSED: &str = "NODE_SOCKET_ALL_CLOSED";
