//! Workers that are programs: they have no channel, and are asked about when they bind and listen.
//!
//! What lives here: what is kept of them, and the way of one call. `look` sees a call, `bind` and `listen` say what it means,
//! the core decides, `reply` carries the answer out. The sockets are lanes (`primary::lane`).
//! Invariant: a trapped call is answered in every case, for its program waits.

mod bind;
mod call;
mod gate;
mod http;
mod insight;
mod listen;
mod listen_fds;
mod look;
mod notify;
mod reply;
mod shim;
mod spare;
mod start;
mod stopwatch;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use oneport_core::{
    Effects, EndCause, Endpoint, Event as Core, LaneId, QuerySeq, QueryTerms, Sharing, Terms, WorkerId,
};
use oneport_sys::listen::is_listening;
use oneport_sys::preload::{ShimListener, Token};
use oneport_sys::process::{self, Pid};
use oneport_sys::seccomp::{Listener, Shutdown, Traps};
use tracing::{debug, warn};

use self::call::Caller;
use self::http::Questions;
use self::listen_fds::Birth;
use self::look::{LONGEST_LOOK, Looker, Taking, Wish};
use self::notify::Notify;
use super::Primary;
use super::lane::{Closing, Post, Sentry};
use crate::cluster::STRANGERS_WORDS;
use crate::event::{Address, Event, Oddity};
use crate::program::ProgramWay;

pub(crate) use self::http::Question;
pub(crate) use self::look::{Seen, Unseen};
pub(super) use self::spare::Sparing;

/// What the primary keeps of all programs.
#[derive(Debug, Default)]
pub(super) struct Programs {
    looker: Option<Looker>,
    shim: Option<ShimListener>,
    /// It could not be heard for want of descriptors, and is tried again after a pause.
    shim_stalled: bool,
    /// Calls that the core was asked about.
    asked: HashMap<(WorkerId, QuerySeq), Asked>,
    next_seq: i64,
    /// Processes of crashed workers that serve their last connection.
    spared: Vec<OwnedFd>,
    questions: Questions,
    /// Workers that get their sockets before they have a process.
    births: Vec<Birth>,
}

/// What it keeps of one.
#[derive(Debug, Default)]
pub(super) struct ProgramWorker {
    /// What its library says that it is.
    token: Option<Token>,
    /// Where it says how it is.
    notify: Option<Notify>,
    /// A thread asks it whether it is well.
    is_asked: bool,
    /// Sockets bound to port 0, by inode, with their addresses.
    any_port: Vec<(u64, IpAddr)>,
    /// How many listen on a port of the kernel's choice, by address.
    chosen_ports: Vec<(IpAddr, u32)>,
}

/// Sockets bound to port 0 remembered per worker: nearly all of them are clients.
const MOST_ANY_PORT: usize = 256;

/// A call that waits for the core's answer.
#[derive(Debug)]
struct Asked {
    caller: Caller,
    call: AskedCall,
    endpoint: Endpoint,
}

#[derive(Debug)]
enum AskedCall {
    /// To this address, whatever the program itself asked for.
    Bind(SocketAddr),
    BindPath,
    /// On a port of the kernel's choice.
    Listen {
        address: SocketAddr,
        backlog: u32,
    },
}

impl Primary {
    /// What its child is to be trapped at. `None`: it is attached by other means.
    pub(super) fn traps(&self) -> Option<Traps> {
        let shares = self.settings.conduct.policy == oneport_core::Policy::Shared
            || !self.settings.program.claims.paths.is_empty();
        let shutdown = if shares { Shutdown::Trapped } else { Shutdown::Untouched };
        match self.settings.program.way {
            ProgramWay::Own => Some(Traps { shutdown, keep: None }),
            ProgramWay::Slot => Some(Traps { shutdown: Shutdown::Trapped, keep: None }),
            ProgramWay::Preload { .. } | ProgramWay::ListenFds { .. } => None,
        }
    }

    /// From now on the worker's calls are answered.
    pub(super) fn answer_calls(&mut self, worker: WorkerId, listener: Listener) -> io::Result<()> {
        let taking = match self.settings.program.way {
            ProgramWay::Own => Taking::Sockets,
            ProgramWay::Slot | ProgramWay::Preload { .. } | ProgramWay::ListenFds { .. } => Taking::Nothing,
        };
        if self.programs.looker.is_none() {
            self.programs.looker = Some(Looker::start(self.own_commands.clone())?);
        }
        match &mut self.programs.looker {
            Some(looker) => looker.watch(worker, Arc::new(listener), taking),
            None => Ok(()),
        }
    }

    /// Nothing of the worker is left.
    pub(super) fn forget_program(&mut self, worker: WorkerId) {
        if let Some(looker) = &self.programs.looker {
            looker.forget(worker);
        }
        self.lanes.forget_tenant(worker);
        for socket in self.ports.values_mut() {
            if let Err(cause) = socket.name_after_departure() {
                warn!(%cause, address = %socket.address, "cannot make the path lead to its socket again");
            }
        }
    }

    /// A program waits for an answer.
    pub(super) fn called(&mut self, seen: Seen, effects: &mut Effects) {
        let Seen { caller, wish, .. } = seen;
        match wish {
            Wish::Bind(name) => self.program_binds(caller, &name, effects),
            Wish::Listen { backlog } => self.program_listens(caller, backlog, effects),
            Wish::Shutdown => self.program_shuts(caller, effects),
        }
    }

    /// A call could not be looked into, and was let through.
    pub(super) fn unseen(&mut self, unseen: Unseen) {
        let Unseen { worker, error, .. } = unseen;
        self.tell_oddity(worker, Oddity::Unseen { error });
    }

    /// What it passed by address cannot be read, and nobody else's call is looked into meanwhile.
    pub(super) fn unreadable(&mut self, worker: WorkerId, effects: &mut Effects) {
        if let Some(w) = self.workers.get_mut(&worker) {
            w.reason =
                Some(format!("its memory could not be read for {LONGEST_LOOK} s, while all others waited"));
        }
        self.happen(Core::Condemned { worker, cause: EndCause::Hung }, effects);
    }

    fn ask_core(
        &mut self,
        caller: Caller,
        call: AskedCall,
        endpoint: Endpoint,
        sharing: Sharing,
        effects: &mut Effects,
    ) {
        let worker = caller.worker;
        let seq = QuerySeq(self.programs.next_seq);
        self.programs.next_seq += 1;
        self.programs.asked.insert((worker, seq), Asked { caller, call, endpoint: endpoint.clone() });
        let terms = Terms::default();
        let query = Box::new(QueryTerms { endpoint, terms, data: None, sharing });
        self.happen(Core::Query { worker, seq, query }, effects);
        // The core does not answer those who are leaving. The number is none that `bind` has, so that nobody looks for
        // who has the address.
        if let Some(asked) = self.programs.asked.remove(&(worker, seq)) {
            asked.caller.fail(&io::Error::from_raw_os_error(rustix::io::Errno::CANCELED.raw_os_error()));
            self.outlived(worker, 1);
        }
    }

    /// It listens: from now on it is noticed when nobody accepts.
    fn post_sentry(&mut self, worker: WorkerId, lane: LaneId, process: Pid) {
        self.watch_load(worker, lane);
        let Some((root, mark)) = self.tree_of(worker) else { return };
        if self.lanes.sentry.is_none() {
            match Sentry::start(self.own_commands.clone(), self.readings.clone()) {
                Ok(sentry) => self.lanes.sentry = Some(sentry),
                Err(cause) => return warn!(%cause, "cannot watch queues"),
            }
        }
        let Some((socket, kind, inode)) = self.lanes.copy_of(lane) else { return };
        if let Some(sentry) = &self.lanes.sentry {
            sentry.watch(Post { lane, worker, socket, kind, inode, process, root, mark });
        }
    }

    /// What is seen late concerns somebody else by now, or a socket that listens again.
    pub(super) fn closed_while_alive(
        &mut self,
        worker: WorkerId,
        lane: LaneId,
        how: Closing,
        effects: &mut Effects,
    ) {
        let Some(port) = self.lanes.port_of(lane) else { return };
        let goes_on = match how {
            Closing::Dropped => false,
            Closing::Shut => self.lanes.socket_of(lane).is_some_and(is_listening),
        };
        let is_theirs = self.lanes.tenant_of(lane).is_some_and(|(tenant, _)| tenant == worker);
        if is_theirs && !goes_on && self.is_alive(worker) {
            self.closes(worker, lane, effects);
        }
        // In every case the numbers of the others may be other ones.
        self.lanes.apply(port);
    }

    /// Nobody new is sent there; told, if it is no part of its leaving.
    fn closes(&mut self, worker: WorkerId, lane: LaneId, effects: &mut Effects) {
        if !self.lanes.note_closed(lane) {
            return;
        }
        let told = self.place_of(lane).filter(|_| self.core.asked_to_leave(worker).is_none());
        self.happen(Core::LaneClosed { worker, lane }, effects);
        if let Some((_, address)) = told {
            self.tell_oddity(worker, Oddity::Closed { address });
        }
    }

    /// Whether its first process lives: what ends with that was not closed by anybody.
    fn is_alive(&self, worker: WorkerId) -> bool {
        let Some(w) = self.workers.get(&worker).filter(|w| w.ending.exit.is_none()) else { return false };
        w.process.as_ref().is_some_and(|(_, pidfd)| matches!(process::peek(pidfd.as_fd()), Ok(None)))
    }

    pub(super) fn not_accepting(&mut self, worker: WorkerId, lane: LaneId, after: Duration) {
        if let Some((tenant, address)) = self.place_of(lane)
            && tenant == worker
        {
            self.tell_oddity(worker, Oddity::NotAccepting { address, after });
        }
    }

    /// Whose it is, and where.
    fn place_of(&self, lane: LaneId) -> Option<(WorkerId, Address)> {
        let (worker, port) = self.lanes.tenant_of(lane)?;
        Some((worker, self.ports.get(&port)?.address.clone()))
    }

    fn program_mut(&mut self, worker: WorkerId) -> Option<&mut ProgramWorker> {
        self.workers.get_mut(&worker)?.program.as_mut()
    }

    /// What is needed to find everything that the worker started.
    pub(super) fn tree_of(&self, worker: WorkerId) -> Option<(Pid, String)> {
        let w = self.workers.get(&worker)?;
        let (root, _) = w.process.as_ref()?;
        Some((*root, w.mark.clone()))
    }

    pub(super) fn tell_oddity(&mut self, worker: WorkerId, oddity: Oddity) {
        let event = Event::Oddity { worker: self.handle(worker), oddity };
        self.tell_if_heard(worker, event);
    }

    /// A program cannot be slowed as a channel can: what it causes while its owner has enough to hear is not told.
    fn tell_if_heard(&mut self, worker: WorkerId, event: Event) {
        if self.backlog.waiting.load(Ordering::Acquire) < STRANGERS_WORDS {
            self.tell_counted(worker, event);
        } else {
            debug!(?event, "not told: the owner has enough to hear");
        }
    }
}
