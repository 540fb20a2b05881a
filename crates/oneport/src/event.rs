//! What the owner of a [`crate::Cluster`] is told, in the order in which it happened.
//!
//! Per worker: `Fork`, `Online`, `Listening` for each server, `Disconnect`, `Exit`. Unlike Node, which may emit `exit`
//! before `disconnect` or never emit the latter, exactly one `Disconnect` (of workers that have a channel) and
//! exactly one `Exit` come for every `Fork`, in this order, and nothing of this worker comes after.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use oneport_core::{EndCause, Exit, Phase, ReloadFailure, Slot};

use crate::fork::Worker;
use crate::message::Message;
use crate::settings::Settings;

/// Our ends of a worker's standard streams and extra pipes, as far as [`crate::Stdio::Pipe`] was asked for. All
/// non-blocking and close-on-exec.
#[derive(Debug, Default)]
pub struct Output {
    /// The writing end of its standard input.
    pub stdin: Option<OwnedFd>,
    /// The reading end of its standard output.
    pub stdout: Option<OwnedFd>,
    /// The reading end of its standard error.
    pub stderr: Option<OwnedFd>,
    /// Unix stream sockets whose other ends are its descriptors 4, 5, ... ([`Settings::extra_pipes`]).
    pub extra: Vec<OwnedFd>,
}

/// What kind of socket an address belongs to (Node's `addressType`).
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
    /// The real address of a TCP or UDP socket, also for port 0.
    pub socket: Option<SocketAddr>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is unusual about a program's sockets.
#[derive(Debug)]
pub enum Oddity {
    /// A listener that is not the app's: the program has it for itself, and every copy its own.
    LeftAlone {
        /// What it bound or listens on, as text.
        address: String,
    },
    /// A call of it could not be looked into, for example because it is not dumpable; it was let through. A second
    /// copy gets `EADDRINUSE`.
    Unseen {
        /// Why.
        error: io::Error,
    },
    /// It listens in another network namespace than the primary, where the address is another one: it has it there for
    /// itself, and clients of the app do not reach it.
    ForeignNetwork {
        /// What it bound or listens on, as text.
        address: String,
    },
    /// It registered the socket in an epoll set before it bound it, and the set cannot be made to watch the one that is to
    /// take its place: under `Own` what waits in the socket of its predecessor is lost, in the other ways it may
    /// never learn of a connection.
    PolledEarly {
        /// Where.
        address: Address,
    },
    /// It closed or shut its listener while it lives; others are served by its siblings.
    Closed {
        /// Where.
        address: Address,
    },
    /// Its first process left with code 0, and others that it started lived on: it went into the background. They were
    /// ended: nobody could tell when such a program dies.
    WentToBackground {
        /// How many of them were seen.
        processes: usize,
    },
    /// Connections wait in its socket and it does not accept them, though it holds it.
    NotAccepting {
        /// Where.
        address: Address,
        /// For how long.
        after: Duration,
    },
}

/// Something that happened in a cluster.
#[derive(Debug)]
pub enum Event {
    /// The settings that later workers start with (Node's `setup`): once at the start, then after each
    /// [`setup_primary`](crate::Cluster::setup_primary).
    Setup {
        /// All of them.
        settings: Box<Settings>,
    },
    /// A worker exists (Node's `fork`). If its program could not be started, `Error` and `Exit` follow.
    Fork {
        /// Which.
        worker: Worker,
        /// Its output, as far as it was asked for.
        output: Output,
    },
    /// Something about a worker failed (Node's `error`): its program could not be started, or a message could not be
    /// sent.
    Error {
        /// Which.
        worker: Worker,
        /// Why, as `cannot <verb> <object>: <cause>` where it is not the kernel's own.
        error: io::Error,
    },
    /// A worker booted (Node's `online`).
    Online {
        /// Which.
        worker: Worker,
    },
    /// A worker's life went on, in finer steps than Node tells.
    Moved {
        /// Which.
        worker: Worker,
        /// From.
        from: Phase,
        /// To.
        to: Phase,
    },
    /// A worker listens (Node's `listening`).
    Listening {
        /// Which.
        worker: Worker,
        /// Where.
        address: Address,
    },
    /// A worker asked for an address it cannot have; it was told so.
    ListenFailed {
        /// Which.
        worker: Worker,
        /// The address as it asked for it.
        address: Address,
        /// Why.
        error: io::Error,
    },
    /// A worker is ready for traffic.
    Ready {
        /// Which.
        worker: Worker,
    },
    /// A worker is up and not ready; it stays, and gets no connection until it is. Told once.
    NotReadyYet {
        /// Which.
        worker: Worker,
        /// For how long.
        after: Duration,
    },
    /// A worker is ready and has stayed up for `min_uptime`.
    Proven {
        /// Which.
        worker: Worker,
    },
    /// A message of the worker's program (Node's `message`), with its handle if it sent one.
    Message {
        /// Whose.
        worker: Worker,
        /// The message.
        message: Message,
    },
    /// A worker's channel closed (Node's `disconnect`): nothing comes from it any more, and nothing reaches it.
    Disconnect {
        /// Whose.
        worker: Worker,
    },
    /// A worker broke the protocol or hung, and is being ended for it.
    Condemned {
        /// Which.
        worker: Worker,
        /// Why, in words.
        reason: String,
    },
    /// Nothing of a worker is left (Node's `exit`).
    Exit {
        /// Which.
        worker: Worker,
        /// How its process ended: its code or its signal.
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
    /// A slot's worker ended, and gets no successor ([`Conduct::restarts`](crate::Conduct::restarts),
    /// [`stop_exit_codes`](crate::Conduct::stop_exit_codes)).
    Finished {
        /// Which.
        slot: Slot,
    },
    /// A new worker is a canary: it serves as soon as it is ready, beside the one that it is to replace.
    OnTrial {
        /// Who.
        worker: Worker,
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
        worker: Worker,
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
        worker: Worker,
        /// Why.
        failure: ReloadFailure,
        /// Workers replaced before: these stay.
        replaced: usize,
    },
    /// Something about a program's sockets that its owner should know.
    Oddity {
        /// Whose.
        worker: Worker,
        /// What.
        oddity: Oddity,
    },
    /// A program said how it is (`STATUS=` of `sd_notify`).
    Status {
        /// Who.
        worker: Worker,
        /// In its own words, cut to 256 bytes.
        text: String,
    },
    /// A copy outside the slots was started only to serve connections that wait where nobody else can take them.
    Temporary {
        /// Who.
        worker: Worker,
    },
    /// Connections that waited for a program were lost with its socket.
    ConnectionsLost {
        /// Where.
        address: Address,
        /// How many.
        connections: u32,
    },
    /// Somebody else listens where the app does: a process of the same user that asked to share (SO_REUSEPORT). It gets
    /// nothing that comes to the app's own address; what comes to an address of its own, where the app has a wildcard, is
    /// its. Told once for each socket.
    Stranger {
        /// Where the app listens.
        address: Address,
        /// Where the other one does.
        at: std::net::SocketAddr,
        /// Its number and command line, if they can be known.
        process: Option<(i32, String)>,
    },
    /// Under `least` the kernel was to choose on this port, and cannot: connections are placed by what is seen from outside, as
    /// where nobody has a right (tier C). Told once for each port.
    Weighed {
        /// Where.
        address: Address,
        /// Why.
        cause: String,
    },
    /// Under `least` workers made no progress, and others were given connections that waited for them. Told once in a second at most,
    /// and what is left at the end.
    Rescued {
        /// Where.
        address: Address,
        /// How many since it was told last.
        connections: u32,
    },
    /// Accepting pauses because descriptors or memory ran out. Said once until it works again.
    AcceptExhausted {
        /// Where.
        address: Address,
    },
    /// The last worker is gone after [`disconnect`](crate::Cluster::disconnect); the primary lives on.
    Disconnected,
    /// Everything has ended; nothing follows.
    Stopped,
}

/// What an event that waits for the owner counts: one for being there, one for each of these bytes of its text.
const TEXT_UNIT: usize = 16 * 1024;
/// And so much for a descriptor that it holds.
const HANDLE_WEIGHT: usize = 16;

impl Event {
    /// How much of the owner's queue it takes. Only what a worker can cause as often as it likes counts.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Event::Listening { .. }
            | Event::ListenFailed { .. }
            | Event::Oddity { .. }
            | Event::Status { .. } => 1,
            Event::Message { message, .. } => {
                let handle = if message.handle().is_some() { HANDLE_WEIGHT } else { 0 };
                1 + message.json().len() / TEXT_UNIT + handle
            }
            Event::Setup { .. }
            | Event::Fork { .. }
            | Event::Error { .. }
            | Event::Online { .. }
            | Event::Moved { .. }
            | Event::Ready { .. }
            | Event::NotReadyYet { .. }
            | Event::Proven { .. }
            | Event::Disconnect { .. }
            | Event::Condemned { .. }
            | Event::Exit { .. }
            | Event::Restarting { .. }
            | Event::Errored { .. }
            | Event::Finished { .. }
            | Event::OnTrial { .. }
            | Event::AllErrored
            | Event::ReloadStarted { .. }
            | Event::ReloadQueued
            | Event::Replaced { .. }
            | Event::ReloadDone { .. }
            | Event::ReloadAborted { .. }
            | Event::Temporary { .. }
            | Event::ConnectionsLost { .. }
            | Event::Stranger { .. }
            | Event::Weighed { .. }
            | Event::Rescued { .. }
            | Event::AcceptExhausted { .. }
            | Event::Disconnected
            | Event::Stopped => 0,
        }
    }
}
