//! What a readable descriptor is about, packed into the 64 bits epoll carries. Ids are never reused, so an event
//! that was on its way for something already gone finds nothing and is dropped.

use oneport_core::{PortId, WorkerId};

use super::handoff::StreamId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A command arrived.
    Waker,
    /// A listening socket has connections.
    Port(PortId),
    /// A worker's channel has messages, or room.
    Channel(WorkerId),
    /// A worker's process ended.
    Process(WorkerId),
    /// A worker answered hand-offs, or closed their stream.
    Stream(StreamId),
    /// A program calls through the library that was loaded into it.
    Shim,
    /// A program said something of itself.
    Notify(WorkerId),
}

const KIND_SHIFT: u32 = 32;

impl Token {
    pub(crate) fn pack(self) -> u64 {
        let (kind, id) = match self {
            Token::Waker => (0, 0),
            Token::Port(port) => (1, port.0),
            Token::Channel(worker) => (2, worker.0),
            Token::Process(worker) => (3, worker.0),
            Token::Stream(stream) => (4, stream.0),
            Token::Shim => (5, 0),
            Token::Notify(worker) => (6, worker.0),
        };
        kind << KIND_SHIFT | u64::from(id)
    }

    pub(crate) fn unpack(bits: u64) -> Option<Token> {
        let id = bits as u32;
        match bits >> KIND_SHIFT {
            0 => Some(Token::Waker),
            1 => Some(Token::Port(PortId(id))),
            2 => Some(Token::Channel(WorkerId(id))),
            3 => Some(Token::Process(WorkerId(id))),
            4 => Some(Token::Stream(StreamId(id))),
            5 => Some(Token::Shim),
            6 => Some(Token::Notify(WorkerId(id))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_packing() {
        for token in [
            Token::Waker,
            Token::Port(PortId(7)),
            Token::Channel(WorkerId(u32::MAX)),
            Token::Process(WorkerId(1)),
            Token::Stream(StreamId(9)),
            Token::Shim,
            Token::Notify(WorkerId(3)),
        ] {
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
    }
}
