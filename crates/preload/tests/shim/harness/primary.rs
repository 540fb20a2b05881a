//! A primary that a test plays by hand: the next question, the answer to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use oneport_sys::foreign::{self, Name};
use oneport_sys::listen::{self, V6};
use oneport_sys::preload::{Answer, Call, Request, ShimCall, ShimListener, Token};
use oneport_sys::seccomp::Delivery;
use rustix::io::ioctl_fionbio;

use super::{PATIENCE, is_readable_within};

pub(crate) struct Primary {
    pub(crate) listener: ShimListener,
    pub(crate) token: Token,
}

/// A question that waits.
pub(crate) struct Asked(pub(crate) ShimCall);

impl Primary {
    pub(crate) fn new() -> Self {
        Self { listener: ShimListener::new().expect("listener"), token: Token::random().expect("random") }
    }

    /// The next question; it must be this worker's.
    pub(crate) fn next(&mut self) -> Asked {
        self.next_within(PATIENCE).expect("nobody asked in time")
    }

    /// The next question, if there is one in this time.
    pub(crate) fn next_within(&mut self, time: Duration) -> Option<Asked> {
        let deadline = Instant::now() + time;
        loop {
            if let Some(call) = self.listener.accept().expect("accept") {
                assert_eq!(call.token, self.token);
                return Some(Asked(call));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !is_readable_within(&self.listener, left) {
                return None;
            }
        }
    }

    /// The usual way of a server: the shared socket at `bind`, and `listen` is done.
    pub(crate) fn serve_one(&mut self, shared: &OwnedFd) {
        self.next().expect_bind().take(shared);
        let asked = self.next();
        assert!(asked.is_about(shared));
        listen::start_listening(shared.as_fd(), asked.backlog().cast_unsigned()).expect("listen");
        asked.answer(Answer::Done);
    }
}

impl Asked {
    pub(crate) fn request(&self) -> &Request {
        &self.0.request
    }

    /// Whether this socket is at the program's descriptor.
    pub(crate) fn is_about(&self, socket: &OwnedFd) -> bool {
        let there = foreign::socket_inode(self.0.process, self.0.request.fd).expect("a socket");
        there == listen::inode(socket.as_fd()).expect("a socket")
    }

    /// The backlog of a `listen`.
    pub(crate) fn backlog(&self) -> i32 {
        match self.0.request.call {
            Call::Listen { backlog, .. } => backlog,
            Call::Bind | Call::Shutdown { .. } => panic!("{:?}", self.0.request),
        }
    }

    pub(crate) fn expect_bind(self) -> Self {
        assert_eq!(self.0.request.call, Call::Bind);
        self
    }

    /// The port in question.
    pub(crate) fn port(&self) -> u16 {
        match &self.0.request.name {
            Name::Ip(address) => address.port(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn take(self, shared: &OwnedFd) {
        self.answer(Answer::Take(shared.as_fd()));
    }

    pub(crate) fn answer(self, answer: Answer<'_>) {
        assert_eq!(self.0.answer(answer).expect("answer"), Delivery::Delivered);
    }
}

/// A socket as the primary shares it, and its port.
pub(crate) fn not_listening() -> (OwnedFd, u16) {
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    let socket = listen::bind_tcp(address, V6::Dual).expect("bind");
    ioctl_fionbio(&socket, false).expect("blocking");
    let listen::LocalAddress::Ip(address) = listen::local_address(socket.as_fd()).expect("address") else {
        panic!("an address of another family");
    };
    (socket, address.port())
}

/// One that listens.
pub(crate) fn listening() -> (OwnedFd, u16) {
    let (socket, port) = not_listening();
    listen::start_listening(socket.as_fd(), 16).expect("listen");
    (socket, port)
}
