//! Finding again what earlier daemons have started: each primary has left a trace in `run`, and answers at a socket there.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use oneport_sys::proc::start_ticks;
use oneport_sys::process::Pid;
use rustix::io::Errno;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Daemon;
use super::apps::{App, Primary};
use super::launch::open_pidfd;
use super::leftovers::end_leftovers;
use super::trace::{Left, forget};
use crate::commands::run::managed::{Origin, Trace, boot_id, socket_of, trace_of};
use crate::control::client::{CallError, Client};
use crate::control::segment;
use crate::error::{Failure, plain};
use crate::state::{Home, environment};

/// How long a primary may take to say what it was made of.
const PATIENCE: Duration = Duration::from_secs(1);
/// The pause before it is looked again for what could not be seen: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// More files there are not ours.
const MOST: usize = 10_000;

/// The numbers of primaries that have left a trace or a socket.
fn serials(home: &Home) -> io::Result<Vec<u32>> {
    let serial_of = |name: &str| {
        let number = name.strip_suffix(".json").or_else(|| name.strip_suffix(".sock"))?;
        number.parse::<u32>().ok()
    };
    let mut serials = Vec::new();
    for file in std::fs::read_dir(home.run())?.take(MOST) {
        serials.extend(file?.file_name().to_str().and_then(serial_of));
    }
    serials.sort_unstable();
    serials.dedup();
    Ok(serials)
}

/// Whether there is anything to be found, or may be.
pub(crate) fn has_traces(home: &Home) -> bool {
    serials(home).map_or_else(|cause| cause.kind() != io::ErrorKind::NotFound, |found| !found.is_empty())
}

/// Not to be able to look is a failure: what is not found would be started a second time.
pub(super) async fn find_all(daemon: &Daemon) -> Result<(), Failure> {
    let run = daemon.0.home.run();
    let serials = serials(&daemon.0.home)
        .map_err(|cause| Failure::new(format!("cannot read `{}`: {}", run.display(), plain(&cause))))?;
    // One that hangs holds nobody up.
    let mut finding = JoinSet::new();
    for serial in serials {
        daemon.table().took(serial, &[]);
        let daemon = daemon.clone();
        finding.spawn(async move { (serial, find(&daemon, serial).await) });
    }
    while let Some(found) = finding.join_next().await {
        if let Ok((serial, Err(cause))) = found {
            let path = trace_of(daemon.0.home.path(), serial);
            daemon.say(&format!("cannot look at `{}`: {}; trying again", path.display(), plain(&cause)));
            tokio::spawn(look_again(daemon.clone(), serial));
        }
    }
    Ok(())
}

async fn look_again(daemon: Daemon, serial: u32) {
    let mut pause = FIRST_PAUSE;
    loop {
        sleep(pause).await;
        if find(&daemon, serial).await.is_ok() {
            return;
        }
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// Whether the process of a trace lives.
enum Process {
    Alive(Pid, OwnedFd),
    Gone,
}

/// An error says nothing about it: the system did not let us see.
fn look_at(trace: &Trace) -> io::Result<Process> {
    let Some(pid) = Pid::new(trace.pid) else { return Ok(Process::Gone) };
    // In this order: the number cannot become another process's once there is a descriptor.
    let pidfd = match open_pidfd(pid) {
        Ok(pidfd) => pidfd,
        Err(cause) if is_no_process(&cause) => return Ok(Process::Gone),
        Err(cause) => return Err(cause),
    };
    match start_ticks(pid) {
        Ok(ticks) if ticks == trace.start_ticks => Ok(Process::Alive(pid, pidfd)),
        Ok(_) => Ok(Process::Gone),
        Err(cause) if is_no_process(&cause) => Ok(Process::Gone),
        Err(cause) => Err(cause),
    }
}

fn is_no_process(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::NotFound || cause.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// Takes an app in whose primary has left something. An error: it is not known whether it lives.
async fn find(daemon: &Daemon, serial: u32) -> io::Result<()> {
    let home = daemon.0.home.path();
    let trace = match Left::read(home, serial) {
        Left::Trace(trace) if trace.boot_id != boot_id() => {
            // Of before the machine was started: `oneport resurrect` brings saved apps back.
            forget(home, serial);
            return Ok(());
        }
        Left::Trace(trace) if trace.pid != 0 => *trace,
        Left::Trace(trace) => match ask_who(daemon, serial).await? {
            Some(known) => known,
            None => {
                daemon.say(&format!("`{}` was being started when the daemon ended", trace.name));
                end_leftovers(&trace.mark).await;
                forget(home, serial);
                return Ok(());
            }
        },
        Left::Nothing => match ask_who(daemon, serial).await? {
            Some(known) => known,
            None => {
                forget(home, serial);
                return Ok(());
            }
        },
        Left::Broken => match ask_who(daemon, serial).await? {
            Some(known) => known,
            None => {
                let path = trace_of(home, serial);
                daemon.say(&format!("cannot understand `{}`: it is put aside", path.display()));
                // It stays in the way otherwise, and is said to be.
                let _ = std::fs::rename(&path, path.with_extension("broken"));
                return Ok(());
            }
        },
        Left::Unreadable(cause) => return Err(cause),
    };
    let process = match look_at(&trace) {
        Ok(process) => process,
        Err(cause) => {
            // Its name is taken until it is known how it is.
            let environment = best_known(daemon, &trace.name).await;
            let app = App { primary: Primary::Unseen, environment, ..app_of(serial, &trace) };
            let mut table = daemon.table();
            table.took(serial, &trace.ids);
            table.apps.entry(trace.name.clone()).or_insert(app);
            return Err(cause);
        }
    };
    take_in(daemon, serial, trace, process).await;
    Ok(())
}

/// Puts it on the list; one whose primary is gone is started again.
async fn take_in(daemon: &Daemon, serial: u32, trace: Trace, process: Process) {
    let mut app = app_of(serial, &trace);
    {
        let mut table = daemon.table();
        table.took(serial, &trace.ids);
        if table.apps.get(&trace.name).is_some_and(|other| other.serial != serial) {
            drop(table);
            let Trace { name, pid, .. } = &trace;
            return daemon
                .say(&format!("there is another `{name}` beside pid {pid} by now: that one is left alone"));
        }
    }
    match process {
        Process::Gone => {
            // It was killed while no daemon was there.
            let Trace { name, pid, .. } = &trace;
            daemon.say(&format!("the primary of `{name}` (pid {pid}) is gone; it is started again"));
            end_leftovers(&trace.mark).await;
            app.environment = best_known(daemon, &trace.name).await;
            daemon.table().apps.insert(trace.name.clone(), app);
            daemon.bring_back(trace.name, serial, trace.stopped, Duration::ZERO);
        }
        Process::Alive(pid, pidfd) => {
            app.primary = Primary::Up { pid: pid.get() };
            match origin(daemon, serial, &trace.name).await {
                Ok(origin) => {
                    (app.spec, app.environment, app.ids) = (origin.spec, origin.environment, origin.ids);
                    app.is_guessed = false;
                    daemon.table().took(serial, &app.ids);
                }
                // It is alive: what the trace says has to do until it answers.
                Err(error) => {
                    app.environment = best_known(daemon, &trace.name).await;
                    daemon.say(&format!(
                        "the primary of `{}` (pid {pid}) does not answer: {error}",
                        trace.name
                    ));
                }
            }
            daemon.table().apps.insert(trace.name.clone(), app);
            // It was put on the list a moment ago.
            let _ = daemon.watch(&trace.name, serial, pid, pidfd);
            daemon.say(&format!("found `{}`, pid {pid}", trace.name));
        }
    }
}

/// As its trace tells of it, which knows no environment.
fn app_of(serial: u32, trace: &Trace) -> App {
    App {
        spec: trace.spec.clone(),
        created_at: trace.created_at,
        mark: trace.mark.clone(),
        is_guessed: true,
        ..App::nobody(&trace.name, serial, trace.ids.clone())
    }
}

/// What was saved of it; else what may be kept of ours: with nothing at all no program would be found.
async fn best_known(daemon: &Daemon, name: &str) -> BTreeMap<String, String> {
    let mut known = environment::allowed(&std::env::vars().collect());
    let saved = daemon.with_saves(|saves| Ok(saves.peek())).await.ok().flatten();
    let of_it = saved.and_then(|saved| saved.apps.into_iter().find(|app| app.spec.name == name));
    known.extend(of_it.into_iter().flat_map(|app| app.environment));
    known
}

async fn origin(daemon: &Daemon, serial: u32, name: &str) -> Result<Origin, CallError> {
    let client = Client::new(socket_of(daemon.0.home.path(), serial));
    let path = format!("/v1/apps/{}/origin", segment(name));
    timeout(PATIENCE, client.get(&path)).await.unwrap_or(Err(CallError::TimedOut))
}

/// What the trace of a primary would say if it could have written it, as on a full disk. `None`: nobody is there.
async fn ask_who(daemon: &Daemon, serial: u32) -> io::Result<Option<Trace>> {
    // There is one app there, by whatever name.
    let origin = match origin(daemon, serial, "app").await {
        Ok(origin) => origin,
        Err(error) if error.is_nobody() => return Ok(None),
        Err(error) => return Err(io::Error::other(error.to_string())),
    };
    let pid = Pid::new(origin.pid).ok_or_else(|| io::Error::other("it does not say its number"))?;
    Ok(Some(Trace {
        pid: pid.get(),
        start_ticks: start_ticks(pid)?,
        boot_id: boot_id(),
        mark: origin.mark,
        name: origin.spec.name.clone(),
        ids: origin.ids,
        stopped: Vec::new(),
        spec: origin.spec,
        created_at: origin.created_at,
    }))
}
