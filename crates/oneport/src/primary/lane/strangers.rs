//! Others who listen where this app does. With SO_REUSEPORT any process of the same user can join a group, whatever the first
//! `bind` found.
//!
//! A stranger is sent nothing, because it is never named; but it has a number in the kernel's order, so it has a place in ours.
//! Whoever listens on one of a wildcard's addresses takes that address's connections. Either is told once.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use oneport_core::{LaneId, PortId};
use oneport_sys::diag;
use oneport_sys::listen::bound_to;
use oneport_sys::proc::holder_of_inode;
use tracing::{debug, warn};

use super::{Lane, Lanes};
use crate::event::Event;
use crate::primary::{Command, Primary};

/// How often it is looked at most, however many workers join.
const PAUSE: Duration = Duration::from_millis(50);

/// One that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stranger {
    inode: u64,
    /// Its place in the group, if it is in that.
    pub(super) place: Option<LaneId>,
}

/// Who somebody is that listens where the app does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Somebody {
    pub(crate) port: PortId,
    pub(crate) at: SocketAddr,
    /// Number and command line, if they can be known.
    pub(crate) process: Option<(i32, String)>,
}

impl Primary {
    /// Looks who else listens there.
    pub(in crate::primary) fn look_for_strangers(&mut self, port: PortId) {
        let Some(found) = self.lanes.listeners_beside(port) else { return };
        for (inode, at) in found {
            let commands = self.own_commands.clone();
            // Who it is takes a reading of all processes.
            let work = move || {
                let process = holder_of_inode(inode).map(|(pid, command)| (pid.get(), command));
                commands.send(Command::Stranger(Somebody { port, at, process }));
            };
            if let Err(cause) = thread::Builder::new().name("oneport-who".into()).spawn(work) {
                warn!(%cause, %at, "somebody else listens there, and cannot be looked for");
            }
        }
    }

    pub(in crate::primary) fn tell_stranger(&mut self, Somebody { port, at, process }: Somebody) {
        // One of our own whose socket went between the two looks.
        let own = |pid: i32| {
            self.workers.values().any(|w| w.process.as_ref().is_some_and(|(of, _)| of.get() == pid))
        };
        if process.as_ref().is_some_and(|(pid, _)| own(*pid)) {
            return;
        }
        if let Some(address) = self.ports.get(&port).map(|socket| socket.address.clone()) {
            self.tell(Event::Stranger { address, at, process });
        }
    }
}

impl Lanes {
    /// Those that were not seen before; `None`: it was looked a moment ago, or cannot be.
    fn listeners_beside(&mut self, port: PortId) -> Option<Vec<(u64, SocketAddr)>> {
        // Of a program that is tried out not where it wished to be: somebody else is there, and in another group.
        let bound = |lane: &Lane| bound_to(lane.socket.as_fd()).ok().flatten();
        let address = self.table.values().filter(|lane| lane.port == port).find_map(bound)?;
        let group = self.groups.get_mut(&port)?;
        if group.looked.is_some_and(|looked| looked.elapsed() < PAUSE) {
            return None;
        }
        group.looked = Some(Instant::now());
        let listening = match diag::listen_queue(&[address.port()]) {
            Ok(listening) => listening,
            Err(cause) => {
                debug!(%cause, "cannot see who else listens on a port");
                return None;
            }
        };
        let takes = |at: SocketAddr| address.ip().is_unspecified() || at.ip() == address.ip();
        let others = listening.into_iter().filter(|socket| takes(socket.local));
        let others: Vec<(u64, SocketAddr)> = others
            .filter(|socket| !self.inodes().any(|own| own == socket.inode))
            .map(|socket| (socket.inode, socket.local))
            .collect();
        self.strangers_left(port, &others);
        let mut new = Vec::new();
        for (inode, at) in others {
            let known = self.groups.get(&port)?.strangers.iter().any(|stranger| stranger.inode == inode);
            if !known {
                let place = is_same(at, address).then(|| self.next_ghost());
                let group = self.groups.get_mut(&port)?;
                group.take_in(Stranger { inode, place });
                new.push((inode, at));
            }
        }
        Some(new)
    }

    fn strangers_left(&mut self, port: PortId, there: &[(u64, SocketAddr)]) {
        let Some(group) = self.groups.get_mut(&port) else { return };
        let gone = |stranger: &Stranger| !there.iter().any(|(inode, _)| *inode == stranger.inode);
        let left: Vec<Stranger> = group.strangers.iter().copied().filter(gone).collect();
        for stranger in &left {
            group.let_out(*stranger);
        }
        if !left.is_empty() {
            self.apply(port);
        }
    }
}

/// Whether both are one address to the kernel.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    let plain = |address: SocketAddr| match address.ip().to_canonical() {
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => (ip, address.port()),
    };
    plain(one) == plain(other)
}
