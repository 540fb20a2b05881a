//! Pairing descriptors with the lines they came for. Generic in the descriptor's type, so nothing here owns or
//! closes one by itself: what is not paired is dropped with the inbox. Invariant: at most two handles wait, and two
//! only while the first one's line is unfinished.
//!
//! Kernel facts (unix(7) stream sockets, Linux 2.6 to 6.x): one read never goes past the data a descriptor was sent
//! with, but plain data before it is merged into the same read. A read that ends inside that data already
//! brings the descriptor; the next one brings the rest of it *and* may bring the next descriptor.

use super::frame::LineBuffer;
use super::message::{FromPrimary, FromWorker};
use crate::Violation;

/// Lines and handles received on one channel, paired. `H` is the handle's type, usually an owned descriptor.
///
/// Per read: [`space`](Self::space), [`received`](Self::received), then one of the `next_…` until it gives `None`.
#[derive(Debug)]
pub struct Inbox<H> {
    lines: LineBuffer,
    /// Waits for the next NODE_HANDLE line.
    first: Option<H>,
    /// Came with the read that brings the end of `first`'s line.
    second: Option<H>,
}

impl<H> Inbox<H> {
    /// An empty inbox for lines of at most `limit` bytes; [`MAX_LINE`](super::MAX_LINE) unless there is a reason.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { lines: LineBuffer::new(limit), first: None, second: None }
    }

    /// Room to read into, never empty once every line was taken. See [`LineBuffer::space`].
    pub fn space(&mut self) -> &mut [u8] {
        self.lines.space()
    }

    /// Says that a read filled the first `bytes` of [`space`](Self::space), and which handle came with it.
    ///
    /// # Errors
    /// [`Violation::TwoHandles`] when this handle cannot be told from one that still waits; it is dropped.
    pub fn received(&mut self, bytes: usize, handle: Option<H>) -> Result<(), Violation> {
        let unfinished = !self.lines.is_empty();
        self.lines.commit(bytes);
        let Some(handle) = handle else { return Ok(()) };
        match (&self.first, &self.second) {
            (None, _) => self.first = Some(handle),
            (Some(_), None) if unfinished => self.second = Some(handle),
            (Some(_), _) => return Err(Violation::TwoHandles),
        }
        Ok(())
    }

    /// The next message of a worker and the handle that came for it, `None` when more has to be read first.
    ///
    /// A NODE_HANDLE message without a handle lost it on the way: answer with a NACK.
    ///
    /// # Errors
    /// Any [`Violation`]; the channel is of no use afterwards.
    pub fn next_from_worker(&mut self) -> Result<Option<(FromWorker<'_>, Option<H>)>, Violation> {
        let Some(line) = self.lines.take_line()? else { return self.drained() };
        let message = FromWorker::decode(self.lines.line(line))?;
        let handle = if message.carries_handle() { take(&mut self.first, &mut self.second) } else { None };
        Ok(Some((message, handle)))
    }

    /// The next message of a primary and the handle that came for it. As
    /// [`next_from_worker`](Self::next_from_worker).
    ///
    /// # Errors
    /// Any [`Violation`]; the channel is of no use afterwards.
    pub fn next_from_primary(&mut self) -> Result<Option<(FromPrimary<'_>, Option<H>)>, Violation> {
        let Some(line) = self.lines.take_line()? else { return self.drained() };
        let message = FromPrimary::decode(self.lines.line(line))?;
        let handle = if message.carries_handle() { take(&mut self.first, &mut self.second) } else { None };
        Ok(Some((message, handle)))
    }

    /// Whether no line was begun and no handle waits: at the end of the stream, whether the peer left cleanly.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.first.is_none()
    }

    /// Whether every line that was begun is here to its end. After a read that lost a descriptor this decides whether its
    /// message can still be told from the next one's.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.lines.is_whole()
    }

    /// Bytes of memory in use. See [`LineBuffer::capacity`].
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.lines.capacity()
    }

    /// No whole line is left: whoever waits must have an unfinished one to wait for.
    fn drained<T>(&self) -> Result<Option<T>, Violation> {
        if self.second.is_some() {
            return Err(Violation::TwoHandles);
        }
        if self.first.is_some() && self.lines.is_empty() {
            return Err(Violation::StrayHandle);
        }
        Ok(None)
    }
}

/// Takes the handle that waited longest.
fn take<H>(first: &mut Option<H>, second: &mut Option<H>) -> Option<H> {
    std::mem::replace(first, second.take())
}
