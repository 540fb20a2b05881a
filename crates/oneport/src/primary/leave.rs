//! The moments in which a worker may be told to leave without losing anything. Both need socket diagnostics and
//! `/proc`, which may block, so a thread of its own looks.
//!
//! Before the word (`disconnect`): the worker must have begun with the connections it was handed last. Node 26
//! takes one that it has read nothing from for idle and resets it when its server closes; 18 to 24 keep it.
//!
//! Before the signal (`stop_with=signal`, and after the channel closed): its connections must be gone, or idle for a
//! moment. Idle means nothing queued in either direction, and the last data sent after the last data received; at
//! first also quiet for a second, so that a response sent in pieces is not cut. Only TCP can be judged. Where a client goes
//! on asking over a connection that it keeps, that moment may never come; after the first time such connections are ended
//! one by one (`restless`), if this process may do that.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use oneport_core::{Event as Core, WorkerId};
use oneport_sys::process::Pid;
use oneport_sys::{diag, hangup, proc};
use tracing::{debug, warn};

use super::readings::Readings;
use super::restless::Restless;
use super::{Command, Primary};
use crate::event::AddressKind;

/// The kernel tells nobody when a connection becomes idle; this is how often it is asked, while a worker leaves.
const LOOK: Duration = Duration::from_millis(25);
/// How long idle must hold: a request may be between two packets.
const HOLDS: Duration = Duration::from_millis(50);
/// For so long (or half the drain time, if that is less) a connection counts as idle only once it was quiet for
/// `QUIET_MS`. A client that asks again and again on one connection never is, hence the limit.
const PATIENT: Duration = Duration::from_secs(3);
const QUIET_MS: u32 = 1000;
/// For each moment of looking so many without.
const SPARING: u32 = 3;
/// How often the worker's tree is looked up again: that reads all of `/proc`.
const TREE_LOOK: Duration = Duration::from_secs(1);
/// How often, and how long at most, it is looked for connections not begun with. Clients that never send anything
/// must not hold up the stop.
const BEGIN_LOOK: Duration = Duration::from_millis(10);
const BEGIN_WITHIN: Duration = Duration::from_secs(1);

/// One leaving worker, as its watcher sees it.
struct Watched {
    root: Pid,
    mark: String,
    ports: Vec<u16>,
    over: Arc<AtomicBool>,
    readings: Readings,
    tree: Vec<Pid>,
    looked_up: Option<Instant>,
    /// Who has which socket, by inode, and by which number.
    holders: HashMap<u64, (Pid, RawFd)>,
    /// When that was read, and how long it took.
    read: Option<(Instant, Duration)>,
    /// Nothing has forbidden it so far.
    may_hang_up: bool,
}

/// How old what is known of descriptors may be: reading it takes long where there are many.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Sparing,
    Anew,
}

impl Primary {
    /// Reports `Idle` once the worker's connections are gone (for `linger`, or `HOLDS`) or idle.
    pub(super) fn watch_idle(&mut self, worker: WorkerId, linger: Duration) {
        let Some(mut watched) = self.watched(worker) else { return };
        let commands = self.own_commands.clone();
        let drain = self.settings.conduct.drain_timeout;
        let patience = PATIENT.min(drain / 2);
        let work = move || {
            let began = Instant::now();
            let (mut gone_since, mut idle_since) = (None, None);
            let mut restless = Restless::default();
            while began.elapsed() <= drain && !watched.over.load(Ordering::Relaxed) {
                let looked = Instant::now();
                let patient = began.elapsed() < patience;
                // What was held for long enough is looked at as it is now.
                let held =
                    |since: Option<Instant>, long: Duration| since.is_some_and(|at| at.elapsed() >= long);
                let is_held = held(gone_since, linger.max(HOLDS)) || held(idle_since, HOLDS);
                let found = watched.connections(if is_held { Look::Anew } else { Look::Sparing });
                let seen = found.as_deref().unwrap_or_default();
                restless.see(seen);
                if !patient {
                    let rest = drain.saturating_sub(patience).max(LOOK);
                    let passed = began.elapsed().saturating_sub(patience).div_duration_f64(rest);
                    watched.hang_up(restless.resting(seen, passed));
                }
                // Who asks again might do so between this look and the signal; a quiet second says that nobody does.
                let settled = patient || !restless.is_any() || !watched.may_hang_up;
                let gone = found.as_ref().is_some_and(Vec::is_empty);
                let idle = settled
                    && found.is_some_and(|found| {
                        found.iter().all(|c| restless.is_idle(c) && (!patient || is_quiet(c)))
                    });
                if is_held && (gone && gone_since.is_some() || idle && !gone && idle_since.is_some()) {
                    commands.send(Command::Core(Core::Idle { worker }));
                    return;
                }
                gone_since = if gone { gone_since.or_else(|| Some(Instant::now())) } else { None };
                idle_since = if idle && !gone { idle_since.or_else(|| Some(Instant::now())) } else { None };
                // Thousands of connections take their time to be looked at: others need this processor, too.
                thread::sleep(LOOK.max(looked.elapsed().saturating_mul(SPARING)));
            }
        };
        if let Err(cause) = thread::Builder::new().name("oneport-idle".into()).spawn(work) {
            warn!(%cause, worker = worker.0, "cannot watch connections; the drain timeout decides");
        }
    }

    /// Tells the worker to leave once it has begun with what it was handed.
    pub(super) fn disconnect_once_begun(&mut self, worker: WorkerId) {
        let Some(mut watched) = self.watched(worker).filter(|watched| !watched.ports.is_empty()) else {
            return self.tell_disconnect(worker);
        };
        let commands = self.own_commands.clone();
        let work = move || {
            let began = Instant::now();
            while began.elapsed() < BEGIN_WITHIN {
                if watched.over.load(Ordering::Relaxed) {
                    return;
                }
                if watched.connections(Look::Anew).is_none_or(|found| !found.iter().any(diag::is_fresh)) {
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
        let open = self.ports.values().filter_map(super::port::PortSocket::tcp_port);
        // Where it was the only one the port may be closed already, and its connections go on.
        let left = w.owner.addresses().into_iter().filter(|address| address.kind == AddressKind::Tcp);
        let left = left.filter_map(|address| Some(address.socket?.port()));
        let ports = open.chain(left).collect();
        Some(Watched {
            root: *root,
            mark: w.mark.clone(),
            ports,
            over: w.ending.hurry.clone(),
            readings: self.readings.clone(),
            tree: Vec::new(),
            looked_up: None,
            holders: HashMap::new(),
            read: None,
            may_hang_up: true,
        })
    }
}

impl Watched {
    /// The TCP connections that the worker's tree has, on the app's ports and on those it binds for itself. `None`:
    /// not to be known.
    fn connections(&mut self, look: Look) -> Option<Vec<diag::Connection>> {
        if self.looked_up.is_none_or(|at| at.elapsed() >= TREE_LOOK) {
            self.tree = self.readings.table().members(self.root, &self.mark);
            self.ports.extend(self.readings.ports_of(&self.tree));
            self.ports.sort_unstable();
            self.ports.dedup();
            self.looked_up = Some(Instant::now());
        }
        if self.ports.is_empty() {
            return Some(Vec::new());
        }
        let is_old = |(at, took): (Instant, Duration)| at.elapsed() >= took.saturating_mul(10);
        if look == Look::Anew || self.read.is_none_or(is_old) {
            self.read_holders();
        }
        let holders = &self.holders;
        self.readings.connections(&self.ports, |connection| holders.contains_key(&connection.inode))
    }

    fn read_holders(&mut self) {
        let began = Instant::now();
        self.holders.clear();
        for pid in &self.tree {
            // One that has ended meanwhile, or is not ours to look at: nothing of it is ended, nor waited for.
            let found = proc::socket_descriptors(*pid).unwrap_or_default();
            self.holders.extend(found.into_iter().map(|(inode, fd)| (inode, (*pid, fd))));
        }
        self.read = Some((began, began.elapsed()));
    }

    /// Ends these connections, each if it is still idle.
    fn hang_up<'a>(&mut self, connections: impl Iterator<Item = &'a diag::Connection>) {
        if !self.may_hang_up {
            return;
        }
        for one in connections {
            let holder = self.holders.get(&one.inode);
            match holder.map(|(pid, fd)| hangup::hang_up(*pid, *fd, one)) {
                Some(Err(cause)) if is_forbidden(&cause) => {
                    debug!(%cause, "connections of workers cannot be ended one by one");
                    self.may_hang_up = false;
                    return;
                }
                // It has gone, or was used meanwhile: the next look tells.
                Some(Ok(_) | Err(_)) | None => {}
            }
        }
    }
}

fn is_forbidden(cause: &std::io::Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, Unsupported};
    matches!(cause.kind(), PermissionDenied | Unsupported)
}

fn is_quiet(connection: &diag::Connection) -> bool {
    let long_ago = |ms: Option<u32>| ms.is_none_or(|ms| ms >= QUIET_MS);
    long_ago(connection.since_last_sent_ms) && long_ago(connection.since_last_received_ms)
}
