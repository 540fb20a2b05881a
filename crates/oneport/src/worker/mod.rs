//! The worker's side: what a Rust program sees when it runs under a primary (ours, or Node's own).
//!
//! The environment is consumed before `main`, as Node does, so that grandchildren do not inherit it.

mod link;
mod listener;
mod outbox;
mod reader;
#[cfg(test)]
mod tests;

use oneport_core::{Slot, WorkerId};
use oneport_sys::startup::worker_env;

pub use listener::TcpListener;

/// This process as a worker (Node's `cluster.worker`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThisWorker {
    id: WorkerId,
    slot: Option<Slot>,
}

impl ThisWorker {
    /// Its number, 1, 2, 3 ... in order of birth (Node's `worker.id`).
    pub fn id(self) -> WorkerId {
        self.id
    }

    /// Its place, if it is supervised; successors have the same (`NODE_APP_INSTANCE`).
    pub fn slot(self) -> Option<Slot> {
        self.slot
    }
}

/// This process as a worker; `None` when it runs alone.
pub fn worker() -> Option<ThisWorker> {
    let env = worker_env()?;
    let id = env.unique_id.as_deref()?.parse().ok()?;
    Some(ThisWorker { id: WorkerId(id), slot: env.slot.map(Slot) })
}

/// Whether a primary started this process as its worker (Node's `cluster.isWorker`).
pub fn is_worker() -> bool {
    worker_env().is_some_and(|env| env.unique_id.is_some())
}

/// The opposite of [`is_worker`] (Node's `cluster.isPrimary`).
pub fn is_primary() -> bool {
    !is_worker()
}
