//! What the daemon answers itself, and what it passes on to the primary of an app.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::Method;
use axum::response::Response;
use axum::routing::{any, get, post};
use oneport_sys::process::{self, Pid};
use oneport_sys::tree::TreeMark;
use oneport_wire::control::{AppView, Create, Job, JobKind, JobState, Problem, ProblemKind, Scale, Welcome};
use serde_json::json;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;

use super::apps::{App, Primary};
use super::launch::{end_leftovers, forget, open_pidfd};
use super::{Again, Daemon, saving};
use crate::commands::run::managed::{ScaleTo, now_ms};
use crate::control::client::{ANSWER, CallError, Client};
use crate::control::server::{self, json, read, refuse};
use crate::control::{problem, segment};

/// How long a primary may take for its part of the list.
const LISTING: Duration = Duration::from_secs(2);
/// How long all apps together may take to end: longer than any usual drain time.
const LONGEST_END: Duration = Duration::from_secs(15 * 60);
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
        .route("/v1/names", get(names))
        .route("/v1/events", get(events))
        .route("/v1/save", post(saving::save))
        .route("/v1/saved", get(saving::newest))
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

/// Nothing but their names: cheap, for who waits for one to come or go.
async fn names(State(daemon): Ask) -> Response {
    let names: Vec<String> = daemon.table().apps.keys().cloned().collect();
    json(&names)
}

async fn events(State(daemon): Ask) -> Response {
    let mut events = daemon.0.events.subscribe();
    let (sender, lines) = mpsc::channel(256);
    tokio::spawn(async move {
        loop {
            let heard = tokio::select! {
                heard = events.recv() => heard,
                () = sender.closed() => return,
            };
            let line = match heard {
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
    server::to_the_end(async move {
        match daemon.create(wanted).await {
            Ok(view) => json(&view),
            Err(problem) => refuse(problem),
        }
    })
    .await
}

/// More workers have numbers that no other app has.
async fn scale(State(daemon): Ask, Path(name): Path<String>, body: Bytes) -> Response {
    let wanted: Scale = match read(&body) {
        Ok(wanted) => wanted,
        Err(problem) => return refuse(problem),
    };
    server::to_the_end(async move {
        match daemon.scale(&name, wanted).await {
            Ok(job) => json(&job),
            Err(problem) => refuse(problem),
        }
    })
    .await
}

async fn pass_on(State(daemon): Ask, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let name = parts.uri.path().split('/').nth(3).unwrap_or_default();
    let is_delete = parts.method == Method::POST && parts.uri.path().ends_with("/delete");
    if is_delete && daemon.is_coming(&unescape(name)) {
        return match daemon.delete_app(&unescape(name)).await {
            Ok(_) => json(&deleted()),
            Err(problem) => refuse(problem),
        };
    }
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
    tokio::spawn(async move {
        daemon.end_apps().await;
        daemon.say("ended as asked");
        daemon.end(Again::Nothing);
    });
    json(&json!({}))
}

/// The daemon becomes the program that is installed now; apps do not notice.
async fn update(State(daemon): Ask) -> Response {
    daemon.say("becoming the installed program");
    daemon.end(Again::Exec);
    json(&json!({}))
}

impl Daemon {
    /// Ends all apps, in order; those that do not end in time are killed. Nothing is started meanwhile.
    pub(super) async fn end_apps(&self) {
        self.table().ending = true;
        let until = Instant::now() + LONGEST_END;
        loop {
            let names: Vec<String> = self.table().apps.keys().cloned().collect();
            if names.is_empty() {
                return;
            }
            let mut deleting = JoinSet::new();
            for name in names {
                let daemon = self.clone();
                // Asking again does no harm: one that is on its way out says so.
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
        while !self.table().apps.is_empty() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Takes an app off the list, also one whose primary is not there.
    async fn delete_app(&self, name: &str) -> Result<Option<Job>, Problem> {
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
                let _ = process::signal(std::os::fd::AsFd::as_fd(&pidfd), process::Signal::KILL);
            }
            end_leftovers(&app.mark).await;
            forget(self.0.home.path(), app.serial);
        }
    }

    /// Log files of all apps are opened anew.
    pub(super) async fn reopen_logs(&self) {
        let apps: Vec<App> = self.table().apps.values().cloned().collect();
        for app in apps {
            let path = format!("/v1/apps/{}/reopen", segment(&app.name));
            if let Err(error) = self.client(&app).post::<serde_json::Value>(&path, &json!({})).await {
                self.say(&format!("cannot open the log files of `{}` anew: {error}", app.name));
            }
        }
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
        if !is_name(&spec.name) {
            let message = format!("cannot name an app `{}`", spec.name.escape_debug());
            let hint = "1 to 200 letters, none of them a control; not `all`, nothing that begins with `-` or is a /pattern/";
            return Err(problem(ProblemKind::BadRequest, message, Some(hint)));
        }
        let count = spec.instances.count(process::cpus());
        let failed =
            |cause: std::io::Error| problem(ProblemKind::Failed, format!("cannot mark it: {cause}"), None);
        let (name, serial) = {
            let mut table = self.table();
            if table.ending {
                let message = format!("cannot start `{}`: everything is being stopped", spec.name);
                return Err(problem(ProblemKind::Conflict, message, None));
            }
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
            (spec.name, serial)
        };
        let stopped = if stopped { self.table().apps.get(&name).map(|app| app.ids.clone()) } else { None };
        if let Err(problem) = self.launch(&name, serial, stopped.unwrap_or_default()).await {
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

    fn is_coming(&self, name: &str) -> bool {
        self.table().apps.get(name).is_some_and(|app| app.primary == Primary::Coming)
    }

    fn primary_of(&self, name: &str) -> Result<Client, Problem> {
        let table = self.table();
        match table.apps.get(name) {
            Some(app) if app.primary != Primary::Coming => Ok(self.client(app)),
            Some(_) => {
                let message = format!("cannot reach `{name}`: its primary is being started");
                Err(problem(ProblemKind::TimedOut, message, Some("try again in a moment")))
            }
            None => Err(unknown(name)),
        }
    }
}

/// Whether an app may be called so: what selects several apps, or looks like an option, could never be meant.
fn is_name(name: &str) -> bool {
    let is_pattern = name.len() > 2 && name.starts_with('/') && name.ends_with('/');
    let is_plain = !name.is_empty() && name.len() <= 200 && !name.chars().any(char::is_control);
    is_plain && name != "all" && !name.starts_with('-') && !is_pattern
}

/// An app without a primary was taken off the list.
fn deleted() -> Job {
    Job {
        id: 0,
        kind: JobKind::Delete,
        state: JobState::Done,
        steps: Vec::new(),
        error: None,
        hint: None,
        last_lines: Vec::new(),
        took: 0,
    }
}

fn unknown(name: &str) -> Problem {
    let message = format!("cannot find `{name}`: there is no such app");
    problem(ProblemKind::Unknown, message, Some("`oneport list` shows those there are"))
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
