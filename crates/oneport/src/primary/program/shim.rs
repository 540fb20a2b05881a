//! Calls that come from the library loaded into a program (`LD_PRELOAD`), where none can be trapped.
//!
//! Invariant: who does not know a living worker's token is answered that it is none of our business, and so is a call whose
//! socket cannot be found.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use oneport_core::{Effects, WorkerId};
use oneport_sys::foreign::{self, Network, Protocol};
use oneport_sys::listen::SocketKind;
use oneport_sys::poll::Interest;
use oneport_sys::preload::{Answer, Call, ShimCall, ShimListener, Token};
use tracing::{debug, warn};

use super::call::{Answering, Caller};
use crate::primary::Primary;
use crate::primary::token::Token as Ready;

/// Calls heard in one turn of the loop.
const BATCH: usize = 64;
const PRELOAD: &str = "LD_PRELOAD";
/// What the library finds the primary by.
const VARIABLE: &str = "ONEPORT_PRELOAD";

impl Primary {
    /// The variables by which the library is loaded into a worker and finds its primary. Wrappers pass them on.
    pub(in crate::primary) fn shim_variables(
        &mut self,
        library: &Path,
        env: &[(OsString, OsString)],
    ) -> io::Result<(Token, [(OsString, OsString); 2])> {
        if self.programs.shim.is_none() {
            let listener = ShimListener::new()?;
            self.poller.add(listener.as_fd(), Ready::Shim.pack(), Interest::READ)?;
            self.programs.shim = Some(listener);
        }
        if let (Some(shim), Some(user)) = (&mut self.programs.shim, self.settings.uid) {
            shim.trust(user);
        }
        let token = Token::random()?;
        let variable = self.programs.shim.as_ref().map(|shim| shim.variable(&token)).unwrap_or_default();
        let mut libraries = OsString::from(library);
        if let Some((_, others)) = env.iter().rfind(|(name, value)| name == PRELOAD && !value.is_empty()) {
            libraries.push(":");
            libraries.push(others);
        }
        Ok((token, [(PRELOAD.into(), libraries), (VARIABLE.into(), variable)]))
    }

    pub(in crate::primary) fn shim_ready(&mut self, effects: &mut Effects) {
        for _ in 0..BATCH {
            let Some(shim) = &mut self.programs.shim else { return };
            match shim.accept() {
                Ok(Some(call)) => self.shim_calls(call, effects),
                Ok(None) => return,
                Err(cause) => {
                    warn!(%cause, "cannot hear programs for now");
                    return self.watch_shim(Interest::NONE);
                }
            }
        }
    }

    /// Descriptors may be there again.
    pub(in crate::primary) fn try_shim(&mut self) {
        if self.programs.shim_stalled {
            self.watch_shim(Interest::READ);
        }
    }

    pub(in crate::primary) fn is_shim_stalled(&self) -> bool {
        self.programs.shim_stalled
    }

    fn watch_shim(&mut self, interest: Interest) {
        let Some(shim) = &self.programs.shim else { return };
        if let Err(cause) = self.poller.modify(shim.as_fd(), Ready::Shim.pack(), interest) {
            warn!(%cause, "cannot change interest");
        }
        self.programs.shim_stalled = interest == Interest::NONE;
    }

    fn shim_calls(&mut self, call: ShimCall, effects: &mut Effects) {
        let known = self.workers.iter().find(|(_, w)| {
            w.program
                .as_ref()
                .and_then(|program| program.token.as_ref())
                .is_some_and(|token| *token == call.token)
        });
        let worker = known.map(|(worker, _)| *worker);
        let inode = foreign::socket_inode(call.process, call.request.fd);
        match (worker, protocol(&call), inode) {
            (Some(worker), Some(protocol), Ok(inode)) => {
                self.shim_means(worker, protocol, inode, call, effects);
            }
            (Some(_) | None, Some(_) | None, Ok(_) | Err(_)) => {
                if let Err(cause) = call.answer(Answer::Pass) {
                    debug!(%cause, "cannot answer a program");
                }
            }
        }
    }

    fn shim_means(
        &mut self,
        worker: WorkerId,
        protocol: Protocol,
        inode: u64,
        call: ShimCall,
        effects: &mut Effects,
    ) {
        let (what, name) = (call.request.call, call.request.name.clone());
        let (process, fd) = (call.process, call.request.fd);
        let answering = Answering::Shim(call);
        // Elsewhere nobody reaches the library's socket, whose name is one of a network.
        let network = Network::Ours;
        let caller = Caller { worker, process, fd, inode, protocol, network, socket: None, answering };
        match what {
            Call::Bind => self.program_binds(caller, &name, effects),
            Call::Listen { backlog, .. } => self.program_listens(caller, backlog, effects),
            Call::Shutdown { .. } => self.program_shuts(caller, effects),
        }
    }
}

fn protocol(call: &ShimCall) -> Option<Protocol> {
    use oneport_sys::foreign::Name;
    let v4 = match &call.request.name {
        Name::Ip(address) => address.is_ipv4(),
        Name::UnixPath(_) | Name::UnixAbstract(_) | Name::Unnamed | Name::Other(_) => false,
    };
    match (call.request.kind, v4) {
        (SocketKind::Tcp, true) => Some(Protocol::Tcp4),
        (SocketKind::Tcp, false) => Some(Protocol::Tcp6),
        (SocketKind::Udp, true) => Some(Protocol::Udp4),
        (SocketKind::Udp, false) => Some(Protocol::Udp6),
        (SocketKind::UnixStream, _) => Some(Protocol::UnixStream),
        (SocketKind::UnixDatagram | SocketKind::Other, _) => None,
    }
}
