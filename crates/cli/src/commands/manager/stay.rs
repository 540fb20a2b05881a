//! Commands that stay: `--attach` shows what apps write until it is ended, and `start --no-daemon` takes everything with it
//! then. As the first process of a container it also waits for orphans.

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use oneport_wire::control::{AppView, Status};
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use super::link::Link;
use super::logs::{files_of, in_thread, nobody_reads};
use super::marks::Marks;
use super::say;
use crate::Done;
use crate::error::Failure;
use crate::logs::{Show, Wanted};
use crate::render::manager::Tone;
use crate::strangers;

/// How often it is looked whether anybody is left. Nothing depends on it but the end of this command.
const GLANCE: Duration = Duration::from_secs(1);

fn failed(cause: std::io::Error) -> Failure {
    Failure::new(format!("cannot receive signals: {cause}"))
}

/// Shows what these apps write, as PM2's `--attach`, until it is ended or nobody reads. Apps go on.
pub(super) async fn attach(link: &Link, names: &[String], marks: &Marks) -> Done {
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut apps = link.apps().await?;
    apps.retain(|app| names.contains(&app.name));
    let shown = follow(files_of(&apps), marks, Arc::default())?;
    tokio::select! {
        _ = terminate.recv() => Ok(ExitCode::from(143)),
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = shown => Ok(ExitCode::SUCCESS),
    }
}

/// What a command hears that takes everything with it.
pub(super) struct Stay {
    terminate: Signal,
    interrupt: Signal,
    child: Signal,
}

impl Stay {
    /// From now on nothing is left behind, whatever it is told: as process 1 it would not hear of it otherwise.
    pub(super) fn begin() -> Result<Stay, Failure> {
        let hear = |kind| signal(kind).map_err(failed);
        let (terminate, interrupt) = (hear(SignalKind::terminate())?, hear(SignalKind::interrupt())?);
        let child = hear(SignalKind::child())?;
        strangers::adopt_orphans();
        Ok(Stay { terminate, interrupt, child })
    }

    /// Until it is told to end. Waits for orphans meanwhile. Cancellation safe.
    pub(super) async fn told(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.child.recv() => strangers::reap_all(),
            }
        }
    }

    /// Shows what all apps write, until it is told to end or nobody is left.
    pub(super) async fn stay(mut self, link: &Link, marks: &Marks) -> Done {
        let over = Arc::new(AtomicBool::new(false));
        let (mut known, mut shown) = (HashSet::new(), Vec::new());
        let mut glance = interval(GLANCE);
        glance.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let code = loop {
            tokio::select! {
                () = self.told() => break ExitCode::SUCCESS,
                _ = glance.tick() => {}
            }
            // The daemon may have been killed: another one finds the apps again.
            let Ok(apps) = link.apps().await else {
                Link::open().await?;
                continue;
            };
            // Slots that come later have files of their own.
            let mut files = files_of(&apps);
            files.retain(|one| known.insert(one.path.clone()));
            if !files.is_empty() {
                // Without a thread they are not shown.
                shown.extend(follow(files, marks, over.clone()).ok());
            }
            if let Some(code) = nobody_left(&apps) {
                break code;
            }
        };
        let ended = self.end(link).await?;
        over.store(true, Ordering::Relaxed);
        for one in shown {
            // What was written last is shown then, or nobody reads.
            let _ = one.await;
        }
        Ok(if ended == AllEnded::Yes { code } else { ExitCode::from(130) })
    }

    /// Ends everything. Told once more it does not wait: the daemon goes on with that.
    pub(super) async fn end(&mut self, link: &Link) -> Result<AllEnded, Failure> {
        let _: Value = link.post("/v1/kill", &json!({})).await?;
        tokio::select! {
            ended = link.await_end(|text| say(Tone::Normal, text)) => ended.map(|()| AllEnded::Yes),
            () = self.told() => Ok(AllEnded::NotYet),
        }
    }
}

/// Whether it was waited for the end of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AllEnded {
    Yes,
    NotYet,
}

impl AllEnded {
    pub(super) fn code(self) -> ExitCode {
        match self {
            AllEnded::Yes => ExitCode::SUCCESS,
            AllEnded::NotYet => ExitCode::from(130),
        }
    }
}

/// The exit code once nobody runs, or is to: 0 if all ended in order.
fn nobody_left(apps: &[AppView]) -> Option<ExitCode> {
    // One without workers is one whose primary does not answer just now: it comes again.
    if apps.iter().any(|app| app.workers.is_empty() && app.instances > 0) {
        return None;
    }
    let mut workers = apps.iter().flat_map(|app| &app.workers);
    let is_over = |status: Status| match status {
        Status::Stopped | Status::Errored => true,
        Status::Online
        | Status::Launching
        | Status::Stopping
        | Status::WaitingRestart
        | Status::OneLaunch => false,
    };
    if !workers.all(|worker| is_over(worker.status)) {
        return None;
    }
    let errored = apps.iter().flat_map(|app| &app.workers).any(|worker| worker.status == Status::Errored);
    if errored {
        say(Tone::Error, "every worker is given up");
    }
    Some(ExitCode::from(u8::from(errored)))
}

/// What they write from these marks on. Nobody may read: apps go on all the same.
fn follow(
    mut wanted: Vec<Wanted>,
    marks: &Marks,
    over: Arc<AtomicBool>,
) -> Result<oneshot::Receiver<std::io::Result<()>>, Failure> {
    marks.set(&mut wanted);
    in_thread(wanted, Show::to_come(), move || over.load(Ordering::Relaxed) || nobody_reads())
}
