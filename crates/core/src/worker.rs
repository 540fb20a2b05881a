//! What the core knows of one worker.

use std::collections::VecDeque;

use crate::event::Exit;
use crate::ids::{ConnId, PortId, Slot, Time, WorkerId};
use crate::life::Phase;
use crate::settings::Attach;
use crate::timer::Timer;

/// How far a worker is trusted with traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Not ready.
    Unready,
    /// Ready since then; it serves only where nobody proven does.
    Ready(Time),
    /// Ready, and up for `min_uptime` since.
    Proven,
}

/// Why a worker ends, as far as we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// Nobody asked for it: a crash, or the program came to its end.
    ByItself,
    /// It announced that it leaves (Node's `exitedAfterDisconnect`).
    Voluntary,
    /// We asked it to.
    Asked,
    /// It broke the protocol.
    Violation,
    /// It held a hand-off longer than `hang_timeout`.
    Hung,
    /// It was not ready in time.
    NotReady,
    /// Descriptors, memory or processes ran out before it could be started.
    Shortage,
    /// The owner killed it.
    Killed,
}

impl EndCause {
    /// Whether the worker was asked to leave, or announced it, before anything else ended it (Node's
    /// `exitedAfterDisconnect`). One that the owner killed, or a signal of whoever, did not leave in order.
    pub fn is_in_order(self) -> bool {
        match self {
            EndCause::Voluntary | EndCause::Asked | EndCause::NotReady => true,
            EndCause::ByItself
            | EndCause::Violation
            | EndCause::Hung
            | EndCause::Shortage
            | EndCause::Killed => false,
        }
    }
}

/// What a worker is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It serves.
    Regular,
    /// It empties lanes that nobody else takes over, and leaves.
    Temporary,
}

/// What is known of the kernel's queues of a worker's own sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queues {
    Unknown,
    /// It drains, and `LanesEmpty` is awaited.
    Emptying,
    /// Nothing waits in them, and nothing new comes.
    Empty,
}

/// A connection sent to a worker and not yet acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InFlight {
    pub(crate) conn: ConnId,
    pub(crate) port: PortId,
    pub(crate) since: Time,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) slot: Option<Slot>,
    pub(crate) attach: Attach,
    pub(crate) role: Role,
    pub(crate) phase: Phase,
    pub(crate) standing: Standing,
    pub(crate) spawned: Time,
    /// Born when nobody was proven: it serves beside those of its siblings that are proven a moment earlier, or
    /// these would get everything meanwhile. So does one on trial.
    pub(crate) founding: bool,
    /// Hand-offs it may hold, if the app allows more.
    pub(crate) most_credits: u32,
    /// Oldest first.
    pub(crate) in_flight: VecDeque<InFlight>,
    /// Ports it holds, in the order in which they may use its credits: the one served last is at the end.
    pub(crate) ports: VecDeque<PortId>,
    pub(crate) queues: Queues,
    pub(crate) channel_open: bool,
    pub(crate) has_listened: bool,
    pub(crate) told_ready: bool,
    /// Which of its deadlines was moved last, and where that was at first.
    pub(crate) extended: Option<(Timer, Time)>,
    pub(crate) cause: EndCause,
    pub(crate) exit: Option<(Exit, Time)>,
}

impl Worker {
    pub(crate) fn new(id: WorkerId, slot: Option<Slot>, attach: Attach, now: Time, founding: bool) -> Worker {
        Worker {
            id,
            slot,
            attach,
            role: Role::Regular,
            phase: Phase::Starting,
            standing: Standing::Unready,
            spawned: now,
            founding,
            most_credits: u32::MAX,
            in_flight: VecDeque::new(),
            ports: VecDeque::new(),
            queues: Queues::Unknown,
            channel_open: attach == Attach::Channel,
            has_listened: false,
            told_ready: false,
            extended: None,
            cause: EndCause::ByItself,
            exit: None,
        }
    }

    /// It serves beside those that are proven, as soon as it is ready.
    pub(crate) fn on_trial(&mut self) {
        self.founding = true;
    }

    pub(crate) fn is_temporary(&self) -> bool {
        match self.role {
            Role::Temporary => true,
            Role::Regular => false,
        }
    }

    /// Whether nothing is on its way to it, and nothing waits where only it can take it.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight.is_empty()
            && match self.queues {
                Queues::Unknown | Queues::Empty => true,
                Queues::Emptying => false,
            }
    }

    pub(crate) fn is_proven(&self) -> bool {
        match self.standing {
            Standing::Proven => true,
            Standing::Unready | Standing::Ready(_) => false,
        }
    }

    /// Whether it gets traffic beside proven workers.
    pub(crate) fn is_trusted(&self) -> bool {
        self.is_ready() && (self.founding || self.is_proven())
    }

    pub(crate) fn is_ready(&self) -> bool {
        match self.standing {
            Standing::Unready => false,
            Standing::Ready(_) | Standing::Proven => true,
        }
    }

    /// Takes a hand-off off the books.
    pub(crate) fn take_in_flight(&mut self, conn: ConnId) -> Option<InFlight> {
        let at = self.in_flight.iter().position(|f| f.conn == conn)?;
        self.in_flight.remove(at)
    }
}
