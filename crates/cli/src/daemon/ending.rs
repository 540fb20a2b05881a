//! The end of apps: one by one as asked, and all of them.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use oneport_sys::process::{self, Pid};
use oneport_wire::control::{Job, Problem};
use serde_json::json;
use tokio::task::JoinSet;

use super::Daemon;
use super::apps::{App, Primary};
use super::launch::{end_leftovers, forget, open_pidfd};
use super::routes::{of_call, unknown};
use crate::control::segment;

/// How long all apps together may take to end: longer than any usual drain time.
const LONGEST_END: Duration = Duration::from_secs(15 * 60);

impl Daemon {
    /// Ends all apps, in order; those that do not end in time are killed. Nothing is started meanwhile.
    pub(super) async fn end_apps(&self) {
        self.table().ending = true;
        let until = Instant::now() + LONGEST_END;
        loop {
            let names: Vec<String> = self.table().apps.keys().cloned().collect();
            if names.is_empty() && !self.0.launching.is_any() {
                return;
            }
            let mut deleting = JoinSet::new();
            for name in names {
                let daemon = self.clone();
                // Asking again does no harm: it is the same deletion.
                deleting.spawn(async move { _ = daemon.delete_app(&name).await });
            }
            while deleting.join_next().await.is_some() {}
            if Instant::now() > until {
                return self.kill_all().await;
            }
            self.await_fewer(Duration::from_secs(1)).await;
        }
    }

    /// Waits until there is no app any more, or so long.
    async fn await_fewer(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let is_any = || !self.table().apps.is_empty() || self.0.launching.is_any();
        while is_any() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
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
                Some((Primary::Up { .. }, client, _)) => client,
            }
        };
        let path = format!("/v1/apps/{}/delete", segment(name));
        client.post(&path, &json!({})).await.map(Some).map_err(|error| of_call(name, &error))
    }

    async fn kill_all(&self) {
        let apps: Vec<App> = std::mem::take(&mut self.table().apps).into_values().collect();
        for app in apps {
            self.say(&format!("`{}` does not end in time: it is killed", app.name));
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
}
