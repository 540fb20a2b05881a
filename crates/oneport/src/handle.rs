//! Sockets that pass between processes beside a message, each of the type the receiver can use at once.
//!
//! Not here: sending and acknowledging. Invariant: what a received descriptor is was asked of the kernel, never
//! believed; every received one is non-blocking and close-on-exec.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use oneport_sys::listen::{Passed, passed_kind, set_nonblocking};
use oneport_wire::node::message::{DgramType, HandleKind};

/// A socket sent or received with a message (the `sendHandle` of Node's `send`).
///
/// All are non-blocking when received, as tokio's `from_std` wants them; [`into_fd`](Handle::into_fd) and the std
/// types give them to anybody. Sending makes a socket non-blocking too, for every process that shares it: Node never
/// does, and a blocking one would stop its event loop. Whoever wants to keep a socket sends a
/// [`try_clone`](Handle::try_clone) (Node's `keepOpen`).
#[derive(Debug)]
pub enum Handle {
    /// A listening TCP socket (`net.Server`).
    TcpListener(TcpListener),
    /// A TCP connection (`net.Socket`).
    TcpStream(TcpStream),
    /// A listening Unix socket (`net.Server`).
    UnixListener(UnixListener),
    /// A Unix connection (`net.Socket`).
    UnixStream(UnixStream),
    /// A UDP socket (`dgram.Socket`).
    UdpSocket(UdpSocket),
    /// A TCP socket that is bound and does not listen (`net.BoundSocket`, which only Node 26 and later know: an older
    /// one ends when it receives it).
    TcpSocket(OwnedFd),
}

impl Handle {
    /// The same socket once more.
    ///
    /// # Errors
    /// As of the kernel: no descriptor left (`EMFILE`).
    pub fn try_clone(&self) -> io::Result<Handle> {
        Ok(match self {
            Handle::TcpListener(socket) => Handle::TcpListener(socket.try_clone()?),
            Handle::TcpStream(socket) => Handle::TcpStream(socket.try_clone()?),
            Handle::UnixListener(socket) => Handle::UnixListener(socket.try_clone()?),
            Handle::UnixStream(socket) => Handle::UnixStream(socket.try_clone()?),
            Handle::UdpSocket(socket) => Handle::UdpSocket(socket.try_clone()?),
            Handle::TcpSocket(socket) => Handle::TcpSocket(socket.try_clone()?),
        })
    }

    /// The descriptor.
    pub fn into_fd(self) -> OwnedFd {
        match self {
            Handle::TcpListener(socket) => socket.into(),
            Handle::TcpStream(socket) => socket.into(),
            Handle::UnixListener(socket) => socket.into(),
            Handle::UnixStream(socket) => socket.into(),
            Handle::UdpSocket(socket) => socket.into(),
            Handle::TcpSocket(socket) => socket,
        }
    }

    /// What its envelope calls it.
    pub(crate) fn kind(&self) -> HandleKind<'static> {
        match self {
            Handle::TcpListener(_) | Handle::UnixListener(_) => HandleKind::NetServer,
            Handle::TcpStream(_) | Handle::UnixStream(_) => HandleKind::NetSocket,
            Handle::UdpSocket(socket) => HandleKind::DgramSocket(match socket.local_addr() {
                Ok(SocketAddr::V6(_)) => DgramType::Udp6,
                Ok(SocketAddr::V4(_)) | Err(_) => DgramType::Udp4,
            }),
            Handle::TcpSocket(_) => HandleKind::NetBoundSocket,
        }
    }

    /// What came in an envelope of that kind. `InvalidData` when it is something else; it is closed then.
    pub(crate) fn received(kind: &HandleKind<'_>, fd: OwnedFd) -> io::Result<Handle> {
        let passed = passed_kind(fd.as_fd());
        let handle = match (kind, passed) {
            (HandleKind::NetSocket, Passed::TcpStream) => Handle::TcpStream(fd.into()),
            (HandleKind::NetSocket, Passed::UnixStream) => Handle::UnixStream(fd.into()),
            (HandleKind::NetServer, Passed::TcpListener) => Handle::TcpListener(fd.into()),
            (HandleKind::NetServer, Passed::UnixListener) => Handle::UnixListener(fd.into()),
            (HandleKind::DgramSocket(DgramType::Udp4), Passed::Udp4)
            | (HandleKind::DgramSocket(DgramType::Udp6), Passed::Udp6)
            | (HandleKind::DgramNative, Passed::Udp4 | Passed::Udp6) => Handle::UdpSocket(fd.into()),
            (HandleKind::NetBoundSocket, Passed::TcpBound) => Handle::TcpSocket(fd),
            (HandleKind::NetNative, Passed::TcpListener) => Handle::TcpListener(fd.into()),
            (HandleKind::NetNative, Passed::TcpStream) => Handle::TcpStream(fd.into()),
            (HandleKind::NetNative, Passed::TcpBound) => Handle::TcpSocket(fd),
            (HandleKind::NetNative, Passed::UnixListener) => Handle::UnixListener(fd.into()),
            (HandleKind::NetNative, Passed::UnixStream) => Handle::UnixStream(fd.into()),
            (
                HandleKind::NetSocket
                | HandleKind::NetServer
                | HandleKind::NetBoundSocket
                | HandleKind::NetNative
                | HandleKind::DgramNative
                | HandleKind::DgramSocket(_)
                | HandleKind::Other(_),
                passed,
            ) => {
                let text = format!("cannot receive handle: {kind:?} was announced, {passed:?} arrived");
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        };
        set_nonblocking(handle.as_fd())?;
        Ok(handle)
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Handle::TcpListener(socket) => socket.as_fd(),
            Handle::TcpStream(socket) => socket.as_fd(),
            Handle::UnixListener(socket) => socket.as_fd(),
            Handle::UnixStream(socket) => socket.as_fd(),
            Handle::UdpSocket(socket) => socket.as_fd(),
            Handle::TcpSocket(socket) => socket.as_fd(),
        }
    }
}

impl From<Handle> for OwnedFd {
    fn from(handle: Handle) -> OwnedFd {
        handle.into_fd()
    }
}

/// Asks the kernel what it is. `InvalidInput` when it is nothing that can be passed; it is closed then.
impl TryFrom<OwnedFd> for Handle {
    type Error = io::Error;

    fn try_from(fd: OwnedFd) -> io::Result<Handle> {
        Ok(match passed_kind(fd.as_fd()) {
            Passed::TcpListener => Handle::TcpListener(fd.into()),
            Passed::TcpStream => Handle::TcpStream(fd.into()),
            Passed::TcpBound => Handle::TcpSocket(fd),
            Passed::UnixListener => Handle::UnixListener(fd.into()),
            Passed::UnixStream => Handle::UnixStream(fd.into()),
            Passed::Udp4 | Passed::Udp6 => Handle::UdpSocket(fd.into()),
            Passed::Other => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "cannot pass descriptor: neither a TCP, UDP nor Unix stream socket, or one without an address",
                ));
            }
        })
    }
}

macro_rules! from_sockets {
    ($($variant:ident: $std:ty, $tokio:ty;)*) => {$(
        impl From<$std> for Handle {
            fn from(socket: $std) -> Handle {
                Handle::$variant(socket)
            }
        }

        /// Takes the socket out of its runtime. As of the kernel when that fails.
        impl TryFrom<$tokio> for Handle {
            type Error = io::Error;

            fn try_from(socket: $tokio) -> io::Result<Handle> {
                socket.into_std().map(Handle::$variant)
            }
        }
    )*};
}

from_sockets! {
    TcpListener: TcpListener, tokio::net::TcpListener;
    TcpStream: TcpStream, tokio::net::TcpStream;
    UnixListener: UnixListener, tokio::net::UnixListener;
    UnixStream: UnixStream, tokio::net::UnixStream;
    UdpSocket: UdpSocket, tokio::net::UdpSocket;
}

#[cfg(test)]
mod tests;
