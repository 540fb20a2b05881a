//! The moments in which a worker may be told to leave without losing anything. Both need socket diagnostics and
//! `/proc`, which may block, so a thread of its own looks.
//!
//! Before the word (`disconnect`): the worker must have begun with the connections it was handed last. Node 26
//! takes one that it has read nothing from for idle and resets it when its server closes; 18 to 24 keep it.
//!
//! Before the signal (`stop_with=signal`): its connections must be gone or idle. Idle means nothing queued in either
//! direction, and the last data sent after the last data received. Only TCP can be judged.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use oneport_core::{Event as Core, WorkerId};
use oneport_sys::process::Pid;
use oneport_sys::{diag, proc, tree};
use tracing::warn;

use super::{Command, Primary};

/// The kernel tells nobody when a connection becomes idle; this is how often it is asked, while a worker leaves.
const LOOK: Duration = Duration::from_millis(25);
/// Idle must hold this many looks in a row: a request may be between two packets.
const HOLDS: u32 = 2;
/// How often, and how long at most, it is looked for connections not begun with. Clients that never send anything
/// must not hold up the stop.
const BEGIN_LOOK: Duration = Duration::from_millis(10);
const BEGIN_LOOKS: u32 = 100;

/// One leaving worker, as its watcher sees it.
struct Watched {
    root: Pid,
    mark: String,
    ports: Vec<u16>,
    over: Arc<AtomicBool>,
}

impl Primary {
    /// Reports `Idle` once the worker's connections are gone or idle.
    pub(super) fn watch_idle(&mut self, worker: WorkerId) {
        let Some(watched) = self.watched(worker) else { return };
        let commands = self.own_commands.clone();
        let looks = self.settings.conduct.drain_timeout.as_millis() / LOOK.as_millis();
        let work = move || {
            let mut idle_looks = 0;
            for _ in 0..=looks {
                if watched.over.load(Ordering::Relaxed) {
                    return;
                }
                idle_looks = if watched.all(diag::is_idle) { idle_looks + 1 } else { 0 };
                if idle_looks >= HOLDS {
                    commands.send(Command::Core(Core::Idle { worker }));
                    return;
                }
                thread::sleep(LOOK);
            }
        };
        if let Err(cause) = thread::Builder::new().name("oneport-idle".into()).spawn(work) {
            warn!(%cause, worker = worker.0, "cannot watch connections; the drain timeout decides");
        }
    }

    /// Tells the worker to leave once it has begun with what it was handed.
    pub(super) fn disconnect_once_begun(&mut self, worker: WorkerId) {
        let Some(watched) = self.watched(worker).filter(|watched| !watched.ports.is_empty()) else {
            return self.tell_disconnect(worker);
        };
        let commands = self.own_commands.clone();
        let work = move || {
            for _ in 0..BEGIN_LOOKS {
                if watched.all(|connection| !diag::is_fresh(connection)) {
                    break;
                }
                thread::sleep(BEGIN_LOOK);
            }
            commands.send(Command::Disconnect { worker });
        };
        if let Err(cause) = thread::Builder::new().name("oneport-begun".into()).spawn(work) {
            warn!(%cause, worker = worker.0, "cannot look at connections; the worker is told to leave at once");
            self.tell_disconnect(worker);
        }
    }

    fn watched(&self, worker: WorkerId) -> Option<Watched> {
        let w = self.workers.get(&worker)?;
        let (root, _) = w.process.as_ref()?;
        let ports = self.ports.values().filter_map(super::port::PortSocket::tcp_port).collect();
        Some(Watched { root: *root, mark: w.mark.clone(), ports, over: w.ending.hurry.clone() })
    }
}

impl Watched {
    /// Whether this holds for every TCP connection that the worker's tree has on the app's ports. A program that
    /// binds for itself is asked for its ports. What cannot be known does not hold.
    fn all(&self, holds: impl Fn(&diag::Connection) -> bool) -> bool {
        let pids = tree::members(self.root, &self.mark);
        let inodes: HashSet<u64> = pids.iter().flat_map(|pid| proc::open_sockets(*pid)).collect();
        let mut ports = self.ports.clone();
        if ports.is_empty() {
            ports.extend(
                pids.iter().flat_map(|pid| proc::listening_sockets(*pid)).filter_map(|socket| socket.port),
            );
        }
        if ports.is_empty() {
            return true;
        }
        let found = diag::tcp_connections(&ports);
        found.is_ok_and(|found| found.iter().filter(|c| inodes.contains(&c.inode)).all(holds))
    }
}
