//! Messages of the primary that the program has not asked for yet.
//!
//! Invariant: bounded, in number, bytes and handles; what exceeds is dropped and said once. Reading on instead of
//! dropping is no choice: the primary's words to the library come on the same channel.

use std::collections::VecDeque;
use std::io;

use crate::Message;

/// Bounds before anybody asked for a message, and since.
const UNASKED: Bounds = Bounds { messages: 1024, bytes: 16 * 1024 * 1024, handles: 64 };
const ASKED: Bounds = Bounds { messages: 65_536, bytes: 64 * 1024 * 1024, handles: 256 };

struct Bounds {
    messages: usize,
    bytes: usize,
    handles: usize,
}

#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: VecDeque<io::Result<Message>>,
    bytes: usize,
    handles: usize,
    asked: bool,
    overflowed: bool,
}

impl Mailbox {
    /// Keeps a message, or the reason why one could not be had. What does not fit is dropped.
    pub(super) fn push(&mut self, message: io::Result<Message>) {
        let (bytes, handles) = weight(&message);
        let bounds = if self.asked { ASKED } else { UNASKED };
        if self.waiting.len() >= bounds.messages
            || self.bytes + bytes > bounds.bytes
            || self.handles + handles > bounds.handles
        {
            if !self.overflowed {
                self.overflowed = true;
                let waiting = self.waiting.len();
                tracing::warn!(
                    event = "messages_dropped",
                    waiting,
                    "cannot keep message: nobody receives them"
                );
            }
            return;
        }
        self.bytes += bytes;
        self.handles += handles;
        self.waiting.push_back(message);
    }

    /// The oldest one; from now on more may wait.
    pub(super) fn take(&mut self) -> Option<io::Result<Message>> {
        self.asked = true;
        let message = self.waiting.pop_front()?;
        let (bytes, handles) = weight(&message);
        self.bytes -= bytes;
        self.handles -= handles;
        Some(message)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn weight(message: &io::Result<Message>) -> (usize, usize) {
    message.as_ref().map_or((0, 0), |message| (message.json().len(), usize::from(message.handle().is_some())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: usize) -> io::Result<Message> {
        Ok(Message::received("1".repeat(bytes), None))
    }

    #[test]
    fn messages_nobody_asked_for_are_kept_up_to_their_bounds() {
        let mut mailbox = Mailbox::default();
        (0..2000).for_each(|_| mailbox.push(text(1)));
        assert_eq!(mailbox.waiting.len(), UNASKED.messages);
        let mut mailbox = Mailbox::default();
        (0..20).for_each(|_| mailbox.push(text(1024 * 1024)));
        assert_eq!(mailbox.waiting.len(), 16);
        let mut mailbox = Mailbox::default();
        for _ in 0..100 {
            let (socket, _) = std::os::unix::net::UnixStream::pair().expect("a pair");
            mailbox.push(Ok(Message::received("1".into(), Some(socket.into()))));
        }
        assert_eq!(mailbox.waiting.len(), UNASKED.handles);
    }

    #[test]
    fn what_was_taken_makes_room_and_who_asks_may_have_more_waiting() {
        let mut mailbox = Mailbox::default();
        (0..16).for_each(|_| mailbox.push(text(1024 * 1024)));
        assert!(mailbox.take().is_some());
        (0..1030).for_each(|_| mailbox.push(text(1)));
        assert_eq!(mailbox.waiting.len(), 15 + 1030);
        while mailbox.take().is_some() {}
        assert!(mailbox.is_empty());
        assert_eq!((mailbox.bytes, mailbox.handles), (0, 0));
    }
}
