//! `oneport run`: a primary in the foreground. What happens in the cluster and which signals arrive come through
//! one queue; this loop tells the one and obeys the other.

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use oneport::{Cluster, Event, Events, Message, Worker};
use oneport_sys::process::{self, Pid, Signal};
use regex_lite::Regex;

use crate::Done;
use crate::args::RunArgs;
use crate::attach::{self, Attachment, Class};
use crate::error::{BUG, Failure};
use crate::output::{Carrier, Sink};
use crate::program::Program;
use crate::render::beginning::Beginning;
use crate::render::life::{Loudness, Teller, gap};
use crate::render::scribe::Scribe;
use crate::{signals, strangers};

mod addresses;
mod finish;
mod hear;
mod listen;
pub(crate) mod managed;
pub(crate) mod policy;
mod relay;
mod roll;
mod setup;
mod unheard;
mod unshared;

use addresses::Addresses;
use policy::Placing;
use roll::Roll;
pub(crate) use setup::{Spans, no_directory};
use setup::{log, settings};
use unheard::Unheard;
use unshared::Unshared;

/// What is told about a command that cannot begin gets that long, if nobody reads it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Happenings that may wait.
const WAITING: usize = 256;
const STOPPED: u8 = 0;
const FAILED: u8 = 1;

/// What this command waits for.
enum Happening {
    Cluster(Box<Event>),
    Signal(Signal),
    /// The primary's thread is gone, and `Stopped` never came.
    PrimaryLost,
    /// What the workers wrote is written.
    Carried,
    /// What was told is written.
    Told,
    /// Somebody asks for something, where there is a daemon.
    Control(Box<managed::Request>),
    /// A guard found something, where there is a daemon.
    Alarm(crate::guards::Alarm),
}

/// Who is there to look after the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Nobody but this command: it ends when there is nothing left to do.
    Foreground,
    /// A daemon's primary: it lives on without workers.
    Managed,
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
    roll: Roll,
    listened: Addresses,
    /// Addresses whose refusal was told.
    refused: Addresses,
    /// The last of them that somebody else has.
    taken: Option<listen::Taken>,
    unheard: Unheard,
    unshared: Unshared,
    class: Class,
    /// The line by which a worker says that it is ready.
    ready_line: Option<Regex>,
    had_terminal: bool,
    manner: Manner,
    /// Standard inputs that are kept open.
    inputs: std::collections::HashMap<oneport::WorkerId, std::os::fd::OwnedFd>,
    end: End,
}

pub(crate) fn run(args: &RunArgs) -> Done {
    if let Some(cwd) = args.what.cwd.as_deref().filter(|cwd| !cwd.is_dir()) {
        return Err(no_directory(cwd));
    }
    let program = Program::resolve(&args.what)?;
    let placing = policy::choose(args, &program, Class::of(&program, &args.program))?;
    let instances = args.instances.count(process::cpus());
    let attachment = attach::settle(args, &program, &placing, instances)?;
    let (happenings, queue) = sync_channel(WAITING);
    signals::listen(happenings.clone(), Happening::Signal)?;
    let app = args.name.clone().unwrap_or_else(|| stem(&program.title));
    let (format, of) = (args.log_format, app.clone());
    let scribe = Scribe::start(move |dropped| gap(format, &of, dropped))?;
    log(args, &scribe);
    let teller = Teller {
        scribe: scribe.clone(),
        format: args.log_format,
        loudness: match (args.quiet, args.verbose) {
            (true, _) => Loudness::Quiet,
            (false, 0) => Loudness::Normal,
            (false, _) => Loudness::Verbose,
        },
        app,
        notes: None,
    };
    let beginner = Beginner { args, placing: &placing, attachment, happenings, manner: Manner::Foreground };
    let begun =
        Carrier::start(Sink::Pass).and_then(|carrier| beginner.begin(program, teller, carrier, |_| {}));
    let begun = begun.and_then(|run| run.cluster.scale(instances).map(|()| run).map_err(Failure::new));
    let done = begun.map(|run| ExitCode::from(run.until_the_end(&queue, instances)));
    // Standard error may be held by somebody, and signals are blocked by now.
    done.or_else(|failure| {
        scribe.say(Loudness::Quiet, failure.words());
        scribe.flush_within(PATIENCE);
        Ok(failure.code())
    })
}

/// Everything that an app is begun with.
struct Beginner<'a> {
    args: &'a RunArgs,
    placing: &'a Placing,
    attachment: Attachment,
    happenings: SyncSender<Happening>,
    manner: Manner,
}

impl Beginner<'_> {
    /// Starts a cluster without workers. `adjust` has the last word about its settings.
    fn begin(
        self,
        program: Program,
        teller: Teller,
        carrier: Carrier,
        adjust: impl FnOnce(&mut oneport::Settings),
    ) -> Result<Run, Failure> {
        let Beginner { args, placing, attachment, happenings, manner } = self;
        let instances = args.instances.count(process::cpus());
        strangers::adopt_orphans();
        let had_terminal = signals::has_terminal();

        let mut settings = settings(args, &program, placing, &attachment);
        adjust(&mut settings);
        let (cluster, events) = Cluster::start(settings).map_err(Failure::new)?;
        forward(events, cluster.clone(), happenings.clone())?;
        let pid = process::own_pid().get();
        let beginning = Beginning { pid, title: &program.title, instances, placing, attachment: &attachment };
        teller.primary(&beginning);
        for note in &attachment.notes {
            teller.notice(&note.message, Some(note.hint));
        }
        let channel = attachment.class == Class::Channel;
        if channel && program.forks_itself() {
            let message = format!(
                "`{}` calls cluster.fork(): here it is always a worker, that branch does not run",
                program.title
            );
            teller.notice(&message, None);
        }
        Ok(Run {
            cluster,
            teller,
            title: program.title,
            carrier,
            happenings,
            roll: Roll::new(instances),
            listened: Addresses::default(),
            refused: Addresses::default(),
            taken: None,
            unheard: Unheard::default(),
            unshared: Unshared::default(),
            class: attachment.class,
            ready_line: attach::ready_line(&args.program).cloned(),
            had_terminal,
            manner,
            inputs: std::collections::HashMap::new(),
            end: End::NotYet,
        })
    }
}

/// The file's name without its extension: what an app is called by default (as PM2 does).
fn stem(title: &str) -> String {
    std::path::Path::new(title)
        .file_stem()
        .map_or_else(|| title.to_owned(), |stem| stem.to_string_lossy().into_owned())
}

fn forward(mut events: Events, cluster: Cluster, happenings: SyncSender<Happening>) -> Result<(), Failure> {
    let relay = move |worker: &Worker, message: &Message| relay::pass_on(&cluster, worker.id(), message);
    let work = move || pass_on(|| events.blocking_recv(), relay, &happenings);
    let spawned = thread::Builder::new().name("events".into()).spawn(work);
    spawned.map(|_| ()).map_err(|cause| Failure::new(format!("cannot follow the cluster: {cause}")))
}

/// Passes events on to the last. The queue is short, so that chatty workers are slowed and fill no memory.
fn pass_on(
    mut next: impl FnMut() -> Option<Event>,
    relay: impl Fn(&Worker, &Message),
    happenings: &SyncSender<Happening>,
) {
    while let Some(event) = next() {
        if let Event::Message { worker, message } = &event {
            relay(worker, message);
            continue;
        }
        let last = matches!(event, Event::Stopped);
        if happenings.send(Happening::Cluster(Box::new(event))).is_err() || last {
            return;
        }
    }
    // Fails only when this command is over.
    let _ = happenings.send(Happening::PrimaryLost);
}

/// The next that happens, by then if there is something to be done then.
fn receive(queue: &Receiver<Happening>, due: Option<Instant>) -> Result<Happening, RecvTimeoutError> {
    match due {
        Some(due) => queue.recv_timeout(due.saturating_duration_since(Instant::now())),
        None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}

/// The exit code of a stop that a further signal cut short.
fn interrupted(code: u8, signal: Signal) -> u8 {
    match code {
        STOPPED => u8::try_from(128 + signal.number()).unwrap_or(FAILED),
        code => code,
    }
}

impl Run {
    fn until_the_end(mut self, queue: &Receiver<Happening>, instances: u32) -> u8 {
        if instances == 0 {
            self.ask_to_end(STOPPED);
        }
        loop {
            match receive(queue, self.unheard.due()) {
                Ok(Happening::Signal(signal)) => self.obey(signal),
                Ok(Happening::Cluster(event)) => {
                    if let Some(code) = self.hear(*event) {
                        strangers::reap(&self.cluster);
                        return self.finish(queue, code, Teller::stopped);
                    }
                }
                Ok(Happening::PrimaryLost) => return self.give_up(queue),
                // These come when it is over.
                Ok(Happening::Carried | Happening::Told | Happening::Control(_) | Happening::Alarm(_)) => {}
                Err(RecvTimeoutError::Timeout) => self.look_at_unheard(Instant::now()),
                Err(RecvTimeoutError::Disconnected) => return FAILED,
            }
        }
    }

    /// Nobody answers for the workers any more: nothing that was started may outlive this.
    fn give_up(self, queue: &Receiver<Happening>) -> u8 {
        self.end_everybody();
        self.finish(queue, BUG, |teller| {
            let message = "cannot go on: the primary has ended unexpectedly";
            teller.error(message, Some("this is a bug: please report it, with the lines above"));
        })
    }

    /// Where nobody is left who would.
    fn end_everybody(&self) {
        for pid in self.roll.living().filter_map(|worker| Pid::new(worker.pid)) {
            // Its number is still its own: who would have reaped it is gone.
            let _ = process::signal_group(pid, Signal::KILL);
        }
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
                self.end = End::Asked { code: interrupted(code, signal) };
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(events: Vec<Event>) -> Vec<Happening> {
        let (happenings, queue) = sync_channel(WAITING);
        let mut events = events.into_iter();
        pass_on(|| events.next(), |_, _| {}, &happenings);
        queue.try_iter().collect()
    }

    #[test]
    fn a_primary_that_ends_without_having_stopped_is_lost() {
        let passed = passed(vec![Event::ReloadQueued]);
        assert!(matches!(passed[..], [Happening::Cluster(_), Happening::PrimaryLost]));
    }

    #[test]
    fn a_primary_that_stopped_is_not_lost() {
        let passed = passed(vec![Event::ReloadQueued, Event::Stopped]);
        assert!(matches!(passed[..], [Happening::Cluster(_), Happening::Cluster(_)]));
    }

    #[test]
    fn only_an_orderly_stop_takes_the_code_of_the_signal_that_cut_it_short() {
        assert_eq!(interrupted(STOPPED, Signal::INT), 130);
        assert_eq!(interrupted(STOPPED, Signal::TERM), 143);
        assert_eq!(interrupted(FAILED, Signal::TERM), FAILED);
        assert_eq!(interrupted(143, Signal::INT), 143);
    }
}
