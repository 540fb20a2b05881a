//! A worker that is up and never asks for a port, while a process it started binds one: some wrapper took the
//! channel for itself. Package managers are refused by name before they start; this finds the others.

use std::thread;
use std::time::Duration;

use oneport::WorkerId;
use oneport_sys::proc::listening_sockets;
use oneport_sys::process::Pid;
use oneport_sys::tree;

use super::{Happening, Run};

const LONG_ENOUGH: Duration = Duration::from_secs(3);

impl Run {
    pub(super) fn watch_unheard(&self, worker: WorkerId) {
        let happenings = self.happenings.clone();
        // A thread that only waits; it is not needed for anything if it cannot be had.
        let _ = thread::Builder::new().name("unheard".into()).stack_size(64 * 1024).spawn(move || {
            thread::sleep(LONG_ENOUGH);
            // The command may have ended meanwhile.
            let _ = happenings.send(Happening::Unheard(worker));
        });
    }

    pub(super) fn look_at_unheard(&mut self, worker: WorkerId) {
        if self.heard.contains(&worker) {
            return;
        }
        let Some(root) = self.workers.get(&worker).and_then(|worker| Pid::new(worker.pid)) else { return };
        // Without the mark: only what is still in its family tree.
        let below = tree::members(root, "").into_iter().filter(|pid| *pid != root);
        let Some((pid, socket)) = below
            .flat_map(|pid| listening_sockets(pid).into_iter().map(move |socket| (pid, socket)))
            .find(|(_, socket)| socket.port.is_some())
        else {
            return;
        };
        self.teller.error(
            &format!(
                "cannot share `{}`: worker {root} kept the channel, and pid {pid}, which it started, binds alone",
                socket.address
            ),
            Some("run the script itself instead of what starts it: oneport run server.js"),
        );
    }
}
