//! Saving the list of apps, and bringing saved apps back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use oneport_wire::control::{
    AppView, Create, Instances, Problem, ProblemKind, Saved, SavedApp, Start, Status,
};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Daemon;
use super::routes::LISTING;
use super::trace::Left;
use crate::commands::run::managed::{Origin, boot_id, now_ms};
use crate::control::server::{json, read, refuse, to_the_end};
use crate::control::{problem, segment};
use crate::error::Failure;
use crate::state::{Change, Force, Saves, atomic, environment};

/// How long the disk of the saved lists may take, and whoever else has them locked.
const DISK: Duration = Duration::from_secs(8);
/// Between two tries to start what is saved, at the start of the machine.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(60)];
/// Primaries that are started at a time: one that hangs does not keep the others waiting.
const AT_ONCE: usize = 4;

/// `POST /v1/save`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Save {
    /// An empty list may take the place of one with apps.
    #[serde(default)]
    pub(crate) force: bool,
}

/// What came of it.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct SaveDone {
    pub(crate) file: String,
    pub(crate) apps: usize,
    pub(crate) changed: bool,
    pub(crate) warnings: Vec<String>,
    /// Variables that are not saved, by app.
    pub(crate) left_out: BTreeMap<String, Vec<String>>,
}

/// `POST /v1/resurrect`: the saved list, or one that is given.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resurrect {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) apps: Option<Vec<SavedApp>>,
}

/// What came of it.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Resurrected {
    /// Apps that are started.
    pub(crate) started: Vec<String>,
    /// Apps that were there already.
    pub(crate) there: Vec<String>,
    /// Apps that could not be started, and why.
    pub(crate) failed: BTreeMap<String, String>,
    pub(crate) warnings: Vec<String>,
}

pub(super) async fn save(State(daemon): State<Daemon>, body: Bytes) -> Response {
    let wanted: Save = match read(&body) {
        Ok(wanted) => wanted,
        Err(problem) => return refuse(problem),
    };
    to_the_end(async move {
        match daemon.save(if wanted.force { Force::Yes } else { Force::No }).await {
            Ok(done) => json(&done),
            Err(problem) => refuse(problem),
        }
    })
    .await
}

pub(super) async fn resurrect(State(daemon): State<Daemon>, body: Bytes) -> Response {
    let wanted: Resurrect = match read(&body) {
        Ok(wanted) => wanted,
        Err(problem) => return refuse(problem),
    };
    to_the_end(async move {
        match daemon.resurrect(wanted.apps).await {
            Ok(done) => json(&done),
            Err(problem) => refuse(problem),
        }
    })
    .await
}

/// The newest saved list; `null`: none is good.
pub(super) async fn newest(State(daemon): State<Daemon>) -> Response {
    match daemon.with_saves(|saves| Ok(saves.peek())).await {
        Ok(saved) => json(&saved.map(|saved| saved.apps)),
        Err(problem) => refuse(problem),
    }
}

/// Saved apps that are yet to be started.
enum Rest {
    All,
    These(Vec<SavedApp>),
}

/// One app as it is to be saved.
struct ToSave {
    app: SavedApp,
    /// Variables that are not.
    left: Vec<String>,
    is_guessed: bool,
}

fn of_failure(failure: &Failure) -> Problem {
    problem(ProblemKind::Failed, failure.message(), failure.advice())
}

impl Daemon {
    /// Work with the saved lists: disks take their time, and somebody else may have them locked.
    pub(super) async fn with_saves<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Saves) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Problem> {
        let saves = Saves::new(&self.0.home);
        let working = tokio::task::spawn_blocking(move || work(&saves));
        match timeout(DISK, working).await {
            Ok(Ok(done)) => done.map_err(|failure| of_failure(&failure)),
            Ok(Err(_)) => Err(problem(ProblemKind::Failed, "cannot use the saved list: this is a bug", None)),
            Err(_) => {
                let message = "cannot use the saved list: its disk hangs, or somebody has it locked";
                Err(problem(ProblemKind::TimedOut, message, None))
            }
        }
    }

    pub(super) async fn save(&self, force: Force) -> Result<SaveDone, Problem> {
        let mut asking = JoinSet::new();
        for (at, view) in self.views().await.into_iter().enumerate() {
            let daemon = self.clone();
            asking.spawn(async move { (at, daemon.saved(view).await) });
        }
        let mut all: Vec<(usize, ToSave)> = Vec::new();
        while let Some(Ok(one)) = asking.join_next().await {
            all.push(one);
        }
        all.sort_by_key(|(at, _)| *at);
        let (mut apps, mut left_out, mut warnings) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (_, ToSave { app, left, is_guessed }) in all {
            let name = &app.spec.name;
            if is_guessed {
                warnings.push(format!(
                    "the primary of `{name}` does not answer: its environment is saved as far as it is known"
                ));
            }
            if !left.is_empty() {
                left_out.insert(name.clone(), left);
            }
            apps.push(app);
        }
        let saved = Saved {
            version: Saved::VERSION,
            saved_at: now_ms(),
            oneport: env!("CARGO_PKG_VERSION").to_owned(),
            apps,
        };
        let apps = saved.apps.len();
        let written = self.with_saves(move |saves| saves.write(&saved, force)).await?;
        Ok(SaveDone {
            file: written.path.display().to_string(),
            apps,
            changed: written.change == Change::Replaced,
            warnings: written.warnings.into_iter().chain(warnings).collect(),
            left_out,
        })
    }

    async fn saved(&self, view: AppView) -> ToSave {
        let known = self.table().apps.get(&view.name).cloned();
        let origin = match &known {
            Some(app) => {
                let (client, path) = (self.client(app), format!("/v1/apps/{}/origin", segment(&view.name)));
                timeout(LISTING, client.get::<Origin>(&path)).await.ok().and_then(Result::ok)
            }
            None => None,
        };
        // Of a primary that does not answer: what it has written down, and what is known of it here.
        let trace = known.as_ref().filter(|_| view.workers.is_empty());
        let trace = trace.and_then(|app| match Left::read(self.0.home.path(), app.serial) {
            Left::Trace(trace) => Some(trace),
            Left::Nothing | Left::Broken | Left::Unreadable(_) => None,
        });
        let is_guessed = origin.is_none() && known.as_ref().is_some_and(|app| app.is_guessed);
        let (environment, ids) = match (origin, known) {
            (Some(origin), _) => (origin.environment, origin.ids),
            (None, Some(app)) => (app.environment, app.ids),
            (None, None) => (BTreeMap::new(), Vec::new()),
        };
        let listed: Vec<u32> = view.workers.iter().map(|worker| worker.id).collect();
        let of_view = view.workers.iter().filter(|worker| worker.status == Status::Stopped);
        let stopped: Vec<u32> =
            trace.map_or_else(|| of_view.map(|worker| worker.id).collect(), |trace| trace.stopped);
        let left: Vec<String> =
            environment::left_out(&environment, &view.spec.env).into_iter().map(str::to_owned).collect();
        let app = SavedApp {
            environment: environment::allowed(&environment),
            stopped,
            instances: u32::try_from(if listed.is_empty() { ids.len() } else { listed.len() }).unwrap_or(1),
            ids: if listed.is_empty() { ids } else { listed },
            spec: view.spec,
        };
        ToSave { app, left, is_guessed }
    }

    /// The saved list, and what came of it in the log.
    pub(super) async fn start_saved(&self) {
        // Once after the machine has come up, or after an end in order: a daemon that was killed and is started again by its
        // service manager finds its apps by their primaries, and those that were deleted since are not to come back.
        if std::fs::read_to_string(self.resurrected()).is_ok_and(|boot| boot == boot_id()) {
            return;
        }
        if let Some(rest) = self.start_some(Rest::All).await {
            tokio::spawn(self.clone().start_rest(rest));
        }
    }

    /// What could not be started is tried again: disks and networks come up late.
    async fn start_rest(self, mut rest: Rest) {
        for pause in PAUSES {
            tokio::time::sleep(pause).await;
            match self.start_some(rest).await {
                Some(left) => rest = left,
                None => return,
            }
        }
        self.has_started_saved();
    }

    /// Gives what is to be tried again.
    async fn start_some(&self, wanted: Rest) -> Option<Rest> {
        let apps = match wanted {
            Rest::All => None,
            Rest::These(apps) => Some(apps),
        };
        let (done, apps) = match self.resurrect_with(apps).await {
            Ok(done) => done,
            Err(problem) => {
                self.say(&problem.error);
                // Nothing was ever saved, or it is not to be read yet.
                let there = self.with_saves(|saves| Ok(saves.path().exists())).await.unwrap_or(true);
                if !there {
                    self.has_started_saved();
                }
                return (there && !self.table().ending).then_some(Rest::All);
            }
        };
        done.warnings.iter().for_each(|warning| self.say(warning));
        done.failed.values().for_each(|error| self.say(error));
        self.say(&format!("{} saved apps are started", done.started.len()));
        // One that was told to end meanwhile has not started all of them.
        if self.table().ending {
            return None;
        }
        let failed: Vec<SavedApp> =
            apps.into_iter().filter(|app| done.failed.contains_key(&app.spec.name)).collect();
        if failed.is_empty() {
            self.has_started_saved();
            return None;
        }
        Some(Rest::These(failed))
    }

    /// Until the next end in order, or the next boot.
    fn has_started_saved(&self) {
        if !self.table().ending {
            // Without it the list is only started once too often.
            let _ = atomic::write_fleeting(&self.resurrected(), boot_id().as_bytes());
        }
    }

    fn resurrected(&self) -> PathBuf {
        self.0.home.run().join("resurrected")
    }

    /// This daemon ends in order, and its apps with it: the next one starts what is saved.
    pub(super) fn is_to_start_again(&self) {
        // There may be none.
        let _ = std::fs::remove_file(self.resurrected());
    }

    /// Starts saved apps that are not there, each as it was.
    pub(super) async fn resurrect(&self, given: Option<Vec<SavedApp>>) -> Result<Resurrected, Problem> {
        self.resurrect_with(given).await.map(|(done, _)| done)
    }

    /// What came of it, and of which apps.
    async fn resurrect_with(
        &self,
        given: Option<Vec<SavedApp>>,
    ) -> Result<(Resurrected, Vec<SavedApp>), Problem> {
        let mut done = Resurrected::default();
        let apps = match given {
            Some(apps) => apps,
            None => {
                let (saved, warnings) = self.with_saves(Saves::read).await?;
                done.warnings = warnings;
                saved.apps
            }
        };
        let mut bringing = JoinSet::new();
        let mut brought = Vec::new();
        for (at, app) in apps.iter().cloned().enumerate() {
            let name = app.spec.name.clone();
            if self.table().apps.contains_key(&name) {
                done.there.push(name);
                continue;
            }
            if bringing.len() >= AT_ONCE {
                brought.extend(bringing.join_next().await.and_then(Result::ok));
            }
            let daemon = self.clone();
            bringing.spawn(async move { (at, name, daemon.bring(app).await) });
        }
        brought.extend(bringing.join_all().await);
        brought.sort_by_key(|(at, ..)| *at);
        for (_, name, result) in brought {
            match result {
                Ok(()) => done.started.push(name),
                Err(problem) => _ = done.failed.insert(name, problem.error),
            }
        }
        Ok((done, apps))
    }

    async fn bring(&self, app: SavedApp) -> Result<(), Problem> {
        let SavedApp { mut spec, environment, ids, stopped, instances } = app;
        spec.instances = Instances::Exactly(instances.max(1));
        let starts: Vec<u32> = ids.iter().copied().filter(|id| !stopped.contains(id)).collect();
        let wanted =
            Create { spec, environment, force: false, ids: ids.clone(), stopped: !stopped.is_empty() };
        let view = self.create(wanted).await?;
        if stopped.is_empty() || starts.is_empty() {
            return Ok(());
        }
        // Some of them: by their numbers, if they could be had again, else by their places.
        let places = ids.iter().zip(&view.workers);
        let now: Vec<u32> =
            places.filter(|(id, _)| starts.contains(id)).map(|(_, worker)| worker.id).collect();
        let client = self.table().apps.get(&view.name).map(|app| self.client(app));
        if let Some(client) = client {
            let path = format!("/v1/apps/{}/start", segment(&view.name));
            let begun = client.post::<serde_json::Value>(&path, &Start { ids: now }).await;
            begun.map_err(|error| problem(ProblemKind::Failed, error.to_string(), None))?;
        }
        Ok(())
    }
}
