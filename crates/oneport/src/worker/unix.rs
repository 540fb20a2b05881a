//! A Unix listener that asks the primary when there is one and binds for itself when there is none.
//!
//! Invariant: a path is removed only by the process that made it, and only while it is still that socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};

use oneport_sys::listen::{UnixIdentity, UnixMode, bind_unix, start_listening, unlink_if_ours};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener as TokioListener, UnixStream};

use super::ask::{Wish, ask};
use super::incoming::UnixIncoming;
use super::link::Link;
use super::options::ListenOptions;
use super::source::{Flavor, Source, runtime};
use super::tcp::{asked, inherited};

/// A listener on a Unix stream socket (Node's `server.listen(path)`). As [`TcpListener`](crate::TcpListener) in
/// everything else.
#[derive(Debug)]
pub struct UnixListener {
    pub(super) source: Source<Unix>,
    /// Where the primary listens.
    path: PathBuf,
    _made: Option<Made>,
}

/// A path that this process made.
#[derive(Debug)]
struct Made {
    path: PathBuf,
    identity: UnixIdentity,
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = unlink_if_ours(&self.path, &self.identity); // somebody else's by now, or gone
    }
}

/// How Unix sockets accept.
#[derive(Debug)]
pub(super) struct Unix;

impl Flavor for Unix {
    type Listener = TokioListener;
    type Stream = UnixStream;
    type Addr = SocketAddr;

    async fn accept(listener: &TokioListener) -> io::Result<(UnixStream, SocketAddr)> {
        listener.accept().await
    }

    fn poll_accept(
        listener: &TokioListener,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(UnixStream, SocketAddr)>> {
        listener.poll_accept(cx)
    }

    fn adopt(fd: OwnedFd) -> io::Result<Option<(UnixStream, SocketAddr)>> {
        let stream = std::os::unix::net::UnixStream::from(fd);
        let Ok(peer) = stream.peer_addr() else { return Ok(None) };
        if cfg!(debug_assertions) {
            stream.set_nonblocking(true)?; // tokio panics there, on what a primary got wrong
        }
        Ok(Some((UnixStream::from_std(stream)?, peer.into())))
    }
}

impl UnixListener {
    /// Listens on a path, relative to this process's directory; one that begins with a NUL byte is an abstract name. A
    /// path left behind by a dead server is taken over. Alone, the path is removed when the listener is dropped.
    ///
    /// # Errors
    /// As [`TcpListener::bind`](crate::TcpListener::bind); `PermissionDenied` when there is no such directory (as
    /// libuv says it); `InvalidInput` for a path that is not UTF-8, under a primary. Cancellation safe.
    pub async fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListener::listen(&ListenOptions::default(), path.as_ref()).await
    }

    pub(super) async fn listen(options: &ListenOptions, path: &Path) -> io::Result<UnixListener> {
        runtime("bind listener")?;
        UnixListener::one(asked(options)?, options, path).await
    }

    /// Asks over the link, or binds for itself where there is none.
    pub(super) async fn one(
        link: Option<Arc<Link>>,
        options: &ListenOptions,
        path: &Path,
    ) -> io::Result<UnixListener> {
        let Some(link) = link else { return UnixListener::alone(options, path) };
        let granted = ask(&link, Wish::Unix(path), options).await?;
        let source = Source::granted(granted, |socket| TokioListener::from_std(socket.into()))?;
        Ok(UnixListener { source, path: path.to_owned(), _made: None })
    }

    fn alone(options: &ListenOptions, path: &Path) -> io::Result<UnixListener> {
        let (socket, made) = match options.fd {
            Some(fd) => (inherited(fd, Wish::Unix(path))?, None),
            None => {
                let mode =
                    UnixMode { readable_all: options.readable_all, writable_all: options.writable_all };
                let (socket, identity) = bind_unix(path, mode)?;
                // Absolute, because the directory may be another one by the time it is removed.
                let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
                (socket, Some(Made { path, identity }))
            }
        };
        start_listening(socket.as_fd(), options.backlog)?;
        let source = Source::Alone(TokioListener::from_std(socket.into())?);
        Ok(UnixListener { source, path: path.to_owned(), _made: made })
    }

    /// The next connection. As [`TcpListener::accept`](crate::TcpListener::accept). Cancellation safe.
    ///
    /// # Errors
    /// As there.
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        self.source.accept().await
    }

    /// The connections as a stream that ends when this worker is to leave.
    pub fn into_incoming(self) -> UnixIncoming {
        UnixIncoming::new(self)
    }

    #[cfg(feature = "axum")]
    pub(crate) async fn accept_for_ever(&self) -> (UnixStream, SocketAddr) {
        super::serve::accept_for_ever(&self.source).await
    }

    /// The address it was bound to.
    ///
    /// # Errors
    /// As of the kernel; `InvalidInput` when the primary listens on a path that is too long for an address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        if let Some(socket) = self.source.socket() {
            return socket.local_addr();
        }
        let address = match self.path.as_os_str().as_bytes() {
            [0, name @ ..] => std::os::unix::net::SocketAddr::from_abstract_name(name),
            _ => std::os::unix::net::SocketAddr::from_pathname(&self.path),
        };
        address.map(SocketAddr::from)
    }

    /// A listener on a socket of one's own, which becomes non-blocking; its path is left to the caller.
    ///
    /// # Errors
    /// As of the kernel; `Other` outside of a tokio runtime.
    pub fn from_std(listener: std::os::unix::net::UnixListener) -> io::Result<UnixListener> {
        runtime("use listener")?;
        listener.set_nonblocking(true)?;
        Ok(TokioListener::from_std(listener)?.into())
    }

    /// The socket as std's. As [`TcpListener::into_std`](crate::TcpListener::into_std); the path is then left to the
    /// caller.
    ///
    /// # Errors
    /// As there.
    pub fn into_std(self) -> io::Result<std::os::unix::net::UnixListener> {
        self.into_tokio()?.into_std()
    }

    /// The socket as tokio's. As [`into_std`](Self::into_std).
    ///
    /// # Errors
    /// As there.
    pub fn into_tokio(self) -> io::Result<TokioListener> {
        let UnixListener { source, path: _, _made } = self;
        let socket = source.into_socket()?;
        std::mem::forget(_made);
        Ok(socket)
    }
}

impl From<TokioListener> for UnixListener {
    /// A listener on a socket of one's own. It has no part in the primary's.
    fn from(socket: TokioListener) -> UnixListener {
        UnixListener { source: Source::Alone(socket), path: PathBuf::new(), _made: None }
    }
}
