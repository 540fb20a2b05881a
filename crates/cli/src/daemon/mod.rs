//! The daemon: a table of apps and of the primaries that run them. It owns no port, reads no output and decides nothing about
//! workers; when it is killed the next one finds the primaries again and nobody notices.

mod apps;
mod ending;
mod find;
mod launch;
mod leftovers;
mod making;
mod routes;
pub(crate) mod saving;
pub(crate) mod start;
mod trace;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use oneport_sys::process;
use oneport_wire::control::ProblemKind;
use rustix::fs::{FlockOperation, flock};
use tokio::net::UnixListener;
use tokio::sync::{Notify, broadcast};

use crate::Done;
use crate::commands::run::managed::now_ms;
use crate::control::client::{CallError, Client};
use crate::control::server;
use crate::detach;
use crate::error::{Failure, plain};
use crate::render::voice;
use crate::state::{Home, atomic, socket_address};

use apps::App;
pub(crate) use find::has_traces;

/// Lines of events that may wait for a slow listener.
const EVENTS: usize = 1024;

/// What all requests share.
#[derive(Clone)]
pub(super) struct Daemon(Arc<Shared>);

pub(super) struct Shared {
    home: Home,
    /// The program that primaries are started with.
    program: PathBuf,
    started_at: u64,
    table: Mutex<Table>,
    /// Lines of all primaries.
    events: broadcast::Sender<Arc<str>>,
    /// Somebody wants the end.
    over: Notify,
    /// What comes after it.
    again: Mutex<Again>,
    launching: launch::Launching,
    place: Place,
    /// What programs may have open by default; this process may have more.
    nofile_soft: Option<u64>,
}

/// What comes after the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Nothing,
    /// This process becomes the program that is installed now.
    Exec,
    /// Another daemon takes over; apps go on.
    GivesWay,
}

#[derive(Default)]
pub(super) struct Table {
    /// By their names.
    apps: BTreeMap<String, App>,
    next_id: u32,
    next_serial: u32,
    /// Everything is being stopped: nothing is started any more.
    ending: bool,
    /// Another one is to take over.
    giving_way: bool,
}

impl Table {
    /// Numbers for so many slots; from 0 on where there is no app at all, as PM2 counts.
    fn new_ids(&mut self, count: u32) -> Vec<u32> {
        if self.apps.is_empty() {
            self.next_id = 0;
        }
        let first = self.next_id;
        self.next_id = first.saturating_add(count);
        (first..self.next_id).collect()
    }

    fn new_serial(&mut self) -> u32 {
        self.next_serial += 1;
        self.next_serial
    }

    /// These are taken.
    fn took(&mut self, serial: u32, ids: &[u32]) {
        self.next_serial = self.next_serial.max(serial);
        self.next_id = ids.iter().map(|id| id.saturating_add(1)).chain([self.next_id]).max().unwrap_or(0);
    }
}

impl Daemon {
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn say(&self, text: &str) {
        voice::err(format_args!("{} daemon: {text}", crate::time::stamp()));
    }

    /// As PM2, and as a service manager expects. Who wants apps to live on kills the daemon with SIGKILL, or updates it.
    async fn end_as_told(&self, signal: &str, terminate: &mut start::Terminate) {
        self.say(&format!("{signal}: all apps are stopped"));
        let _ = crate::boot::notify_stopping();
        let prolong = async {
            loop {
                // Some apps drain for longer than a service manager waits by itself.
                let _ = crate::boot::notify_extend(EXTENDS * 3);
                tokio::time::sleep(EXTENDS).await;
            }
        };
        tokio::select! {
            () = self.end_apps() => {}
            () = prolong => {}
            again = terminate.recv() => self.say(&format!("{again} once more: not waiting for them")),
        }
    }

    pub(super) fn end(&self, again: Again) {
        *self.0.again.lock().unwrap_or_else(PoisonError::into_inner) = again;
        self.0.over.notify_one();
    }
}

/// How often a service manager is told that it takes longer.
const EXTENDS: Duration = Duration::from_secs(10);
/// How long another daemon may take to give way: it waits for what is just being started.
const GIVES_WAY: Duration = Duration::from_secs(30);
/// Between two tries.
const GLANCE: Duration = Duration::from_millis(100);

/// How a daemon is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// By whoever needs it: it lets go of that terminal.
    Background,
    /// By a service manager, which is told when it is ready.
    Foreground,
}

/// What becomes of saved apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SavedApps {
    Leave,
    Start,
}

/// `oneport daemon`.
pub(crate) fn run(place: Place, saved: SavedApps) -> Done {
    oneport_sys::heap::share_one_heap();
    let (home, warnings) = Home::open()?;
    let (lock, listener) = match (start::taken_over(), place) {
        (Some((lock, listener)), _) => (Some(lock), Some(listener)),
        (None, Place::Background) => (lock(&home)?, None),
        (None, Place::Foreground) => (Some(lock_of_another(&home)?), None),
    };
    let Some(lock) = lock else {
        // Another one was quicker, and serves whoever started this one as well.
        detach::say_ready();
        return Ok(ExitCode::SUCCESS);
    };
    home.tidy();
    if place == Place::Background {
        detach::stand_alone();
    }
    let program = start::own_program()?;
    let (events, _) = broadcast::channel(EVENTS);
    // Two for each app; the usual limit of 1024 would end at some 500 of them. Refused, it is as it was.
    let nofile_soft = process::set_nofile_to_hard().ok();
    let daemon = Daemon(Arc::new(Shared {
        home,
        program,
        started_at: now_ms(),
        table: Mutex::default(),
        events,
        over: Notify::new(),
        again: Mutex::new(Again::Nothing),
        launching: launch::Launching::default(),
        place,
        nofile_soft,
    }));
    warnings.iter().for_each(|warning| daemon.say(warning));
    let failed = |cause: io::Error| Failure::new(format!("cannot run the daemon: {}", plain(&cause)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let listener = runtime.block_on(live(daemon.clone(), place, saved, listener))?;
    let again = *daemon.0.again.lock().unwrap_or_else(PoisonError::into_inner);
    match again {
        Again::Exec => {
            // The next one is to find what this one has found.
            let _ = nofile_soft.map(process::set_nofile_soft);
            Err(start::become_new(&daemon.0.program, place, lock, listener))
        }
        Again::Nothing => {
            for path in [daemon.0.home.socket(), daemon.0.home.pid()] {
                // Stale ones are no obstacle.
                let _ = std::fs::remove_file(path);
            }
            drop(lock);
            Ok(ExitCode::SUCCESS)
        }
        Again::GivesWay => {
            drop(lock);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Gives its listening socket back, for who takes over.
async fn live(
    daemon: Daemon,
    place: Place,
    saved: SavedApps,
    listener: Option<OwnedFd>,
) -> Result<OwnedFd, Failure> {
    let failed = |cause: io::Error| Failure::new(format!("cannot answer: {}", plain(&cause)));
    let listener = match listener {
        Some(listener) => std::os::unix::net::UnixListener::from(listener),
        None => open(&daemon.0.home)?,
    };
    let kept = OwnedFd::from(listener.try_clone().map_err(failed)?);
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = UnixListener::from_std(listener).map_err(failed)?;
    let mut terminate = start::signals()?;
    let others = start::other_signals()?;
    // Whoever asks meanwhile waits in the socket's queue.
    find::find_all(&daemon).await?;
    if saved == SavedApps::Start {
        // Not given up in the middle: what was begun is known, and ended with the rest.
        let starter = daemon.clone();
        let starting = tokio::spawn(async move { starter.start_saved().await });
        tokio::select! {
            _ = starting => {}
            signal = terminate.recv() => {
                daemon.end_as_told(signal, &mut terminate).await;
                return Ok(kept);
            }
        }
    }
    // For people and scripts; nothing here reads it.
    let _ = atomic::write(&daemon.0.home.pid(), format!("{}\n", std::process::id()).as_bytes());
    daemon.say("started");
    match place {
        Place::Background => detach::say_ready(),
        // A manager that does not hear it says so itself.
        Place::Foreground => _ = crate::boot::notify_ready(),
    }
    tokio::spawn(start::tend_log(daemon.clone()));
    tokio::spawn(start::hear_other_signals(daemon.clone(), others));
    let (close, closed) = tokio::sync::oneshot::channel::<()>();
    let over = async move { _ = closed.await };
    let serving = tokio::spawn(server::serve(listener, routes::routes(daemon.clone()), over));
    tokio::select! {
        () = daemon.0.over.notified() => {}
        signal = terminate.recv() => daemon.end_as_told(signal, &mut terminate).await,
    }
    // Answers under way get a moment to leave.
    drop(close);
    let _ = tokio::time::timeout(Duration::from_millis(300), serving).await;
    Ok(kept)
}

/// Only one daemon lives in a home. `None`: there is one.
fn lock(home: &Home) -> Result<Option<File>, Failure> {
    let path = home.lock();
    let failed =
        |cause: io::Error| Failure::new(format!("cannot lock `{}`: {}", path.display(), plain(&cause)));
    let mut options = File::options();
    let file = open_regular(options.create(true).truncate(false).write(true), &path).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// For one that a service manager has started: a daemon that was started by some command gives way, and its apps do not notice.
fn lock_of_another(home: &Home) -> Result<File, Failure> {
    let failed = |cause: io::Error| Failure::new(format!("cannot run the daemon: {}", plain(&cause)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let client = Client::new(home.socket());
    let mut until = Instant::now() + GIVES_WAY;
    runtime.block_on(async {
        loop {
            if let Some(lock) = lock(home)? {
                return Ok(lock);
            }
            if Instant::now() > until {
                let path = home.lock();
                let message =
                    format!("cannot lock `{}`: another daemon has it, and does not give way", path.display());
                return Err(Failure::new(message));
            }
            match client.post::<serde_json::Value>("/v1/yield", &serde_json::json!({})).await {
                Err(CallError::Refused(problem)) if problem.kind == ProblemKind::NotAllowed => {
                    let failure = Failure::new(problem.error);
                    return Err(match problem.hint {
                        Some(hint) => failure.hint(hint),
                        None => failure,
                    });
                }
                // Its apps drain, and then it is gone.
                Err(CallError::Refused(problem)) if problem.kind == ProblemKind::Conflict => {
                    until = Instant::now() + GIVES_WAY;
                }
                // It may be about to start, or to end.
                Ok(_)
                | Err(
                    CallError::Refused(_)
                    | CallError::NotThere(_)
                    | CallError::TimedOut
                    | CallError::Broken(_),
                ) => {}
            }
            tokio::time::sleep(GLANCE).await;
        }
    })
}

fn open(home: &Home) -> Result<std::os::unix::net::UnixListener, Failure> {
    let path = home.socket();
    let failed =
        |cause: io::Error| Failure::new(format!("cannot answer at `{}`: {}", path.display(), plain(&cause)));
    // The lock says that whoever made it is gone.
    match std::fs::remove_file(&path) {
        Ok(()) => {}
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(failed(cause)),
    }
    let address = socket_address(&path).map_err(failed)?;
    let listener = std::os::unix::net::UnixListener::bind(address.path()).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// The file that the daemon and its primaries write their log to.
pub(crate) fn open_log(home: &Home) -> io::Result<File> {
    open_regular(File::options().create(true).append(true), &home.log())
}

/// A FIFO would have us wait for whoever is at its other end.
fn open_regular(options: &mut OpenOptions, path: &std::path::Path) -> io::Result<File> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = options.mode(0o600).custom_flags(nonblocking).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_and_begin_anew_where_there_is_no_app() {
        let mut table = Table::default();
        assert_eq!(table.new_ids(3), [0, 1, 2]);
        table.apps.insert("a".into(), App::nobody("a", 1, vec![0, 1, 2]));
        assert_eq!(table.new_ids(2), [3, 4]);
        table.apps.clear();
        assert_eq!(table.new_ids(1), [0]);
        table.took(9, &[7, 4]);
        table.apps.insert("a".into(), App::nobody("a", 9, vec![7, 4]));
        assert_eq!((table.new_ids(1), table.new_serial()), (vec![8], 10));
    }
}
