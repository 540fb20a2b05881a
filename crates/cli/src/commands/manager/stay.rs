//! Commands that stay: `--attach` shows what apps write until it is ended, and `start --no-daemon` takes everything with it
//! then. As the first process of a container it also waits for orphans.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use oneport_wire::control::{AppView, Status};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use super::link::Link;
use super::logs::{files_of, nobody_reads};
use super::say;
use crate::Done;
use crate::error::Failure;
use crate::logs::{Show, Wanted, show};
use crate::render::manager::Tone;
use crate::strangers;

/// How often it is looked whether anybody is left. Nothing depends on it but the end of this command.
const GLANCE: Duration = Duration::from_secs(1);

/// Where files were before an app was started: what it writes from its first moment on is shown.
#[derive(Debug, Default)]
pub(super) struct Marks {
    folders: Vec<PathBuf>,
    sizes: HashMap<PathBuf, u64>,
}

impl Marks {
    /// Of all files in these folders.
    pub(super) fn take(folders: impl IntoIterator<Item = PathBuf>) -> Marks {
        let mut marks = Marks::default();
        for folder in folders {
            // There may be none yet.
            for file in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                if let Ok(found) = file.metadata() {
                    marks.sizes.insert(file.path(), found.len());
                }
            }
            marks.folders.push(folder);
        }
        marks
    }

    /// These files from there on; a file in another folder from its end on.
    fn set(&self, wanted: &mut [Wanted]) {
        for one in wanted {
            let is_marked = self.folders.iter().any(|folder| one.path.parent() == Some(folder));
            one.from = is_marked.then(|| self.sizes.get(&one.path).copied().unwrap_or(0));
        }
    }
}

fn failed(cause: std::io::Error) -> Failure {
    Failure::new(format!("cannot receive signals: {cause}"))
}

/// Shows what these apps write, as PM2's `--attach`, until it is ended or nobody reads. Apps go on.
pub(super) async fn attach(link: &Link, names: &[String], marks: &Marks) -> Done {
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut apps = link.apps().await?;
    apps.retain(|app| names.contains(&app.name));
    let mut shown = follow(&apps, marks, Arc::default());
    tokio::select! {
        _ = terminate.recv() => Ok(ExitCode::from(143)),
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        () = shown.recv() => Ok(ExitCode::SUCCESS),
    }
}

pub(super) async fn stay(link: &Link, marks: &Marks) -> Done {
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut child = signal(SignalKind::child()).map_err(failed)?;
    strangers::adopt_orphans();
    let over = Arc::new(AtomicBool::new(false));
    let mut shown = follow(&link.apps().await?, marks, over.clone());
    let mut glance = interval(GLANCE);
    glance.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let code = loop {
        tokio::select! {
            _ = terminate.recv() => break ExitCode::SUCCESS,
            _ = interrupt.recv() => break ExitCode::SUCCESS,
            _ = child.recv() => strangers::reap_all(),
            _ = glance.tick() => {
                // The daemon may have been killed: another one finds the apps again.
                let apps = match link.apps().await {
                    Ok(apps) => apps,
                    Err(_) => {
                        Link::open().await?;
                        continue;
                    }
                };
                if let Some(code) = nobody_left(&apps) {
                    break code;
                }
            }
        }
    };
    let _: Value = link.post("/v1/kill", &json!({})).await?;
    link.await_end(|text| say(Tone::Normal, text)).await?;
    over.store(true, Ordering::Relaxed);
    // What was written last is shown then, or nobody reads.
    shown.recv().await;
    Ok(code)
}

/// The exit code once nobody runs, or is to: 0 if all ended in order.
fn nobody_left(apps: &[AppView]) -> Option<ExitCode> {
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

/// A thread that shows what apps write.
struct Shown(oneshot::Receiver<()>);

impl Shown {
    /// Until it shows nothing any more.
    async fn recv(&mut self) {
        // It says so by being gone.
        let _ = (&mut self.0).await;
    }
}

fn follow(apps: &[AppView], marks: &Marks, over: Arc<AtomicBool>) -> Shown {
    let mut wanted = files_of(apps);
    marks.set(&mut wanted);
    let (says_over, shown) = oneshot::channel::<()>();
    let work = move || {
        let is_over = || over.load(Ordering::Relaxed) || nobody_reads();
        // Nobody may read: apps go on all the same.
        let _ = show(&wanted, &Show::to_come(), &mut std::io::stdout(), &is_over);
        drop(says_over);
    };
    // Without a thread nothing is shown.
    let _ = std::thread::Builder::new().name("logs".into()).spawn(work);
    Shown(shown)
}
