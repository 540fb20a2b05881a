//! A TCP listener that asks the primary when there is one and binds for itself when there is none.

use std::borrow::Cow;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};

use oneport_wire::node::message::{AddressType, Query};
use tokio::net::{TcpListener as TokioListener, TcpStream, ToSocketAddrs, lookup_host};
use tokio::sync::Mutex;
use tokio::sync::mpsc;

use super::link::{Answer, Membership, link};

/// Node's default length of the accept queue.
const BACKLOG: u32 = 511;

/// A TCP listener (Node's `net.Server` in a cluster worker).
///
/// Under `rr` it has no descriptor of its own: the primary accepts and hands connections over. Needs a tokio
/// runtime with I/O enabled.
#[derive(Debug)]
pub struct TcpListener(Kind);

#[derive(Debug)]
enum Kind {
    /// A socket of this process, alone or shared with siblings.
    Socket { socket: TokioListener, membership: Option<Membership> },
    /// Connections come over the channel.
    HandedOver {
        connections: Mutex<mpsc::Receiver<std::os::fd::OwnedFd>>,
        local: SocketAddr,
        _membership: Membership,
    },
}

impl TcpListener {
    /// Listens on the first of the addresses that works. Host names are looked up here, in the worker.
    ///
    /// # Errors
    /// As of the kernel, also when the primary reports them (`AddrInUse`, `PermissionDenied` ...);
    /// `BrokenPipe` when the primary is gone; `WouldBlock` when it reads nothing and 1 MiB waits for it;
    /// `Unsupported` when it does not speak JSON. Cancellation safe.
    pub async fn bind(addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
        let mut last = None;
        for addr in lookup_host(addr).await? {
            match TcpListener::bind_one(addr).await {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "cannot bind: no address")))
    }

    async fn bind_one(addr: SocketAddr) -> io::Result<TcpListener> {
        let Some(link) = link()? else {
            let socket = TokioListener::bind(addr).await?;
            return Ok(TcpListener(Kind::Socket { socket, membership: None }));
        };
        let asked = query(addr);
        match link.query(asked.clone()).await? {
            Answer::Failed(error) => Err(error),
            Answer::HandedOver { membership, sockname, connections } => {
                let local = sockname.unwrap_or(addr);
                link.listening(Query { port: Some(i32::from(local.port())), ..asked })?;
                Ok(TcpListener(Kind::HandedOver {
                    connections: Mutex::new(connections),
                    local,
                    _membership: membership,
                }))
            }
            Answer::Socket { membership, socket } => {
                let socket = StdListener::from(socket);
                // The primary only bound it; joining in is each worker's own `listen` (as Node's workers do).
                oneport_sys::listen::start_listening(std::os::fd::AsFd::as_fd(&socket), BACKLOG)?;
                socket.set_nonblocking(true)?;
                let socket = TokioListener::from_std(socket)?;
                let port = socket.local_addr()?.port();
                link.listening(Query { port: Some(i32::from(port)), ..asked })?;
                Ok(TcpListener(Kind::Socket { socket, membership: Some(membership) }))
            }
        }
    }

    /// The next connection. Cancellation safe.
    ///
    /// # Errors
    /// As of the kernel; `BrokenPipe` once the primary told this worker to leave, or is gone.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match &self.0 {
            Kind::Socket { socket, membership: None } => socket.accept().await,
            Kind::Socket { socket, membership: Some(membership) } => tokio::select! {
                accepted = socket.accept() => accepted,
                () = membership.link.leave() => Err(leaving()),
            },
            Kind::HandedOver { connections, .. } => loop {
                let connection = connections.lock().await.recv().await;
                let Some(connection) = connection else {
                    return Err(leaving());
                };
                let stream = std::net::TcpStream::from(connection);
                stream.set_nonblocking(true)?;
                // A client that has gone by now has no address any more: not worth an error.
                if let Ok(peer) = stream.peer_addr() {
                    return Ok((TcpStream::from_std(stream)?, peer));
                }
            },
        }
    }

    /// The real address, also for port 0.
    ///
    /// # Errors
    /// As of the kernel.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Kind::Socket { socket, .. } => socket.local_addr(),
            Kind::HandedOver { local, .. } => Ok(*local),
        }
    }
}

fn leaving() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "cannot accept: this worker is leaving")
}

fn query(addr: SocketAddr) -> Query<'static> {
    Query {
        address: Some(Cow::Owned(addr.ip().to_string())),
        port: Some(i32::from(addr.port())),
        address_type: if addr.is_ipv4() { AddressType::Tcp4 } else { AddressType::Tcp6 },
        fd: None,
        flags: Some(0),
        backlog: Some(0),
        readable_all: false,
        writable_all: false,
        index: 0,
        data: None,
        handoff: None,
    }
}
