//! `start --no-daemon`: the command stays, shows what apps write, and takes everything with it when it is ended. As the first
//! process of a container it also waits for orphans.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use oneport_wire::control::{AppView, Status};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::link::Link;
use super::logs::files_of;
use super::say;
use crate::Done;
use crate::error::Failure;
use crate::logs::{Show, show};
use crate::render::manager::Tone;
use crate::strangers;

/// How often it is looked whether anybody is left. Nothing depends on it but the end of this command.
const GLANCE: Duration = Duration::from_secs(1);

pub(super) async fn stay(link: &Link) -> Done {
    let failed = |cause: std::io::Error| Failure::new(format!("cannot receive signals: {cause}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut child = signal(SignalKind::child()).map_err(failed)?;
    strangers::adopt_orphans();
    let over = Arc::new(AtomicBool::new(false));
    let shown = follow(&link.apps().await?, over.clone());
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
    link.await_end().await?;
    over.store(true, Ordering::Relaxed);
    // What was written last is shown by now, or nobody reads.
    let _ = shown.map(std::thread::JoinHandle::join);
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

fn follow(apps: &[AppView], over: Arc<AtomicBool>) -> Option<std::thread::JoinHandle<()>> {
    let wanted = files_of(apps);
    let work = move || {
        // Nobody may read: apps go on all the same.
        let _ = show(&wanted, &Show::to_come(), &mut std::io::stdout(), &|| over.load(Ordering::Relaxed));
    };
    std::thread::Builder::new().name("logs".into()).spawn(work).ok()
}
