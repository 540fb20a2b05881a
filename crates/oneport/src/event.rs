//! What the owner of a [`crate::Cluster`] is told, in the order in which it happened.
//!
//! Per worker: `Spawned`, `Moved` to online, `Listening`, ..., `Died`. Unlike Node, which may emit `exit` before
//! `disconnect` or never emit the latter, exactly one `Died` comes for every `Spawned`, and it comes last.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use oneport_core::{EndCause, Exit, Phase, ReloadFailure, Slot, WorkerId};

/// A worker as events name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerRef {
    /// 1, 2, 3 ... (Node's `worker.id`).
    pub id: WorkerId,
    /// Its place, if it is supervised.
    pub slot: Option<Slot>,
    /// Its process; 0 when it could not be started.
    pub pid: i32,
}

/// The reading ends of a worker's output, when [`crate::Stdio::Pipe`] was asked for. Non-blocking.
#[derive(Debug)]
pub struct Output {
    /// Its standard output.
    pub stdout: OwnedFd,
    /// Its standard error.
    pub stderr: OwnedFd,
}

/// What kind of socket an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// A TCP listener.
    Tcp,
    /// A Unix stream listener.
    Unix,
    /// A UDP socket.
    Udp,
}

/// Where a worker listens, as Node prints it: `127.0.0.1:8000`, `:::8000`, `/run/app.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// What kind.
    pub kind: AddressKind,
    /// Its text.
    pub text: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Something that happened in a cluster.
#[derive(Debug)]
pub enum Event {
    /// A worker's process exists (Node's `fork`).
    Spawned {
        /// Which.
        worker: WorkerRef,
        /// Its output, if it was asked for.
        output: Option<Output>,
    },
    /// A worker could not be started; `Died` follows.
    SpawnFailed {
        /// Which.
        worker: WorkerRef,
        /// Why.
        error: io::Error,
    },
    /// A worker's life went on (Node's `online`, `disconnect`).
    Moved {
        /// Which.
        worker: WorkerRef,
        /// From.
        from: Phase,
        /// To.
        to: Phase,
    },
    /// A worker listens (Node's `listening`).
    Listening {
        /// Which.
        worker: WorkerRef,
        /// Where.
        address: Address,
    },
    /// A worker asked for an address it cannot have; it was told so.
    ListenFailed {
        /// Which.
        worker: WorkerRef,
        /// The address as it asked for it.
        address: Address,
        /// Why.
        error: io::Error,
    },
    /// A worker is ready for traffic.
    Ready {
        /// Which.
        worker: WorkerRef,
    },
    /// A worker is up and not ready; it stays, and gets no connection until it is. Told once.
    NotReadyYet {
        /// Which.
        worker: WorkerRef,
        /// For how long.
        after: Duration,
    },
    /// A worker is ready and has stayed up for `min_uptime`.
    Proven {
        /// Which.
        worker: WorkerRef,
    },
    /// A message of the worker's program (Node's `message`), as JSON text.
    Message {
        /// Whose.
        worker: WorkerRef,
        /// The text.
        json: String,
    },
    /// A worker broke the protocol or hung, and is being ended for it.
    Condemned {
        /// Which.
        worker: WorkerRef,
        /// Why, in words.
        reason: String,
    },
    /// Nothing of a worker is left (Node's `exit`).
    Died {
        /// Which.
        worker: WorkerRef,
        /// How its process ended.
        exit: Exit,
        /// Why, as far as it is known.
        cause: EndCause,
    },
    /// A slot gets a new worker after a pause.
    Restarting {
        /// Which.
        slot: Slot,
        /// The pause.
        delay: Duration,
    },
    /// A slot is given up.
    Errored {
        /// Which.
        slot: Slot,
        /// Unstable ends in a row.
        restarts: u32,
    },
    /// Every slot is given up. The owner should stop.
    AllErrored,
    /// A reload begins.
    ReloadStarted {
        /// Workers to replace.
        workers: usize,
    },
    /// Another reload will follow the one under way.
    ReloadQueued,
    /// A new worker is proven and its predecessor is being asked to leave.
    Replaced {
        /// Where.
        slot: Slot,
        /// The new one.
        worker: WorkerRef,
    },
    /// A reload is complete.
    ReloadDone {
        /// Workers replaced.
        replaced: usize,
        /// Time it took.
        took: Duration,
    },
    /// A reload was given up and the old workers serve on.
    ReloadAborted {
        /// Where it failed.
        slot: Slot,
        /// The new worker that failed.
        worker: WorkerRef,
        /// Why.
        failure: ReloadFailure,
        /// Workers replaced before: these stay.
        replaced: usize,
    },
    /// Accepting pauses because descriptors or memory ran out. Said once until it works again.
    AcceptExhausted {
        /// Where.
        address: Address,
    },
    /// Everything has ended; nothing follows.
    Stopped,
}

impl Event {
    /// Whether a worker can cause this as often as it likes.
    pub(crate) fn is_strangers_word(&self) -> bool {
        match self {
            Event::Listening { .. } | Event::ListenFailed { .. } | Event::Message { .. } => true,
            Event::Spawned { .. }
            | Event::SpawnFailed { .. }
            | Event::Moved { .. }
            | Event::Ready { .. }
            | Event::NotReadyYet { .. }
            | Event::Proven { .. }
            | Event::Condemned { .. }
            | Event::Died { .. }
            | Event::Restarting { .. }
            | Event::Errored { .. }
            | Event::AllErrored
            | Event::ReloadStarted { .. }
            | Event::ReloadQueued
            | Event::Replaced { .. }
            | Event::ReloadDone { .. }
            | Event::ReloadAborted { .. }
            | Event::AcceptExhausted { .. }
            | Event::Stopped => false,
        }
    }
}
