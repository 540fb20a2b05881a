//! The compact hand-off stream between a primary and a worker that uses this library: bytes beside descriptors and bytes
//! in answer, on a socket pair whose one end came with [`Outcome::HandOff`](crate::node::message::Outcome::HandOff).
//! Invariant: one byte and one descriptor a connection, one byte an answer, both in order, so nothing needs a number.

use std::collections::VecDeque;

use crate::Violation;

/// The newest version of the stream that is spoken here, offered in a query and named in the reply to it.
pub const VERSION: u32 = 1;

/// Most descriptors, and so most bytes, in one message of the primary. A worker that reads with less room for
/// either loses descriptors (`MSG_CTRUNC`).
pub const MOST: usize = 4;

/// What the primary sends for each connection, with its descriptor. Nothing else is ever sent; the end of the stream
/// says that nothing more will come.
pub const CONNECTION: u8 = b'c';

/// What a worker says to one connection, in the order in which they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The program has it: said when `accept()` gives it out and not before, so that the credits bound what a worker that
    /// is blocked holds.
    Taken,
    /// The listener was closed before the program asked for it. The worker has not read from it and closed its copy.
    Refused,
}

impl Answer {
    /// The byte on the stream.
    #[must_use]
    pub const fn encode(self) -> u8 {
        match self {
            Self::Taken => b't',
            Self::Refused => b'r',
        }
    }

    /// Reads one byte of the stream.
    ///
    /// # Errors
    /// [`Violation::NoAnswer`].
    pub const fn decode(byte: u8) -> Result<Self, Violation> {
        match byte {
            b't' => Ok(Self::Taken),
            b'r' => Ok(Self::Refused),
            byte => Err(Violation::NoAnswer { byte }),
        }
    }
}

/// Pairs what one read of a worker brought: `give` gets each connection's handle in order, `None` for one that was lost
/// because no descriptor was free (`truncated`). What came before a breach counts; handles that no byte names are dropped.
///
/// # Errors
/// [`Violation::NoConnection`], [`Violation::MissingHandle`], [`Violation::UnnamedHandle`]: the stream is of no use any
/// more.
pub fn pair<H>(
    bytes: &[u8],
    handles: impl IntoIterator<Item = H>,
    truncated: bool,
    mut give: impl FnMut(Option<H>),
) -> Result<(), Violation> {
    let mut handles = handles.into_iter();
    for &byte in bytes {
        if byte != CONNECTION {
            return Err(Violation::NoConnection { byte });
        }
        match handles.next() {
            None if !truncated => return Err(Violation::MissingHandle),
            handle => give(handle),
        }
    }
    if handles.next().is_some() { Err(Violation::UnnamedHandle) } else { Ok(()) }
}

/// Matches answers with what awaits them, oldest first. What was answered before a breach counts, and is taken off
/// `awaiting`.
///
/// # Errors
/// [`Violation::NoAnswer`], [`Violation::UnaskedAnswer`]: the worker broke the rules.
pub fn match_answers<C>(
    bytes: &[u8],
    awaiting: &mut VecDeque<C>,
    mut give: impl FnMut(C, Answer),
) -> Result<(), Violation> {
    for &byte in bytes {
        let answer = Answer::decode(byte)?;
        give(awaiting.pop_front().ok_or(Violation::UnaskedAnswer)?, answer);
    }
    Ok(())
}
