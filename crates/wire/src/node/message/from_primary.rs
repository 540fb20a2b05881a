//! What a primary says to its worker. Encoding is for primaries, decoding for workers written in Rust. Messages that
//! carry a descriptor are wrapped in the envelope here, so nobody else spells it; the hand-off line is written without
//! allocating.

use std::borrow::Cow;

use super::fields::{Fields, Scanned};
use super::from_worker::cluster;
use super::reader::{Reader, json_if, present};
use super::write::{Object, one_line};
use super::{
    CLUSTER, HANDLE, HANDLE_ACK, HANDLE_NACK, HandleEnvelope, HandleKind, Json, NativeKind, Outcome,
    SockName, SocketNote,
};
use crate::Violation;
use crate::node::errno::Errno;

/// One message of a primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromPrimary<'a> {
    /// Answer to a query. Carries a descriptor when the outcome is [`Outcome::Shared`] or [`Outcome::HandOff`].
    Reply {
        /// The `seq` of the query.
        ack: i64,
        /// The primary's number for this message.
        seq: i64,
        /// Names the handle in all that follows. Never the same for two open servers of one worker.
        key: Cow<'a, str>,
        /// The `data` of the first worker that attached any for this key; a TLS worker dies without it.
        data: Option<Json<'a>>,
        /// What came of it.
        outcome: Outcome<'a>,
    },
    /// A connection. Carries its descriptor; answered by an ACK or NACK and an answer with `ack` = `seq`.
    NewConn {
        /// The handle it was accepted on.
        key: Cow<'a, str>,
        /// The primary's number for this message, unique among those the worker has not answered.
        seq: i64,
    },
    /// Close every server, finish what is open, leave.
    Disconnect {
        /// The primary's number for this message.
        seq: Option<i64>,
    },
    /// Answer to `exitedAfterDisconnect`.
    Acknowledge {
        /// The `seq` of what is answered.
        ack: i64,
        /// The primary's number for this message.
        seq: Option<i64>,
    },
    /// The oldest envelope not yet answered arrived with its handle.
    HandleAck,
    /// The oldest envelope not yet answered arrived without its handle.
    HandleNack,
    /// A user's message with a handle. To be answered with an ACK, or a NACK when no handle came.
    Handle(HandleEnvelope<'a>),
    /// Book-keeping about connections passed on by users.
    Sockets(SocketNote<'a>),
    /// Another command of Node's. Neither answered nor shown to users.
    Internal {
        /// Which.
        cmd: Cow<'a, str>,
    },
    /// A cluster message unknown here; Node ignores them. Empty if it had no name at all.
    UnknownAct {
        /// Which.
        act: Cow<'a, str>,
    },
    /// A user's message.
    User(Json<'a>),
}

impl<'a> FromPrimary<'a> {
    /// Reads one line, without its newline.
    ///
    /// # Errors
    /// [`Violation::NotJson`] and [`Violation::Malformed`].
    pub fn decode(line: &'a [u8]) -> Result<Self, Violation> {
        let (cmd, fields) = match Scanned::line(line)? {
            Scanned::User(json) => return Ok(Self::User(json)),
            Scanned::Internal { cmd, fields } => (cmd, fields),
        };
        match &*cmd {
            CLUSTER => Self::cluster(fields, None),
            HANDLE => Self::envelope(fields),
            HANDLE_ACK => Ok(Self::HandleAck),
            HANDLE_NACK => Ok(Self::HandleNack),
            other => match SocketNote::cmd(other) {
                Some(act) => SocketNote::decode(&Reader { act, fields }).map(Self::Sockets),
                None => Ok(Self::Internal { cmd }),
            },
        }
    }

    /// Reads an envelope: the cluster's own connections and sockets, or a user's.
    fn envelope(fields: Fields<'a>) -> Result<Self, Violation> {
        let inside = fields.msg.map(|msg| Scanned::text(msg.get())).transpose()?;
        let envelope = HandleEnvelope::decode(&Reader { act: HANDLE, fields })?;
        match (inside, &envelope.kind) {
            (Some(Scanned::Internal { cmd, fields }), HandleKind::NetNative) if cmd == CLUSTER => {
                Self::cluster(fields, Some(NativeKind::Net))
            }
            (Some(Scanned::Internal { cmd, fields }), HandleKind::DgramNative) if cmd == CLUSTER => {
                Self::cluster(fields, Some(NativeKind::Dgram))
            }
            (Some(Scanned::Internal { .. } | Scanned::User(_)) | None, _) => Ok(Self::Handle(envelope)),
        }
    }

    /// Reads a cluster message; `enclosed` says what its envelope carries, if it came in one.
    fn cluster(fields: Fields<'a>, enclosed: Option<NativeKind>) -> Result<Self, Violation> {
        let mut reader = Reader { act: CLUSTER, fields };
        let fields = &reader.fields;
        let act = reader.text_if("act", fields.act)?;
        let message = match act.as_deref() {
            None if fields.key.is_some() => return Self::reply(reader, enclosed),
            None => match reader.int_if("ack", fields.ack)? {
                Some(ack) => Self::Acknowledge { ack, seq: reader.int_if("seq", fields.seq)? },
                None => Self::UnknownAct { act: Cow::Borrowed("") },
            },
            Some("newconn") => {
                reader.act = "newconn";
                if enclosed.is_none() {
                    return Err(reader.wrong("it came without its envelope"));
                }
                let key = reader.text("key", reader.fields.key)?;
                return Ok(Self::NewConn { key, seq: reader.int("seq", reader.fields.seq)? });
            }
            Some("disconnect") => {
                reader.act = "disconnect";
                Self::Disconnect { seq: reader.int_if("seq", reader.fields.seq)? }
            }
            Some(_) => Self::UnknownAct { act: act.unwrap_or_default() },
        };
        // A descriptor beside any of these would be nobody's.
        match enclosed {
            None => Ok(message),
            Some(_) => Err(reader.wrong("it came in an envelope")),
        }
    }

    fn reply(mut reader: Reader<'a>, enclosed: Option<NativeKind>) -> Result<Self, Violation> {
        reader.act = "reply";
        let fields = &reader.fields;
        let errno = reader.int_if("errno", fields.errno)?.unwrap_or(0);
        let outcome = match (errno, enclosed) {
            (0, Some(kind)) => match (kind, reader.handoff()) {
                (NativeKind::Net, Some(version)) => {
                    Outcome::HandOff { sockname: Self::sockname(&reader)?, version }
                }
                (NativeKind::Net, None) | (NativeKind::Dgram, _) => Outcome::Shared { kind },
            },
            (0, None) => Outcome::RoundRobin { sockname: Self::sockname(&reader)? },
            (errno, None) => match i32::try_from(errno) {
                Ok(errno) if errno < 0 => Outcome::Failed { errno: Errno::from_os(errno) },
                Ok(_) | Err(_) => return Err(reader.not("errno", "null, zero or a negative number")),
            },
            (_, Some(_)) => return Err(reader.wrong("it failed and yet came with a descriptor")),
        };
        Ok(Self::Reply {
            ack: reader.int("ack", fields.ack)?,
            seq: reader.int("seq", fields.seq)?,
            key: reader.text("key", fields.key)?,
            data: json_if(fields.data),
            outcome,
        })
    }

    fn sockname(reader: &Reader<'a>) -> Result<Option<SockName<'a>>, Violation> {
        let Some(raw) = present(reader.fields.sockname) else { return Ok(None) };
        let fields = serde_json::from_str(raw.get()).map_err(|_| reader.not("sockname", "an object"))?;
        SockName::decode(fields).map(Some)
    }

    /// Whether a handle belongs to this message.
    #[must_use]
    pub fn carries_handle(&self) -> bool {
        match self {
            Self::NewConn { .. } | Self::Handle(_) => true,
            Self::Reply { outcome, .. } => match outcome {
                Outcome::Shared { .. } | Outcome::HandOff { .. } => true,
                Outcome::RoundRobin { .. } | Outcome::Failed { .. } => false,
            },
            Self::Disconnect { .. }
            | Self::Acknowledge { .. }
            | Self::HandleAck
            | Self::HandleNack
            | Self::Sockets(_)
            | Self::Internal { .. }
            | Self::UnknownAct { .. }
            | Self::User(_) => false,
        }
    }

    /// Appends the message as one line, newline included.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Reply { ack, seq, key, data, outcome } => {
                let write = |out: &mut Vec<u8>| encode_reply(out, *ack, *seq, key, data.as_ref(), outcome);
                match outcome {
                    Outcome::Shared { kind } => enclose(out, *kind, write),
                    Outcome::HandOff { .. } => enclose(out, NativeKind::Net, write),
                    Outcome::RoundRobin { .. } | Outcome::Failed { .. } => write(out),
                }
            }
            Self::NewConn { key, seq } => enclose(out, NativeKind::Net, |out| {
                cluster(out, "newconn").text("key", key).int("seq", *seq).end();
            }),
            Self::Disconnect { seq } => cluster(out, "disconnect").int_if("seq", *seq).end(),
            Self::Acknowledge { ack, seq } => {
                Object::begin(out).text("cmd", CLUSTER).int("ack", *ack).int_if("seq", *seq).end();
            }
            Self::HandleAck => Object::begin(out).text("cmd", HANDLE_ACK).end(),
            Self::HandleNack => Object::begin(out).text("cmd", HANDLE_NACK).end(),
            Self::Handle(envelope) => envelope.encode(out),
            Self::Sockets(note) => note.encode(out),
            Self::Internal { cmd } => Object::begin(out).text("cmd", cmd).end(),
            Self::UnknownAct { act } => cluster(out, act).end(),
            Self::User(json) => one_line(out, json),
        }
        out.push(b'\n');
    }
}

/// Wraps a message in the envelope of a descriptor.
fn enclose(out: &mut Vec<u8>, kind: NativeKind, write: impl FnOnce(&mut Vec<u8>)) {
    let kind = match kind {
        NativeKind::Net => "net.Native",
        NativeKind::Dgram => "dgram.Native",
    };
    Object::begin(out).text("cmd", HANDLE).text("type", kind).nested("msg", write).end();
}

fn encode_reply(
    out: &mut Vec<u8>,
    ack: i64,
    seq: i64,
    key: &str,
    data: Option<&Json<'_>>,
    outcome: &Outcome<'_>,
) {
    let mut object = Object::begin(out);
    object.text("cmd", CLUSTER);
    match outcome {
        Outcome::RoundRobin { .. } => object.null("errno"),
        Outcome::Shared { .. } | Outcome::HandOff { .. } => object.int("errno", 0),
        Outcome::Failed { errno } => object.int("errno", errno.code()),
    };
    object.text("key", key).int("ack", ack);
    match data {
        Some(data) => object.json("data", data),
        None => object.null("data"),
    };
    let (sockname, version) = match outcome {
        Outcome::RoundRobin { sockname } => (sockname.as_ref(), None),
        Outcome::HandOff { sockname, version } => (sockname.as_ref(), Some(*version)),
        Outcome::Shared { .. } | Outcome::Failed { .. } => (None, None),
    };
    if let Some(sockname) = sockname {
        object.nested("sockname", |out| sockname.encode(out));
    }
    object.int_if("handoff", version).int("seq", seq).end();
}
