//! What the daemon answers itself, and what it passes on to the primary of an app.

use std::collections::HashSet;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::Method;
use axum::response::Response;
use axum::routing::{any, get, post};
use oneport_sys::process;
use oneport_sys::tree::TreeMark;
use oneport_wire::control::{AppView, Create, Job, Problem, ProblemKind, Scale, Welcome};
use serde_json::json;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;

use super::apps::{App, Primary};
use super::{Again, Daemon, saving};
use crate::commands::run::managed::{ScaleTo, now_ms};
use crate::control::client::{ANSWER, CallError, Client};
use crate::control::server::{self, json, read, refuse};
use crate::control::{problem, segment};

/// How long a primary may take for its part of the list.
const LISTING: Duration = Duration::from_secs(2);
/// Apps of one daemon.
const MOST_APPS: usize = 4096;

type Ask = State<Daemon>;

pub(super) fn routes(daemon: Daemon) -> Router {
    Router::new()
        .route("/v1", get(welcome))
        .route("/v1/apps", get(list).post(create))
        .route("/v1/apps/{app}/scale", post(scale))
        .route("/v1/apps/{app}", any(pass_on))
        .route("/v1/apps/{app}/{*rest}", any(pass_on))
        .route("/v1/events", get(events))
        .route("/v1/save", post(saving::save))
        .route("/v1/resurrect", post(saving::resurrect))
        .route("/v1/kill", post(kill))
        .route("/v1/update", post(update))
        .with_state(daemon)
}

async fn welcome(State(daemon): Ask) -> Response {
    json(&Welcome {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: process::own_pid().get(),
        home: daemon.0.home.path().display().to_string(),
        started_at: daemon.0.started_at,
    })
}

async fn list(State(daemon): Ask) -> Response {
    json(&daemon.views().await)
}

async fn events(State(daemon): Ask) -> Response {
    let mut events = daemon.0.events.subscribe();
    let (sender, lines) = mpsc::channel(256);
    tokio::spawn(async move {
        loop {
            let line = match events.recv().await {
                Ok(line) => format!("{line}\n"),
                Err(broadcast::error::RecvError::Lagged(events)) => {
                    format!("{}\n", json!({"at": now_ms(), "app": "", "event": "missed", "events": events}))
                }
                Err(broadcast::error::RecvError::Closed) => return,
            };
            if sender.send(line).await.is_err() {
                return;
            }
        }
    });
    server::lines(lines)
}

async fn create(State(daemon): Ask, body: Bytes) -> Response {
    let wanted: Create = match read(&body) {
        Ok(wanted) => wanted,
        Err(problem) => return refuse(problem),
    };
    match daemon.create(wanted).await {
        Ok(view) => json(&view),
        Err(problem) => refuse(problem),
    }
}

/// More workers have numbers that no other app has.
async fn scale(State(daemon): Ask, Path(name): Path<String>, body: Bytes) -> Response {
    let wanted: Scale = match read(&body) {
        Ok(wanted) => wanted,
        Err(problem) => return refuse(problem),
    };
    match daemon.scale(&name, wanted).await {
        Ok(job) => json(&job),
        Err(problem) => refuse(problem),
    }
}

async fn pass_on(State(daemon): Ask, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let name = parts.uri.path().split('/').nth(3).unwrap_or_default();
    let client = match daemon.primary_of(&unescape(name)) {
        Ok(client) => client,
        Err(problem) => return refuse(problem),
    };
    let Ok(body) = axum::body::to_bytes(body, 8 * 1024 * 1024).await else {
        return refuse(problem(ProblemKind::BadRequest, "cannot read the request: it is too long", None));
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let changes = parts.method == Method::POST;
    match client.send(parts.method, path, body, ANSWER).await {
        Ok(answer) => {
            if changes && answer.status().is_success() {
                let (daemon, name) = (daemon.clone(), unescape(name));
                tokio::spawn(async move { daemon.refresh(&name).await });
            }
            answer.map(Body::new)
        }
        Err(error) => refuse(of_call(&unescape(name), &error)),
    }
}

/// Everything ends: all apps, and then the daemon.
async fn kill(State(daemon): Ask) -> Response {
    match daemon.end_apps().await {
        Ok(()) => {
            tokio::spawn(async move {
                daemon.await_no_apps().await;
                daemon.say("ended as asked");
                daemon.end(Again::Nothing);
            });
            json(&json!({}))
        }
        Err(problem) => refuse(problem),
    }
}

/// The daemon becomes the program that is installed now; apps do not notice.
async fn update(State(daemon): Ask) -> Response {
    daemon.say("becoming the installed program");
    daemon.end(Again::Exec);
    json(&json!({}))
}

impl Daemon {
    /// Tells all apps to end.
    pub(super) async fn end_apps(&self) -> Result<(), Problem> {
        let mut deleting = JoinSet::new();
        for (name, client) in self.clients() {
            deleting.spawn(async move {
                let path = format!("/v1/apps/{}/delete", segment(&name));
                client.post::<Job>(&path, &json!({})).await.map_err(|error| format!("`{name}`: {error}"))
            });
        }
        let mut failed = Vec::new();
        while let Some(done) = deleting.join_next().await {
            if let Ok(Err(error)) = done {
                failed.push(error);
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        Err(problem(ProblemKind::Failed, format!("cannot end everything: {}", failed.join("; ")), None))
    }

    /// Each ends within its drain and kill times.
    pub(super) async fn await_no_apps(&self) {
        while !self.table().apps.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn clients(&self) -> Vec<(String, Client)> {
        let table = self.table();
        table.apps.values().map(|app| (app.name.clone(), self.client(app))).collect()
    }

    /// All apps, by their names. One that does not answer in time is told with what is known of it.
    pub(super) async fn views(&self) -> Vec<AppView> {
        let apps: Vec<App> = self.table().apps.values().cloned().collect();
        let mut asking = JoinSet::new();
        for (at, app) in apps.iter().enumerate() {
            let (client, path) = (self.client(app), format!("/v1/apps/{}", segment(&app.name)));
            asking.spawn(
                async move { (at, tokio::time::timeout(LISTING, client.get::<AppView>(&path)).await) },
            );
        }
        let mut views: Vec<Option<AppView>> = apps.iter().map(|_| None).collect();
        while let Some(Ok((at, answer))) = asking.join_next().await {
            views[at] = match answer {
                Ok(Ok(view)) => Some(view),
                Ok(Err(error)) => Some(apps[at].view(&format!("its primary does not answer: {error}"))),
                Err(_) => Some(apps[at].view("its primary does not answer in time")),
            };
        }
        views.into_iter().flatten().collect()
    }

    pub(super) async fn create(&self, wanted: Create) -> Result<AppView, Problem> {
        let Create { mut spec, environment, force, ids, stopped } = wanted;
        if spec.name.is_empty() || spec.name.len() > 200 || spec.name.chars().any(char::is_control) {
            let message = format!("cannot name an app `{}`", spec.name.escape_debug());
            return Err(problem(
                ProblemKind::BadRequest,
                message,
                Some("1 to 200 letters, none of them a control"),
            ));
        }
        let count = spec.instances.count(process::cpus());
        let failed =
            |cause: std::io::Error| problem(ProblemKind::Failed, format!("cannot mark it: {cause}"), None);
        let name = {
            let mut table = self.table();
            if table.apps.len() >= MOST_APPS {
                let message = format!("cannot start `{}`: there are {MOST_APPS} apps already", spec.name);
                return Err(problem(ProblemKind::Conflict, message, None));
            }
            if table.apps.contains_key(&spec.name) {
                if !force {
                    let message = format!("cannot start `{}`: there is an app of this name", spec.name);
                    let hint =
                        "oneport restart or reload; --name gives another name, and -f one with a number";
                    return Err(problem(ProblemKind::Conflict, message, Some(hint)));
                }
                let mut numbered = (1u32..).map(|n| format!("{}-{n}", spec.name));
                spec.name = numbered.find(|name| !table.apps.contains_key(name)).unwrap_or_default();
            }
            let taken: HashSet<u32> = table.apps.values().flat_map(|app| app.ids.iter().copied()).collect();
            let free = ids.len() == count as usize && !ids.iter().any(|id| taken.contains(id));
            let ids = if free { ids } else { table.new_ids(count) };
            let serial = table.new_serial();
            table.took(serial, &ids);
            let mark = TreeMark::of_worker(now_ms()).map_err(failed)?;
            let app = App {
                environment,
                created_at: now_ms(),
                mark: format!("{}-{serial}", mark.as_str()),
                spec: spec.clone(),
                ..App::nobody(&spec.name, serial, ids)
            };
            table.apps.insert(spec.name.clone(), app);
            spec.name
        };
        let stopped = if stopped { self.table().apps.get(&name).map(|app| app.ids.clone()) } else { None };
        if let Err(problem) = self.launch(&name, stopped.unwrap_or_default()).await {
            self.table().apps.remove(&name);
            return Err(problem);
        }
        let client = self.primary_of(&name)?;
        client.get(&format!("/v1/apps/{}", segment(&name))).await.map_err(|error| of_call(&name, &error))
    }

    async fn scale(&self, name: &str, wanted: Scale) -> Result<Job, Problem> {
        let client = self.primary_of(name)?;
        let path = format!("/v1/apps/{}", segment(name));
        let view: AppView = client.get(&path).await.map_err(|error| of_call(name, &error))?;
        let now = u32::try_from(view.workers.len()).unwrap_or(u32::MAX);
        let to = match wanted {
            Scale::To(to) => to,
            Scale::By(more) => u32::try_from((i64::from(now) + more).max(0)).unwrap_or(u32::MAX),
        };
        let most = 4096;
        if to > most {
            let message = format!("cannot scale `{name}` to {to}: at most {most} workers");
            return Err(problem(ProblemKind::BadRequest, message, None));
        }
        if to == now {
            let message = format!("cannot scale `{name}` to {to}: it has so many already");
            return Err(problem(ProblemKind::Conflict, message, None));
        }
        let ids = self.table().new_ids(to.saturating_sub(now));
        let job: Job = client
            .post(&format!("{path}/scale"), &ScaleTo { to, ids })
            .await
            .map_err(|error| of_call(name, &error))?;
        self.refresh(name).await;
        Ok(job)
    }

    fn primary_of(&self, name: &str) -> Result<Client, Problem> {
        let table = self.table();
        match table.apps.get(name) {
            Some(app) if app.primary != Primary::Coming => Ok(self.client(app)),
            Some(_) => {
                let message = format!("cannot reach `{name}`: its primary is being started");
                Err(problem(ProblemKind::TimedOut, message, Some("try again in a moment")))
            }
            None => {
                let message = format!("cannot find `{name}`: there is no such app");
                Err(problem(ProblemKind::Unknown, message, Some("`oneport list` shows those there are")))
            }
        }
    }
}

fn of_call(name: &str, error: &CallError) -> Problem {
    match error {
        CallError::Refused(problem) => problem.clone(),
        CallError::TimedOut => problem(
            ProblemKind::TimedOut,
            format!("cannot reach `{name}`: its primary does not answer in time"),
            None,
        ),
        CallError::NotThere(_) | CallError::Broken(_) => {
            problem(ProblemKind::Failed, format!("cannot reach `{name}`: its primary: {error}"), None)
        }
    }
}

/// What was one part of a path.
fn unescape(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let number = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match number.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_path_are_read_as_they_were_written() {
        for name in ["web", "a/b c?d#é%", "%41", "%", "%4", "%zz"] {
            assert_eq!(unescape(&segment(name)), name);
        }
    }
}
