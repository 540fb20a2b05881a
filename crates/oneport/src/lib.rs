//! Many processes behind one port: Node's cluster for any program.
//!
//! A port can be bound once. Node's `cluster` gets round that with a *primary* process that owns the listening
//! socket and *workers* whose `listen()` asks the primary. This crate is that system in Rust, both sides of it:
//!
//! * [`Cluster`] is a primary. Its workers are unmodified Node or Deno programs, or Rust programs that use the
//!   other half of this crate. The command `oneport run` is a thin shell around it.
//! * [`TcpListener`] is what a Rust worker listens with: alone it binds, under a primary it asks.
//!
//! ```no_run
//! # async fn serve() -> std::io::Result<()> {
//! let listener = oneport::TcpListener::bind("127.0.0.1:8000").await?;
//! loop {
//!     let (stream, peer) = listener.accept().await?;
//!     # drop((stream, peer));
//! }
//! # }
//! ```
//!
//! Linux only.

#[cfg(feature = "axum")]
mod axum;
mod cluster;
mod error;
mod event;
mod fork;
mod handle;
mod inspect;
mod message;
mod passed_on;
mod primary;
mod settings;
mod worker;

pub use cluster::{Cluster, Events};
pub use error::{Error, Result};
pub use event::{Address, AddressKind, Event, Output};
pub use fork::{State, Worker, WorkerRef};
pub use handle::Handle;
pub use inspect::InspectPort;
pub use message::Message;
pub use oneport_core::{
    Attach, EndCause, Exit, Phase, Policy, Readiness, ReloadFailure, Settings as Conduct, Slot, StopWith,
    WorkerId,
};
pub use oneport_sys::process::Signal;
pub use settings::{Settings, Stdio, scheduling_policy_of};
pub use worker::{
    Channel, Incoming, ListenOptions, TcpListener, ThisWorker, UdpSocket, UnixIncoming, UnixListener,
    channel, disconnected, is_primary, is_worker, worker,
};
