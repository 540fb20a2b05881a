//! The fast hand-off: connections on a Unix stream of their own, read where they are accepted, without a thread or a
//! queue in between. Generic in what a connection becomes; see `wire::handoff` for the bytes.
//!
//! Invariants: `Taken` is said when a connection is given to the program and never before, so that the credits bound
//! what a blocked worker holds; answers go in the order of arrival and none is lost; the lock is held over no await.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use oneport_sys::fdpass;
use oneport_wire::Violation;
use oneport_wire::handoff::{self, Answer, MOST};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::source::Flavor;

/// Answers that may wait for a primary that reads none, in bytes. The credits keep an honest one at 4.
const UNREAD: usize = 4096;
/// Reads that a closing listener makes at most, 4 connections each.
const LAST_READS: usize = 256;

/// The worker's end of one listener's stream, as its program reads it.
#[derive(Debug)]
pub(super) struct Fast {
    pair: AsyncFd<Arc<Pair>>,
}

/// The same, as the reading thread knows it too.
#[derive(Debug)]
pub(super) struct Pair {
    sock: OwnedFd,
    turn: Mutex<Turn>,
}

#[derive(Debug, Default)]
struct Turn {
    /// Received and not given out; `None` for one whose descriptor was lost on the way. At most [`MOST`].
    waiting: VecDeque<Option<OwnedFd>>,
    /// Answers that the socket did not take yet.
    owed: Vec<u8>,
    received: Vec<OwnedFd>,
    over: Option<Over>,
}

/// Why nothing more will come.
#[derive(Clone, Debug)]
pub(super) enum Over {
    /// The end of the stream.
    Ended,
    /// The primary broke the stream's rules.
    Breach(Violation),
}

impl Over {
    /// The error to tell, if the end itself is one.
    pub(super) fn breach(self) -> Option<io::Error> {
        match self {
            Over::Ended => None,
            Over::Breach(why) => {
                let text = format!("cannot talk to primary: {why}");
                Some(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        }
    }
}

/// What one turn gave.
enum Step<F: Flavor> {
    Connection(F::Stream, F::Addr),
    Failed(io::Error),
    /// Nothing here, and nothing was read.
    Unread,
    /// Nothing here and nothing in the socket.
    Empty,
    Over(Over),
}

impl<F: Flavor> Step<F> {
    /// What there is to give, if there is anything.
    fn done(self) -> Option<Next<F>> {
        match self {
            Step::Connection(stream, addr) => Some(Ok(Ok((stream, addr)))),
            Step::Failed(error) => Some(Ok(Err(error))),
            Step::Over(over) => Some(Err(over)),
            Step::Unread | Step::Empty => None,
        }
    }
}

/// Whether a turn may read the socket: only after it said that there is something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Socket {
    Quiet,
    Ready,
}

/// A connection, or the end.
pub(super) type Next<F> = Result<io::Result<(<F as Flavor>::Stream, <F as Flavor>::Addr)>, Over>;

impl Fast {
    /// Needs the tokio runtime in which it is to be read.
    #[expect(deprecated, reason = "its successor is unsafe; what it asks for an owned descriptor grants")]
    pub(super) fn new(pair: Arc<Pair>) -> io::Result<Fast> {
        // Not for writing: every answer that the primary reads would wake this process.
        let pair = AsyncFd::with_interest(pair, Interest::READABLE)?;
        Ok(Fast { pair })
    }

    /// The next connection. Any number of tasks may wait: every arrival wakes all of them, and each looks at what is
    /// here before it waits again. Cancellation safe.
    pub(super) async fn next<F: Flavor>(&self) -> Next<F> {
        let mut step = self.step::<F>(Socket::Quiet);
        loop {
            if let Some(next) = step.done() {
                return next;
            }
            let mut guard = match self.pair.readable().await {
                Ok(guard) => guard,
                Err(error) => return Ok(Err(error)),
            };
            step = self.step::<F>(Socket::Ready);
            if let Step::Empty = step {
                // Undone by any arrival since: tokio counts them.
                guard.clear_ready();
            }
        }
    }

    /// As [`next`](Self::next) for one task at a time.
    pub(super) fn poll_next<F: Flavor>(&self, cx: &mut Context<'_>) -> Poll<Next<F>> {
        let mut step = self.step::<F>(Socket::Quiet);
        loop {
            if let Some(next) = step.done() {
                return Poll::Ready(next);
            }
            let mut guard = match ready!(self.pair.poll_read_ready(cx)) {
                Ok(guard) => guard,
                Err(error) => return Poll::Ready(Ok(Err(error))),
            };
            step = self.step::<F>(Socket::Ready);
            if let Step::Empty = step {
                guard.clear_ready();
            }
        }
    }

    fn step<F: Flavor>(&self, socket: Socket) -> Step<F> {
        let Pair { sock: pair, turn } = &**self.pair.get_ref();
        let mut turn = lock(turn);
        loop {
            while let Some(next) = turn.waiting.pop_front() {
                let Some(fd) = next else {
                    turn.answer(pair, Answer::Refused);
                    // As accept(2) would say it: this process is at its limit.
                    return Step::Failed(Errno::MFILE.into());
                };
                match F::adopt(fd) {
                    Ok(Some((stream, addr))) => {
                        turn.answer(pair, Answer::Taken);
                        return Step::Connection(stream, addr);
                    }
                    // Its client has gone, or it is none at all: nobody else can use it either.
                    Ok(None) => turn.answer(pair, Answer::Taken),
                    Err(error) => {
                        // It was closed, and nobody has read from it.
                        turn.answer(pair, Answer::Refused);
                        return Step::Failed(error);
                    }
                }
            }
            match (&turn.over, socket) {
                (Some(over), _) => return Step::Over(over.clone()),
                (None, Socket::Quiet) => return Step::Unread,
                (None, Socket::Ready) => match turn.receive(pair) {
                    Ok(()) => (),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Empty,
                    // Reset: the primary closed it with answers unread.
                    Err(_) => turn.over = Some(Over::Ended),
                },
            }
        }
    }
}

impl Turn {
    /// One read. Without an error there is something new here, or the end.
    fn receive(&mut self, pair: &OwnedFd) -> io::Result<()> {
        let mut bytes = [0; MOST];
        let received = fdpass::receive_many(pair.as_fd(), &mut bytes, &mut self.received)?;
        let bytes = bytes.get(..received.bytes).unwrap_or_default();
        if bytes.is_empty() {
            self.over = Some(Over::Ended);
        }
        let Turn { waiting, received: fds, over, .. } = self;
        let paired = handoff::pair(bytes, fds.drain(..), received.truncated, |fd| waiting.push_back(fd));
        if let Err(violation) = paired {
            *over = Some(Over::Breach(violation));
        }
        Ok(())
    }

    /// Refuses what is here and was not given out.
    fn refuse_rest(&mut self, pair: &OwnedFd) {
        for _ in 0..LAST_READS {
            while self.waiting.pop_front().is_some() {
                self.answer(pair, Answer::Refused);
            }
            if self.over.is_some() || self.receive(pair).is_err() {
                break;
            }
        }
    }

    /// Says it, and what is still owed before it.
    fn answer(&mut self, pair: &OwnedFd, answer: Answer) {
        self.owed.push(answer.encode());
        match fdpass::send(pair.as_fd(), &self.owed, None) {
            Ok(written) => drop(self.owed.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.owed.len() > UNREAD {
                    // A primary that hands over and reads no answers: more than it could ever have to read.
                    self.over = Some(Over::Breach(Violation::UnaskedAnswer));
                }
            }
            // Nobody is there who would read it: what was not answered is the primary's again.
            Err(_) => self.owed.clear(),
        }
    }
}

impl Pair {
    pub(super) fn new(sock: OwnedFd) -> Pair {
        Pair { sock, turn: Mutex::default() }
    }

    /// Refuses what was not given out, also what lies in the socket. Nothing can come in after the look: the stream is
    /// shut first.
    fn shut(&self) {
        let _ = shutdown(&self.sock, Shutdown::Read); // not connected any more: then it is empty
        let mut turn = lock(&self.turn);
        turn.refuse_rest(&self.sock);
    }
}

impl AsFd for Pair {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sock.as_fd()
    }
}

impl AsRawFd for Pair {
    fn as_raw_fd(&self) -> RawFd {
        self.sock.as_raw_fd()
    }
}

/// A panic under this lock leaves whole entries behind.
fn lock(turn: &Mutex<Turn>) -> MutexGuard<'_, Turn> {
    turn.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Fast {
    fn drop(&mut self) {
        self.pair.get_ref().shut();
    }
}

impl Drop for Pair {
    /// Also of a listener that never came to be.
    fn drop(&mut self) {
        self.shut();
    }
}
