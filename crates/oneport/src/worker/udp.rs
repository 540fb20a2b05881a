//! A UDP socket that asks the primary when there is one and binds for itself when there is none.

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use oneport_sys::listen::{Reuse, V6, bind_udp};
use tokio::net::{ToSocketAddrs, UdpSocket as TokioSocket, lookup_host};

use super::ask::{Granted, Wish, ask};
use super::link::Link;
use super::member::Membership;
use super::options::ListenOptions;
use super::source::runtime;
use super::tcp::{asked, inherited};

/// A UDP socket (Node's `dgram.Socket`), used as the [`tokio::net::UdpSocket`] it dereferences to.
///
/// Under a primary all workers that bind one address have the same socket: a datagram reaches whoever reads first.
/// Nothing wakes a reader when this worker is to leave, and the socket counts as closed from then on: wait for
/// [`disconnected()`](crate::disconnected) beside it.
/// Dropping it tells the primary.
///
/// Needs a tokio runtime with I/O enabled.
#[derive(Debug)]
pub struct UdpSocket {
    socket: TokioSocket,
    /// Ended after the socket is closed.
    membership: Option<Membership>,
}

impl UdpSocket {
    /// Binds the first of the addresses that works. Host names are looked up here, in the worker.
    ///
    /// # Errors
    /// As [`TcpListener::bind`](crate::TcpListener::bind). Cancellation safe.
    ///
    /// # Panics
    /// As tokio's own, in a runtime whose I/O is not enabled.
    pub async fn bind(addr: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        UdpSocket::bind_with(&ListenOptions::default(), addr).await
    }

    pub(super) async fn bind_with(
        options: &ListenOptions,
        addr: impl ToSocketAddrs,
    ) -> io::Result<UdpSocket> {
        runtime("bind socket")?;
        let link = asked(options)?;
        let mut last = None;
        for addr in lookup_host(addr).await? {
            match UdpSocket::one(link.clone(), options, addr).await {
                Ok(socket) => return Ok(socket),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "cannot bind: no address")))
    }

    /// A socket of one's own, bound already. It must be non-blocking.
    ///
    /// # Errors
    /// When the runtime cannot watch it; outside of a runtime.
    ///
    /// # Panics
    /// As tokio's own, in a runtime whose I/O is not enabled.
    pub fn from_std(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
        runtime("adopt socket")?;
        TokioSocket::from_std(socket).map(UdpSocket::from)
    }

    /// The socket itself. One that is shared with siblings counts as open until this process ends: nobody can tell any
    /// more when it is closed.
    pub fn into_tokio(self) -> TokioSocket {
        if let Some(membership) = self.membership {
            membership.release();
        }
        self.socket
    }

    /// As [`into_tokio`](Self::into_tokio), taken out of its runtime.
    ///
    /// # Errors
    /// When the runtime does not let go of it.
    pub fn into_std(self) -> io::Result<std::net::UdpSocket> {
        self.into_tokio().into_std()
    }

    /// Asks over the link, or binds for itself where there is none.
    pub(super) async fn one(
        link: Option<Arc<Link>>,
        options: &ListenOptions,
        addr: SocketAddr,
    ) -> io::Result<UdpSocket> {
        let Some(link) = link else {
            let socket = TokioSocket::from_std(alone(options, addr)?.into())?;
            return Ok(UdpSocket { socket, membership: None });
        };
        match ask(&link, Wish::Udp(addr), options).await? {
            Granted::Socket { membership, socket, connections: _ } => {
                let socket = TokioSocket::from_std(socket.into())?;
                Ok(UdpSocket { socket, membership: Some(membership) })
            }
            // `ask` has refused these.
            Granted::HandedOver { .. } | Granted::Stream { .. } => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn alone(options: &ListenOptions, addr: SocketAddr) -> io::Result<OwnedFd> {
    if let Some(fd) = options.fd {
        return inherited(fd, Wish::Udp(addr));
    }
    let v6 = if options.ipv6_only { V6::Only } else { V6::Dual };
    let reuse = if options.reuse_address { Reuse::Address } else { Reuse::Exclusive };
    bind_udp(addr, v6, reuse)
}

impl From<TokioSocket> for UdpSocket {
    /// A socket of one's own. It has no part in the primary's.
    fn from(socket: TokioSocket) -> UdpSocket {
        UdpSocket { socket, membership: None }
    }
}

impl Deref for UdpSocket {
    type Target = TokioSocket;

    fn deref(&self) -> &TokioSocket {
        &self.socket
    }
}
