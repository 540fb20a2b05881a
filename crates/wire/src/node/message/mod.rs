//! What passes over a Node channel, typed, both directions and both ways. [`FromWorker`] and [`FromPrimary`] are the
//! two languages; the other files are their words. Values borrow from the line they were read from. Invariants:
//! any JSON that is not Node's own is a user's message and never an error; encoding appends exactly one line.

mod address;
mod fields;
mod from_primary;
mod from_worker;
mod handle;
mod json;
mod query;
mod reader;
mod reply;
mod write;

pub use address::AddressType;
pub use from_primary::FromPrimary;
pub use from_worker::FromWorker;
pub use handle::{DgramType, HandleEnvelope, HandleKind, SocketNote};
pub use json::Json;
pub use query::Query;
pub use reply::{Family, NativeKind, Outcome, SockName};

/// `cmd` of the cluster module's own messages.
pub(crate) const CLUSTER: &str = "NODE_CLUSTER";
/// `cmd` of the envelope around a message that carries a descriptor.
pub(crate) const HANDLE: &str = "NODE_HANDLE";
/// `cmd` that answers an envelope whose descriptor arrived.
pub(crate) const HANDLE_ACK: &str = "NODE_HANDLE_ACK";
/// `cmd` that answers an envelope whose descriptor did not.
pub(crate) const HANDLE_NACK: &str = "NODE_HANDLE_NACK";
