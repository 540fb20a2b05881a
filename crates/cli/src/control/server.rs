//! The answering side: who may ask, and how problems are spelled.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use oneport_wire::control::{Problem, ProblemKind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{problem, time_left};

/// The largest request: an environment may be large (`ARG_MAX` is 2 MiB by default).
const LARGEST: usize = 8 * 1024 * 1024;
/// How long the head of a request may take to come: less than whoever waits for room waits.
const HEAD_COMES: Duration = Duration::from_secs(5);
/// How long its body may take.
const BODY_COMES: Duration = Duration::from_secs(10);
/// After accepting failed for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// More wait in the socket's queue.
const MOST_CONNECTIONS: usize = 256;

/// What the control API says of itself.
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

/// Answers until `over`; what is being answered then is answered.
pub(crate) async fn serve(listener: UnixListener, routes: Router, over: impl Future<Output = ()>) {
    let routes = complete(routes);
    let strangers = Router::new().fallback(|| async {
        let message = "cannot answer: this socket belongs to another user";
        refuse(problem(ProblemKind::NotAllowed, message, None))
    });
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let (closing, closed) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::pin!(over);
    loop {
        let accepted = tokio::select! {
            () = &mut over => break,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let routes = if is_ours(&stream) { routes.clone() } else { strangers.clone() };
                connections.spawn(answer(stream, routes, closed.clone(), permit));
            }
            Err(_) => sleep(PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
    drop((listener, closing));
    while connections.join_next().await.is_some() {}
}

async fn accept(
    listener: &UnixListener,
    room: &Arc<Semaphore>,
) -> io::Result<(UnixStream, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.accept().await?.0, permit))
}

/// Our own user and root may ask; the directory keeps others out already, unless somebody widened it.
fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|cred| cred.uid() == own || cred.uid() == 0)
}

/// One connection, to its end.
async fn answer(
    stream: UnixStream,
    routes: Router,
    mut closed: watch::Receiver<()>,
    _permit: OwnedSemaphorePermit,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_COMES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    tokio::pin!(connection);
    tokio::select! {
        // What goes wrong on it is the asker's to see.
        _ = connection.as_mut() => return,
        _ = closed.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// What every control socket has.
fn complete(routes: Router) -> Router {
    let described =
        || async { ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], OPENAPI) };
    routes
        .route("/v1/openapi.json", get(described))
        .fallback(|request: Request| async move { nowhere(&request, "there is no such path") })
        .method_not_allowed_fallback(|request: Request| async move {
            let problem = nowhere(&request, "that cannot be done with it");
            (StatusCode::METHOD_NOT_ALLOWED, problem.into_body()).into_response()
        })
        .layer(middleware::from_fn(whole))
}

fn nowhere(request: &Request, cause: &str) -> Response {
    let message = format!("cannot {} `{}`: {cause}", request.method(), request.uri().path());
    refuse(problem(ProblemKind::Unknown, message, Some("GET /v1/openapi.json lists what there is")))
}

/// Passes requests on that are there as a whole, and whose asker still waits.
async fn whole(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = match timeout(BODY_COMES, axum::body::to_bytes(body, LARGEST)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let message = "cannot read the request: it is too long, or broke off";
            return refuse(problem(ProblemKind::BadRequest, message, None));
        }
        Err(_) => {
            let message = "cannot read the request: it does not come in time";
            return refuse(problem(ProblemKind::TimedOut, message, None));
        }
    };
    if time_left(&parts.headers).is_zero() {
        let message = "cannot do it any more: whoever asked was told that it takes too long";
        return refuse(problem(ProblemKind::TimedOut, message, None));
    }
    next.run(Request::from_parts(parts, Body::from(body))).await
}

/// Work that goes on when whoever asked for it has left: a connection that closes drops what answers it.
pub(crate) async fn to_the_end(work: impl Future<Output = Response> + Send + 'static) -> Response {
    match tokio::spawn(work).await {
        Ok(answer) => answer,
        Err(_) => {
            refuse(problem(ProblemKind::Failed, "cannot answer: this is a bug, please report it", None))
        }
    }
}

/// A problem as an answer.
pub(crate) fn refuse(problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, json(&problem)).into_response()
}

/// A value as an answer.
pub(crate) fn json<T: Serialize>(value: &T) -> Response {
    // The types of the control API have no maps with keys that are no texts.
    text(serde_json::to_string(value).unwrap_or_default())
}

/// A JSON text as an answer.
pub(crate) fn text(json: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json + "\n").into_response()
}

/// The body of a request; an empty one is the type's default.
pub(crate) fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    let body: &[u8] = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|cause| {
        problem(ProblemKind::BadRequest, format!("cannot understand the request: {cause}"), None)
    })
}

/// Lines as they come, until the sender is gone.
pub(crate) fn lines(mut lines: mpsc::Receiver<String>) -> Response {
    let stream = futures_core_stream(move |cx| lines.poll_recv(cx));
    let kind = HeaderValue::from_static("application/x-ndjson");
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(stream)).into_response()
}

/// A stream from its `poll_next`.
fn futures_core_stream<F>(poll: F) -> impl futures_core::Stream<Item = Result<String, Infallible>> + Send
where
    F: FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<String>> + Send + Unpin,
{
    struct Polled<F>(F);
    impl<F> futures_core::Stream for Polled<F>
    where
        F: FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<String>> + Unpin,
    {
        type Item = Result<String, Infallible>;

        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            (self.0)(cx).map(|line| line.map(Ok))
        }
    }
    Polled(poll)
}
