//! The asking side. Every call has a deadline; a stream has one between two lines only where its sender promises lines.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use oneport_wire::control::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{DEADLINE, now_ms};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// How long an answer may take. Long work is a job, and its answer comes at once.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
/// The largest answer: the list of some thousand apps.
const LARGEST: usize = 64 * 1024 * 1024;

/// Why a call came to nothing.
#[derive(Debug)]
pub(crate) enum CallError {
    /// Nobody listens there.
    NotThere(io::Error),
    /// It said why it did not do it.
    Refused(Problem),
    /// It does not answer in time.
    TimedOut,
    /// It ended, or talks nonsense.
    Broken(String),
}

impl CallError {
    /// Whether that says that nobody is there, and not that somebody cannot or must not be asked.
    pub(crate) fn is_nobody(&self) -> bool {
        use io::ErrorKind::{ConnectionRefused, NotFound};
        matches!(self, CallError::NotThere(cause) if matches!(cause.kind(), NotFound | ConnectionRefused))
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::NotThere(cause) => write!(f, "nobody answers there: {cause}"),
            CallError::Refused(problem) => f.write_str(&problem.error),
            CallError::TimedOut => f.write_str("no answer in time"),
            CallError::Broken(cause) => f.write_str(cause),
        }
    }
}

/// Somebody who answers at a socket. Each call is a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(crate) fn new(socket: impl Into<PathBuf>) -> Client {
        Client { socket: socket.into() }
    }

    /// Connects, and nothing else. The other side is our own user's or root's: what is sent may be secret.
    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, CallError> {
        let address = crate::state::socket_address(&self.socket).map_err(CallError::NotThere)?;
        let connecting = timeout(CONNECT, UnixStream::connect(address.path()));
        let stream = connecting.await.map_err(|_| CallError::TimedOut)?.map_err(CallError::NotThere)?;
        let uid = stream.peer_cred().map_err(CallError::NotThere)?.uid();
        if uid != 0 && uid != rustix::process::geteuid().as_raw() {
            let message = format!("`{}` belongs to another user (uid {uid})", self.socket.display());
            return Err(CallError::Broken(message));
        }
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // What goes wrong with it is told to whoever waits for an answer.
        tokio::spawn(async { _ = connection.await });
        Ok(sender)
    }

    /// Sends one request and gives its answer, whose body may still be coming.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Response<Incoming>, CallError> {
        let mut sender = self.connect().await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "oneport")
            .header(header::CONTENT_TYPE, "application/json")
            .header(DEADLINE, now_ms().saturating_add(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)))
            .body(Full::new(body))
            .map_err(|cause| CallError::Broken(cause.to_string()))?;
        let answering = timeout(limit, sender.send_request(request));
        answering.await.map_err(|_| CallError::TimedOut)?.map_err(broken)
    }

    /// Asks for something and reads the answer.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        let answer = self.send(Method::GET, path, Bytes::new(), ANSWER).await?;
        understand(answer).await
    }

    /// Asks for something to be done and reads the answer.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        self.post_within(path, body, ANSWER).await
    }

    pub(crate) async fn post_within<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<T, CallError> {
        let body = serde_json::to_vec(body).map_err(|cause| CallError::Broken(cause.to_string()))?;
        let answer = self.send(Method::POST, path, body.into(), limit).await?;
        understand(answer).await
    }

    /// Lines as they come.
    pub(crate) async fn lines(&self, path: &str) -> Result<Lines, CallError> {
        let answer = self.send(Method::GET, path, Bytes::new(), ANSWER).await?;
        if answer.status().is_success() {
            return Ok(Lines { body: answer.into_body(), waiting: Vec::new() });
        }
        Err(understand::<serde_json::Value>(answer).await.err().unwrap_or(CallError::TimedOut))
    }
}

/// Reads the whole answer.
async fn understand<T: DeserializeOwned>(answer: Response<Incoming>) -> Result<T, CallError> {
    let status = answer.status();
    let reading = timeout(ANSWER, Limited::new(answer.into_body(), LARGEST).collect());
    let body = reading.await.map_err(|_| CallError::TimedOut)?;
    let body = body.map_err(|cause| CallError::Broken(cause.to_string()))?.to_bytes();
    let nonsense = |cause| CallError::Broken(format!("its answer makes no sense: {cause}"));
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(nonsense);
    }
    Err(CallError::Refused(serde_json::from_slice(&body).map_err(nonsense)?))
}

fn broken(cause: hyper::Error) -> CallError {
    CallError::Broken(cause.to_string())
}

/// The lines of an answer that goes on.
pub(crate) struct Lines {
    body: Incoming,
    waiting: Vec<u8>,
}

/// A longer line is not ours.
const LONGEST_LINE: usize = 4 * 1024 * 1024;

impl Lines {
    /// The next line without its end; `None`: the answer is over. Cancellation safe.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, CallError> {
        loop {
            if let Some(end) = self.waiting.iter().position(|byte| *byte == b'\n') {
                let rest = self.waiting.split_off(end + 1);
                let line = std::mem::replace(&mut self.waiting, rest);
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            if self.waiting.len() > LONGEST_LINE {
                return Err(CallError::Broken("its line has no end".to_owned()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(cause)) => return Err(broken(cause)),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.waiting.extend_from_slice(data);
                    }
                }
            }
        }
    }
}
