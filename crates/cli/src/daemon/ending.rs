//! The end of apps: one by one as asked, and all of them.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use oneport_sys::process::{self, Pid};
use oneport_wire::control::{Job, Problem};
use serde_json::json;
use tokio::task::JoinSet;

use super::Daemon;
use super::apps::{App, Primary};
use super::launch::open_pidfd;
use super::leftovers::end_leftovers;
use super::routes::{LISTING, of_call, unknown, unseen};
use super::trace::forget;
use crate::control::segment;

/// How long all apps together may take to end: longer than any usual drain time.
const LONGEST_END: Duration = Duration::from_secs(15 * 60);
/// A primary that answers nothing for so long when it is to end is killed.
const SILENT: Duration = Duration::from_secs(15);

/// Longer than the start of a primary may take.
const LAUNCHED: Duration = Duration::from_secs(12);
/// Between two looks at something that has no event.
const GLANCE: Duration = Duration::from_millis(10);

impl Daemon {
    /// Ends all apps, in order; those that do not end in time, or do not answer, are killed. Nothing is started meanwhile.
    pub(super) async fn end_apps(&self) {
        self.table().ending = true;
        self.is_to_start_again();
        let until = Instant::now() + LONGEST_END;
        let mut silent_since: HashMap<String, Instant> = HashMap::new();
        loop {
            let names: Vec<String> = self.table().apps.keys().cloned().collect();
            if names.is_empty() && !self.0.launching.is_any() {
                return;
            }
            let mut deleting = JoinSet::new();
            for name in names {
                let daemon = self.clone();
                // Asking again does no harm: it is the same deletion.
                deleting.spawn(async move {
                    let asked = tokio::time::timeout(LISTING, daemon.delete_app(&name)).await;
                    (name, asked)
                });
            }
            while let Some(asked) = deleting.join_next().await {
                match asked {
                    Ok((name, Ok(Ok(_)))) => _ = silent_since.remove(&name),
                    Ok((name, Ok(Err(_)) | Err(_))) => {
                        _ = silent_since.entry(name).or_insert_with(Instant::now)
                    }
                    Err(_) => {}
                }
            }
            let is_over = Instant::now() > until;
            let silent =
                |app: &App| silent_since.get(&app.name).is_some_and(|since| since.elapsed() > SILENT);
            let hopeless: Vec<App> =
                self.table().apps.values().filter(|app| is_over || silent(app)).cloned().collect();
            for app in hopeless {
                self.kill_app(&app).await;
            }
            self.await_fewer(Duration::from_secs(1)).await;
        }
    }

    /// Waits until there is no app any more, or so long.
    async fn await_fewer(&self, limit: Duration) {
        wait_while(|| !self.table().apps.is_empty() || self.0.launching.is_any(), limit).await;
    }

    /// Waits until no primary is being started, or as long as that may take.
    pub(super) async fn await_launched(&self) {
        wait_while(|| self.0.launching.is_any(), LAUNCHED).await;
    }

    /// Takes an app off the list, also one whose primary is not there.
    pub(super) async fn delete_app(&self, name: &str) -> Result<Option<Job>, Problem> {
        let client = {
            let mut table = self.table();
            match table.apps.get(name).map(|app| (app.primary, self.client(app), app.serial)) {
                None => return Err(unknown(name)),
                Some((Primary::Coming, _, serial)) => {
                    table.apps.remove(name);
                    forget(self.0.home.path(), serial);
                    return Ok(None);
                }
                Some((Primary::Unseen, ..)) => return Err(unseen(name)),
                Some((Primary::Up { .. }, client, _)) => client,
            }
        };
        let path = format!("/v1/apps/{}/delete", segment(name));
        client.post(&path, &json!({})).await.map(Some).map_err(|error| of_call(name, &error))
    }

    async fn kill_app(&self, app: &App) {
        self.say(&format!("`{}` does not end, or does not answer: it is killed", app.name));
        {
            let mut table = self.table();
            if table.apps.get(&app.name).is_some_and(|known| known.serial == app.serial) {
                table.apps.remove(&app.name);
            }
        }
        if let Primary::Up { pid } = app.primary
            && let Some(pidfd) = Pid::new(pid).and_then(|pid| open_pidfd(pid).ok())
        {
            // One that has ended meanwhile needs no signal.
            let _ = process::signal(pidfd.as_fd(), process::Signal::KILL);
        }
        end_leftovers(&app.mark).await;
        forget(self.0.home.path(), app.serial);
    }
}

async fn wait_while(is_so: impl Fn() -> bool, limit: Duration) {
    let until = Instant::now() + limit;
    while is_so() && Instant::now() < until {
        tokio::time::sleep(GLANCE).await;
    }
}
