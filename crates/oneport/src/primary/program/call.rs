//! A program that waits for the answer to its `bind`, `listen` or `shutdown`, and the ways to answer it.
//!
//! What does not live here: what the answer is. Invariant: every call is answered once; one that is dropped without an
//! answer would keep its program waiting for ever, so answers take the caller by value.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use oneport_core::{EndpointKind, Sharing, Transport, WorkerId};
use oneport_sys::foreign::{self, Protocol};
use oneport_sys::lane::set_blocking;
use oneport_sys::listen::{V6, only_v6, reuses_port};
use oneport_sys::preload::{Answer, ReusePort, ShimCall};
use oneport_sys::process::Pid;
use oneport_sys::seccomp::{CallId, Listener};
use rustix::io::Errno;
use tracing::debug;

/// Who called, with which socket.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) worker: WorkerId,
    pub(super) process: Pid,
    pub(super) fd: RawFd,
    /// The socket's name, whoever holds it.
    pub(super) inode: u64,
    pub(super) protocol: Protocol,
    /// A duplicate of it, where one can be had.
    pub(super) socket: Option<OwnedFd>,
    pub(super) answering: Answering,
}

/// How it hears the answer.
#[derive(Debug)]
pub(super) enum Answering {
    /// Its system call waits in the kernel.
    Trap { listener: Arc<Listener>, call: CallId },
    /// The library that was loaded into it waits.
    Shim(ShimCall),
}

impl Caller {
    pub(super) fn succeed(self) {
        match self.answering {
            Answering::Trap { listener, call } => answer(&listener, call, Ok(())),
            Answering::Shim(call) => tell(call, Answer::Done),
        }
    }

    pub(super) fn fail(self, error: &io::Error) {
        let errno = error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error());
        let error = io::Error::from_raw_os_error(errno);
        match self.answering {
            Answering::Trap { listener, call } => answer(&listener, call, Err(error)),
            Answering::Shim(call) => tell(call, Answer::Fail(error)),
        }
    }

    /// The kernel does what was asked for, as if nobody had looked.
    pub(super) fn pass(self) {
        match self.answering {
            Answering::Trap { listener, call } => pass(&listener, call),
            Answering::Shim(call) => tell(call, Answer::Pass),
        }
    }

    /// Puts another socket in place of the program's, with the flags that the program's has, and lets the call succeed.
    pub(super) fn place(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        match self.answering {
            Answering::Trap { ref listener, call } => {
                let placed = foreign::fd_flags(self.process, self.fd).and_then(|(blocking, at_exec)| {
                    set_blocking(socket, blocking)?;
                    listener.replace(call, self.fd, socket, at_exec).map(drop)
                });
                if let Err(error) = &placed {
                    self.fail(error);
                }
                placed
            }
            // It sets them itself.
            Answering::Shim(call) => call.answer(Answer::Take(socket)).map(drop),
        }
    }

    /// Whether something watches the descriptor already, which would not see another socket in its place.
    pub(super) fn is_polled(&self) -> bool {
        foreign::is_polled(self.process, self.fd)
    }

    pub(super) fn own(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn transport(&self) -> Option<Transport> {
        match self.protocol {
            Protocol::Tcp4 | Protocol::Tcp6 | Protocol::Mptcp4 | Protocol::Mptcp6 => Some(Transport::Tcp),
            Protocol::Udp4 | Protocol::Udp6 => Some(Transport::Udp),
            Protocol::UnixStream | Protocol::Other(_) => None,
        }
    }

    pub(super) fn kind(&self) -> EndpointKind {
        match self.protocol {
            Protocol::Tcp4 | Protocol::Mptcp4 => EndpointKind::Tcp4,
            Protocol::Tcp6 | Protocol::Mptcp6 => EndpointKind::Tcp6,
            Protocol::Udp4 => EndpointKind::Udp4,
            Protocol::Udp6 => EndpointKind::Udp6,
            Protocol::UnixStream | Protocol::Other(_) => EndpointKind::Pipe,
        }
    }

    /// Whether an IPv6 socket serves IPv4 as well. Where it is not to be known: as the system has it by default.
    pub(super) fn v6(&self) -> V6 {
        match (&self.answering, self.own()) {
            (Answering::Shim(call), _) => call.request.v6,
            (Answering::Trap { .. }, Some(own)) if only_v6(own) => V6::Only,
            (Answering::Trap { .. }, Some(_) | None) => V6::Dual,
        }
    }

    /// Whether the program itself wants several sockets there. Where it is not to be known: not.
    pub(super) fn sharing(&self) -> Sharing {
        let asked = match (&self.answering, self.own()) {
            (Answering::Shim(call), _) => call.request.reuse_port == ReusePort::Set,
            (Answering::Trap { .. }, Some(own)) => reuses_port(own),
            (Answering::Trap { .. }, None) => false,
        };
        if asked { Sharing::WithItself } else { Sharing::Alone }
    }
}

fn tell(call: ShimCall, answer: Answer<'_>) {
    if let Err(cause) = call.answer(answer) {
        debug!(%cause, "cannot answer a program");
    }
}

pub(super) fn pass(listener: &Listener, call: CallId) {
    if let Err(cause) = listener.let_through(call) {
        debug!(%cause, "cannot let a trapped call through");
    }
}

pub(super) fn answer(listener: &Listener, call: CallId, outcome: io::Result<()>) {
    if let Err(cause) = listener.answer(call, outcome) {
        debug!(%cause, "cannot answer a trapped call");
    }
}
