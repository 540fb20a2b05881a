//! Cutting a byte stream into lines. One reusable buffer, lines are lent out of it without copying; nothing here
//! knows JSON or descriptors. Invariants: never more than `limit` bytes and one newline are held, no byte is
//! searched twice, and a byte is moved at most once while the caller reads every line before it asks for room.

use std::io::BufRead as _;
use std::ops::Range;

use crate::Violation;

/// Room offered for one read, and what an idle buffer shrinks back to: 64 KiB, as Node reads.
pub const ROOM: usize = 64 * 1024;

/// A bounded buffer between a stream socket and a line parser.
///
/// Per read: [`space`](Self::space), [`commit`](Self::commit), then [`next_line`](Self::next_line) until it gives
/// `None`.
#[derive(Debug)]
pub struct LineBuffer {
    /// Initialised throughout; `start..end` holds what was received and not yet lent.
    bytes: Vec<u8>,
    start: usize,
    /// No newline in `start..searched`.
    searched: usize,
    end: usize,
    limit: usize,
}

impl LineBuffer {
    /// An empty buffer for lines of at most `limit` bytes, the newline not counted.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let limit = limit.min(isize::MAX as usize - 1);
        Self { bytes: Vec::new(), start: 0, searched: 0, end: 0, limit }
    }

    /// Room to read into: at least 64 KiB, less within 64 KiB of the limit, and none only when the limit is
    /// reached, where [`next_line`](Self::next_line) has a line or [`Violation::LineTooLong`].
    pub fn space(&mut self) -> &mut [u8] {
        if self.is_empty() {
            self.reset();
        }
        let most = self.limit + 1;
        let held = self.end - self.start;
        let wanted = (held + ROOM).min(most);
        if self.start + wanted > self.bytes.len() {
            if wanted > self.bytes.len() {
                // Doubling keeps the copies of one long line within twice its length.
                let size = (self.bytes.len() * 2).max(wanted).min(most);
                let mut larger = vec![0; size];
                larger[..held].copy_from_slice(&self.bytes[self.start..self.end]);
                self.bytes = larger;
            } else {
                self.bytes.copy_within(self.start..self.end, 0);
            }
            self.searched -= self.start;
            self.start = 0;
            self.end = held;
        }
        let stop = self.bytes.len().min(self.start + most);
        &mut self.bytes[self.end..stop]
    }

    /// Says that the first `n` bytes of [`space`](Self::space) were filled. More than there was room for counts as
    /// all of it.
    pub fn commit(&mut self, n: usize) {
        let room = self.bytes.len().min(self.start + self.limit + 1) - self.end;
        self.end += n.min(room);
    }

    /// The next whole line, without its newline, or `None` when more has to be read first.
    ///
    /// # Errors
    /// [`Violation::LineTooLong`], again at every call.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, Violation> {
        Ok(self.take_line()?.map(|line| &self.bytes[line]))
    }

    /// Whether nothing is held, not even the beginning of a line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether what is here ends with a whole line, or nothing is here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_empty() || self.bytes.get(self.end - 1) == Some(&b'\n')
    }

    /// Bytes of memory in use, for whoever watches bounds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// As [`next_line`](Self::next_line), naming the place instead of borrowing it.
    pub(super) fn take_line(&mut self) -> Result<Option<Range<usize>>, Violation> {
        let mut rest = &self.bytes[self.searched..self.end];
        let unread = rest.len();
        // The standard library's fastest search for one byte hides behind this; reading a slice cannot fail.
        let passed = rest.skip_until(b'\n').unwrap_or(unread);
        let at = self.searched + passed;
        if passed > 0 && self.bytes[at - 1] == b'\n' {
            let line = self.start..at - 1;
            self.start = at;
            self.searched = at;
            return Ok(Some(line));
        }
        self.searched = self.end;
        if self.end - self.start > self.limit {
            return Err(Violation::LineTooLong { limit: self.limit });
        }
        if self.is_empty() {
            self.reset();
        }
        Ok(None)
    }

    /// The bytes of a line that [`take_line`](Self::take_line) named, valid until the next call of any other method.
    pub(super) fn line(&self, line: Range<usize>) -> &[u8] {
        &self.bytes[line]
    }

    /// Back to the beginning, giving up what a burst took.
    fn reset(&mut self) {
        self.start = 0;
        self.searched = 0;
        self.end = 0;
        if self.bytes.len() > ROOM {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LineBuffer, ROOM};

    #[test]
    fn a_long_line_is_neither_searched_nor_moved_again() {
        let mut buffer = LineBuffer::new(1 << 24);
        let (mut held, mut copied) = (0, 0);
        for _ in 0..200 {
            let before = buffer.bytes.as_ptr();
            buffer.space()[..ROOM].fill(b'x');
            if buffer.bytes.as_ptr() != before {
                copied += held;
            }
            assert_eq!(buffer.searched, buffer.end, "the search goes on where it stopped");
            buffer.commit(ROOM);
            held += ROOM;
            assert_eq!(buffer.next_line(), Ok(None));
        }
        assert!(copied <= 2 * held, "{copied} bytes copied for {held}");
    }

    #[test]
    fn the_rest_of_a_read_is_moved_once() {
        let mut buffer = LineBuffer::new(1 << 20);
        let room = buffer.space();
        room.fill(b'x');
        room[9] = b'\n';
        buffer.commit(ROOM);
        assert_eq!(buffer.next_line().map(|line| line.map(<[u8]>::len)), Ok(Some(9)));
        assert_eq!(buffer.next_line(), Ok(None));
        assert!(buffer.space().len() >= ROOM);
        assert_eq!((buffer.start, buffer.searched, buffer.end), (0, ROOM - 10, ROOM - 10));
    }
}
