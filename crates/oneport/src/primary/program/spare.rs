//! Who of a crashed worker's tree may go on: a server that forks for each connection leaves children that serve one client
//! each and need nothing of their parent.
//!
//! Invariant: nobody is spared who holds a listener of the app, for the worker's successor takes that over or shares it, or
//! listens to anything else; and nobody outlives the app.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use oneport_core::WorkerId;
use oneport_sys::process::{self, Pid, Signal};
use oneport_sys::tree::Spared;
use oneport_sys::{diag, proc};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::primary::Primary;
use crate::primary::port::PortSocket;
use crate::primary::readings::Readings;

/// What tells those who may go on from the others.
#[derive(Debug)]
pub(in crate::primary) struct Sparing {
    /// Of the app, whether they listen already or not.
    listeners: Vec<u64>,
    connections: Vec<u64>,
    within: Duration,
    readings: Readings,
}

impl Sparing {
    /// Whether this process only serves connections that it has.
    pub(in crate::primary) fn speaks_for(&self, pid: Pid) -> bool {
        let held = proc::open_sockets(pid);
        let has = |inode: &u64| held.binary_search(inode).is_ok();
        self.connections.iter().any(has)
            && !self.listeners.iter().any(has)
            && self.readings.ports_of(&[pid]).is_empty()
    }

    /// Waits for those who were spared, and ends them when their time is over. What they started themselves is not ended
    /// with them: by then nothing tells it from others.
    pub(in crate::primary) fn see_out(&self, spared: Vec<Spared>) {
        Spared::wait_or_kill(spared, Instant::now() + self.within);
    }
}

impl Primary {
    /// `None`: everything of the worker is ended. It did not crash, or is no program.
    pub(in crate::primary) fn sparing(&self, worker: WorkerId) -> Option<Sparing> {
        self.workers.get(&worker).filter(|w| w.program.is_some() && w.ending.exit.is_some())?;
        let shared = self.ports.values().filter_map(PortSocket::inode);
        let listeners: Vec<u64> = self.lanes.inodes().chain(shared).collect();
        let ports: Vec<u16> = self.ports.values().filter_map(|socket| socket.tcp_port()).collect();
        // Only those of processes have an inode.
        let mut connections: Vec<u64> = diag::tcp_connections(&ports).ok()?.iter().map(|c| c.inode).collect();
        connections.retain(|inode| *inode != 0);
        let (within, readings) = (self.settings.conduct.drain_timeout, self.readings.clone());
        Some(Sparing { listeners, connections, within, readings })
    }

    pub(in crate::primary) fn remember_spared(&mut self, pidfds: Vec<OwnedFd>) {
        self.programs.spared.retain(lives);
        self.programs.spared.extend(pidfds);
    }

    /// The app is over.
    pub(in crate::primary) fn end_spared(&mut self) {
        for pidfd in self.programs.spared.drain(..) {
            // One that has ended meanwhile needs no signal.
            let _ = process::signal(pidfd.as_fd(), Signal::KILL);
        }
    }
}

fn lives(pidfd: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(pidfd, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    !matches!(poll(&mut asked, Some(&at_once)), Ok(1..))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use oneport_sys::listen::inode;
    use oneport_sys::process::own_pid;

    use super::*;

    /// With the policy `shared` no lane says what it listens to.
    #[test]
    fn whoever_listens_itself_is_not_spared_for_its_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let sparing = Sparing {
            listeners: Vec::new(),
            connections: vec![inode(client.as_fd()).unwrap()],
            within: Duration::ZERO,
            readings: Readings::default(),
        };
        assert!(!sparing.speaks_for(own_pid()));
    }
}
