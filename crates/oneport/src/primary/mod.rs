//! The primary: one thread, one loop, one kind of event. Descriptors become ready, commands arrive, deadlines pass;
//! each is turned into an event of the core, and what the core asks for is carried out at once. Nothing here
//! decides, and nothing here blocks: what may block has a thread of its own.

mod accept;
mod channel;
mod effects;
mod handoff;
mod heard;
mod ids;
mod lane;
mod leave;
mod notes;
mod orders;
mod port;
mod program;
mod readings;
mod reap;
mod restless;
mod spawn;
mod token;
mod trees;

use std::collections::{HashSet, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use oneport_core::{ConnId, Effects, LaneId, PortId, Time, WorkerId};
use oneport_sys::caps::{self, Capability};
use oneport_sys::clock::boot_time;
use oneport_sys::poll::{Interest, Poller, Readiness, Ready};
use oneport_sys::process::Signal;
use oneport_sys::waker::Waker;
use oneport_wire::node::message::{Json, SocketNote};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tracing::{error, warn};

use crate::cluster::{Backlog, Commands, Roster, Shared};
use crate::event::Event;
use crate::fork::Worker;
use crate::handle::Handle;
use crate::settings::Settings;

use accept::Lingering;
use handoff::{Stream, StreamId};
use ids::IdMap;
use lane::{Closing, Lanes, Somebody, Weights};
use notes::Notes;
use orders::Forking;
use port::PortSocket;
use program::{Programs, Question, Seen, Unseen};
use readings::Readings;
use spawn::WorkerProcess;
use token::Token;
use trees::Trees;

/// How long a send is put off for which the kernel had no memory.
const STALL: Duration = Duration::from_millis(20);
/// Commands taken in one turn: workers can cause as many as they like, and deadlines, ends and channels have theirs.
const MOST_COMMANDS: usize = 128;

/// What reaches the loop from other threads.
#[derive(Debug)]
pub(crate) enum Command {
    /// Something for the core.
    Core(oneport_core::Event),
    /// Later workers are started with these.
    Setup(Box<Settings>),
    /// One worker outside the slots, with these variables.
    Fork { env: Vec<(OsString, OsString)>, reply: SyncSender<Option<Worker>> },
    /// The owner wants every worker gone, and to be told of the last.
    DisconnectAll { done: oneshot::Sender<()> },
    /// The owner's message to a worker.
    Send { worker: WorkerId, message: Json<'static>, handle: Option<Handle> },
    /// The owner's signal to a worker.
    Signal { worker: WorkerId, signal: Signal },
    /// The owner took messages: read on.
    Unthrottle,
    /// A worker has begun with what it was handed: tell it to leave.
    Disconnect { worker: WorkerId },
    /// An answer about connections that a worker passed on.
    Note { worker: WorkerId, note: SocketNote<'static> },
    /// A program waits for the answer to a call.
    Called(Box<Seen>),
    /// A program's call could not be looked into, and was let through.
    Unseen(Unseen),
    /// A look into a program does not end.
    Unreadable { worker: WorkerId },
    /// Somebody is about to ask a copy of a program, and nobody else, whether it is well.
    AskAlone(Question),
    /// And has asked.
    AskedAlone { lane: LaneId },
    /// A program closed its listener and lives on.
    ClosedWhileAlive { worker: WorkerId, lane: LaneId, how: Closing },
    /// A port's connections are to be shared so from now on.
    Weigh { port: PortId, weights: Weights },
    /// The kernel does not see the connections of a port that it is to count.
    Uncounted { port: PortId },
    /// It may be that somebody else listens on a port.
    LookAround { port: PortId },
    /// Somebody else does.
    Stranger(Somebody),
    /// A worker takes nothing from its lane, and these sleep.
    Rescue { lane: LaneId, at_rest: Vec<LaneId> },
    /// Nobody but the loop has a socket of this port any more that is over.
    Unwatched { port: PortId },
    /// A program holds its listener and takes nothing from it.
    NotAccepting { worker: WorkerId, lane: LaneId, after: Duration },
    /// Processes of a crashed worker may serve what they have.
    Spared { processes: Vec<OwnedFd> },
    /// A program left in peace, and processes that it started lived on.
    WentToBackground { worker: WorkerId, processes: usize },
    /// A worker's tree is ended.
    TreeEnded { worker: WorkerId },
    /// Nobody listens to events any more.
    OwnerLeft,
}

pub(crate) struct Primary {
    settings: Settings,
    core: oneport_core::Cluster,
    poller: Poller,
    commands: mpsc::Receiver<Command>,
    own_commands: Commands,
    waker: Arc<Waker>,
    events: UnboundedSender<Event>,
    backlog: Arc<Backlog>,
    roster: Roster,
    shared: Shared,
    workers: IdMap<WorkerId, WorkerProcess>,
    ports: IdMap<PortId, PortSocket>,
    /// Accepted and not settled.
    conns: IdMap<ConnId, OwnedFd>,
    next_conn: u64,
    /// How many this process may have open.
    descriptors: usize,
    streams: IdMap<StreamId, Stream>,
    next_stream: u32,
    /// Answers of one stream being heard; kept for its memory.
    answers: Vec<(ConnId, bool)>,
    /// Streams with connections that were chosen in this turn.
    chosen: Vec<StreamId>,
    /// Workers started with an inspector so far.
    inspected: u32,
    forking: Option<Forking>,
    /// What is kept of workers that are programs without a channel.
    programs: Programs,
    /// Sockets of which each worker has its own.
    lanes: Lanes,
    /// Who ends the trees of workers.
    trees: Trees,
    /// What all threads that look after workers read.
    readings: Readings,
    /// Who counts connections that workers passed on, once there are any.
    notes: Option<Notes>,
    /// Who waits for the last worker to go.
    disconnecting: Vec<oneshot::Sender<()>>,
    /// Channels and streams whose sending has to be tried again after a pause.
    stalled: HashSet<WorkerId>,
    stalled_streams: HashSet<StreamId>,
    /// Connections that could not be closed yet without waiting.
    lingering: Lingering,
    /// Events that carrying out an effect gave rise to.
    pending: VecDeque<oneport_core::Event>,
    over: bool,
}

impl Primary {
    pub(crate) fn new(
        settings: Settings,
        commands: mpsc::Receiver<Command>,
        own_commands: Commands,
        events: UnboundedSender<Event>,
        (backlog, roster, shared): (Arc<Backlog>, Roster, Shared),
    ) -> io::Result<Primary> {
        let poller = Poller::new()?;
        let waker = own_commands.waker();
        poller.add(waker.as_fd(), Token::Waker.pack(), Interest::READ)?;
        Ok(Primary {
            lanes: Lanes::new(settings.conduct.policy, settings.tier),
            core: oneport_core::Cluster::new(settings.conduct.clone()),
            settings,
            poller,
            commands,
            own_commands,
            waker,
            events,
            backlog,
            roster,
            shared,
            workers: IdMap::default(),
            ports: IdMap::default(),
            conns: IdMap::default(),
            next_conn: 0,
            descriptors: descriptor_limit(),
            streams: IdMap::default(),
            next_stream: 0,
            answers: Vec::new(),
            chosen: Vec::new(),
            inspected: 0,
            forking: None,
            programs: Programs::default(),
            trees: Trees::default(),
            readings: Readings::default(),
            notes: None,
            disconnecting: Vec::new(),
            stalled: HashSet::new(),
            stalled_streams: HashSet::new(),
            lingering: Lingering::default(),
            pending: VecDeque::new(),
            over: false,
        })
    }

    pub(crate) fn run(mut self) {
        // Raised again around the calls that need them.
        if let Err(cause) = caps::lower(&[Capability::Bpf, Capability::Perfmon, Capability::NetAdmin]) {
            warn!(%cause, "cannot take capabilities out of effect");
        }
        let mut readiness = Readiness::new();
        let mut effects = Effects::new();
        while !self.over {
            let mut timeout = self.core.next_deadline().map(|due| due.since(now()));
            if !self.stalled.is_empty() || !self.stalled_streams.is_empty() || self.is_shim_stalled() {
                timeout = Some(timeout.map_or(STALL, |due| due.min(STALL)));
            }
            if let Err(cause) = self.poller.wait(&mut readiness, timeout) {
                error!(%cause, "cannot wait for events");
                break;
            }
            if self.core.next_deadline().is_some_and(|due| due <= now()) {
                self.pending.push_back(oneport_core::Event::Tick);
                self.settle(&mut effects);
                self.flush_streams(&mut effects);
            }
            for ready in readiness.iter() {
                self.dispatch(ready, &mut effects);
                self.flush_streams(&mut effects);
            }
            self.try_stalled(&mut effects);
            self.flush_streams(&mut effects);
        }
        self.abandon();
    }

    fn dispatch(&mut self, ready: Ready, effects: &mut Effects) {
        match Token::unpack(ready.token) {
            Some(Token::Waker) => self.take_commands(effects),
            Some(Token::Port(port)) => self.accept(port, effects),
            Some(Token::Channel(worker)) => self.channel_ready(worker, ready, effects),
            Some(Token::Process(worker)) => {
                // What it said last is why it ended.
                self.hear_notify(worker, effects);
                self.process_ended(worker, effects);
            }
            Some(Token::Stream(stream)) => self.stream_ready(stream, effects),
            Some(Token::Shim) => self.shim_ready(effects),
            Some(Token::Notify(worker)) => self.hear_notify(worker, effects),
            None => {}
        }
    }

    fn take_commands(&mut self, effects: &mut Effects) {
        if let Err(cause) = self.waker.clear() {
            error!(%cause, "cannot clear waker");
        }
        for _ in 0..MOST_COMMANDS {
            let Ok(command) = self.commands.try_recv() else { return };
            match command {
                Command::Core(event) => {
                    if let oneport_core::Event::Scale(slots) = event {
                        self.lanes.set_slots(slots);
                    } else if let oneport_core::Event::Reserve(slots) = event {
                        self.lanes.reserve_slots(slots);
                    }
                    self.happen(event, effects);
                }
                Command::Setup(settings) => self.set_up(*settings),
                Command::Fork { env, reply } => self.fork(env, &reply, effects),
                Command::DisconnectAll { done } => self.disconnect_all(done, effects),
                Command::Send { worker, message, handle } => self.send_user(worker, message, handle),
                Command::Signal { worker, signal } => self.signal(worker, signal),
                Command::Unthrottle => self.unthrottle(effects),
                Command::Disconnect { worker } => self.tell_disconnect(worker),
                Command::Note { worker, note } => self.tell_note(worker, note),
                Command::Called(seen) => self.called(*seen, effects),
                Command::Unseen(unseen) => self.unseen(unseen),
                Command::Unreadable { worker } => self.unreadable(worker, effects),
                Command::AskAlone(question) => self.ask_alone(question),
                Command::AskedAlone { lane } => self.asked_alone(lane),
                Command::ClosedWhileAlive { worker, lane, how } => {
                    self.closed_while_alive(worker, lane, how, effects);
                }
                Command::Weigh { port, weights } => self.lanes.weigh(port, weights),
                Command::Rescue { lane, at_rest } => {
                    self.lanes.rescued.from = Some(lane);
                    self.rescue(lane, &at_rest);
                    self.settle(effects);
                    self.lanes.rescued.from = None;
                }
                Command::Uncounted { port } => self.place_from_outside(port),
                Command::LookAround { port } => self.look_for_strangers(port),
                Command::Stranger(somebody) => self.tell_stranger(somebody),
                Command::Unwatched { port } => self.lanes.apply(port),
                Command::NotAccepting { worker, lane, after } => self.not_accepting(worker, lane, after),
                Command::Spared { processes } => self.remember_spared(processes),
                Command::WentToBackground { worker, processes } => {
                    self.outlived(worker, processes);
                }
                Command::TreeEnded { worker } => self.tree_ended(worker, effects),
                Command::OwnerLeft => self.happen(oneport_core::Event::StopNow, effects),
            }
        }
        // Perhaps there are more: in the next turn.
        if let Err(cause) = self.waker.wake() {
            error!(%cause, "cannot wake up");
        }
    }

    /// Tells the core and does what it asks for, until nothing more follows.
    fn happen(&mut self, event: oneport_core::Event, effects: &mut Effects) {
        self.pending.push_back(event);
        self.settle(effects);
    }

    fn settle(&mut self, effects: &mut Effects) {
        loop {
            while let Some(event) = self.pending.pop_front() {
                self.core.step(now(), event, effects);
                for effect in effects.drain(..) {
                    self.carry_out(effect);
                }
            }
            if !self.tend_births() {
                self.tell_fallen();
                return self.tell_rescued_in_time();
            }
        }
    }

    /// Sends again where the kernel had no room in itself.
    fn try_stalled(&mut self, effects: &mut Effects) {
        self.try_stalled_streams();
        self.try_shim();
        for worker in std::mem::take(&mut self.stalled) {
            let Some(channel) = self.workers.get_mut(&worker).and_then(|w| w.channel.as_mut()) else {
                continue;
            };
            let conns = &self.conns;
            channel.flush(|conn| conns.get(&conn).map(AsFd::as_fd));
            self.update_interest(worker);
        }
        self.settle(effects);
    }

    fn tell(&self, event: Event) {
        // Nobody listening is no reason to stop serving; `OwnerLeft` is.
        let _ = self.events.send(event);
    }

    /// The owner's handle on a worker. One that never came to be, or is forgotten, has a handle that says so.
    fn handle(&self, worker: WorkerId) -> Worker {
        let known = self.workers.get(&worker).map(|w| w.owner.clone());
        let known = known.or_else(|| self.shared.workers().get(&worker).cloned());
        known.unwrap_or_else(|| Worker::new(worker, None, false, self.own_commands.clone()))
    }

    /// The loop cannot go on: nothing that it started may outlive it.
    fn abandon(&mut self) {
        self.end_spared();
        trees::end_all(self.workers.drain().map(|(_, worker)| worker));
    }
}

fn now() -> Time {
    Time(boot_time())
}

/// The soft limit of open files, as it is when the primary starts.
fn descriptor_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}
