//! The listeners of this crate as axum's (feature `axum`).
//!
//! Invariant: `accept` returns connections only. What axum does for its own listeners is done here too: an error of one
//! connection is passed over, another (no descriptor left) is waited out for a second. At the end of the worker's time
//! `accept` never returns again, which is what axum's graceful shutdown expects.

use std::io;
use std::net::SocketAddr;

use ::axum::serve::Listener;
use tokio::net::{TcpStream, UnixStream};

use crate::{TcpListener, UnixListener};

/// With `axum::serve(listener, app).with_graceful_shutdown(oneport::disconnected())` a worker finishes what it has and
/// ends when it is told to leave. Without that its primary ends it once its connections are idle or done; and if the
/// primary itself is gone, without having said anything, the process sends itself SIGTERM once, as a supervisor would do
/// with an orphan, unless it ever called [`disconnected`](crate::disconnected) or received messages, and so knows.
///
/// For `ConnectInfo<SocketAddr>` put axum's `tap_io` between: `listener.tap_io(|_| {})`.
impl Listener for TcpListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        self.accept_for_ever().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }
}

/// As [`TcpListener`].
impl Listener for UnixListener {
    type Io = UnixStream;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&mut self) -> (UnixStream, tokio::net::unix::SocketAddr) {
        self.accept_for_ever().await
    }

    fn local_addr(&self) -> io::Result<tokio::net::unix::SocketAddr> {
        UnixListener::local_addr(self)
    }
}
