//! Everything that can happen, as one closed enum.

use crate::ids::{ConnId, Errno, PortId, QuerySeq, WorkerId};
use crate::port::{Endpoint, Terms};
use crate::settings::Attach;
use crate::worker::EndCause;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It left with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It never came to be: the program could not be executed.
    NotSpawned,
}

/// A worker's wish for a handle (Node's `queryServer`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryTerms {
    /// What it wants to listen on.
    pub endpoint: Endpoint,
    /// How.
    pub terms: Terms,
    /// Opaque text that every later worker of the same endpoint gets back (TLS ticket keys).
    pub data: Option<Box<str>>,
}

/// What came of opening an endpoint.
pub type Opened = Result<(), Errno>;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The owner wants this many supervised workers.
    Scale(u32),
    /// The owner wants one worker outside the supervised slots (Node's `cluster.fork()`).
    Fork {
        /// How it reaches the primary.
        attach: Attach,
    },
    /// The owner wants one worker to leave (Node's `worker.disconnect()`).
    Leave {
        /// Which.
        worker: WorkerId,
    },
    /// The owner wants one worker ended now.
    Kill {
        /// Which.
        worker: WorkerId,
    },
    /// The owner wants every supervised worker replaced, new one first.
    Reload,
    /// The owner wants every worker to leave, in the order of a stop, and goes on without any (Node's
    /// `cluster.disconnect()`). Slots are given up; wishes for workers are ignored until
    /// [`crate::Notice::Disconnected`].
    Disconnect,
    /// The owner wants everything to end in order. During a disconnect it turns that into a stop.
    Stop,
    /// The owner wants everything to end now.
    StopNow,

    /// The process exists.
    Spawned {
        /// Whose.
        worker: WorkerId,
    },
    /// The process could not be started.
    SpawnFailed {
        /// Whose.
        worker: WorkerId,
        /// `Shortage` when that was not the program's fault.
        cause: EndCause,
    },
    /// The process ended; parts of its tree may live.
    Exited {
        /// Whose.
        worker: WorkerId,
        /// How.
        exit: Exit,
    },
    /// The process is reaped, its tree is ended and its channel was read to the end: nothing of it is left.
    Gone {
        /// Who.
        worker: WorkerId,
    },
    /// The slot's open connections are gone or idle (asked for by [`crate::Effect::WatchIdle`]).
    Idle {
        /// Whose.
        worker: WorkerId,
    },

    /// It booted (Node's `online`).
    Online {
        /// Who.
        worker: WorkerId,
    },
    /// It said `ready` (PM2's message).
    Ready {
        /// Who.
        worker: WorkerId,
    },
    /// It asks for a handle.
    Query {
        /// Who.
        worker: WorkerId,
        /// Its number of the question.
        seq: QuerySeq,
        /// What it asks for.
        query: Box<QueryTerms>,
    },
    /// Its server listens.
    Listening {
        /// Whose.
        worker: WorkerId,
    },
    /// It closed its server on this port.
    Closed {
        /// Who.
        worker: WorkerId,
        /// Where.
        port: PortId,
    },
    /// It is going to leave of its own accord (Node's `exitedAfterDisconnect`).
    LeavesByItself {
        /// Who.
        worker: WorkerId,
        /// Its number of the announcement, to be acknowledged.
        seq: QuerySeq,
    },
    /// However many credits the app allows, this worker may hold no more hand-offs than this: those that it is given on a
    /// stream of its own wait in its process for its program, and each more is one more that a blocked program delays.
    CreditsLimited {
        /// Which.
        worker: WorkerId,
        /// At least 1.
        most: u32,
    },
    /// It took a connection, or refused it.
    Answered {
        /// Who.
        worker: WorkerId,
        /// Which connection.
        conn: ConnId,
        /// Whether it is the worker's now.
        accepted: bool,
    },
    /// It never received this connection's descriptor (Node's `NODE_HANDLE_NACK`).
    NotReceived {
        /// Who.
        worker: WorkerId,
        /// Which connection.
        conn: ConnId,
    },
    /// Its end of the channel is closed.
    ChannelClosed {
        /// Whose.
        worker: WorkerId,
    },
    /// It broke the rules and cannot be kept.
    Condemned {
        /// Who.
        worker: WorkerId,
        /// Why.
        cause: EndCause,
    },

    /// The answer to [`crate::Effect::Open`].
    PortOpened {
        /// Which.
        port: PortId,
        /// Whether it worked.
        outcome: Opened,
    },
    /// Everything that waited in the kernel's queue was accepted and the socket is closed
    /// (the answer to [`crate::Effect::Shut`]).
    PortShut {
        /// Which.
        port: PortId,
    },
    /// A connection was accepted.
    Accepted {
        /// Where.
        port: PortId,
        /// Its name from now on.
        conn: ConnId,
    },
    /// Accepting failed for want of descriptors or memory.
    AcceptExhausted {
        /// Where.
        port: PortId,
    },

    /// A deadline passed ([`crate::Cluster::next_deadline`]).
    Tick,
}
