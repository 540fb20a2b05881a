//! One listening endpoint: who holds it, which connections wait for it, in which order workers are served.

use std::collections::VecDeque;

use crate::event::Sharing;
use crate::ids::{ConnId, LaneId, QuerySeq, Time, WorkerId};
use crate::settings::Attach;

/// What kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointKind {
    /// TCP over IPv4, or over whatever a missing host means.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// A Unix stream socket.
    Pipe,
    /// UDP over IPv4.
    Udp4,
    /// UDP over IPv6.
    Udp6,
    /// Whatever the inherited descriptor is.
    Inherited,
}

/// Where it is bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// No host given: `::` with both families, else `0.0.0.0`.
    Anywhere,
    /// An address as the worker spelled it.
    Host(Box<str>),
    /// A path as the worker spelled it.
    Path(Box<str>),
    /// A descriptor the primary inherited.
    Fd(i32),
}

/// What two workers must have in common to share one socket.
///
/// Node up to 20 also counts a listener's index in, so after one failed `listen` a worker can no longer share
/// with its siblings; from 22 on the index counts for port 0 only, as here for every version. `ipv6_only` and
/// `reuse_address` are part of the identity: Node ignores them silently for the second worker, here the kernel
/// gets to refuse.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// What kind.
    pub kind: EndpointKind,
    /// Where.
    pub place: Place,
    /// Its number; 0 lets the kernel choose.
    pub port: u16,
    /// IPv6 without IPv4.
    pub ipv6_only: bool,
    /// UDP with `reuseAddr`.
    pub reuse_address: bool,
    /// Tells several listeners on port 0 apart; 0 for every other port.
    pub index: u32,
    /// Tells a second socket that one worker asked for on one endpoint apart from its first; chosen by the
    /// core, 0 in a query.
    pub copy: u32,
}

impl Endpoint {
    /// Whether the kernel chooses its number.
    pub(crate) fn is_any_port(&self) -> bool {
        match self.place {
            Place::Anywhere | Place::Host(_) => self.port == 0,
            Place::Path(_) | Place::Fd(_) => false,
        }
    }

    /// Whether only datagrams arrive there.
    pub fn is_datagram(&self) -> bool {
        match self.kind {
            EndpointKind::Udp4 | EndpointKind::Udp6 => true,
            EndpointKind::Tcp4 | EndpointKind::Tcp6 | EndpointKind::Pipe | EndpointKind::Inherited => false,
        }
    }
}

/// How a port is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The primary listens, accepts and hands off.
    RoundRobin,
    /// The primary binds; workers listen and accept.
    Shared,
    /// Every worker has a socket of its own there; the kernel chooses among those that it is told to.
    Lanes,
}

/// What a listener wants besides its address. A later worker may ask for more, never for less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Length of the kernel's queue; 0 means Node's default, 511.
    pub backlog: u32,
    /// A Unix path everybody may connect to for reading.
    pub readable_all: bool,
    /// A Unix path everybody may connect to for writing.
    pub writable_all: bool,
}

impl Terms {
    /// Whether `other` asks for nothing more.
    pub(crate) fn covers(self, other: Terms) -> bool {
        self.union(other) == self.union(self)
    }

    /// The larger of both.
    pub(crate) fn union(self, other: Terms) -> Terms {
        let explicit = |t: Terms| if t.backlog == 0 { 511 } else { t.backlog };
        Terms {
            backlog: explicit(self).max(explicit(other)),
            readable_all: self.readable_all || other.readable_all,
            writable_all: self.writable_all || other.writable_all,
        }
    }
}

/// A port's own short life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PortPhase {
    /// Being bound with the terms of the first query; these wait for the outcome.
    Opening { waiters: Vec<Waiter>, asked: Terms },
    /// Bound.
    Open,
    /// The last server closed a moment ago. If its worker turns out to be leaving, the port stays for the
    /// successor; else it closes.
    Closing(WorkerId),
    /// No socket any more: only the queue is being served.
    Shut,
}

/// A query that waits for its port to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) worker: WorkerId,
    pub(crate) seq: QuerySeq,
    pub(crate) sharing: Sharing,
}

/// One worker's part in a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) worker: WorkerId,
    /// Whether it may be chosen: set when it says that it listens, cleared before anything makes it leave.
    pub(crate) scheduled: bool,
    /// It accepts for itself alone, and refuses whatever it would be handed.
    pub(crate) takes_nothing: bool,
    /// Refusals in a row, and until when it is not asked again.
    pub(crate) refusals: u32,
    pub(crate) rests_until: Option<Time>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) endpoint: Endpoint,
    pub(crate) mode: Mode,
    /// How the worker that asked first reaches the primary. Where there are lanes all others are of the same kind.
    pub(crate) attach: Attach,
    pub(crate) terms: Terms,
    pub(crate) data: Option<Box<str>>,
    pub(crate) phase: PortPhase,
    /// In rotation order: the worker served longest ago is first.
    pub(crate) holders: VecDeque<Holder>,
    pub(crate) queue: VecDeque<ConnId>,
    /// Nobody supervised comes back for it, but the owner may put somebody there: not to be ended before.
    pub(crate) kept_until: Time,
    pub(crate) accepting: bool,
    /// The lanes that new connections go to, as last told.
    pub(crate) chosen: Vec<LaneId>,
}

impl Port {
    pub(crate) fn holds(&self, worker: WorkerId) -> bool {
        self.holders.iter().any(|h| h.worker == worker)
    }

    /// Whether connections that the primary accepts there can be handed to its workers.
    pub(crate) fn hands_off(&self) -> bool {
        match (self.mode, self.attach) {
            (Mode::RoundRobin, Attach::Channel | Attach::Nothing | Attach::Program) => true,
            (Mode::Shared | Mode::Lanes, Attach::Channel) => true,
            (Mode::Shared | Mode::Lanes, Attach::Nothing | Attach::Program) => false,
        }
    }

    /// Whether a worker holds it that could be handed a connection, now or later.
    pub(crate) fn has_takers(&self) -> bool {
        self.holders.iter().any(|holder| !holder.takes_nothing)
    }

    /// Whether it waits for somebody to come back for it. Each lane knows by itself how long it waits.
    pub(crate) fn is_orphan(&self) -> bool {
        self.holders.is_empty() && self.phase == PortPhase::Open && self.mode != Mode::Lanes
    }

    pub(crate) fn holder_mut(&mut self, worker: WorkerId) -> Option<&mut Holder> {
        self.holders.iter_mut().find(|h| h.worker == worker)
    }
}
