//! What a worker says to its primary. Decoding is for primaries, encoding for workers written in Rust. The two lines
//! that answer every hand-off (`HandleAck`, `Answer`) decode without allocating.

use std::borrow::Cow;

use super::fields::{Fields, Scanned};
use super::reader::Reader;
use super::write::{Object, one_line};
use super::{CLUSTER, HANDLE, HANDLE_ACK, HANDLE_NACK, HandleEnvelope, Json, Query, SocketNote};
use crate::Violation;

/// One message of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromWorker<'a> {
    /// The worker runs; its program has not been loaded yet.
    Online {
        /// The worker's number for this message.
        seq: Option<i64>,
    },
    /// The worker wants to listen. Answered by a reply with `ack` = `seq`.
    Query {
        /// The worker's number for this message.
        seq: i64,
        /// On what.
        query: Query<'a>,
    },
    /// The worker listens. Answered by nothing.
    Listening {
        /// The worker's number for this message; Bun sends none.
        seq: Option<i64>,
        /// On what, with the port it really got.
        query: Query<'a>,
    },
    /// The worker closed its server. Answered by nothing.
    Close {
        /// The handle.
        key: Cow<'a, str>,
        /// The worker's number for this message.
        seq: Option<i64>,
    },
    /// The program took the socket of this listener for itself: it accepts there, and takes nothing over the channel. A
    /// message of ours; Node's primary does not know it and ignores it. Answered by nothing.
    Released {
        /// The handle.
        key: Cow<'a, str>,
        /// The worker's number for this message.
        seq: Option<i64>,
    },
    /// The worker is about to leave by itself and waits for the acknowledgement with `ack` = `seq`.
    ExitedAfterDisconnect {
        /// The worker's number for this message.
        seq: i64,
    },
    /// Answer to a hand-off, or to a number nobody used: users can send this too.
    Answer {
        /// The `seq` of the hand-off.
        ack: i64,
        /// Whether the worker serves the connection. If not, it has closed its copy.
        accepted: Option<bool>,
        /// The worker's number for this message.
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

const RELEASED: &str = "oneportReleased";

impl<'a> FromWorker<'a> {
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
            CLUSTER => Self::cluster(fields),
            HANDLE => HandleEnvelope::decode(&Reader { act: HANDLE, fields }).map(Self::Handle),
            HANDLE_ACK => Ok(Self::HandleAck),
            HANDLE_NACK => Ok(Self::HandleNack),
            other => match SocketNote::cmd(other) {
                Some(act) => SocketNote::decode(&Reader { act, fields }).map(Self::Sockets),
                None => Ok(Self::Internal { cmd }),
            },
        }
    }

    fn cluster(fields: Fields<'a>) -> Result<Self, Violation> {
        let mut reader = Reader { act: CLUSTER, fields };
        let fields = &reader.fields;
        let Some(act) = reader.text_if("act", fields.act)? else {
            let Some(ack) = reader.int_if("ack", fields.ack)? else {
                return Ok(Self::UnknownAct { act: Cow::Borrowed("") });
            };
            let accepted = reader.bool_if("accepted", fields.accepted)?;
            return Ok(Self::Answer { ack, accepted, seq: reader.int_if("seq", fields.seq)? });
        };
        match &*act {
            "online" => {
                reader.act = "online";
                Ok(Self::Online { seq: reader.int_if("seq", reader.fields.seq)? })
            }
            "queryServer" => {
                reader.act = "queryServer";
                let query = Query::decode(&reader)?;
                Ok(Self::Query { seq: reader.int("seq", reader.fields.seq)?, query })
            }
            "listening" => {
                reader.act = "listening";
                let query = Query::decode(&reader)?;
                Ok(Self::Listening { seq: reader.int_if("seq", reader.fields.seq)?, query })
            }
            "close" => {
                reader.act = "close";
                let key = reader.text("key", reader.fields.key)?;
                Ok(Self::Close { key, seq: reader.int_if("seq", reader.fields.seq)? })
            }
            RELEASED => {
                reader.act = RELEASED;
                let key = reader.text("key", reader.fields.key)?;
                Ok(Self::Released { key, seq: reader.int_if("seq", reader.fields.seq)? })
            }
            "exitedAfterDisconnect" => {
                reader.act = "exitedAfterDisconnect";
                Ok(Self::ExitedAfterDisconnect { seq: reader.int("seq", reader.fields.seq)? })
            }
            _ => Ok(Self::UnknownAct { act }),
        }
    }

    /// Whether a handle belongs to this message.
    #[must_use]
    pub fn carries_handle(&self) -> bool {
        match self {
            Self::Handle(_) => true,
            Self::Online { .. }
            | Self::Query { .. }
            | Self::Listening { .. }
            | Self::Close { .. }
            | Self::Released { .. }
            | Self::ExitedAfterDisconnect { .. }
            | Self::Answer { .. }
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
            Self::Online { seq } => cluster(out, "online").int_if("seq", *seq).end(),
            Self::Query { seq, query } => {
                let mut object = cluster(out, "queryServer");
                query.encode(&mut object);
                object.int("seq", *seq).end();
            }
            Self::Listening { seq, query } => {
                let mut object = cluster(out, "listening");
                query.encode(&mut object);
                object.int_if("seq", *seq).end();
            }
            Self::Close { key, seq } => cluster(out, "close").text("key", key).int_if("seq", *seq).end(),
            Self::Released { key, seq } => {
                cluster(out, RELEASED).text("key", key).int_if("seq", *seq).end();
            }
            Self::ExitedAfterDisconnect { seq } => {
                cluster(out, "exitedAfterDisconnect").int("seq", *seq).end();
            }
            Self::Answer { ack, accepted, seq } => {
                let mut object = Object::begin(out);
                object.text("cmd", CLUSTER).int("ack", *ack);
                if let Some(accepted) = accepted {
                    object.bool("accepted", *accepted);
                }
                object.int_if("seq", *seq).end();
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

/// Begins a cluster message.
pub(super) fn cluster<'o>(out: &'o mut Vec<u8>, act: &str) -> Object<'o> {
    let mut object = Object::begin(out);
    object.text("cmd", CLUSTER).text("act", act);
    object
}
