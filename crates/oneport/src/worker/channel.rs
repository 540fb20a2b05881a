//! The channel to whoever started this process, as the program uses it: messages, handles, the end.
//!
//! Not here: what the library itself says and hears on it (`link`, `reader`).

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use serde::Serialize;

use super::leave::Stage;
use super::link::{Link, link};
use crate::message::spell;
use crate::{Handle, Message};

/// The channel to the process that started this one (Node's `process.send`, `process.on('message')`,
/// `process.disconnect`). All clones are the same channel.
///
/// There is one in cluster workers and in children of `child_process.fork` (with `execPath`).
#[derive(Clone, Debug)]
pub struct Channel(pub(super) Arc<Link>);

/// This process's channel; `None` when it was started without one.
///
/// The first call of anything that needs the channel starts a thread that reads it.
///
/// # Errors
/// `Unsupported` when the other side insists on `advanced` serialization, which only Node speaks; `InvalidInput` when
/// `NODE_CHANNEL_FD` names no Unix stream socket; as of the kernel when no thread can be started.
pub fn channel() -> io::Result<Option<Channel>> {
    Ok(link()?.map(Channel))
}

impl Channel {
    /// Sends a message: anything that serde can make JSON of. Does not wait; what the other side does not read yet is
    /// kept and written later, in order.
    ///
    /// As in Node, an object whose `cmd` begins with `NODE_` and goes on is the channel's own and reaches no program.
    ///
    /// # Errors
    /// `WouldBlock` when 16 MiB wait already: try again later. `InvalidInput` when it cannot be JSON or is longer than
    /// 16 MiB; `BrokenPipe` when the channel is closed; `InvalidData` when it was closed because the other side broke
    /// its rules.
    pub fn send(&self, message: &(impl Serialize + ?Sized)) -> io::Result<()> {
        self.post(&spell(message)?, None)
    }

    /// Sends a message and a socket with it (Node's `process.send(message, handle)`).
    ///
    /// The socket is closed here once the other side has acknowledged it; until then later messages wait behind it. If
    /// it did not arrive there (no descriptor left) it is sent again, three times at most, and then given up with a
    /// `tracing` warning. To keep it, send a [`Handle::try_clone`].
    ///
    /// # Errors
    /// As [`send`](Self::send), and `WouldBlock` too when 256 handles wait behind an unanswered one; the handle is
    /// closed then.
    pub fn send_handle(
        &self,
        message: &(impl Serialize + ?Sized),
        handle: impl Into<Handle>,
    ) -> io::Result<()> {
        let handle = handle.into();
        // Node never does so with what it receives, and a blocking socket would stop its event loop.
        oneport_sys::listen::set_nonblocking(std::os::fd::AsFd::as_fd(&handle))?;
        self.post(&spell(message)?, Some(handle))
    }

    fn post(&self, json: &str, handle: Option<Handle>) -> io::Result<()> {
        self.0.converse();
        let mut state = self.0.state();
        self.0.post(&mut state, |outbox| outbox.push_text(json, handle))
    }

    /// The next message. Those that came before the first call were kept: 1024 messages, 16 MiB and 64 handles at
    /// most; from then on 65,536 messages, 64 MiB and 256 handles may wait. What exceeds is dropped with a `tracing`
    /// warning. Cancellation safe; of several callers each message reaches one.
    ///
    /// # Errors
    /// `BrokenPipe` at the end of the channel, after everything that came; in a worker that its primary told to leave
    /// also once its last listener is closed, so that a program that lives for messages ends as it would in Node.
    /// `InvalidData` for one message whose socket is not what it was announced as (the channel goes on), and at the end
    /// when the other side broke its rules.
    pub async fn recv(&self) -> io::Result<Message> {
        self.0.notice();
        loop {
            let mut arrived = pin!(self.0.arrived.notified());
            // From here on no arrival is missed.
            arrived.as_mut().enable();
            {
                let mut state = self.0.state();
                if let Some(message) = state.mailbox.take() {
                    if !state.mailbox.is_empty() {
                        // Of several that came at once only one was told of.
                        self.0.arrived.notify_one();
                    }
                    return message;
                }
                if state.end.is_some() || state.told && state.members.is_empty() {
                    return Err(state.gone());
                }
            }
            arrived.await;
        }
    }

    /// Bytes of messages that wait to be written (Node's `send()` returns `false` above 131,072).
    pub fn waiting(&self) -> usize {
        self.0.state().outbox.texts_waiting()
    }

    /// Resolves once nothing waits to be written and every handle is acknowledged, or the channel is closed (the callback
    /// of Node's `send()`). Cancellation safe.
    pub async fn drained(&self) {
        loop {
            let mut written = pin!(self.0.written.notified());
            written.as_mut().enable();
            {
                let state = self.0.state();
                if state.outbox.is_idle() || state.end.is_some() {
                    return;
                }
            }
            written.await;
        }
    }

    /// Whether messages can be sent (Node's `process.connected`).
    pub fn is_connected(&self) -> bool {
        self.0.is_connected()
    }

    /// Closes the channel after everything that was sent (Node's `process.disconnect()`). Does not wait:
    /// [`disconnected`](Self::disconnected) does. A handle that was not acknowledged yet is waited for.
    ///
    /// In a worker this ends its listeners too, because its primary takes it for gone; unlike in Node the process goes
    /// on.
    pub fn disconnect(&self) {
        self.0.disconnect();
    }

    /// Resolves once the channel is closed, from either side (Node's `disconnect` event of `process`). Cancellation safe.
    pub fn disconnected(&self) -> impl Future<Output = ()> + Send + use<> {
        self.0.notice();
        let link = self.0.clone();
        async move { link.reached(Stage::Ended).await }
    }
}
