//! What a peer can do wrong on a channel. Each is the peer's fault and final for its channel: framing and
//! pairing cannot be trusted afterwards, so the caller ends that worker (or leaves that primary).

/// A breach of the channel's rules by the peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A line grew past the limit without ending.
    #[error("cannot read message: line longer than {limit} bytes")]
    LineTooLong {
        /// The longest line accepted, in bytes, its newline not counted.
        limit: usize,
    },
    /// A line is not one JSON text in UTF-8. An empty line is none either.
    #[error("cannot read message: not JSON")]
    NotJson,
    /// A message of the channel's own protocol has a field of the wrong type, or lacks one it needs.
    #[error("cannot read `{act}` message: {why}")]
    Malformed {
        /// The message's `act`, or its `cmd` where there is no `act`.
        act: &'static str,
        /// Which field, and what is wrong with it.
        why: String,
    },
    /// A descriptor arrived while more than the kernel can make wait were waiting for their messages.
    #[error("cannot pair descriptor: another one still waits for its message")]
    TwoHandles,
    /// A descriptor arrived and every line was read, and none of them claimed it.
    #[error("cannot pair descriptor: no message claims it")]
    StrayHandle,
    /// A byte of the primary on the hand-off stream is not [`CONNECTION`](crate::handoff::CONNECTION).
    #[error("unknown byte {byte:#04x} in the hand-off stream")]
    NoConnection {
        /// Which byte.
        byte: u8,
    },
    /// A connection came on the hand-off stream without its descriptor, and none was lost on the way.
    #[error("connection without its descriptor in the hand-off stream")]
    MissingHandle,
    /// More descriptors than bytes came on the hand-off stream.
    #[error("descriptor without its byte in the hand-off stream")]
    UnnamedHandle,
    /// More answers than hand-offs.
    #[error("cannot match the answer to a hand-off: nothing was handed over")]
    UnaskedAnswer,
    /// A byte on the hand-off stream is none of [`Answer`](crate::handoff::Answer)'s.
    #[error("cannot understand the answer to a hand-off: unknown byte {byte:#04x}")]
    NoAnswer {
        /// Which byte.
        byte: u8,
    },
}
