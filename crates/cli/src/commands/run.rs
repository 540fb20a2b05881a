//! `oneport run`: a primary in the foreground. What happens in the cluster and which signals arrive come through
//! one queue; this loop tells the one and obeys the other.

use std::collections::{HashMap, HashSet};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use oneport::{
    Cluster, Conduct, Event, Events, Phase, Policy, Readiness, Settings, Stdio, StopWith, WorkerId, WorkerRef,
};
use oneport_sys::process::{self, Signal};
use tracing::warn;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::Done;
use crate::args::{LogFormat, PolicyArg, RunArgs, StopWithArg};
use crate::error::Failure;
use crate::output::Carrier;
use crate::program::{Kind, Program, Wanted};
use crate::render::life::{Loudness, Teller};
use crate::{signals, strangers};

mod listen;
mod unheard;

/// A container gets 10 s from Docker before it is killed.
const DRAIN_AS_PID_1: Duration = Duration::from_secs(8);
const DRAIN: Duration = Duration::from_secs(30);
/// Happenings that may wait.
const WAITING: usize = 256;
const STOPPED: u8 = 0;
const FAILED: u8 = 1;

/// What this command waits for.
enum Happening {
    Cluster(Box<Event>),
    Signal(Signal),
    /// A worker has been up for a while without asking for a port.
    Unheard(WorkerId),
}

/// How the app is coming to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    NotYet,
    Asked { code: u8 },
}

struct Run {
    cluster: Cluster,
    teller: Teller,
    title: String,
    carrier: Carrier,
    happenings: SyncSender<Happening>,
    workers: HashMap<WorkerId, WorkerRef>,
    listened: HashSet<String>,
    /// Addresses whose refusal was told.
    refused: HashSet<String>,
    heard: HashSet<WorkerId>,
    had_terminal: bool,
    end: End,
}

pub(crate) fn run(args: &RunArgs) -> Done {
    if let Some(cwd) = args.cwd.as_deref().filter(|cwd| !cwd.is_dir()) {
        return Err(no_directory(cwd));
    }
    let program = Program::resolve(&Wanted {
        target: args.target.as_deref(),
        stray: &args.stray,
        rest: &args.rest,
        interpreter: args.interpreter.as_deref(),
        node_args: &args.node_args,
        cwd: args.cwd.as_deref(),
    })?;
    let (policy, why) = choose_policy(args.policy, &program)?;
    let instances = args.instances.count(process::cpus());
    let teller = Teller {
        format: args.log_format,
        loudness: match (args.quiet, args.verbose) {
            (true, _) => Loudness::Quiet,
            (false, 0) => Loudness::Normal,
            (false, _) => Loudness::Verbose,
        },
        app: args.name.clone().unwrap_or_else(|| stem(&program.title)),
    };
    log(args);
    let (happenings, queue) = sync_channel(WAITING);
    signals::listen(happenings.clone(), Happening::Signal)?;
    strangers::adopt_orphans();
    let had_terminal = signals::has_terminal();

    let settings = settings(args, &program, policy);
    let carrier = Carrier::start()?;
    let (cluster, events) =
        Cluster::start(settings).map_err(|error| Failure::new(error).hint("check --cwd"))?;
    forward(events, happenings.clone())?;
    let pid = process::own_pid().get();
    let (policy, why) = match (program.kind, policy) {
        (Kind::Other, _) => ("none", "it gets no channel and binds for itself"),
        (_, Policy::RoundRobin) => ("rr", why),
        (_, Policy::Shared) => ("shared", why),
    };
    teller.primary(pid, &program.title, instances, policy, why);
    if program.forks_itself() {
        let message = format!(
            "`{}` calls cluster.fork(): here it is always a worker, that branch does not run",
            program.title
        );
        teller.notice(&message, None);
    }
    if program.kind == Kind::Other && instances > 1 {
        let message = format!("`{}` gets no channel: each copy binds for itself", program.title);
        teller.notice(&message, Some("only Node, Deno and programs with crate `oneport` share a port"));
    }
    cluster.scale(instances).map_err(Failure::new)?;
    let run = Run {
        cluster,
        teller,
        title: program.title,
        carrier,
        happenings,
        workers: HashMap::new(),
        listened: HashSet::new(),
        refused: HashSet::new(),
        heard: HashSet::new(),
        had_terminal,
        end: End::NotYet,
    };
    Ok(ExitCode::from(run.until_the_end(&queue, instances)))
}

/// The file's name without its extension: what an app is called by default (as PM2 does).
fn stem(title: &str) -> String {
    std::path::Path::new(title)
        .file_stem()
        .map_or_else(|| title.to_owned(), |stem| stem.to_string_lossy().into_owned())
}

fn choose_policy(wanted: PolicyArg, program: &Program) -> Result<(Policy, &'static str), Failure> {
    let from_env = std::env::var("NODE_CLUSTER_SCHED_POLICY").ok();
    let from_env = from_env.as_deref().and_then(oneport::scheduling_policy_of);
    let (policy, why) = match (wanted, from_env) {
        (PolicyArg::Rr, _) => (Policy::RoundRobin, "as asked for"),
        (PolicyArg::Shared, _) => (Policy::Shared, "as asked for"),
        (PolicyArg::Auto, Some(Policy::Shared)) => (Policy::Shared, "NODE_CLUSTER_SCHED_POLICY=none"),
        (PolicyArg::Auto, Some(Policy::RoundRobin)) => (Policy::RoundRobin, "NODE_CLUSTER_SCHED_POLICY=rr"),
        (PolicyArg::Auto, None) => (Policy::RoundRobin, "auto: rotation among workers that are free"),
    };
    // Deno 2.9 takes a shared socket, says that it listens, and resets every client.
    if policy == Policy::Shared && program.kind == Kind::Deno {
        return Err(Failure::usage("cannot use policy `shared` for Deno: it cannot serve a shared socket")
            .hint("use --policy rr"));
    }
    Ok((policy, why))
}

fn settings(args: &RunArgs, program: &Program, policy: Policy) -> Settings {
    let instances = args.instances.count(process::cpus());
    let as_pid_1 = process::own_pid().get() == 1;
    let mut settings = Settings::new(&program.program);
    settings.args = program.args.clone();
    settings.cwd = args.cwd.clone();
    settings.env.extend(args.env.iter().map(|(name, value)| (name.into(), value.into())));
    settings.stdio = Stdio::Pipe;
    settings.stop_signal = match args.stop_signal {
        Some(signal) => signal,
        None if program.is_javascript() => Signal::INT,
        None => Signal::TERM,
    };
    settings.worker_nofile = match process::set_nofile_to_hard() {
        Ok(before) => Some(before),
        Err(cause) => {
            warn!(%cause, "cannot raise the limit of open files");
            None
        }
    };
    settings.conduct = Conduct {
        policy,
        attach: program.attach(),
        credits: args.credits,
        readiness: if args.wait_ready { Readiness::Message } else { Readiness::Listening },
        min_uptime: args.min_uptime,
        listen_timeout: args.listen_timeout,
        drain_timeout: args.drain_timeout.unwrap_or(if as_pid_1 { DRAIN_AS_PID_1 } else { DRAIN }),
        kill_timeout: args.kill_timeout,
        hang_timeout: args.hang_timeout.filter(|span| !span.is_zero()),
        stop_with: match args.stop_with {
            Some(StopWithArg::Signal) => StopWith::Signal,
            Some(StopWithArg::Disconnect) | None => StopWith::Disconnect,
        },
        max_restarts: args.max_restarts,
        restart_delay: args.restart_delay,
        // As PM2: two at a time, one where there are at most two.
        parallel: if instances > 2 { 2 } else { 1 },
        ..Conduct::default()
    };
    settings
}

fn no_directory(cwd: &std::path::Path) -> Failure {
    Failure::usage(format!("cannot use directory `{}`: there is no such directory", cwd.display()))
        .hint("check --cwd; it is relative to the directory this command is started in")
}

/// The log for who looks closely: what went wrong inside, and at `-vv` every message of the protocol. Transitions
/// are told by the teller.
fn log(args: &RunArgs) {
    if args.log_format == LogFormat::Json || args.quiet {
        return;
    }
    let wire = if args.verbose > 1 { LevelFilter::TRACE } else { LevelFilter::WARN };
    let shown = Targets::new().with_default(LevelFilter::WARN).with_target("oneport::wire", wire);
    // Its complaints about a full disk would be a panic on the same full disk.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .with_ansi(rustix::termios::isatty(rustix::stdio::stderr()))
        .log_internal_errors(false);
    tracing_subscriber::registry().with(lines).with(shown).init();
}

/// Passes events on. The queue is short, so that a stuck terminal slows chatty workers and fills no memory.
fn forward(mut events: Events, happenings: SyncSender<Happening>) -> Result<(), Failure> {
    let work = move || {
        while let Some(event) = events.blocking_recv() {
            if matches!(event, Event::Message { .. }) {
                continue;
            }
            if happenings.send(Happening::Cluster(Box::new(event))).is_err() {
                return;
            }
        }
    };
    let spawned = thread::Builder::new().name("events".into()).spawn(work);
    spawned.map(|_| ()).map_err(|cause| Failure::new(format!("cannot follow the cluster: {cause}")))
}

impl Run {
    fn until_the_end(mut self, queue: &Receiver<Happening>, instances: u32) -> u8 {
        if instances == 0 {
            self.ask_to_end(STOPPED);
        }
        while let Ok(happening) = queue.recv() {
            match happening {
                Happening::Signal(signal) => self.obey(signal),
                Happening::Unheard(worker) => self.look_at_unheard(worker),
                Happening::Cluster(event) => {
                    if let Some(code) = self.hear(*event) {
                        strangers::reap(&self.cluster);
                        self.carrier.finish();
                        return code;
                    }
                }
            }
        }
        FAILED
    }

    fn obey(&mut self, signal: Signal) {
        if signal == Signal::CHILD {
            return strangers::reap(&self.cluster);
        }
        let hung_up = self.had_terminal && !signals::has_terminal();
        if signal == Signal::HUP && !hung_up {
            return self.order(Cluster::reload);
        }
        match self.end {
            End::NotYet => self.ask_to_end(STOPPED),
            End::Asked { code } => {
                let interrupted = u8::try_from(128 + signal.number()).unwrap_or(FAILED);
                self.end = End::Asked { code: if code == STOPPED { interrupted } else { code } };
                self.order(Cluster::stop_now);
            }
        }
    }

    fn ask_to_end(&mut self, code: u8) {
        if self.end == End::NotYet {
            self.end = End::Asked { code };
            self.order(Cluster::stop);
        }
    }

    fn order(&self, order: impl Fn(&Cluster) -> oneport::Result<()>) {
        // The primary has ended: `Stopped` is on its way to us.
        let _ = order(&self.cluster);
    }

    /// Tells what happened. Gives the exit code once everything has ended.
    fn hear(&mut self, event: Event) -> Option<u8> {
        match event {
            Event::Spawned { worker, output } => {
                self.workers.insert(worker.id, worker);
                if let Some(output) = output {
                    let slot = worker.slot.map_or_else(|| "-".to_owned(), |slot| slot.to_string());
                    self.carrier.add(worker.id, format!("{}|{slot}", self.teller.app), output);
                }
                self.teller.started(worker);
            }
            Event::SpawnFailed { worker, error } => {
                self.workers.insert(worker.id, worker);
                self.teller.error(&format!("cannot start worker {}: {error}", worker.id), None);
            }
            Event::Moved { worker, to, .. } => {
                match to {
                    Phase::Online => self.watch_unheard(worker.id),
                    Phase::Listening => _ = self.heard.insert(worker.id),
                    Phase::Starting
                    | Phase::Draining
                    | Phase::Leaving
                    | Phase::Stopping
                    | Phase::Ending
                    | Phase::Gone => {}
                }
                // A shared socket or a death is told with more facts by their own events.
                match to {
                    Phase::Online | Phase::Draining | Phase::Leaving | Phase::Stopping => {
                        self.teller.step(to.name(), worker)
                    }
                    Phase::Starting | Phase::Listening | Phase::Ending | Phase::Gone => {}
                }
            }
            Event::Listening { worker, address } => {
                self.refused.remove(&address.text);
                let first = self.listened.insert(address.text.clone());
                self.teller.listening(worker, &address, first);
            }
            Event::ListenFailed { worker, address, error } => self.explain_refusal(worker, &address, &error),
            Event::Ready { worker } => self.teller.step("ready", worker),
            Event::NotReadyYet { worker, after } => self.teller.not_ready_yet(worker, after),
            Event::Proven { worker } => self.teller.step("proven", worker),
            Event::Message { .. } => {}
            Event::Condemned { worker, reason } => self.teller.violation(worker, &reason),
            Event::Died { worker, exit, cause } => {
                self.teller.died(worker, exit, cause);
                self.heard.remove(&worker.id);
            }
            Event::Restarting { slot, delay } => self.teller.restarting(slot, delay),
            Event::Errored { slot, restarts } => {
                let last = self.last_of(|worker| worker.slot == Some(slot));
                self.teller.errored(slot, restarts, &last);
            }
            Event::AllErrored => {
                let message = format!("cannot run `{}`: every slot is given up", self.title);
                self.teller.error(&message, None);
                self.ask_to_end(FAILED);
            }
            Event::ReloadStarted { workers } => self.teller.reload(workers),
            Event::ReloadQueued => self.teller.notice("another reload follows the one under way", None),
            Event::Replaced { slot, worker } => self.teller.replaced(slot, worker),
            Event::ReloadDone { replaced, took } => self.teller.reloaded(replaced, took),
            Event::ReloadAborted { slot, worker, failure, replaced } => {
                let worker = self.workers.get(&worker.id).copied().unwrap_or(worker);
                let last = self.last_of(|other| other.id == worker.id);
                self.teller.reload_aborted(slot, worker, failure, replaced, &last);
            }
            Event::AcceptExhausted { address } => {
                let message =
                    format!("cannot accept on `{address}`: out of descriptors or memory; trying again");
                self.teller.error(&message, Some("raise the limit of open files (ulimit -n)"));
            }
            Event::Stopped => {
                self.teller.stopped();
                return Some(match self.end {
                    End::NotYet => FAILED,
                    End::Asked { code } => code,
                });
            }
        }
        self.forget_the_dead();
        None
    }

    /// The last lines of the newest worker that fits.
    fn last_of(&self, fits: impl Fn(&WorkerRef) -> bool) -> Vec<String> {
        let newest = self.workers.values().filter(|worker| fits(worker)).map(|worker| worker.id).max();
        newest.map(|worker| self.carrier.last_lines(worker)).unwrap_or_default()
    }

    /// Dead workers are remembered for their last words, but not for ever.
    fn forget_the_dead(&mut self) {
        const REMEMBERED: usize = 8192;
        while self.workers.len() > REMEMBERED
            && let Some(oldest) = self.workers.keys().min().copied()
        {
            self.workers.remove(&oldest);
            self.carrier.forget(oldest);
        }
    }
}
