//! Everything the shell may be asked to do, in the order it has to be done.

use std::time::Duration;

use crate::event::Exit;
use crate::ids::{ConnId, Errno, LaneId, PortId, QuerySeq, Slot, WorkerId};
use crate::life::Phase;
use crate::port::{Endpoint, Mode, Terms};
use crate::settings::Attach;
use crate::worker::EndCause;

/// The list a step appends to. The caller keeps it and clears it, so that a hand-off allocates nothing.
pub type Effects = Vec<Effect>;

/// Why a connection was closed unserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The last worker that listened closed its server.
    PortClosed,
    /// The app is ending, or disconnecting, and nobody is left to serve it.
    Stopping,
}

/// Whether a lane is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program's own socket is it, as soon as it is bound.
    Fresh,
    /// A socket that was kept, with what waits in it, takes the place of the program's own.
    Adopted,
}

/// The answer to a worker's query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyOutcome {
    /// It will be handed connections of this port.
    RoundRobin(PortId),
    /// It gets the port's socket itself.
    Shared(PortId),
    /// It listens on a socket of its own.
    Lane {
        /// Where.
        port: PortId,
        /// The name of its socket.
        lane: LaneId,
        /// Whether the socket is there already.
        origin: Origin,
    },
    /// It cannot listen there.
    Failed(Errno),
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start a process; answered by `Spawned` or `SpawnFailed`.
    Spawn {
        /// Its name.
        worker: WorkerId,
        /// Its place, if supervised.
        slot: Option<Slot>,
        /// How it reaches us.
        attach: Attach,
    },
    /// Send the app's stop signal to the worker's process group.
    SignalStop {
        /// To whom.
        worker: WorkerId,
    },
    /// End the worker and everything it started with SIGKILL, after `grace`; then reap, read the channel to
    /// its end and answer `Gone`. Asking twice shortens the grace.
    EndTree {
        /// Whose.
        worker: WorkerId,
        /// How long what is left of the tree may go on.
        grace: Duration,
    },
    /// Drop every descriptor of this worker, except those of its lanes, which go by their own names; the worker's name
    /// means nothing from now on.
    Forget {
        /// Whose.
        worker: WorkerId,
    },
    /// Tell the worker to close its servers and leave (Node's `disconnect`), as soon as it has begun with the
    /// connections it was handed last, or a moment has passed.
    TellDisconnect {
        /// Whom.
        worker: WorkerId,
    },
    /// Confirm that the worker may leave.
    Acknowledge {
        /// Whom.
        worker: WorkerId,
        /// Its number.
        seq: QuerySeq,
    },
    /// Report `Idle` once this worker's open connections are gone or idle.
    WatchIdle {
        /// Whose.
        worker: WorkerId,
        /// How long it must have had no connection at all; one that is about to end needs no signal.
        linger: Duration,
    },
    /// Bind (and under `RoundRobin` listen; under `Lanes` see that nobody else has it, and keep it where the primary makes the
    /// sockets); answered by `PortOpened`.
    Open {
        /// Its name.
        port: PortId,
        /// What to bind.
        endpoint: Endpoint,
        /// How it will be used.
        mode: Mode,
        /// By what kind of workers.
        attach: Attach,
        /// How to listen.
        terms: Terms,
    },
    /// A later worker asked for more: apply the larger backlog and the wider permissions.
    Widen {
        /// Where.
        port: PortId,
        /// The terms from now on.
        terms: Terms,
    },
    /// Answer a query.
    Reply {
        /// Whose.
        worker: WorkerId,
        /// Its number.
        seq: QuerySeq,
        /// The answer.
        outcome: ReplyOutcome,
        /// The port's opaque text.
        data: Option<Box<str>>,
    },
    /// Send this connection to this worker, keeping a duplicate.
    HandOff {
        /// To whom.
        worker: WorkerId,
        /// Of which port.
        port: PortId,
        /// Which.
        conn: ConnId,
    },
    /// A worker has it: close our duplicate.
    Settle {
        /// Which.
        conn: ConnId,
    },
    /// Nobody can serve it: close it.
    Drop {
        /// Which.
        conn: ConnId,
        /// Why.
        reason: DropReason,
    },
    /// Stop accepting.
    PauseAccept {
        /// Where.
        port: PortId,
    },
    /// Accept again.
    ResumeAccept {
        /// Where.
        port: PortId,
    },
    /// Do not be woken by connections that arrive; accepting itself is not paused.
    Unwatch {
        /// Where.
        port: PortId,
    },
    /// Be woken by them again.
    Watch {
        /// Where.
        port: PortId,
    },
    /// Accept what already waits in the kernel's queue, then close the listening socket. The port lives on
    /// without a socket until its queue is empty.
    Shut {
        /// Which.
        port: PortId,
    },
    /// Close the socket and forget the port.
    Close {
        /// Which.
        port: PortId,
    },
    /// From now on new connections of this port go to these lanes, evenly. None: the door of every lane of the port is
    /// shut. Not repeated when a lane joins that is not among them; the shell keeps it out by itself.
    Choose {
        /// Where.
        port: PortId,
        /// In ascending order.
        lanes: Vec<LaneId>,
    },
    /// Report `LanesEmpty` once nothing waits in the sockets that this worker listens on. None of them is chosen.
    EmptyLanes {
        /// Whose.
        worker: WorkerId,
    },
    /// Nobody will take this lane over: close it if nothing waits in it, or what waits can be given to the others;
    /// answered by `LaneRetired`, `LaneStuck` or `LaneExhausted`.
    RetireLane {
        /// Which.
        lane: LaneId,
    },
    /// Nobody accepts in this lane for now: accept everything that waits in it, as connections of its port (`Accepted`).
    TakeOver {
        /// Which.
        lane: LaneId,
    },
    /// Close this lane now. What waits in it is lost: the shell counts and tells it.
    CloseLane {
        /// Which.
        lane: LaneId,
    },
    /// Tell the owner.
    Tell(Notice),
}

/// Why a reload was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadFailure {
    /// The new worker ended before it was proven.
    Died(Exit),
    /// The new worker was not ready in time.
    NotReady(Duration),
    /// The new worker broke the rules.
    Condemned(EndCause),
    /// The owner stopped the app, or the slot went away.
    Interrupted,
}

/// What the owner is told. The shell adds pids, addresses and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A worker went from one phase of its life to another.
    Moved {
        /// Who.
        worker: WorkerId,
        /// From.
        from: Phase,
        /// To.
        to: Phase,
    },
    /// A worker is ready for traffic.
    Ready {
        /// Who.
        worker: WorkerId,
    },
    /// A worker is up and not ready; it stays, and gets no connection until it is.
    NotReadyYet {
        /// Who.
        worker: WorkerId,
        /// For how long.
        after: Duration,
    },
    /// A worker is ready and stayed up for `min_uptime`.
    Proven {
        /// Who.
        worker: WorkerId,
    },
    /// A worker is condemned and will be ended.
    Condemned {
        /// Who.
        worker: WorkerId,
        /// Why.
        cause: EndCause,
    },
    /// A worker is gone with its whole tree.
    Died {
        /// Who.
        worker: WorkerId,
        /// Its slot, if it had one.
        slot: Option<Slot>,
        /// How.
        exit: Exit,
        /// Why, as far as we know.
        cause: EndCause,
    },
    /// A slot will get a new worker after a pause.
    Restarting {
        /// Which.
        slot: Slot,
        /// The pause.
        delay: Duration,
    },
    /// A slot's worker ended in a way after which it gets no successor.
    Finished {
        /// Which.
        slot: Slot,
    },
    /// A slot is given up.
    Errored {
        /// Which.
        slot: Slot,
        /// Unstable ends in a row.
        restarts: u32,
    },
    /// Every slot is given up.
    AllErrored,
    /// A reload begins.
    ReloadStarted {
        /// Workers to replace.
        workers: usize,
    },
    /// A new worker is a canary: it serves, as soon as it is ready, beside the one that it is to replace, and is watched.
    OnTrial {
        /// Who.
        worker: WorkerId,
    },
    /// A reload asked for while one runs will follow it.
    ReloadQueued,
    /// A reload replaced one worker.
    Replaced {
        /// Where.
        slot: Slot,
        /// Who came.
        new: WorkerId,
    },
    /// A reload is done.
    ReloadDone {
        /// Workers replaced.
        replaced: usize,
        /// How long it took.
        took: Duration,
    },
    /// A reload was given up; the old workers stay.
    ReloadAborted {
        /// Where it failed.
        slot: Slot,
        /// The new worker that failed.
        worker: WorkerId,
        /// Why.
        failure: ReloadFailure,
        /// Workers already replaced before: new and old ones now run side by side.
        replaced: usize,
    },
    /// A copy outside the slots was started only to serve what waits in a lane that nobody else takes over.
    Temporary {
        /// Who.
        worker: WorkerId,
    },
    /// Accepting pauses for want of descriptors or memory. Said once until accepting works again.
    AcceptExhausted {
        /// Where.
        port: PortId,
    },
    /// Every worker has left and every port is closed, as the owner wished; new workers may come.
    Disconnected,
    /// Everything has ended.
    Stopped,
}
