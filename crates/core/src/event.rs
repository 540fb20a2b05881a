//! Everything that can happen, as one closed enum.

use std::time::Duration;

use crate::ids::{ConnId, Errno, LaneId, PortId, QuerySeq, Slot, WorkerId};
use crate::port::{Endpoint, Terms};
use crate::reload::ReloadTerms;
use crate::settings::{Attach, Settings};
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

/// Whether one worker may have several sockets on one port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// A second one fails, as it would without us.
    #[default]
    Alone,
    /// The program itself asked for it (SO_REUSEPORT).
    WithItself,
}

/// A worker's wish for a handle: Node's `queryServer`, or a program's trapped call. A program asks when it binds, except
/// for TCP on a port the kernel chooses, where it asks when it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryTerms {
    /// What it wants to listen on.
    pub endpoint: Endpoint,
    /// How.
    pub terms: Terms,
    /// Opaque text that every later worker of the same endpoint gets back (TLS ticket keys).
    pub data: Option<Box<str>>,
    /// Whether the worker may have several lanes there; of no meaning in other modes.
    pub sharing: Sharing,
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
    /// The owner wants some of them replaced, or in a certain manner.
    ReloadSome(ReloadTerms),
    /// The owner wants at least this many slots; those that come are stopped.
    Reserve(u32),
    /// The owner wants nobody in these slots.
    StopSlots(Vec<Slot>),
    /// The owner wants these slots filled, if nobody is there; given up ones, too. A pause is not waited for.
    StartSlots(Vec<Slot>),
    /// The owner wants workers treated so from now on. Policy, attaching, credits, queue, ports and
    /// what makes ready stay as they are.
    Treat(Box<Settings>),
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
    /// It said that it leaves of its own accord, and waits for no answer (`STOPPING=1` of `sd_notify`).
    Stopping {
        /// Who.
        worker: WorkerId,
    },
    /// It said that it is alive (`WATCHDOG=1` of `sd_notify`).
    Alive {
        /// Who.
        worker: WorkerId,
    },
    /// It asked for more time (`EXTEND_TIMEOUT_USEC=` of `sd_notify`): the deadline of its readiness, or that of its drain
    /// time, is moved to so long after now, if that is later; by an hour, or ten minutes, in all. That of its stop signal is not.
    Extend {
        /// Who.
        worker: WorkerId,
        /// At most ten minutes count.
        by: Duration,
    },

    /// Its socket listens now (UDP: is bound), for the first time or once more after it was shut.
    LaneListens {
        /// Whose.
        worker: WorkerId,
        /// Which, as the reply to its query named it.
        lane: LaneId,
    },
    /// Binding it or listening on it failed, and the program was told so. The shell has dropped it by itself, unless it
    /// was adopted: then what was kept is kept on.
    LaneFailed {
        /// Whose.
        worker: WorkerId,
        /// Which.
        lane: LaneId,
    },
    /// The program closed it, or shut it for reading, and lives on. What waits in it waits. Heard only of the worker that
    /// was promised it or listens there: what is seen late may concern a predecessor.
    LaneClosed {
        /// Whose it was.
        worker: WorkerId,
        /// Which.
        lane: LaneId,
    },
    /// Nothing waits in the sockets of this worker any more (the answer to [`crate::Effect::EmptyLanes`]).
    LanesEmpty {
        /// Whose.
        worker: WorkerId,
    },
    /// Connections wait in its socket there, and it makes no progress: those that are accepted in its place are given to
    /// others, for a while.
    Stalls {
        /// Who.
        worker: WorkerId,
        /// Where.
        port: PortId,
        /// In which of its sockets.
        lane: LaneId,
        /// Who sleeps with nothing waiting for it: these get what waits.
        at_rest: Vec<WorkerId>,
    },
    /// It accepts there for itself alone: it takes nothing that the primary has accepted.
    TakesNothing {
        /// Who.
        worker: WorkerId,
        /// Where.
        port: PortId,
    },
    /// Connections wait in it that the kernel does not give to another one (an answer to
    /// [`crate::Effect::RetireLane`]).
    LaneStuck {
        /// Which.
        lane: LaneId,
    },
    /// Connections wait in it that cannot be accepted for now: descriptors are short (an answer to
    /// [`crate::Effect::RetireLane`]).
    LaneExhausted {
        /// Which.
        lane: LaneId,
    },
    /// It is closed, and nothing was lost with it (an answer to [`crate::Effect::RetireLane`]).
    LaneRetired {
        /// Which.
        lane: LaneId,
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
