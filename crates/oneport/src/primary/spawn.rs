//! Bringing a worker into the world, and what the primary holds of it while it lives.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use oneport_core::{Attach, EndCause, Event as Core, Exit, PortId, QuerySeq, Slot, WorkerId};
use oneport_sys::fdpass::channel_pair;
use oneport_sys::poll::Interest;
use oneport_sys::process::{self, Pid, Signal};
use oneport_sys::spawn::{self, Command};
use oneport_sys::tree::{MARK_VARIABLE, TreeMark};
use oneport_wire::node::env;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::Primary;
use super::channel::{Channel, Kin};
use super::handoff::StreamId;
use super::program::ProgramWorker;
use super::token::Token;
use super::trees::Leftovers;
use crate::event::{Address, Event, Output};
use crate::fork::Worker;
use crate::program::ProgramWay;
use crate::settings::{ChildChannel, Stdio};

/// Two clusters of one process have workers of the same numbers; their marks must differ, or the end of one
/// tree would be the end of another.
static MARKS: AtomicU64 = AtomicU64::new(1);

/// A channel that we ourselves were started with is not the worker's, and it would answer our service manager in our place
/// or take our sockets for its own.
const OURS: [&str; 11] = [
    oneport_sys::bpf::grant::VARIABLE,
    env::CHANNEL_FD,
    env::UNIQUE_ID,
    env::SERIALIZATION_MODE,
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    // With LISTEN_PID since systemd 258.
    "LISTEN_PIDFDID",
];

/// How far a worker's end has come.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// The process ended and is not reaped: its number stays its own until its tree is ended.
    pub(super) exit: Option<Exit>,
    pub(super) tree: TreeEnd,
    /// What is still to be said of processes that outlive it.
    pub(super) leftovers: Leftovers,
    /// Tells the thread that ends the tree to wait no longer.
    pub(super) hurry: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TreeEnd {
    #[default]
    NotAsked,
    UnderWay,
    Done,
}

/// Everything held of one worker.
pub(super) struct WorkerProcess {
    pub(super) id: WorkerId,
    /// The owner's handle on it.
    pub(super) owner: Worker,
    pub(super) process: Option<(Pid, OwnedFd)>,
    pub(super) mark: String,
    pub(super) channel: Option<Channel>,
    pub(super) interest: Interest,
    pub(super) ending: Ending,
    /// Why it was condemned, in words.
    pub(super) reason: Option<String>,
    /// What it asked for and was not answered about yet.
    wishes: VecDeque<(QuerySeq, Wish)>,
    /// Ports whose connections it takes from a stream.
    pub(super) streams: Vec<(PortId, StreamId)>,
    /// Ports whose stream it has closed.
    pub(super) streams_ended: Vec<PortId>,
    /// What is kept of it as a program without a channel.
    pub(super) program: Option<ProgramWorker>,
}

/// A query, as far as its answer needs to know it.
#[derive(Debug)]
pub(super) struct Wish {
    /// As it asked for it, for people.
    pub(super) address: Address,
    /// Whether it can take connections from a stream.
    pub(super) takes_stream: bool,
    /// How long the queue of its own socket is to be.
    pub(super) backlog: u32,
}

/// How a connection reaches a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Channel,
    Stream(StreamId),
    /// Not any more.
    Ended,
}

/// Unanswered wishes remembered; the core answers each at once unless the worker is leaving.
const WISHES: usize = 64;

impl WorkerProcess {
    pub(super) fn note_wish(&mut self, seq: QuerySeq, wish: Wish) {
        if self.wishes.len() == WISHES {
            self.wishes.pop_front();
        }
        self.wishes.push_back((seq, wish));
    }

    pub(super) fn take_wish(&mut self, seq: QuerySeq) -> Option<Wish> {
        let at = self.wishes.iter().position(|(asked, _)| *asked == seq)?;
        self.wishes.remove(at).map(|(_, wish)| wish)
    }

    /// It takes nothing more from this stream.
    pub(super) fn stream_ended(&mut self, port: PortId, stream: StreamId) {
        self.streams.retain(|(_, of)| *of != stream);
        if !self.streams_ended.contains(&port) {
            self.streams_ended.push(port);
        }
    }

    pub(super) fn way_to(&self, port: PortId) -> Way {
        match self.streams.iter().find(|(of, _)| *of == port) {
            Some((_, stream)) => Way::Stream(*stream),
            None if self.streams_ended.contains(&port) => Way::Ended,
            None => Way::Channel,
        }
    }

    pub(super) fn signal_group(&self, signal: Signal) {
        if let Some((pid, _)) = &self.process {
            // Not reaped yet, so the group cannot be somebody else's. One that is gone needs no signal.
            let _ = process::signal_group(*pid, signal);
        }
    }

    /// Its own process, and nobody else.
    pub(super) fn signal_process(&self, signal: Signal) {
        if let Some((_, pidfd)) = &self.process {
            // One that is gone needs no signal.
            let _ = process::signal(pidfd.as_fd(), signal);
        }
    }

    pub(super) fn end_now(self) {
        self.signal_group(Signal::KILL);
    }
}

impl Primary {
    pub(super) fn spawn(&mut self, worker: WorkerId, slot: Option<Slot>, attach: Attach) {
        let owner = Worker::new(worker, slot, self.kin(attach).is_some(), self.own_commands.clone());
        self.shared.workers().insert(worker, owner.clone());
        let forking = self.forking.as_mut().filter(|_| slot.is_none());
        let env = forking.map(|forking| {
            forking.born = Some(owner.clone());
            std::mem::take(&mut forking.env)
        });
        let env = env.unwrap_or_default();
        match (attach, self.settings.program.way.clone()) {
            (Attach::Program, ProgramWay::ListenFds { sockets }) => self.begin_birth(owner, env, &sockets),
            (Attach::Channel | Attach::Nothing | Attach::Program, _) => {
                self.bear(owner, attach, env, Vec::new());
            }
        }
    }

    /// The channel that a worker gets, if any.
    fn kin(&self, attach: Attach) -> Option<Kin> {
        match (attach, self.settings.child_channel) {
            (Attach::Channel, _) => Some(Kin::Cluster),
            (Attach::Nothing | Attach::Program, ChildChannel::Json) => Some(Kin::Child),
            (Attach::Nothing | Attach::Program, ChildChannel::None) => None,
        }
    }

    /// Starts the process, with what it shall find from 3 on.
    pub(super) fn bear(
        &mut self,
        owner: Worker,
        attach: Attach,
        env: Vec<(OsString, OsString)>,
        inherit: Vec<(OwnedFd, String)>,
    ) {
        let worker = owner.id();
        match self.try_spawn(&owner, attach, env, inherit) {
            Ok((process, output)) => {
                self.workers.insert(worker, process);
                self.tell(Event::Fork { worker: owner, output });
                self.pending.push_back(Core::Spawned { worker });
            }
            Err(error) => {
                let cause = if is_shortage(&error) { EndCause::Shortage } else { EndCause::ByItself };
                self.tell(Event::Fork { worker: owner.clone(), output: Output::default() });
                // There never was a channel: nothing to be told of its end.
                owner.disconnected();
                self.tell(Event::Error { worker: owner, error });
                self.pending.push_back(Core::SpawnFailed { worker, cause });
            }
        }
    }

    fn try_spawn(
        &mut self,
        owner: &Worker,
        attach: Attach,
        env: Vec<(OsString, OsString)>,
        inherit: Vec<(OwnedFd, String)>,
    ) -> std::io::Result<(WorkerProcess, Output)> {
        let (worker, slot) = (owner.id(), owner.slot());
        let mark = TreeMark::of_worker(MARKS.fetch_add(1, Ordering::Relaxed))?.to_string();
        let (program, args) = self.settings.command_line(self.inspected);
        self.inspected += u32::from(self.settings.inspects());
        let mut command = Command::new(program);
        command.args = args;
        command.cwd = self.settings.cwd.clone();
        command.uid = self.settings.uid;
        command.gid = self.settings.gid;
        command.nofile_soft = self.settings.worker_nofile;
        command.stdin = leads_to(self.settings.stdin);
        command.stdout = leads_to(self.settings.stdout);
        command.stderr = leads_to(self.settings.stderr);
        command.extra_pipes = self.settings.extra_pipes;
        command.inherit = inherit;

        // Of a primary that is a worker itself, its own workers are part of what it started.
        let outer = self.settings.env.iter().rfind(|(name, _)| name == MARK_VARIABLE);
        let outer = outer.and_then(|(_, value)| value.to_str()).filter(|outer| !outer.is_empty());
        let marks = outer.map_or_else(|| mark.clone(), |outer| format!("{mark},{outer}"));
        let mut set = vec![(MARK_VARIABLE, marks)];
        if let Some(slot) = slot {
            set.push(("ONEPORT_SLOT", slot.to_string()));
        }
        let mut ours = None;
        if let Some(kin) = self.kin(attach) {
            let (our_end, their_end) = channel_pair()?;
            set.extend(Channel::variables(worker.0, kin));
            command.channel = Some(their_end);
            ours = Some(Channel::new(our_end, kin));
        }
        command.env = self.settings.env.clone();
        if let Some(slot) = slot {
            command.env.push((self.settings.instance_var.clone(), slot.to_string().into()));
            command.env.extend(self.settings.slot_env.get(&slot.0).into_iter().flatten().cloned());
        }
        command.env.extend(env);
        command.env.retain(|(name, _)| !OURS.iter().any(|ours| name == ours));
        command
            .env
            .extend(set.into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value))));

        let program = match attach {
            Attach::Program => Some(self.prepare_program(&mut command)?),
            Attach::Channel | Attach::Nothing => None,
        };
        let mut roster = self.roster.hold();
        let child = command.spawn()?;
        roster.insert(child.pid.get());
        drop(roster);
        owner.born(child.pid.get());
        let interest = Interest::READ;
        let process = WorkerProcess {
            id: worker,
            owner: owner.clone(),
            mark,
            channel: ours,
            interest,
            ending: Ending::default(),
            reason: None,
            wishes: VecDeque::new(),
            streams: Vec::new(),
            streams_ended: Vec::new(),
            program,
            process: Some((child.pid, child.pidfd)),
        };
        let answered = child.notify.map(|listener| self.answer_calls(worker, listener)).transpose();
        if let Err(cause) = answered.and_then(|_| self.watch(&process)) {
            self.undo(process);
            return Err(cause);
        }
        let (stdin, stdout, stderr) = (child.stdin, child.stdout, child.stderr);
        Ok((process, Output { stdin, stdout, stderr, extra: child.extra }))
    }

    fn watch(&self, worker: &WorkerProcess) -> std::io::Result<()> {
        if let Some((_, pidfd)) = &worker.process {
            self.poller.add(pidfd.as_fd(), Token::Process(worker.id).pack(), Interest::READ)?;
        }
        if let Some(channel) = &worker.channel {
            self.poller.add(channel.fd(), Token::Channel(worker.id).pack(), worker.interest)?;
        }
        if let Some(program) = &worker.program {
            self.watch_program(worker.id, program)?;
        }
        Ok(())
    }

    /// A worker that cannot be watched cannot be kept: ends it and waits for it, aside.
    fn undo(&self, process: WorkerProcess) {
        process.signal_group(Signal::KILL);
        let roster = self.roster.clone();
        let Some((pid, pidfd)) = process.process else { return };
        let work = move || {
            let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
            let reaped = poll(&mut ended, None).is_ok() && process::reap(pidfd.as_fd()).is_ok();
            if reaped {
                roster.hold().remove(&pid.get());
            }
        };
        // Where not even a thread can be had, the zombie stays until this process ends.
        let _ = std::thread::Builder::new().name("oneport-undo".into()).spawn(work);
    }
}

fn leads_to(stdio: Stdio) -> spawn::Stdio {
    match stdio {
        Stdio::Inherit => spawn::Stdio::Inherit,
        Stdio::Null => spawn::Stdio::Null,
        Stdio::Pipe => spawn::Stdio::Pipe,
    }
}

/// Descriptors, processes or memory ran out: not the program's fault.
pub(super) fn is_shortage(error: &std::io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM, Errno::NOBUFS];
    shortages.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
