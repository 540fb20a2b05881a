//! A TCP listener that asks the primary when there is one and binds for itself when there is none.
//!
//! Not here: where connections come from (`source`), what is asked (`ask`).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll};

use oneport_sys::listen::{V6, bind_tcp, bind_tcp_anywhere, set_nonblocking, start_listening};
use oneport_sys::startup::dup_inherited;
use tokio::net::{TcpListener as TokioListener, TcpStream, ToSocketAddrs, lookup_host};

use super::ask::{Granted, Wish, ask, check_socket};
use super::incoming::Incoming;
use super::link::{Link, primary};
use super::options::ListenOptions;
use super::source::{Flavor, Source, runtime};

/// A TCP listener (Node's `net.Server`).
///
/// In a worker it is one of those that share a port: under `rr` the primary accepts and hands connections over, and
/// there is no descriptor here; under the other policies this process accepts on a socket of its own or a shared one.
/// Dropping it tells the primary; what was handed over and not accepted goes to a sibling.
///
/// Needs a tokio runtime with I/O enabled.
#[derive(Debug)]
pub struct TcpListener {
    pub(super) source: Source<Tcp>,
    /// Where the primary listens.
    local: Option<SocketAddr>,
}

/// How TCP accepts.
#[derive(Debug)]
pub(super) struct Tcp;

impl Flavor for Tcp {
    type Listener = TokioListener;
    type Stream = TcpStream;
    type Addr = SocketAddr;

    async fn accept(listener: &TokioListener) -> io::Result<(TcpStream, SocketAddr)> {
        listener.accept().await
    }

    fn poll_accept(
        listener: &TokioListener,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        listener.poll_accept(cx)
    }

    fn adopt(fd: OwnedFd) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        let stream = std::net::TcpStream::from(fd);
        // No address of this family: another kind of socket, or a client that reset its connection.
        let Ok(peer) = stream.peer_addr() else { return Ok(None) };
        if cfg!(debug_assertions) {
            stream.set_nonblocking(true)?; // tokio panics there, on what a primary got wrong
        }
        Ok(Some((TcpStream::from_std(stream)?, peer)))
    }
}

impl TcpListener {
    /// Listens on the first of the addresses that works. Host names are looked up here, in the worker. Port 0 is a free
    /// port; under a primary the n-th listener on port 0 of one address has the n-th port, the same in every worker.
    ///
    /// # Errors
    /// As of the kernel, also when the primary reports them (`AddrInUse`, `PermissionDenied` ...); `AddrInUse` too when
    /// this worker listens there already. `BrokenPipe` when the primary is gone or told this worker to leave;
    /// `WouldBlock` when it reads nothing and 1 MiB waits for it; `InvalidData` when it answers nonsense; `Unsupported`
    /// when it does not speak JSON; `Other` outside of a tokio runtime. Cancellation safe.
    ///
    /// # Panics
    /// As tokio's own, in a runtime whose I/O is not enabled.
    pub async fn bind(addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
        TcpListener::listen(&ListenOptions::default(), addr).await
    }

    /// Listens on a port of every address, IPv6 and IPv4, or IPv4 alone where there is no IPv6 (Node's `listen(port)`
    /// without a host).
    ///
    /// # Errors
    /// As [`bind`](Self::bind). Cancellation safe.
    pub async fn bind_any(port: u16) -> io::Result<TcpListener> {
        TcpListener::listen_any(&ListenOptions::default(), port).await
    }

    pub(super) async fn listen(options: &ListenOptions, addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
        runtime("bind listener")?;
        let link = asked(options)?;
        if options.fd.is_some() {
            return TcpListener::one(link, options, Wish::Any(0)).await;
        }
        let mut last = None;
        for addr in lookup_host(addr).await? {
            match TcpListener::one(link.clone(), options, Wish::Tcp(addr)).await {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "cannot bind: no address")))
    }

    pub(super) async fn listen_any(options: &ListenOptions, port: u16) -> io::Result<TcpListener> {
        runtime("bind listener")?;
        TcpListener::one(asked(options)?, options, Wish::Any(port)).await
    }

    /// Asks over the link, or binds for itself where there is none.
    pub(super) async fn one(
        link: Option<Arc<Link>>,
        options: &ListenOptions,
        wish: Wish<'_>,
    ) -> io::Result<TcpListener> {
        let Some(link) = link else {
            return TcpListener::from_std(alone(options, wish)?.into());
        };
        let granted = ask(&link, wish, options).await?;
        let local = match (&granted, wish) {
            (Granted::Socket { .. }, _) => None,
            (Granted::HandedOver { sockname, .. } | Granted::Stream { sockname, .. }, Wish::Tcp(addr)) => {
                Some(sockname.unwrap_or(addr))
            }
            (Granted::HandedOver { sockname, .. } | Granted::Stream { sockname, .. }, _) => *sockname,
        };
        let source = Source::granted(granted, |socket| TokioListener::from_std(socket.into()))?;
        Ok(TcpListener { source, local })
    }

    /// The next connection, non-blocking, with its client's address. Several tasks may wait at once. Cancellation safe.
    ///
    /// # Errors
    /// As of the kernel. `BrokenPipe` once this worker is to leave or its primary is gone, after everything that was
    /// handed over, and then always: that is the end. `InvalidData` instead when the primary broke its rules. `Other`
    /// outside of a tokio runtime.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.source.accept().await
    }

    /// The connections as a stream that ends when this worker is to leave, as tonic's `serve_with_incoming` and hyper's
    /// loops want it.
    pub fn into_incoming(self) -> Incoming {
        Incoming::new(self)
    }

    #[cfg(feature = "axum")]
    pub(crate) async fn accept_for_ever(&self) -> (TcpStream, SocketAddr) {
        super::serve::accept_for_ever(&self.source).await
    }

    /// The real address, also for port 0 (Node's `server.address()`).
    ///
    /// # Errors
    /// As of the kernel; `Unsupported` when the primary did not tell it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match (self.source.socket(), self.local) {
            (Some(socket), _) => socket.local_addr(),
            (None, Some(local)) => Ok(local),
            (None, None) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "cannot tell address of listener: the primary did not",
            )),
        }
    }

    /// A listener on a socket of one's own, which becomes non-blocking. It has no part in the primary's port.
    ///
    /// # Errors
    /// As of the kernel; `Other` outside of a tokio runtime.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        runtime("use listener")?;
        listener.set_nonblocking(true)?;
        Ok(TokioListener::from_std(listener)?.into())
    }

    /// The socket as std's, still non-blocking. Works alone, and under every policy where this process accepts for
    /// itself; a shared port then counts as listened on by this worker until its process ends, and the caller has to
    /// watch [`disconnected()`](crate::disconnected). From here on it is handed nothing that waited for a sibling.
    ///
    /// # Errors
    /// `Unsupported` under `rr`, where there is no socket here; the listener is closed then. The remedy is
    /// [`accept`](Self::accept), or another policy.
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        self.into_tokio()?.into_std()
    }

    /// The socket as tokio's. As [`into_std`](Self::into_std).
    ///
    /// # Errors
    /// As there.
    pub fn into_tokio(self) -> io::Result<TokioListener> {
        self.source.into_socket()
    }
}

impl From<TokioListener> for TcpListener {
    /// A listener on a socket of one's own. It has no part in the primary's port.
    fn from(socket: TokioListener) -> TcpListener {
        TcpListener { source: Source::Alone(socket), local: None }
    }
}

/// Who is asked.
pub(super) fn asked(options: &ListenOptions) -> io::Result<Option<Arc<Link>>> {
    if options.exclusive { Ok(None) } else { primary() }
}

/// A listening socket of this process's own.
fn alone(options: &ListenOptions, wish: Wish<'_>) -> io::Result<OwnedFd> {
    let v6 = if options.ipv6_only { V6::Only } else { V6::Dual };
    let socket = match (options.fd, wish) {
        (Some(fd), _) => inherited(fd, wish)?,
        (None, Wish::Tcp(addr) | Wish::Udp(addr)) => bind_tcp(addr, v6)?,
        (None, Wish::Any(port)) => bind_tcp_anywhere(port, v6)?,
        (None, Wish::Unix(_)) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    start_listening(socket.as_fd(), options.backlog)?;
    Ok(socket)
}

/// A descriptor that this process inherited, if it is what is wished for.
pub(super) fn inherited(fd: i32, wish: Wish<'_>) -> io::Result<OwnedFd> {
    let socket = dup_inherited(fd)?;
    check_socket(wish, &socket).map_err(|cause| io::Error::new(io::ErrorKind::InvalidInput, cause))?;
    set_nonblocking(socket.as_fd())?;
    Ok(socket)
}
