//! `oneport check`: one copy of a program, started on ports of nobody, watched until it has listened for a while, and
//! stopped. What is made of what was seen is `report`'s; nothing is left running.

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use oneport::{
    Attach, Cluster, Conduct, Event, Events, Policy, Ports, ProgramSettings, Settings, Stdio, StopWith,
};
use oneport_sys::process::Signal;

use crate::Done;
use crate::args::CheckArgs;
use crate::attach::{self, Class, Survey};
use crate::commands::run::policy::Placing;
use crate::error::Failure;
use crate::output::{Awaited, Carrier, Sink};
use crate::program::Program;
use crate::signals;

mod judge;
mod report;
mod seen;

use report::{Plan, Report};
use seen::Seen;

/// How long a copy must stay up once it is ready.
const MIN_UPTIME: Duration = Duration::from_secs(1);
/// How long it may take to stop before it is killed, and then to be gone.
const STOPPING: Duration = Duration::from_secs(2);
const GONE: Duration = Duration::from_secs(10);
/// How long an accept may take.
const ACCEPTING: Duration = Duration::from_secs(2);
const WAITING: usize = 256;
const INTERRUPTED: u8 = 130;

enum Happening {
    Cluster(Box<Event>),
    Signal(Signal),
}

pub(crate) fn run(args: &CheckArgs) -> Done {
    if let Some(cwd) = args.what.cwd.as_deref().filter(|cwd| !cwd.is_dir()) {
        return Err(super::run::no_directory(cwd));
    }
    let program = Program::resolve(&args.what)?;
    let class = Class::of(&program, &args.program);
    let settings = attach::settings_of(&args.program, class, &program.title, args.what.cwd.as_deref())?;
    let survey = Survey::of(&program)?;
    let plan = match class {
        Class::Channel => Plan::of(Attach::Channel, "channel", "it says on Node's channel where it listens"),
        Class::ListenFds => {
            Plan::of(Attach::Program, "listen-fds", "each copy is started with sockets of its own")
        }
        Class::Nothing => Plan::of(Attach::Nothing, "none", "each copy binds for itself"),
        Class::Program => match survey.way(args.program.attach) {
            Ok((way, over)) => {
                let placing = Placing::evenly();
                let attached =
                    attach::attached(way, &over, &survey, settings.clone(), &placing, &program.title)?;
                Plan::attached(attached, over)
            }
            Err(blocked) => {
                let report = Report::refused(&program.title, &survey, blocked);
                return Ok(report.tell(args.json));
            }
        },
    };
    let settings = plan.settings.clone().unwrap_or(settings);
    let (happenings, queue) = sync_channel(WAITING);
    signals::listen(happenings.clone(), Happening::Signal)?;
    let carrier = Carrier::start(Sink::Keep)?;
    let (cluster, events) = Cluster::start(whole(args, &program, &plan, settings)).map_err(Failure::new)?;
    forward(events, happenings)?;
    let check = Check { cluster, carrier, queue, seen: Seen::default(), class };
    Ok(match check.watch(args)? {
        Some(seen) => Report::of(&program.title, &survey, plan, &seen).tell(args.json),
        None => ExitCode::from(INTERRUPTED),
    })
}

/// All settings of the one copy.
fn whole(args: &CheckArgs, program: &Program, plan: &Plan, program_settings: ProgramSettings) -> Settings {
    let mut settings = Settings::new(&program.exec);
    settings.exec_path = program.exec_path.clone();
    settings.exec_args = program.exec_args.clone();
    settings.args = program.args.clone();
    settings.cwd = args.what.cwd.clone();
    settings.env.extend(args.what.env.iter().map(|(name, value)| (name.into(), value.into())));
    (settings.stdout, settings.stderr) = (Stdio::Pipe, Stdio::Pipe);
    settings.stop_signal = if program.kind.is_javascript() { Signal::INT } else { Signal::TERM };
    settings.program = ProgramSettings { ports: Ports::Scratch, ..program_settings };
    settings.conduct = Conduct {
        policy: Policy::RoundRobin,
        attach: plan.attach,
        readiness: attach::conduct_readiness(&args.program),
        min_uptime: MIN_UPTIME,
        listen_timeout: args.timeout,
        drain_timeout: Duration::ZERO,
        kill_timeout: STOPPING,
        stop_with: StopWith::Signal,
        // One life is enough.
        max_restarts: 1,
        ..Conduct::default()
    };
    settings
}

fn forward(mut events: Events, happenings: SyncSender<Happening>) -> Result<(), Failure> {
    let work = move || {
        while let Some(event) = events.blocking_recv() {
            if happenings.send(Happening::Cluster(Box::new(event))).is_err() {
                return;
            }
        }
    };
    let spawned = thread::Builder::new().name("events".into()).spawn(work);
    spawned.map(|_| ()).map_err(|cause| Failure::new(format!("cannot follow the cluster: {cause}")))
}

struct Check {
    cluster: Cluster,
    carrier: Carrier,
    queue: Receiver<Happening>,
    seen: Seen,
    class: Class,
}

/// Why watching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    Enough,
    TimeIsUp,
    Interrupted,
}

impl Check {
    /// What was seen of one life; `None` when a signal came.
    fn watch(mut self, args: &CheckArgs) -> Result<Option<Seen>, Failure> {
        self.cluster.scale(1).map_err(Failure::new)?;
        let pattern = attach::ready_line(&args.program).cloned();
        // What listens in time may still have to prove itself.
        let deadline = Instant::now() + args.timeout;
        let watched = self.until(deadline, MIN_UPTIME * 2, pattern.as_ref(), |seen| {
            seen.ended.is_some() || seen.failed.is_some() || (seen.proven && !seen.listens.is_empty())
        });
        match watched {
            Watched::Enough | Watched::TimeIsUp => {
                self.seen.look_around(self.class, ACCEPTING);
            }
            Watched::Interrupted => {}
        }
        self.seen.asked = true;
        // Fails only when everything has ended.
        let _ = self.cluster.stop();
        let stopped = self.until(Instant::now() + STOPPING + GONE, Duration::ZERO, None, |seen| seen.stopped);
        if stopped != Watched::Enough {
            let _ = self.cluster.stop_now();
            self.until(Instant::now() + GONE, Duration::ZERO, None, |seen| seen.stopped);
        }
        if let Some(worker) = &self.seen.worker {
            self.seen.last_lines = self.carrier.last_lines(worker.id);
        }
        Ok((watched != Watched::Interrupted && stopped != Watched::Interrupted).then_some(self.seen))
    }

    /// Hears what happens until it is enough. What has begun to listen when the time is up gets `more`.
    fn until(
        &mut self,
        deadline: Instant,
        more: Duration,
        ready_line: Option<&regex_lite::Regex>,
        enough: impl Fn(&Seen) -> bool,
    ) -> Watched {
        while !enough(&self.seen) {
            let more = if self.seen.listens.is_empty() { Duration::ZERO } else { more };
            let left = (deadline + more).saturating_duration_since(Instant::now());
            match self.queue.recv_timeout(left) {
                Ok(Happening::Cluster(event)) => {
                    if let Event::Fork { worker, output } = *event {
                        let owner = worker.clone();
                        self.seen.born(worker.name());
                        let awaited = ready_line.map(|pattern| Awaited {
                            pattern: pattern.clone(),
                            done: Box::new(move || _ = owner.mark_ready()),
                        });
                        self.carrier.add(worker.name(), String::new(), output, awaited);
                    } else {
                        self.seen.note(*event);
                    }
                }
                Ok(Happening::Signal(Signal::CHILD)) => {}
                Ok(Happening::Signal(_)) => return Watched::Interrupted,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Watched::TimeIsUp,
            }
        }
        Watched::Enough
    }
}
