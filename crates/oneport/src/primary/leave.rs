//! Watching a worker that leaves without a word (`stop_with=signal`): once its open connections are gone or idle
//! nothing is lost when the signal comes. Reading `/proc` and socket diagnostics may block, so a thread does it.
//!
//! Idle means: nothing queued in either direction, and the last data was sent after the last data was received.
//! Only TCP can be judged; a connection of another kind counts as open until it is gone.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use oneport_core::{Event as Core, WorkerId};
use oneport_sys::{diag, proc, tree};
use tracing::warn;

use super::{Command, Primary};

/// The kernel tells nobody when a connection becomes idle; this is how often it is asked, while a worker leaves.
const LOOK: Duration = Duration::from_millis(25);
/// Idle must hold this many looks in a row: a request may be between two packets.
const HOLDS: u32 = 2;

impl Primary {
    pub(super) fn watch_idle(&mut self, worker: WorkerId) {
        let ports: Vec<u16> = self.ports.values().filter_map(super::port::PortSocket::tcp_port).collect();
        let Some(w) = self.workers.get(&worker) else { return };
        let Some((root, _)) = w.process else { return };
        let (mark, over) = (w.mark.clone(), w.ending.hurry.clone());
        let commands = self.own_commands.clone();
        let bound = self.settings.conduct.drain_timeout;
        let work = move || {
            let looks = u32::try_from(bound.as_millis() / LOOK.as_millis()).unwrap_or(u32::MAX);
            let mut idle_looks = 0;
            for _ in 0..=looks {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let pids = tree::members(root, &mark);
                idle_looks = if is_idle(&pids, &ports) { idle_looks + 1 } else { 0 };
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
}

fn is_idle(pids: &[oneport_sys::process::Pid], ports: &[u16]) -> bool {
    let mut ports = ports.to_vec();
    let mut inodes = HashSet::new();
    for pid in pids {
        inodes.extend(proc::open_sockets(*pid));
        if ports.is_empty() {
            ports.extend(proc::listening_sockets(*pid).iter().filter_map(|l| l.port));
        }
    }
    if ports.is_empty() {
        return true;
    }
    match diag::tcp_connections(&ports) {
        Ok(found) => found.iter().filter(|c| inodes.contains(&c.inode)).all(diag::is_idle),
        // Not known is not idle.
        Err(_) => false,
    }
}
