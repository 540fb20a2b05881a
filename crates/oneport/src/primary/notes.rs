//! What workers ask about connections that they passed to this process: how many are still open here, and word when
//! none is (Node's `server.getConnections()` and `server.close()` in the worker wait for that).
//!
//! Looking means reading `/proc/self/fd`, so a thread of its own does it, started by the first such connection. What
//! may wait for it is bounded: a worker that asks faster than anybody can look is left without an answer.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use oneport_core::WorkerId;
use oneport_sys::proc::open_sockets;
use oneport_sys::process::own_pid;
use oneport_wire::node::message::{HandleEnvelope, SocketNote};
use tracing::{debug, warn};

use super::{Command, Primary};
use crate::cluster::Commands;
use crate::handle::Handle;
use crate::passed_on::PassedOn;

/// Notes that may wait for the thread.
const WAITING: usize = 1024;
/// A server's key in Node is an address and a few numbers.
pub(super) const LONGEST_KEY: usize = 1024;
/// How often the end of connections is looked for, while a worker waits for it.
const LOOK: Duration = Duration::from_millis(100);

/// Something for the thread.
#[derive(Debug)]
pub(super) enum Note {
    /// A worker passed on a connection of its server of this key.
    Passed { worker: WorkerId, key: String, inode: u64 },
    /// It asks.
    Asked { worker: WorkerId, note: SocketNote<'static> },
    /// It is gone.
    Forget { worker: WorkerId },
}

/// The way to the thread.
pub(super) struct Notes {
    sender: Sender<Note>,
    waiting: Arc<AtomicUsize>,
}

impl Primary {
    /// Remembers a connection that its worker may ask about.
    pub(super) fn note_passed(&mut self, worker: WorkerId, envelope: &HandleEnvelope<'_>, handle: &Handle) {
        let Some(key) = &envelope.key else { return };
        let Ok(stat) = rustix::fs::fstat(handle.as_fd()) else { return };
        if self.notes.is_none() {
            self.notes = start(self.own_commands.clone());
        }
        self.take_note(Note::Passed { worker, key: key.clone().into_owned(), inode: stat.st_ino });
    }

    /// A worker asks. Of one that never passed anything on nothing is open here.
    pub(super) fn asked(&mut self, worker: WorkerId, note: SocketNote<'static>) {
        match &self.notes {
            Some(_) => self.take_note(Note::Asked { worker, note }),
            None => {
                if let Some(answer) = answer_at_once(note) {
                    self.tell_note(worker, answer);
                }
            }
        }
    }

    fn take_note(&mut self, note: Note) {
        let Some(notes) = &self.notes else { return };
        if notes.waiting.fetch_add(1, Ordering::AcqRel) >= WAITING {
            notes.waiting.fetch_sub(1, Ordering::AcqRel);
            debug!("a note about passed connections is dropped: too many wait");
            return;
        }
        // A thread that has ended counts nothing any more.
        let _ = notes.sender.send(note);
    }

    /// Not bounded: there are no more of these than there were workers.
    pub(super) fn forget_notes(&mut self, worker: WorkerId) {
        if let Some(notes) = &self.notes {
            notes.waiting.fetch_add(1, Ordering::AcqRel);
            let _ = notes.sender.send(Note::Forget { worker });
        }
    }
}

fn answer_at_once(note: SocketNote<'static>) -> Option<SocketNote<'static>> {
    match note {
        SocketNote::GetCount { key } => Some(SocketNote::Count { key, count: 0 }),
        SocketNote::NotifyClose { key } => Some(SocketNote::AllClosed { key }),
        SocketNote::Count { .. } | SocketNote::AllClosed { .. } => None,
    }
}

fn start(commands: Commands) -> Option<Notes> {
    let (sender, received) = channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let notes = Notes { sender, waiting: waiting.clone() };
    let work = move || keep(&received, &waiting, &commands);
    match thread::Builder::new().name("oneport-notes".into()).spawn(work) {
        Ok(_) => Some(notes),
        Err(cause) => {
            warn!(%cause, "cannot keep count of passed connections");
            None
        }
    }
}

/// Until the primary is gone.
fn keep(notes: &Receiver<Note>, waiting: &AtomicUsize, commands: &Commands) {
    let mut tables: HashMap<WorkerId, PassedOn> = HashMap::new();
    let mut next_look = Instant::now();
    loop {
        let next = if tables.values().any(PassedOn::awaits) {
            notes.recv_timeout(next_look.saturating_duration_since(Instant::now()))
        } else {
            notes.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        if next.is_ok() {
            waiting.fetch_sub(1, Ordering::AcqRel);
        }
        match next {
            Ok(Note::Passed { worker, key, inode }) => {
                let table = tables.entry(worker).or_default();
                table.remember(key, inode, || open_sockets(own_pid()));
            }
            Ok(Note::Forget { worker }) => _ = tables.remove(&worker),
            Ok(Note::Asked { worker, note: SocketNote::GetCount { key } }) => {
                let count = tables.entry(worker).or_default().count(&key, &open_sockets(own_pid()));
                commands.send(Command::Note { worker, note: SocketNote::Count { key, count } });
            }
            Ok(Note::Asked { worker, note: SocketNote::NotifyClose { key } }) => {
                tables.entry(worker).or_default().await_end(key.into_owned());
            }
            // Answers to what this side never asks.
            Ok(Note::Asked { note: SocketNote::Count { .. } | SocketNote::AllClosed { .. }, .. })
            | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= next_look && tables.values().any(PassedOn::awaits) {
            tell_ends(&mut tables, commands);
            next_look = Instant::now() + LOOK;
        }
    }
}

fn tell_ends(tables: &mut HashMap<WorkerId, PassedOn>, commands: &Commands) {
    let open = open_sockets(own_pid());
    for (&worker, table) in tables {
        for key in table.all_closed(&open) {
            let note = SocketNote::AllClosed { key: key.into() };
            commands.send(Command::Note { worker, note });
        }
    }
}
