//! The answering side: who may ask, and how problems are spelled.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::{IncomingStream, Listener};
use axum::{Router, middleware};
use oneport_wire::control::{Problem, ProblemKind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::problem;

/// The largest request: an environment may be large (`ARG_MAX` is 2 MiB by default).
const LARGEST: usize = 8 * 1024 * 1024;
/// After accepting failed for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What the control API says of itself.
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

/// A listening control socket.
pub(crate) struct Door(pub(crate) UnixListener);

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// `None`: it cannot be known.
    uid: Option<u32>,
}

impl Listener for Door {
    type Io = UnixStream;
    type Addr = Peer;

    async fn accept(&mut self) -> (UnixStream, Peer) {
        loop {
            match self.0.accept().await {
                Ok((stream, _)) => {
                    let uid = stream.peer_cred().map(|cred| cred.uid()).ok();
                    return (stream, Peer { uid });
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { uid: None })
    }
}

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Peer {
        *stream.remote_addr()
    }
}

/// Answers until `over`; what is being answered then is answered.
pub(crate) async fn serve(
    door: Door,
    routes: Router,
    over: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let described =
        || async { ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], OPENAPI) };
    let routes = routes
        .route("/v1/openapi.json", get(described))
        .fallback(|request: Request| async move {
            let message =
                format!("cannot {} `{}`: there is no such path", request.method(), request.uri().path());
            refuse(problem(ProblemKind::Unknown, message, Some("GET /v1/openapi.json lists what there is")))
        })
        .layer(DefaultBodyLimit::max(LARGEST))
        .layer(middleware::from_fn(only_ours));
    axum::serve(door, routes.into_make_service_with_connect_info::<Peer>()).with_graceful_shutdown(over).await
}

/// Our own user and root may ask; the directory keeps others out already, unless somebody widened it.
async fn only_ours(ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    let own = rustix::process::geteuid().as_raw();
    match peer.uid {
        Some(uid) if uid == own || uid == 0 => next.run(request).await,
        Some(_) | None => {
            let message = "cannot answer: this socket belongs to another user";
            refuse(problem(ProblemKind::NotAllowed, message, None))
        }
    }
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
