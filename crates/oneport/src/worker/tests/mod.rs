//! The worker's end against a primary played by the test, at the moments a real one hardly ever hits.
//!
//! Invariant: every wait has a deadline; the primary is blocking and lives in the test's thread, the reading thread of
//! the link is the only other one.

mod fast;
mod leave;
mod listen;
mod own;
mod sources;
mod talk;

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use oneport_sys::fdpass;
use oneport_wire::handoff;
use oneport_wire::node::errno::Errno;
use oneport_wire::node::message::{
    AddressType, FromPrimary, FromWorker, NativeKind, Outcome, Query, SockName,
};

use super::ask::Wish;
use super::link::{Link, Role};
use super::{ListenOptions, TcpListener};

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test with a deadline.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") })
}

/// Runs it as far as it gets by itself.
fn poll_once<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Until it is so.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// A primary's end, and what was read from it.
struct Primary {
    sock: OwnedFd,
    unread: Vec<u8>,
    handles: VecDeque<OwnedFd>,
}

impl Primary {
    /// A started link and its primary, who has read `online`.
    fn with_worker() -> (Primary, Arc<Link>) {
        let (mut primary, link) = Primary::with(Role::Worker);
        assert!(primary.hear().contains(r#""act":"online""#));
        (primary, link)
    }

    fn with(role: Role) -> (Primary, Arc<Link>) {
        let (ours, theirs) = fdpass::channel_pair().expect("a socket pair");
        let link = Link::start(theirs, role).expect("a link");
        (Primary { sock: ours, unread: Vec::new(), handles: VecDeque::new() }, link)
    }

    fn write(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) {
        let deadline = Instant::now() + PATIENCE;
        let (mut rest, mut fd) = (bytes, fd);
        while !rest.is_empty() {
            assert!(Instant::now() < deadline, "the worker does not read");
            match fdpass::send(self.sock.as_fd(), rest, fd) {
                Ok(written) => (rest, fd) = (&rest[written..], None),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            }
        }
    }

    fn say(&self, message: &FromPrimary<'_>, fd: Option<BorrowedFd<'_>>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.write(&bytes, fd);
    }

    fn reply(&self, ack: i64, key: &str, outcome: Outcome<'_>, fd: Option<BorrowedFd<'_>>) {
        self.say(&FromPrimary::Reply { ack, seq: 0, key: key.into(), data: None, outcome }, fd);
    }

    fn hand_over(&self, key: &str, seq: i64, fd: impl AsFd) {
        self.say(&FromPrimary::NewConn { key: key.into(), seq }, Some(fd.as_fd()));
    }

    fn disconnect(&self) {
        self.say(&FromPrimary::Disconnect { seq: None }, None);
    }

    /// Reads once; `false` at the end.
    fn read(&mut self) -> bool {
        let mut chunk = vec![0; 64 * 1024];
        match fdpass::receive(self.sock.as_fd(), &mut chunk) {
            Ok(received) if received.bytes == 0 => return false,
            Ok(received) => {
                self.unread.extend_from_slice(&chunk[..received.bytes]);
                self.handles.extend(received.fd);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            Err(_) => return false, // reset: it closed with something unread
        }
        true
    }

    fn line(&mut self) -> Option<String> {
        let end = self.unread.iter().position(|byte| *byte == b'\n')?;
        let line = self.unread.drain(..=end).collect();
        Some(String::from_utf8(line).expect("text").trim_end().to_owned())
    }

    /// The next line.
    fn hear(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.line() {
                return line;
            }
            assert!(Instant::now() < deadline, "the worker says nothing");
            assert!(self.read(), "the worker has closed the channel");
        }
    }

    /// The next line and the descriptor that came with it.
    fn hear_handle(&mut self) -> (String, OwnedFd) {
        let line = self.hear();
        (line, self.handles.pop_front().expect("a descriptor"))
    }

    /// That the worker closes the channel, and what it says before.
    fn hear_out(&mut self) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        while self.read() {
            assert!(Instant::now() < deadline, "the worker does not close the channel");
        }
        std::iter::from_fn(|| self.line()).collect()
    }

    /// The next query: its number and what it asks for.
    fn hear_query(&mut self) -> (i64, Query<'static>) {
        let line = self.hear();
        let said = FromWorker::decode(line.as_bytes()).expect("a message");
        let FromWorker::Query { seq, query } = said else { panic!("{said:?}") };
        (seq, query.into_owned())
    }

    fn hear_close(&mut self, key: &str) {
        let line = self.hear();
        assert!(line.contains(r#""act":"close""#) && line.contains(&format!("{key:?}")), "{line}");
    }

    fn hear_answer(&mut self, ack: i64, accepted: bool) {
        let line = self.hear();
        let said = FromWorker::decode(line.as_bytes()).expect("a message");
        let FromWorker::Answer { ack: to, accepted: answer, .. } = said else { panic!("{said:?}") };
        assert_eq!((to, answer), (ack, Some(accepted)));
    }

    fn hear_listening(&mut self) -> Query<'static> {
        let line = self.hear();
        let said = FromWorker::decode(line.as_bytes()).expect("a message");
        let FromWorker::Listening { query, .. } = said else { panic!("{said:?}") };
        query.into_owned()
    }

    /// Carries out a bind up to its answer; `answer` gives it.
    fn answer_bind<T>(
        &mut self,
        binding: Pin<&mut impl Future<Output = io::Result<T>>>,
        key: &str,
        outcome: Outcome<'_>,
        fd: Option<BorrowedFd<'_>>,
    ) -> Query<'static> {
        assert!(poll_once(binding).is_none(), "it did not ask");
        let (seq, query) = self.hear_query();
        self.reply(seq, key, outcome, fd);
        if fd.is_some() {
            assert_eq!(self.hear(), r#"{"cmd":"NODE_HANDLE_ACK"}"#);
        }
        query
    }

    /// A listener that was answered so.
    async fn listener(
        &mut self,
        link: &Arc<Link>,
        key: &str,
        outcome: Outcome<'_>,
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<TcpListener> {
        let options = ListenOptions::new();
        let mut binding = pin!(TcpListener::one(Some(link.clone()), &options, Wish::Tcp(anywhere())));
        self.answer_bind(binding.as_mut(), key, outcome, fd);
        let listener = binding.await?;
        self.hear_listening();
        Ok(listener)
    }

    /// One whose connections come over the channel.
    async fn channel_listener(&mut self, link: &Arc<Link>, key: &str) -> TcpListener {
        self.listener(link, key, handed_over(4242), None).await.expect("a listener")
    }

    /// One whose connections come over a stream of their own, and our end of that.
    async fn fast_listener(&mut self, link: &Arc<Link>, key: &str) -> (TcpListener, Stream) {
        let (ours, theirs) = fdpass::channel_pair().expect("a socket pair");
        let listener = self.listener(link, key, fast(), Some(theirs.as_fd())).await.expect("a listener");
        (listener, Stream(ours))
    }
}

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn sockname(port: u16) -> SockName<'static> {
    SocketAddr::from(([127, 0, 0, 1], port)).into()
}

fn handed_over(port: u16) -> Outcome<'static> {
    Outcome::RoundRobin { sockname: Some(sockname(port)) }
}

fn shared() -> Outcome<'static> {
    Outcome::Shared { kind: NativeKind::Net }
}

fn fast() -> Outcome<'static> {
    Outcome::HandOff { sockname: Some(sockname(4242)), version: handoff::VERSION }
}

fn failed(errno: i32) -> Outcome<'static> {
    Outcome::Failed { errno: Errno::from_os(errno) }
}

/// What a listener on a free port asks for.
fn tcp_query() -> Query<'static> {
    Query {
        address: Some("127.0.0.1".into()),
        port: Some(0),
        address_type: AddressType::Tcp4,
        fd: None,
        flags: Some(0),
        backlog: Some(511),
        readable_all: false,
        writable_all: false,
        index: 0,
        data: None,
        handoff: Some(handoff::VERSION),
    }
}

/// The primary's end of a hand-off stream.
struct Stream(OwnedFd);

impl Stream {
    /// Hands over connections, all in one message.
    fn hand_over(&self, connections: &[Connection]) {
        let fds: Vec<BorrowedFd<'_>> = connections.iter().map(|one| one.accepted.as_fd()).collect();
        let bytes = vec![handoff::CONNECTION; fds.len()];
        assert_eq!(fdpass::send_many(self.0.as_fd(), &bytes, &fds).expect("room"), bytes.len());
    }

    /// The next answers, so many.
    fn answers(&self, count: usize) -> String {
        let mut text = String::new();
        wait_until("answers come", || {
            let mut bytes = [0; 4096];
            let room = count - text.len();
            match fdpass::receive(self.0.as_fd(), &mut bytes[..room]) {
                Ok(received) => {
                    assert!(received.bytes > 0, "the worker has closed its end after {text}");
                    text.push_str(std::str::from_utf8(&bytes[..received.bytes]).expect("letters"));
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            text.len() == count
        });
        text
    }

    /// Whether there is no answer now.
    fn is_unanswered(&self) -> bool {
        let error = fdpass::receive(self.0.as_fd(), &mut [0]).expect_err("nothing to read");
        error.kind() == io::ErrorKind::WouldBlock
    }

    /// Everything up to the end.
    fn answers_to_the_end(&self) -> String {
        let mut text = String::new();
        wait_until("the end comes", || {
            let mut bytes = [0; 4096];
            match fdpass::receive(self.0.as_fd(), &mut bytes) {
                Ok(received) => {
                    text.push_str(std::str::from_utf8(&bytes[..received.bytes]).expect("letters"));
                    received.bytes == 0
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
                    false
                }
            }
        });
        text
    }
}

/// A connection that the primary accepted, and its client.
struct Connection {
    client: std::net::TcpStream,
    accepted: OwnedFd,
}

impl Connection {
    fn new() -> Connection {
        let listener = std::net::TcpListener::bind(anywhere()).expect("a port");
        let addr = listener.local_addr().expect("bound");
        let client = std::net::TcpStream::connect(addr).expect("a connection");
        let (accepted, _) = listener.accept().expect("the connection");
        accepted.set_nonblocking(true).expect("a socket");
        Connection { client, accepted: accepted.into() }
    }

    fn several<const N: usize>() -> [Connection; N] {
        std::array::from_fn(|_| Connection::new())
    }

    fn client_addr(&self) -> SocketAddr {
        self.client.local_addr().expect("bound")
    }
}
