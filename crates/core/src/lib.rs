//! What oneport decides: who gets a connection, when a worker is trusted, restarted, replaced or given up.
//!
//! Nothing here touches the world: no I/O, no clock, no descriptor, no JSON, std only. Everything that happens
//! comes in as an [`Event`] with the [`Time`] it happened at; everything that has to be done goes out as
//! [`Effect`]s. So every schedule, crash loop and reload is a test of a few microseconds, and the whole state
//! is a value that can be written out and read back ([`Cluster::snapshot`]).

mod accept;
mod alive;
mod claim;
mod close;
mod cluster;
mod effect;
mod event;
mod ids;
mod lane;
mod life;
mod listen;
mod port;
mod ready;
mod reload;
mod restart;
mod schedule;
mod settings;
mod slot;
mod stop;
mod timer;
mod walk;
mod worker;

pub use claim::{Caller, Claim, Claims, LowPorts, NotPorts, PortRange, Published, Transport};
pub use cluster::{Cluster, Snapshot};
pub use effect::{DropReason, Effect, Effects, Notice, Origin, ReloadFailure, ReplyOutcome};
pub use event::{Event, Exit, Opened, QueryTerms, Sharing};
pub use ids::{ConnId, Errno, LaneId, PortId, QuerySeq, Slot, Time, WorkerId};
pub use life::{Act, Input, Phase, transition};
pub use port::{Endpoint, EndpointKind, Mode, Place, Terms};
pub use reload::{Canary, ReloadTerms};
pub use settings::{Attach, Policy, Readiness, Restarts, Settings, StopWith};
pub use worker::{EndCause, Standing};
