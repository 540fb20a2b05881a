//! What is learnt of a caller: whose it is, which socket it names, what lies in its memory.
//!
//! What does not live here: the thread that does this, and whether the caller still waits (`look`). Invariant: only what nobody
//! may look into is let through unseen.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use oneport_core::WorkerId;
use oneport_sys::foreign::{self, Home, Network, Protocol};
use oneport_sys::seccomp::{Call, Kind, Listener};
use rustix::io::Errno;

use super::call::{Answering, Caller};
use super::look::{Taking, Wish};

pub(super) enum Looked {
    Worth(Box<Caller>, Wish),
    /// No socket that could ever be the app's.
    NotOurs,
}

/// What becomes of a call that cannot be looked into.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nobody may look there, today or tomorrow.
    LetThrough,
    /// With the same number: what the kernel itself would answer to such an address, or what we are short of. Let through,
    /// this copy would have the address for itself, and no other could have it.
    Fails(Shortage),
}

/// Of a call whose look ended so.
pub(super) fn fate(error: &io::Error) -> Fate {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Fate::LetThrough;
    }
    Fate::Fails(if is_shortage(error) { Shortage::Ours } else { Shortage::None })
}

/// Whether a look failed for want of descriptors or memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shortage {
    None,
    /// Of this process or of the machine.
    Ours,
}

fn is_shortage(error: &io::Error) -> bool {
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    short.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Who calls, with which socket, and for what. May take as long as the caller's memory takes to be read.
pub(super) fn look(
    worker: WorkerId,
    listener: &Arc<Listener>,
    taking: Taking,
    call: Call,
    home: Home,
) -> io::Result<Looked> {
    let (fd, wish) = match call.kind {
        Kind::Bind { fd, address, length } => {
            (fd, Wish::Bind(foreign::read_address(call.thread, address, length)?))
        }
        Kind::Listen { fd, backlog } => (fd, Wish::Listen { backlog }),
        Kind::Shutdown { fd, how: _ } => (fd, Wish::Shutdown),
    };
    let process = foreign::process_of(call.thread)?;
    let known = foreign::protocol_of(process, fd)
        .and_then(|protocol| Ok((protocol, foreign::socket_inode(process, fd)?)));
    let (protocol, inode) = match known {
        Ok((Protocol::Other(_), _)) => return Ok(Looked::NotOurs),
        Ok(known) => known,
        Err(error) if fate(&error) != Fate::Fails(Shortage::None) => return Err(error),
        // No descriptor, or no socket: the kernel says it best.
        Err(_) => return Ok(Looked::NotOurs),
    };
    let socket = match taking {
        Taking::Sockets => {
            let thread = foreign::open_thread(call.thread)?;
            Some(foreign::take_fd(thread.as_fd(), fd)?)
        }
        Taking::Nothing => None,
    };
    let network = match protocol {
        // A path is in no network.
        Protocol::UnixStream | Protocol::Other(_) => Network::Ours,
        Protocol::Tcp4
        | Protocol::Tcp6
        | Protocol::Mptcp4
        | Protocol::Mptcp6
        | Protocol::Udp4
        | Protocol::Udp6 => home.network_of(call.thread, socket.as_ref().map(AsFd::as_fd)),
    };
    let answering = Answering::Trap { listener: listener.clone(), call: call.id };
    let caller = Caller { worker, process, fd, inode, protocol, network, socket, answering };
    Ok(Looked::Worth(Box::new(caller), wish))
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustix::io::Errno;

    use super::{Fate, Shortage, fate};

    #[test]
    fn only_what_is_forbidden_is_let_through() {
        let fate = |errno: Errno| fate(&io::Error::from(errno));
        for errno in [Errno::ACCESS, Errno::PERM] {
            assert_eq!(fate(errno), Fate::LetThrough);
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            assert_eq!(fate(errno), Fate::Fails(Shortage::Ours));
        }
        for errno in [Errno::INVAL, Errno::FAULT, Errno::BADF, Errno::SRCH] {
            assert_eq!(fate(errno), Fate::Fails(Shortage::None));
        }
    }
}
