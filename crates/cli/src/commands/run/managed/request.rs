//! What may be asked of a primary by its control socket, and the socket itself: a thread of its own, so that neither a slow
//! asker nor a long list holds the app up.

use std::os::unix::net::UnixListener;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use oneport_wire::control::{
    AppSpec, Happening as Told, Instances, Job, JobState, Line, Problem, ProblemKind, Reload, Restart,
    Signal, Slots, Start, What,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{sleep, timeout_at};

use super::super::Happening;
use crate::control::problem;
use crate::control::server::{self, read, refuse, text};
use crate::error::Failure;

/// How long the primary's own loop may take to answer.
const PATIENCE: Duration = Duration::from_secs(8);
/// Between two looks at a queue that has no room.
const GLANCE: Duration = Duration::from_millis(5);
/// What answers under way get at the end.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Events that may wait for a slow listener.
pub(super) const WAITING: usize = 256;

/// One question, and the way back.
pub(crate) struct Request {
    pub(super) order: Order,
    pub(super) reply: oneshot::Sender<Reply>,
    /// Whoever asked is told then that the primary is busy.
    until: Instant,
}

impl Request {
    /// Whoever asked was told to try again: what is done now would be done twice.
    pub(super) fn is_too_late(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// A JSON text, or why not.
pub(super) type Reply = Result<String, Problem>;

/// What is asked for.
#[derive(Debug)]
pub(super) enum Order {
    /// What there is to know of the app.
    View,
    /// What it was made of: for a daemon that has lost it.
    Origin,
    Job(u64),
    Start(Start),
    Stop(Slots),
    Restart(Restart),
    Reload(Reload),
    Scale(ScaleTo),
    Delete(Slots),
    Reset(Slots),
    Signal(Signal),
    Send(Line),
    /// Log files are emptied.
    Flush,
    /// Log files are opened anew.
    Reopen,
}

/// So many workers; those that come get these numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ScaleTo {
    pub(crate) to: u32,
    pub(crate) ids: Vec<u32>,
    /// How its configuration says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) configured: Option<Instances>,
}

/// What a reload would do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Planned {
    pub(crate) app: String,
    /// Workers that would be replaced.
    pub(crate) workers: usize,
    pub(crate) parallel: usize,
    /// A reload is refused then.
    pub(crate) restart_needed: bool,
    pub(crate) before: AppSpec,
    pub(crate) after: AppSpec,
}

/// How many workers got a signal, or a line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) sent: u32,
}

#[derive(Clone)]
struct Asking {
    happenings: SyncSender<Happening>,
    events: broadcast::Sender<Told>,
}

/// The thread that answers.
pub(super) struct Desk {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Desk {
    pub(super) fn open(
        listener: UnixListener,
        happenings: SyncSender<Happening>,
        events: broadcast::Sender<Told>,
    ) -> Result<Desk, Failure> {
        let failed =
            |cause: std::io::Error| Failure::new(format!("cannot answer at the control socket: {cause}"));
        listener.set_nonblocking(true).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let asking = Asking { happenings, events };
        let work = move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::UnixListener::from_std(listener) else { return };
                let (closing, closed) = oneshot::channel::<()>();
                let over = async move {
                    let _ = stopped.await;
                    drop(closing);
                };
                let late = async move {
                    let _ = closed.await;
                    tokio::time::sleep(LAST_WORDS).await;
                };
                tokio::select! {
                    () = server::serve(listener, routes(asking), over) => {}
                    // Who listens to what happens here may go on listening.
                    () = late => {}
                }
            });
        };
        let thread = thread::Builder::new().name("control".into()).spawn(work).map_err(failed)?;
        Ok(Desk { stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn close(mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there is told by its hook.
            let _ = thread.join();
        }
    }
}

impl Asking {
    async fn ask(&self, order: Order) -> Response {
        match self.order(order).await {
            Ok(json) => text(json),
            Err(problem) => refuse(problem),
        }
    }

    async fn order(&self, order: Order) -> Reply {
        let (reply, answer) = oneshot::channel();
        let busy = || problem(ProblemKind::TimedOut, "cannot answer: the primary is busy", Some("try again"));
        // The loop drops what still waits in its queue when it ends.
        let ending =
            || problem(ProblemKind::Failed, "cannot answer: the primary is ending", Some("try again"));
        let until = Instant::now() + PATIENCE;
        let mut asked = Happening::Control(Box::new(Request { order, reply, until }));
        loop {
            asked = match self.happenings.try_send(asked) {
                Ok(()) => break,
                Err(TrySendError::Full(_)) if Instant::now() >= until => return Err(busy()),
                Err(TrySendError::Full(asked)) => asked,
                Err(TrySendError::Disconnected(_)) => return Err(ending()),
            };
            // Its queue is of the standard library, and tells nobody that there is room.
            sleep(GLANCE).await;
        }
        match timeout_at(until.into(), answer).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(ending()),
            Err(_) => Err(busy()),
        }
    }

    /// With a body.
    async fn ask_with<T: serde::de::DeserializeOwned>(
        &self,
        body: &Bytes,
        order: impl Fn(T) -> Order,
    ) -> Response {
        match read(body) {
            Ok(wanted) => self.ask(order(wanted)).await,
            Err(problem) => refuse(problem),
        }
    }

    /// A job as it goes on, one line a change, to its end.
    async fn watch(&self, id: u64) -> Response {
        let mut events = self.events.subscribe();
        let first = match self.order(Order::Job(id)).await {
            Ok(job) => job,
            Err(problem) => return refuse(problem),
        };
        let (sender, lines) = mpsc::channel(WAITING);
        let is_over = |job: &Job| job.state != JobState::Running;
        let over = serde_json::from_str::<Job>(&first).is_ok_and(|job| is_over(&job));
        let asking = self.clone();
        tokio::spawn(async move {
            if sender.send(first + "\n").await.is_err() || over {
                return;
            }
            loop {
                let job = match events.recv().await {
                    Ok(Told { what: What::Job { job }, .. }) if job.id == id => job,
                    Ok(_) => continue,
                    // The newest state says it all.
                    Err(broadcast::error::RecvError::Lagged(_)) => match asking.order(Order::Job(id)).await {
                        Ok(job) => match serde_json::from_str(&job) {
                            Ok(job) => job,
                            Err(_) => return,
                        },
                        Err(_) => return,
                    },
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                let line = serde_json::to_string(&job).unwrap_or_default() + "\n";
                if sender.send(line).await.is_err() || is_over(&job) {
                    return;
                }
            }
        });
        server::lines(lines)
    }

    fn follow(&self) -> Response {
        let mut events = self.events.subscribe();
        let (sender, lines) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            loop {
                let told = match events.recv().await {
                    Ok(told) => told,
                    Err(broadcast::error::RecvError::Lagged(events)) => {
                        Told { at: super::now_ms(), app: String::new(), what: What::Missed { events } }
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                let last = told.what == What::Deleted;
                let line = serde_json::to_string(&told).unwrap_or_default() + "\n";
                if sender.send(line).await.is_err() || last {
                    return;
                }
            }
        });
        server::lines(lines)
    }
}

fn job_of(text: &str) -> Result<u64, Problem> {
    let message = || format!("cannot find job `{}`: that is no number", text.escape_debug());
    text.parse().map_err(|_| problem(ProblemKind::BadRequest, message(), None))
}

/// The app's name is in every path, so that the daemon passes requests on as they are; there is one app here.
fn routes(asking: Asking) -> Router {
    type Ask = State<Asking>;
    Router::new()
        .route("/v1/apps/{app}", get(|State(asking): Ask| async move { asking.ask(Order::View).await }))
        .route(
            "/v1/apps/{app}/origin",
            get(|State(asking): Ask| async move { asking.ask(Order::Origin).await }),
        )
        .route(
            "/v1/apps/{app}/start",
            post(|State(asking): Ask, body: Bytes| async move { asking.ask_with(&body, Order::Start).await }),
        )
        .route(
            "/v1/apps/{app}/stop",
            post(|State(asking): Ask, body: Bytes| async move { asking.ask_with(&body, Order::Stop).await }),
        )
        .route(
            "/v1/apps/{app}/restart",
            post(
                |State(asking): Ask, body: Bytes| async move { asking.ask_with(&body, Order::Restart).await },
            ),
        )
        .route(
            "/v1/apps/{app}/reload",
            post(
                |State(asking): Ask, body: Bytes| async move { asking.ask_with(&body, Order::Reload).await },
            ),
        )
        .route(
            "/v1/apps/{app}/scale",
            post(|State(asking): Ask, body: Bytes| async move { asking.ask_with(&body, Order::Scale).await }),
        )
        .route(
            "/v1/apps/{app}/delete",
            post(
                |State(asking): Ask, body: Bytes| async move { asking.ask_with(&body, Order::Delete).await },
            ),
        )
        .route(
            "/v1/apps/{app}/reset",
            post(|State(asking): Ask, body: Bytes| async move { asking.ask_with(&body, Order::Reset).await }),
        )
        .route(
            "/v1/apps/{app}/signal",
            post(
                |State(asking): Ask, body: Bytes| async move { asking.ask_with(&body, Order::Signal).await },
            ),
        )
        .route(
            "/v1/apps/{app}/send",
            post(|State(asking): Ask, body: Bytes| async move { asking.ask_with(&body, Order::Send).await }),
        )
        .route(
            "/v1/apps/{app}/flush",
            post(|State(asking): Ask| async move { asking.ask(Order::Flush).await }),
        )
        .route(
            "/v1/apps/{app}/reopen",
            post(|State(asking): Ask| async move { asking.ask(Order::Reopen).await }),
        )
        .route(
            "/v1/apps/{app}/jobs/{id}",
            get(|State(asking): Ask, Path((_, id)): Path<(String, String)>| async move {
                match job_of(&id) {
                    Ok(id) => asking.ask(Order::Job(id)).await,
                    Err(problem) => refuse(problem),
                }
            }),
        )
        .route(
            "/v1/apps/{app}/jobs/{id}/watch",
            get(|State(asking): Ask, Path((_, id)): Path<(String, String)>| async move {
                match job_of(&id) {
                    Ok(id) => asking.watch(id).await,
                    Err(problem) => refuse(problem),
                }
            }),
        )
        .route("/v1/events", get(|State(asking): Ask| async move { asking.follow() }))
        .with_state(asking)
}

#[cfg(test)]
mod tests;
