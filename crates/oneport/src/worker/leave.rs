//! The end of a worker's time: told by its primary, wanted by itself, or forced by the primary's death.
//!
//! Invariants: stages only go forward; from `Leaving` on no listener gets anything new, and what each has received is
//! still given out; the channel is closed only when everything said before was written.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use oneport_wire::Violation;
use oneport_wire::node::message::FromWorker;
use rustix::net::{Shutdown, shutdown};

use super::link::{Link, State};
use super::outbox::Room;

/// How far this worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Nothing of the kind.
    Serving,
    /// To leave: its listeners get nothing new.
    Leaving,
    /// The channel is closed.
    Ended,
}

/// How the channel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Either side closed it.
    Closed,
    /// The primary broke its rules.
    Breach(Violation),
}

impl From<Violation> for End {
    fn from(violation: Violation) -> End {
        End::Breach(violation)
    }
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Closed // reset, or out of memory: either way nothing more will come
    }
}

impl Link {
    /// The primary said so (Node's `worker.disconnect()` there).
    pub(super) fn told_to_leave(&self) {
        self.leave_all(|state| (state.intended, state.told) = (true, true));
        self.close_if_unused();
    }

    /// This worker leaves by itself: says so, and closes the channel when that is acknowledged. At once if it was told
    /// to leave already; nothing the second time.
    pub(super) fn leave_by_itself(&self) {
        let mut first = false;
        self.leave_all(|state| {
            first = !state.intended;
            state.intended = true;
        });
        let mut state = self.state();
        if !first {
            if state.farewell.is_none() {
                self.close_channel(&mut state);
            }
            return;
        }
        let mut number = None;
        let said = self.say_in(&mut state, Room::Answers, |seq| {
            number = Some(seq);
            FromWorker::ExitedAfterDisconnect { seq }
        });
        match said {
            Ok(()) => state.farewell = number,
            // A primary that reads nothing acknowledges nothing.
            Err(_) => self.close_channel(&mut state),
        }
    }

    /// The primary knows that this worker leaves by itself.
    pub(super) fn acknowledged(&self, number: i64) {
        let mut state = self.state();
        if state.farewell == Some(number) {
            self.close_channel(&mut state);
        }
    }

    /// Closes the channel after what was said (Node's `process.disconnect()`).
    pub(super) fn disconnect(&self) {
        self.leave_all(|_| ());
        self.close_channel(&mut self.state());
    }

    /// From here on nobody gets anything new. `why` changes the state first, so that who is woken by the new stage finds
    /// the reason.
    fn leave_all(&self, why: impl FnOnce(&mut State)) {
        why(&mut self.state());
        // Set before the queries are taken, or one asked in between would wait for ever: a primary answers nobody it
        // has told to leave (Node's neither).
        self.stage.send_if_modified(|stage| {
            let before = *stage;
            *stage = before.max(Stage::Leaving);
            *stage != before
        });
        let queries = {
            let mut state = self.state();
            self.close_members(&mut state);
            std::mem::take(&mut state.queries)
        };
        drop(queries);
    }

    /// Where nobody will close the channel the library does, once every listener is closed: the primary then looks after
    /// what is left of this worker's connections and signals in time.
    pub(super) fn close_if_unused(&self) {
        // Who waits for messages looks whether it still should.
        self.arrived.notify_waiters();
        if *self.stage.borrow() != Stage::Leaving || self.converses.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state();
        if state.intended && state.farewell.is_none() && state.members.is_empty() {
            self.close_channel(&mut state);
        }
    }

    fn close_channel(&self, state: &mut State) {
        self.claim_waiting(state);
        state.closing = true;
        self.shut_if_done(state);
    }

    /// Shuts the channel that is to be closed, once nothing waits. The reading thread then comes to its end.
    pub(super) fn shut_if_done(&self, state: &State) {
        if state.closing && state.outbox.is_idle() {
            // Not connected any more: then it is shut already.
            let _ = shutdown(self.sock.as_fd(), Shutdown::Both);
        }
    }

    /// The channel has ended: whoever waits is told.
    pub(super) fn finish(self: &Arc<Self>, end: End) {
        if let End::Breach(violation) = &end {
            tracing::error!(event = "primary_breach", error = %violation, "cannot talk to primary");
        }
        let _ = shutdown(self.sock.as_fd(), Shutdown::Both);
        let queries = {
            let mut state = self.state();
            state.end = Some(end);
            self.close_members(&mut state);
            std::mem::take(&mut state.queries)
        };
        for asked in queries.into_values() {
            asked.fail(self.state().gone());
        }
        self.stage.send_replace(Stage::Ended);
        self.arrived.notify_waiters();
        self.written.notify_waiters();
    }

    /// What the end means for somebody who waits for connections.
    pub(super) fn why_none(&self) -> io::Error {
        let state = self.state();
        match &state.end {
            Some(End::Breach(_)) => state.gone(),
            Some(End::Closed) | None => {
                io::Error::new(io::ErrorKind::BrokenPipe, "cannot accept: this worker is leaving")
            }
        }
    }

    /// Whether the end was wanted: known from the moment it was, and at the latest at the end of the channel.
    pub(super) fn was_intended(&self) -> Option<bool> {
        let state = self.state();
        match (state.intended, &state.end) {
            (true, _) => Some(true),
            (false, Some(_)) => Some(false),
            (false, None) => None,
        }
    }

    /// Whether the channel ended without this worker having closed it.
    #[cfg(feature = "axum")]
    pub(super) fn was_lost(&self) -> bool {
        let state = self.state();
        state.end.is_some() && !state.closing
    }

    /// Whether the channel can be used.
    pub(super) fn is_connected(&self) -> bool {
        let state = self.state();
        !state.closing && state.end.is_none()
    }

    /// Whether this worker is to take nothing new.
    pub(super) fn is_leaving(&self) -> bool {
        *self.stage.borrow() >= Stage::Leaving
    }

    /// Resolves once that stage is reached. Cancellation safe.
    pub(super) async fn reached(&self, wanted: Stage) {
        // The sender lives as long as this link: waiting cannot fail.
        let _ = self.stage.subscribe().wait_for(|stage| *stage >= wanted).await;
    }
}
