//! How to listen, in the words of Node's `server.listen(options)`.

use std::io;
use std::path::Path;

use tokio::net::ToSocketAddrs;

use super::{TcpListener, UdpSocket, UnixListener};

/// Node's default length of the accept queue.
const BACKLOG: u32 = 511;

/// Options for [`TcpListener`], [`UnixListener`] and [`UdpSocket`] (Node's `server.listen(options)` and dgram's
/// `socket.bind(options)`). The defaults are Node's.
///
/// ```no_run
/// # async fn listen() -> std::io::Result<()> {
/// let listener = oneport::ListenOptions::new().backlog(1024).exclusive(true).listen("127.0.0.1:0").await?;
/// # drop(listener);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ListenOptions {
    pub(super) exclusive: bool,
    pub(super) backlog: u32,
    pub(super) ipv6_only: bool,
    pub(super) reuse_address: bool,
    pub(super) fd: Option<i32>,
    pub(super) readable_all: bool,
    pub(super) writable_all: bool,
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        ListenOptions {
            exclusive: false,
            backlog: BACKLOG,
            ipv6_only: false,
            reuse_address: false,
            fd: None,
            readable_all: false,
            writable_all: false,
        }
    }
}

impl ListenOptions {
    /// The defaults.
    pub fn new() -> ListenOptions {
        ListenOptions::default()
    }

    /// Whether this process binds for itself even under a primary, sharing with nobody. Default `false`.
    pub fn exclusive(mut self, exclusive: bool) -> ListenOptions {
        self.exclusive = exclusive;
        self
    }

    /// Length of the accept queue in connections, cut by the kernel at `net.core.somaxconn`. Default 511; 0 means the
    /// default. Under `rr` the largest that a worker of an address asked for counts. UDP has none.
    pub fn backlog(mut self, backlog: u32) -> ListenOptions {
        self.backlog = if backlog == 0 { BACKLOG } else { backlog };
        self
    }

    /// Whether an IPv6 socket leaves IPv4 alone. Default `false`: `::` serves both. No meaning for IPv4.
    pub fn ipv6_only(mut self, ipv6_only: bool) -> ListenOptions {
        self.ipv6_only = ipv6_only;
        self
    }

    /// UDP only: whether other sockets that say so too may bind the same address (Node's `reuseAddr`). Default `false`.
    pub fn reuse_address(mut self, reuse_address: bool) -> ListenOptions {
        self.reuse_address = reuse_address;
        self
    }

    /// A descriptor to listen on. As in Node an address given besides is not used (UDP takes its family from it), and
    /// under a primary the number is the *primary's*: one that it inherited. Alone, and with
    /// [`exclusive`](Self::exclusive), one that this process inherited. Anything else is `EBADF`.
    pub fn fd(mut self, fd: i32) -> ListenOptions {
        self.fd = Some(fd);
        self
    }

    /// Whether any user may read from a Unix socket. Default `false`.
    pub fn readable_all(mut self, readable_all: bool) -> ListenOptions {
        self.readable_all = readable_all;
        self
    }

    /// Whether any user may write to a Unix socket, which is what connecting takes. Default `false`.
    pub fn writable_all(mut self, writable_all: bool) -> ListenOptions {
        self.writable_all = writable_all;
        self
    }

    /// Listens on the first of the addresses that works: [`TcpListener::bind`] with these options.
    ///
    /// # Errors
    /// As there.
    pub async fn listen(&self, addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
        TcpListener::listen(self, addr).await
    }

    /// Listens on a port of every address: [`TcpListener::bind_any`] with these options.
    ///
    /// # Errors
    /// As there.
    pub async fn listen_any(&self, port: u16) -> io::Result<TcpListener> {
        TcpListener::listen_any(self, port).await
    }

    /// Listens on a Unix socket: [`UnixListener::bind`] with these options.
    ///
    /// # Errors
    /// As there.
    pub async fn listen_unix(&self, path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListener::listen(self, path.as_ref()).await
    }

    /// Binds a UDP socket to the first of the addresses that works: [`UdpSocket::bind`] with these options.
    ///
    /// # Errors
    /// As there.
    pub async fn bind_udp(&self, addr: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        UdpSocket::bind_with(self, addr).await
    }
}
