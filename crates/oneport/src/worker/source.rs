//! Where connections come from, the same for TCP and Unix: a socket of this process, the channel, or a stream of their
//! own. What differs between the two is a [`Flavor`].
//!
//! Invariant: alone, accepting is tokio's own accepting and nothing besides.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use oneport_sys::listen::set_nonblocking;
use tokio::sync::{Mutex, mpsc};

use super::ask::Granted;
use super::fast::{Fast, Over};
use super::link::Link;
use super::member::{Handed, Membership};

/// A kind of listener.
pub(super) trait Flavor: 'static {
    type Listener: Debug;
    type Stream;
    type Addr;

    fn accept(
        listener: &Self::Listener,
    ) -> impl Future<Output = io::Result<(Self::Stream, Self::Addr)>> + Send;

    fn poll_accept(
        listener: &Self::Listener,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Stream, Self::Addr)>>;

    /// A received descriptor as a connection; `None` when it is none, or its client has gone. Takes it to be
    /// non-blocking.
    fn adopt(fd: OwnedFd) -> io::Result<Option<(Self::Stream, Self::Addr)>>;
}

#[derive(Debug)]
pub(super) enum Source<F: Flavor> {
    /// A socket of this process that nobody shares.
    Alone(F::Listener),
    /// A socket shared with siblings, or one of its own beside theirs. A connection comes over the channel where it waited in
    /// the socket of a sibling that makes no progress.
    Shared { socket: F::Listener, connections: Mutex<mpsc::Receiver<Handed>>, membership: Membership },
    /// Connections come over the channel.
    Channel { connections: Mutex<mpsc::Receiver<Handed>>, membership: Membership },
    /// Connections come over a stream of their own. It is emptied before the membership ends.
    Stream { fast: Fast, membership: Membership },
}

/// What waits for this worker's end, made when it is first needed.
pub(super) type Leaving = Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>;

impl<F: Flavor> Source<F> {
    /// From what the primary granted; `adopt` makes a listener of a socket.
    pub(super) fn granted(
        granted: Granted,
        adopt: impl FnOnce(OwnedFd) -> io::Result<F::Listener>,
    ) -> io::Result<Source<F>> {
        Ok(match granted {
            Granted::Socket { membership, socket, connections } => {
                Source::Shared { socket: adopt(socket)?, connections: Mutex::new(connections), membership }
            }
            Granted::HandedOver { membership, connections, .. } => {
                Source::Channel { connections: Mutex::new(connections), membership }
            }
            Granted::Stream { membership, pair, .. } => Source::Stream { fast: Fast::new(pair)?, membership },
        })
    }

    pub(super) async fn accept(&self) -> io::Result<(F::Stream, F::Addr)> {
        runtime("accept connection")?;
        match self {
            Source::Alone(socket) => F::accept(socket).await,
            Source::Shared { socket, connections, membership } => loop {
                let handed = async { connections.lock().await.recv().await };
                let handed = tokio::select! {
                    biased;
                    () = membership.link.leave() => return Err(membership.link.why_none()),
                    Some(handed) = handed => handed,
                    accepted = F::accept(socket) => return accepted,
                };
                if let Some(accepted) = adopt_stranger::<F>(membership, handed)? {
                    return Ok(accepted);
                }
            },
            Source::Channel { connections, membership } => loop {
                let connection = connections.lock().await.recv().await;
                let Some(connection) = connection else { return Err(none_left(membership)) };
                if let Some(accepted) = adopt_stranger::<F>(membership, connection)? {
                    return Ok(accepted);
                }
            },
            Source::Stream { fast, membership } => match fast.next::<F>().await {
                Ok(accepted) => accepted,
                Err(over) => Err(stream_over(over, membership)),
            },
        }
    }

    /// As [`accept`](Self::accept) for one task at a time; the flag says that the error is the end.
    pub(super) fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
        leaving: &mut Leaving,
    ) -> Poll<io::Result<(F::Stream, F::Addr)>> {
        runtime("accept connection")?;
        match self {
            Source::Alone(socket) => F::poll_accept(socket, cx),
            Source::Shared { socket, connections, membership } => {
                let link = &membership.link;
                let end = leaving.get_or_insert_with(|| {
                    let link = link.clone();
                    Box::pin(async move { link.leave().await })
                });
                if link.is_leaving() || end.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(link.why_none()));
                }
                while let Poll::Ready(Some(connection)) = connections.get_mut().poll_recv(cx) {
                    if let Some(accepted) = adopt_stranger::<F>(membership, connection)? {
                        return Poll::Ready(Ok(accepted));
                    }
                }
                F::poll_accept(socket, cx)
            }
            Source::Channel { connections, membership } => loop {
                let Some(connection) = ready!(connections.get_mut().poll_recv(cx)) else {
                    return Poll::Ready(Err(none_left(membership)));
                };
                if let Some(accepted) = adopt_stranger::<F>(membership, connection)? {
                    return Poll::Ready(Ok(accepted));
                }
            },
            Source::Stream { fast, membership } => {
                let next = ready!(fast.poll_next::<F>(cx));
                Poll::Ready(match next {
                    Ok(accepted) => accepted,
                    Err(over) => Err(stream_over(over, membership)),
                })
            }
        }
    }

    /// The link of a listener that is over.
    pub(super) fn ended_link(&self) -> Option<&Arc<Link>> {
        match self {
            Source::Alone(_) => None,
            Source::Shared { membership, .. }
            | Source::Channel { membership, .. }
            | Source::Stream { membership, .. } => membership.is_over().then_some(&membership.link),
        }
    }

    /// The socket itself, which only some have.
    pub(super) fn socket(&self) -> Option<&F::Listener> {
        match self {
            Source::Alone(socket) | Source::Shared { socket, .. } => Some(socket),
            Source::Channel { .. } | Source::Stream { .. } => None,
        }
    }

    /// Takes the socket out. The key of a shared one stays held until the process ends: from here on nobody can tell
    /// when the program closes it.
    pub(super) fn into_socket(self) -> io::Result<F::Listener> {
        match self {
            Source::Alone(socket) => Ok(socket),
            Source::Shared { socket, membership, .. } => {
                membership.release();
                Ok(socket)
            }
            Source::Channel { .. } | Source::Stream { .. } => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "cannot take socket out of listener: the primary accepts and hands connections over \
                 (hint: use accept() or into_incoming(), or the policy `shared`)",
            )),
        }
    }
}

/// Everything was given out, and why nothing follows.
fn stream_over(over: Over, membership: &Membership) -> io::Error {
    let ended = none_left(membership);
    over.breach().unwrap_or(ended)
}

/// Everything was given out.
fn none_left(membership: &Membership) -> io::Error {
    membership.drained();
    membership.link.why_none()
}

/// What came over the channel may be from Node's primary, which promises nothing about its mode.
fn adopt_stranger<F: Flavor>(
    membership: &Membership,
    Handed { ack, connection }: Handed,
) -> io::Result<Option<(F::Stream, F::Addr)>> {
    let adopted = set_nonblocking(connection.as_fd()).and_then(|()| F::adopt(connection));
    // One whose client has gone, or that is none at all, is of no use to anybody else either. An error is this process's
    // own, and it has read nothing.
    membership.answer(ack, adopted.is_ok());
    adopted
}

/// tokio panics where it is called outside of a runtime; here that is an error of the call.
pub(super) fn runtime(what: &str) -> io::Result<()> {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => Ok(()),
        Err(_) => Err(io::Error::other(format!(
            "cannot {what}: no tokio runtime here (hint: call it inside `Runtime::block_on` or `#[tokio::main]`)"
        ))),
    }
}
