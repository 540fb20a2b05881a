//! Lanes that go: what waits in them is served first, given away, or counted.
//!
//! Invariant: no lane is closed while connections wait in it, but for those that the core orders to be closed all the same,
//! and then they are counted and told.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use oneport_core::{Event as Core, LaneId, WorkerId};
use oneport_sys::accept::{Accepted, accept};
use oneport_sys::diag;
use oneport_sys::foreign::Blocking;
use oneport_sys::lane::{queue_length, set_blocking};
use oneport_sys::listen::waiting;
use tracing::warn;

use super::give::Taken;
use super::{Lane, LaneKind};
use crate::event::Event;
use crate::primary::{Command, Primary};

/// How often the queues of a leaving worker are looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How long they must have been empty: a client whose handshake was begun with this socket ends it here.
const HOLDS: Duration = Duration::from_millis(50);
/// Half-open connections of the port may be this worker's; a client far away takes as long to complete them.
const HANDSHAKE: Duration = Duration::from_secs(1);
/// Most that a queue may hold (`net.core.somaxconn` is 4096 since Linux 5.4; administrators raise it).
pub(super) const LONGEST_QUEUE: u32 = 65_536;

impl Primary {
    /// Reports `LanesEmpty` once nothing waits in the sockets of this worker.
    pub(in crate::primary) fn empty_lanes(&mut self, worker: WorkerId) {
        let mut sockets = Vec::new();
        let mut ports = Vec::new();
        for lane in self.lanes.lanes_of(worker) {
            sockets.push(lane.socket.clone());
            ports.extend(self.ports.get(&lane.port).and_then(|socket| socket.tcp_port()));
        }
        let Some(over) = self.workers.get(&worker).map(|w| w.ending.hurry.clone()) else { return };
        let commands = self.own_commands.clone();
        let most = self.settings.conduct.drain_timeout;
        let work = move || {
            let began = Instant::now();
            let mut empty_since: Option<Instant> = None;
            while began.elapsed() <= most && !over.load(Ordering::Relaxed) {
                let empty = !sockets.iter().any(|socket| waiting(socket.as_fd()));
                empty_since = if empty { empty_since.or_else(|| Some(Instant::now())) } else { None };
                if empty_since.is_some_and(|since| {
                    since.elapsed() >= HANDSHAKE || since.elapsed() >= HOLDS && !are_half_open(&ports)
                }) {
                    // Nobody but the loop has them when they are to be closed.
                    sockets.clear();
                    commands.send(Command::Core(Core::LanesEmpty { worker }));
                    return;
                }
                thread::sleep(LOOK);
            }
        };
        if let Err(cause) = thread::Builder::new().name("oneport-empty".into()).spawn(work) {
            warn!(%cause, worker = worker.0, "cannot look at queues; the drain timeout decides");
        }
    }

    /// With `net.ipv4.tcp_migrate_req` the kernel would give what waits to others of the port, but by its hash: to those that
    /// are not chosen as well, and to the keeper of the door, who serves nobody (Linux 6.1). So nothing is left to it.
    pub(in crate::primary) fn retire_lane(&mut self, lane: LaneId) {
        let port = self.lanes.port_of(lane);
        if port.is_some_and(|port| self.hands_off(port)) {
            match self.take_over(lane) {
                Taken::All => {
                    self.close_lane(lane);
                    self.pending.push_back(Core::LaneRetired { lane });
                }
                Taken::Part => self.pending.push_back(Core::LaneExhausted { lane }),
            }
        } else if self.lanes.socket_of(lane).is_some_and(waiting) {
            self.pending.push_back(Core::LaneStuck { lane });
        } else {
            self.lanes.end(lane);
            self.pending.push_back(Core::LaneRetired { lane });
        }
    }

    /// Closes it, and tells how many connections were lost with it.
    pub(in crate::primary) fn close_lane(&mut self, lane: LaneId) {
        let lost = self.lanes.table.get(&lane).map_or(0, turn_away);
        let port = self.lanes.end(lane);
        let address = port.and_then(|port| self.ports.get(&port)).map(|socket| socket.address.clone());
        if let Some(address) = address.filter(|_| lost > 0) {
            self.tell(Event::ConnectionsLost { address, connections: lost });
        }
    }
}

/// Takes what waits and closes it, so that each client hears of it now; answers how many there were.
fn turn_away(lane: &Lane) -> u32 {
    // The flag is the program's as well, but it is not to accept any more.
    if lane.kind != LaneKind::Stream || set_blocking(lane.socket.as_fd(), Blocking::Never).is_err() {
        return 0;
    }
    let mut lost = 0;
    while lost < LONGEST_QUEUE {
        match accept(lane.socket.as_fd()) {
            Accepted::Connection(_) => lost += 1,
            Accepted::Skipped => {}
            Accepted::Empty => return lost,
            // The rest hears of it by the end of the socket.
            Accepted::Exhausted(_) | Accepted::Failed(_) => {
                return lost.saturating_add(queue_length(lane.socket.as_fd()).unwrap_or(0));
            }
        }
    }
    lost
}

fn are_half_open(ports: &[u16]) -> bool {
    diag::half_open(ports).is_ok_and(|count| count > 0)
}
