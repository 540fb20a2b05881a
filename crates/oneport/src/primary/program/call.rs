//! A program that waits for the answer to its `bind`, `listen` or `shutdown`, and the ways to answer it.
//!
//! What does not live here: what the answer is. Invariant: every call is answered once; one that is dropped without an
//! answer would keep its program waiting for ever, so answers take the caller by value.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use oneport_core::{EndpointKind, Sharing, Transport, WorkerId};
use oneport_sys::foreign::{self, AtExec, Blocking, Maker, Network, Protocol, Registration};
use oneport_sys::lane::set_blocking;
use oneport_sys::listen::{V6, only_v6, reuses_port};
use oneport_sys::preload::{Answer, ReusePort, ShimCall};
use oneport_sys::process::Pid;
use oneport_sys::seccomp::{CallId, Listener};
use rustix::io::Errno;
use tracing::debug;

/// Whether other copies have a socket already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    ByNobody,
    ByOthers,
}

/// Who called, with which socket.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) worker: WorkerId,
    pub(super) process: Pid,
    pub(super) fd: RawFd,
    /// The socket's name, whoever holds it.
    pub(super) inode: u64,
    pub(super) protocol: Protocol,
    pub(super) network: Network,
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

/// Why another socket does not stand in place of the program's.
#[derive(Debug)]
pub(super) enum NotPut {
    /// What watches the program's own would not watch the other. The program's own is where it was.
    Watched(io::Error),
    Failed(io::Error),
}

impl NotPut {
    fn cause(&self) -> &io::Error {
        match self {
            NotPut::Watched(cause) | NotPut::Failed(cause) => cause,
        }
    }
}

impl From<io::Error> for NotPut {
    fn from(cause: io::Error) -> NotPut {
        NotPut::Failed(cause)
    }
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

    /// Puts another socket in place of the program's, with the flags that the program's has; the call still waits. Where the
    /// program's own can be had, what watches that one watches the other from now on.
    pub(super) fn put(&self, socket: BorrowedFd<'_>, held: Held) -> Result<(), NotPut> {
        let (listener, call) = match &self.answering {
            Answering::Trap { listener, call } => (listener, *call),
            // It is put there by its own library, with the answer.
            Answering::Shim(_) => return Ok(()),
        };
        let (blocking, _) = foreign::fd_flags(self.process, self.fd)?;
        let watched = match self.own() {
            Some(own) => Some((own, self.registrations()?)),
            None => None,
        };
        // Nothing has to follow in most programs.
        let watched = watched.filter(|(_, registrations)| !registrations.is_empty());
        let numbers = self.numbers(watched.as_ref().map_or(&[], |(_, registrations)| registrations))?;
        let put_everywhere = |socket| {
            let mut numbers = numbers.iter();
            numbers.try_for_each(|(number, at_exec)| listener.put(call, *number, socket, *at_exec).map(drop))
        };
        match (held, blocking) {
            // Whether operations wait is for all the same. Many programs ask not to wait only behind `bind`, and the others,
            // who have asked long ago, would wait in `accept` meanwhile, and with it everything else that they do.
            (Held::ByOthers, Blocking::Waits) => {}
            (Held::ByNobody, Blocking::Waits) | (_, Blocking::Never) => set_blocking(socket, blocking)?,
        }
        let put = put_everywhere(socket);
        let Some((own, registrations)) = watched else { return Ok(put?) };
        // Not before: another thread may wait for what watches it, and would find the program's own there.
        let followed = put.and_then(|()| self.register_again(listener, call, &registrations, own, socket));
        match followed {
            Ok(()) => Ok(()),
            Err(cause) if listener.is_waiting(call) => {
                put_everywhere(own)?;
                Err(NotPut::Watched(cause))
            }
            // Whoever is gone leaves the other socket to the next.
            Err(cause) => Err(NotPut::Failed(cause)),
        }
    }

    /// Answers with success to a program in whose place another socket was [`put`](Self::put).
    pub(super) fn succeed_with(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        match self.answering {
            Answering::Trap { listener, call } => {
                answer(&listener, call, Ok(()));
                Ok(())
            }
            Answering::Shim(call) => call.answer(Answer::Take(socket)).map(drop),
        }
    }

    /// What a socket of ours has to be before it is put into a program for the first time. The library makes it
    /// non-blocking where the program's is, and never blocking: a copy that waits elsewhere has the same one.
    pub(super) fn prepare(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        match self.answering {
            Answering::Trap { .. } => Ok(()),
            Answering::Shim(_) => set_blocking(socket, Blocking::Waits),
        }
    }

    /// Both; if it cannot be put, the call fails.
    pub(super) fn place(self, socket: BorrowedFd<'_>, held: Held) -> Result<(), NotPut> {
        match self.put(socket, held) {
            Ok(()) => Ok(self.succeed_with(socket)?),
            Err(error) => {
                self.fail(error.cause());
                Err(error)
            }
        }
    }

    fn registrations(&self) -> Result<Vec<Registration>, NotPut> {
        foreign::registrations(self.process, self.fd).map_err(|cause| {
            let too_many = cause.raw_os_error() == Some(Errno::TOOBIG.raw_os_error());
            if too_many { NotPut::Watched(cause) } else { NotPut::Failed(cause) }
        })
    }

    /// The numbers that have to lead to the other socket: that of the call, and whichever the program has the same socket
    /// under and watches.
    fn numbers(&self, watched: &[Registration]) -> io::Result<Vec<(RawFd, AtExec)>> {
        let mut numbers = vec![(self.fd, foreign::fd_flags(self.process, self.fd)?.1)];
        for Registration { number, .. } in watched {
            let known = numbers.iter().any(|(known, _)| known == number);
            // Numbers are given anew; where there is something else now, nothing is to be put.
            if !known && foreign::socket_inode(self.process, *number).is_ok_and(|inode| inode == self.inode) {
                numbers.push((*number, foreign::fd_flags(self.process, *number)?.1));
            }
        }
        Ok(numbers)
    }

    fn register_again(
        &self,
        listener: &Listener,
        call: CallId,
        registrations: &[Registration],
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let process = foreign::open_thread(self.process)?;
        if !listener.is_waiting(call) {
            return Err(Errno::SRCH.into());
        }
        foreign::register_again(process.as_fd(), registrations, from, to)
    }

    /// Whether something watches the descriptor already, which may not see another socket in its place.
    pub(super) fn is_polled(&self) -> bool {
        foreign::is_polled(self.process, self.fd)
    }

    /// As whom it makes files. Where it is not to be known, we make them as we are.
    pub(super) fn maker(&self) -> Option<Maker> {
        let maker = foreign::maker(self.process);
        let still = match &self.answering {
            Answering::Trap { listener, call } => listener.is_waiting(*call),
            Answering::Shim(_) => true,
        };
        maker.inspect_err(|cause| debug!(%cause, "cannot read who makes a path")).ok().filter(|_| still)
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
