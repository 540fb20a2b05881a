//! The worker's side: what a Rust program sees when it runs under a primary (ours, or Node's own).
//!
//! The environment is consumed before `main`, as Node does, so that grandchildren do not inherit it. Invariant: a
//! program that runs alone meets none of this; its listeners are tokio's own.

mod ask;
mod channel;
mod fast;
mod incoming;
mod index;
mod leave;
mod link;
mod mailbox;
mod member;
mod options;
mod outbox;
mod reader;
#[cfg(feature = "axum")]
mod serve;
mod source;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;
mod unix;

use std::future::Future;
use std::io;

use oneport_core::{Slot, WorkerId};
use oneport_sys::startup::worker_env;
use serde::Serialize;

use crate::{Handle, Message};

pub use channel::{Channel, channel};
pub use incoming::{Incoming, UnixIncoming};
pub use options::ListenOptions;
pub use tcp::TcpListener;
pub use udp::UdpSocket;
pub use unix::UnixListener;

/// This process as a worker (Node's `cluster.worker` in a worker).
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

    /// The channel to the primary.
    ///
    /// # Errors
    /// As [`channel()`](crate::channel), and `BrokenPipe` when this process has none.
    pub fn channel(self) -> io::Result<Channel> {
        channel()?.ok_or_else(|| {
            io::Error::new(io::ErrorKind::BrokenPipe, "cannot reach primary: this process has no channel")
        })
    }

    /// Says that this worker is ready for traffic: the message `"ready"` (PM2's `process.send('ready')`). Counts where
    /// the primary waits for it.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub fn ready(self) -> io::Result<()> {
        let link = self.channel()?.0;
        let mut state = link.state();
        link.post(&mut state, |outbox| outbox.push_text("\"ready\"", None))
    }

    /// Sends a message to the primary (Node's `worker.send`): [`Channel::send`].
    ///
    /// # Errors
    /// As there, and as [`channel`](Self::channel).
    pub fn send(self, message: &(impl Serialize + ?Sized)) -> io::Result<()> {
        self.channel()?.send(message)
    }

    /// Sends a message and a socket: [`Channel::send_handle`].
    ///
    /// # Errors
    /// As there, and as [`channel`](Self::channel).
    pub fn send_handle(
        self,
        message: &(impl Serialize + ?Sized),
        handle: impl Into<Handle>,
    ) -> io::Result<()> {
        self.channel()?.send_handle(message, handle)
    }

    /// The next message of the primary: [`Channel::recv`]. Cancellation safe.
    ///
    /// # Errors
    /// As there, and as [`channel`](Self::channel).
    pub async fn recv(self) -> io::Result<Message> {
        self.channel()?.recv().await
    }

    /// Leaves (Node's `worker.disconnect()` in a worker): closes every listener, tells the primary that this is
    /// intended, and closes the channel once that is acknowledged. Connections stay open; `accept` still gives what
    /// was received and then `BrokenPipe`. The process goes on and ends when its program does.
    ///
    /// Comes when the channel is closed. Begins when first polled; dropped after that, leaving goes on without it.
    ///
    /// # Errors
    /// As [`channel`](Self::channel).
    pub async fn disconnect(self) -> io::Result<()> {
        let Channel(link) = self.channel()?;
        link.converse();
        link.leave_by_itself();
        link.reached(leave::Stage::Ended).await;
        Ok(())
    }

    /// Resolves once this worker is to leave: told by its primary, by itself, or because the primary is gone. See
    /// [`disconnected()`](crate::disconnected).
    pub fn disconnected(self) -> impl Future<Output = ()> + Send + use<> {
        disconnected()
    }

    /// Whether the channel to the primary is open (Node's `worker.isConnected()`).
    pub fn is_connected(self) -> bool {
        self.channel().is_ok_and(|channel| channel.is_connected())
    }

    /// Node's `worker.exitedAfterDisconnect`: `Some(true)` once leaving was asked for, by either side; `Some(false)` when
    /// the channel ended without that; `None` until one of them.
    pub fn exited_after_disconnect(self) -> Option<bool> {
        self.channel().map_or(Some(false), |channel| channel.0.was_intended())
    }
}

/// This process as a worker; `None` when it runs alone, and in a child that was merely forked with a channel.
///
/// The id is the number in `NODE_UNIQUE_ID`, 0 when that is none (as in Node).
pub fn worker() -> Option<ThisWorker> {
    let env = worker_env().filter(|_| link::is_worker())?;
    let id = env.unique_id.as_deref()?.parse().unwrap_or(0);
    // Says `online`, also for a program that never listens. Why it could not is told by the call that needs it.
    let _ = link::link();
    Some(ThisWorker { id: WorkerId(id), slot: env.slot.map(Slot) })
}

/// Whether a primary started this process as its worker (Node's `cluster.isWorker`).
pub fn is_worker() -> bool {
    link::is_worker()
}

/// The opposite of [`is_worker`] (Node's `cluster.isPrimary`).
pub fn is_primary() -> bool {
    !is_worker()
}

/// Resolves once this process is to leave: its primary told it so (Node's `disconnect`), it leaves by itself, or the
/// primary is gone. Never when it runs alone; at once when its channel cannot be used. Cancellation safe, and made for
/// `with_graceful_shutdown`:
///
/// ```no_run
/// # async fn serve() {
/// tokio::select! {
///     () = oneport::disconnected() => println!("finishing"),
///     // ... serving
/// }
/// # }
/// ```
///
/// A program that calls this is expected to end by itself, and the channel stays open until it does. A program that
/// uses neither this nor the [`Channel`] has its channel closed by this crate once its listeners are, and its primary
/// ends it when its connections are done.
pub fn disconnected() -> impl Future<Output = ()> + Send + use<> {
    let link = link::link();
    if let Ok(Some(link)) = &link {
        link.notice();
    }
    async move {
        match link {
            Ok(Some(link)) => link.leave().await,
            Ok(None) => std::future::pending().await,
            Err(_) => (),
        }
    }
}
