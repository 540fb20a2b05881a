//! What the daemon answers itself, and what it passes on to the primary of an app.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::Method;
use axum::response::Response;
use axum::routing::{any, get, post};
use oneport_sys::process::{self};
use oneport_wire::control::{AppView, Create, Job, JobKind, JobState, Problem, ProblemKind, Scale, Welcome};
use serde_json::json;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;

use super::apps::{App, Primary};
use super::{Again, Daemon, Place, saving};
use crate::commands::run::managed::now_ms;
use crate::control::client::{CallError, Client};
use crate::control::server::{self, json, read, refuse};
use crate::control::{problem, segment, time_left};

/// How long a primary may take for what is passed on to it: whoever asked waits a little longer, and is told whose fault it is.
const PASSED_ON: Duration = Duration::from_secs(9);
/// How long a primary may take for its part of the list.
pub(super) const LISTING: Duration = Duration::from_secs(2);

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
        .route("/v1/yield", post(give_way))
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
    let limit = PASSED_ON.min(time_left(&parts.headers));
    match client.send(parts.method, path, body, limit).await {
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
    if !daemon.0.program.exists() {
        let message =
            format!("cannot update the daemon: there is no `{}` any more", daemon.0.program.display());
        let hint = "oneport kill, and then the next command, take the one that is installed elsewhere";
        return refuse(problem(ProblemKind::Conflict, message, Some(hint)));
    }
    daemon.give_way("update", "becoming the installed program", Again::Exec)
}

/// Another daemon takes over; apps do not notice.
async fn give_way(State(daemon): Ask) -> Response {
    if daemon.0.place == Place::Foreground {
        let message = "cannot yield: this daemon is a service's own";
        return refuse(problem(ProblemKind::NotAllowed, message, Some("stop that service first")));
    }
    daemon.give_way("yield", "another daemon takes over", Again::GivesWay)
}

impl Daemon {
    /// Ends and leaves apps to the next one, once nothing is being started: of that nobody but this process knows.
    fn give_way(&self, verb: &str, says: &'static str, again: Again) -> Response {
        let is_first = {
            let mut table = self.table();
            if table.ending {
                let message = format!("cannot {verb}: everything is being stopped");
                return refuse(problem(ProblemKind::Conflict, message, None));
            }
            !std::mem::replace(&mut table.giving_way, true)
        };
        let daemon = self.clone();
        let work = async move {
            daemon.await_launched().await;
            let is_ending = {
                let mut table = daemon.table();
                table.giving_way = false;
                table.ending
            };
            if !is_ending {
                daemon.say(says);
                daemon.end(again);
            }
        };
        if is_first {
            tokio::spawn(work);
        }
        json(&json!({}))
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

    pub(super) fn is_coming(&self, name: &str) -> bool {
        self.table().apps.get(name).is_some_and(|app| app.primary == Primary::Coming)
    }

    pub(super) fn primary_of(&self, name: &str) -> Result<Client, Problem> {
        let table = self.table();
        let app = table.apps.get(name).ok_or_else(|| unknown(name))?;
        match app.primary {
            Primary::Up { .. } => Ok(self.client(app)),
            Primary::Coming => {
                let message = format!("cannot reach `{name}`: its primary is being started");
                Err(problem(ProblemKind::TimedOut, message, Some("try again in a moment")))
            }
            Primary::Unseen => Err(unseen(name)),
        }
    }
}

/// The log says why.
pub(super) fn unseen(name: &str) -> Problem {
    let message = format!("cannot reach `{name}`: the system does not let oneport see its primary");
    problem(ProblemKind::Failed, message, Some("oneport.log says why; it is looked at again"))
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

pub(super) fn unknown(name: &str) -> Problem {
    let message = format!("cannot find `{name}`: there is no such app");
    problem(ProblemKind::Unknown, message, Some("`oneport list` shows those there are"))
}

pub(super) fn of_call(name: &str, error: &CallError) -> Problem {
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
