//! Connections as a stream, for servers that want one (tonic, warp). Ends when the worker is to leave.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::net::{TcpStream, UnixStream};

use super::source::{Flavor, Leaving, Source};
use super::{TcpListener, UnixListener};

/// The connections of a [`TcpListener`]; ends when this worker is to leave, after everything that was handed over.
///
/// An error that is not the end (no descriptor left, say) is an item like any other.
pub struct Incoming {
    listener: TcpListener,
    end: End,
}

/// The connections of a [`UnixListener`]. As [`Incoming`].
pub struct UnixIncoming {
    listener: UnixListener,
    end: End,
}

/// How a stream comes to its end.
#[derive(Default)]
struct End {
    leaving: Leaving,
    over: bool,
}

impl End {
    fn poll<F: Flavor>(
        &mut self,
        source: &mut Source<F>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<F::Stream>>> {
        if self.over {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(source.poll_accept(cx, &mut self.leaving)) {
            Ok((stream, _)) => Some(Ok(stream)),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && source.ended_link().is_some() => {
                self.over = true;
                None
            }
            Err(error) => {
                // A breach of the primary is told once.
                self.over = error.kind() == io::ErrorKind::InvalidData;
                Some(Err(error))
            }
        })
    }
}

impl Incoming {
    pub(super) fn new(listener: TcpListener) -> Incoming {
        Incoming { listener, end: End::default() }
    }

    /// The listener whose connections these are.
    pub fn listener(&self) -> &TcpListener {
        &self.listener
    }
}

impl UnixIncoming {
    pub(super) fn new(listener: UnixListener) -> UnixIncoming {
        UnixIncoming { listener, end: End::default() }
    }

    /// The listener whose connections these are.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Stream for Incoming {
    type Item = io::Result<TcpStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Incoming { listener, end } = &mut *self;
        end.poll(&mut listener.source, cx)
    }
}

impl Stream for UnixIncoming {
    type Item = io::Result<UnixStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let UnixIncoming { listener, end } = &mut *self;
        end.poll(&mut listener.source, cx)
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Incoming").field(&self.listener).finish()
    }
}

impl fmt::Debug for UnixIncoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UnixIncoming").field(&self.listener).finish()
    }
}
