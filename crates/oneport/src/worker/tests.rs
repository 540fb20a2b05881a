//! The worker's end against a primary played by the test, at the moments a real one hardly ever hits.

use std::future::Future;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use oneport_sys::fdpass;
use oneport_wire::node::message::{AddressType, FromPrimary, FromWorker, Outcome, Query};

use super::link::{Answer, Link};

const PATIENCE: Duration = Duration::from_secs(20);

/// A primary's end, and what was read from it.
struct Primary {
    sock: OwnedFd,
    unread: Vec<u8>,
}

impl Primary {
    /// A started link and its primary, who has read `online`.
    fn with_worker() -> (Primary, Arc<Link>) {
        let (ours, theirs) = fdpass::channel_pair().expect("a socket pair");
        let link = Link::start(theirs).expect("a link");
        let mut primary = Primary { sock: ours, unread: Vec::new() };
        assert!(primary.hear().contains(r#""act":"online""#));
        (primary, link)
    }

    fn say(&self, message: &FromPrimary<'_>, fd: Option<BorrowedFd<'_>>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert_eq!(fdpass::send(self.sock.as_fd(), &bytes, fd).expect("room"), bytes.len());
    }

    fn reply(&self, ack: i64) {
        let outcome = Outcome::RoundRobin { sockname: None };
        self.say(&FromPrimary::Reply { ack, seq: 0, key: "k".into(), data: None, outcome }, None);
    }

    fn hand_over(&self, seq: i64) {
        let (connection, _client) = fdpass::channel_pair().expect("a socket pair");
        self.say(&FromPrimary::NewConn { key: "k".into(), seq }, Some(connection.as_fd()));
    }

    /// The next line.
    fn hear(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut chunk = vec![0; 64 * 1024];
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return String::from_utf8(line).expect("text");
            }
            assert!(Instant::now() < deadline, "the worker says nothing");
            match fdpass::receive(self.sock.as_fd(), &mut chunk) {
                Ok(received) => self.unread.extend_from_slice(&chunk[..received.bytes]),
                Err(_) => std::thread::park_timeout(Duration::from_millis(1)),
            }
        }
    }
}

fn query() -> Query<'static> {
    Query {
        address: None,
        port: Some(0),
        address_type: AddressType::Tcp4,
        fd: None,
        flags: None,
        backlog: None,
        readable_all: false,
        writable_all: false,
        index: 0,
        data: None,
        handoff: None,
    }
}

/// Runs it as far as it gets by itself.
fn poll_once<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

fn seq_in(line: &str) -> i64 {
    let said = FromWorker::decode(line.trim_end().as_bytes()).expect("a message");
    let FromWorker::Query { seq, .. } = said else { panic!("{said:?}") };
    seq
}

#[test]
fn a_connection_right_behind_the_reply_is_accepted_before_the_asker_runs() {
    let (mut primary, link) = Primary::with_worker();
    let mut asking = pin!(link.query(query()));
    assert!(poll_once(asking.as_mut()).is_none());
    let seq = seq_in(&primary.hear());
    primary.reply(seq);
    primary.hand_over(5);
    assert!(primary.hear().contains("NODE_HANDLE_ACK"));
    let answer = primary.hear();
    assert!(answer.contains(r#""ack":5"#) && answer.contains(r#""accepted":true"#), "{answer}");
    let Some(Ok(Answer::HandedOver { mut connections, .. })) = poll_once(asking) else {
        panic!("no listener");
    };
    // The permit is used after the answer was written.
    let connection = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    assert!(connection.block_on(connections.recv()).is_some());
}

#[test]
fn an_answer_nobody_waits_for_is_closed_and_refuses_what_is_handed_over() {
    let (mut primary, link) = Primary::with_worker();
    {
        let mut asking = pin!(link.query(query()));
        assert!(poll_once(asking.as_mut()).is_none());
    }
    let seq = seq_in(&primary.hear());
    primary.reply(seq);
    let close = primary.hear();
    assert!(close.contains(r#""act":"close""#) && close.contains(r#""key":"k""#), "{close}");
    primary.hand_over(5);
    assert!(primary.hear().contains("NODE_HANDLE_ACK"));
    assert!(primary.hear().contains(r#""accepted":false"#));
}

#[test]
fn an_answer_that_arrived_but_was_never_taken_is_closed_too() {
    let (mut primary, link) = Primary::with_worker();
    {
        let mut asking = pin!(link.query(query()));
        assert!(poll_once(asking.as_mut()).is_none());
        let seq = seq_in(&primary.hear());
        primary.reply(seq);
        primary.hand_over(5);
        assert!(primary.hear().contains("NODE_HANDLE_ACK"));
        assert!(primary.hear().contains(r#""accepted":true"#));
    }
    assert!(primary.hear().contains(r#""act":"close""#));
}

#[test]
fn while_the_primary_does_not_read_calls_are_refused_and_its_words_are_still_heard() {
    let (mut primary, link) = Primary::with_worker();
    let mut said = 0;
    let refusal = loop {
        match link.listening(query()) {
            Ok(()) => said += 1,
            Err(error) => break error,
        }
        assert!(said < 100_000, "no bound");
    };
    assert_eq!(refusal.kind(), std::io::ErrorKind::WouldBlock);
    // Nothing was read yet, and still the reading thread takes what comes.
    primary.say(&FromPrimary::Disconnect { seq: None }, None);
    let deadline = Instant::now() + PATIENCE;
    while !*link.leaving.borrow() {
        assert!(Instant::now() < deadline, "the reading thread is stuck");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    // What waited arrives whole and in order once the primary reads.
    for _ in 0..said {
        assert!(primary.hear().contains(r#""act":"listening""#));
    }
    // And there is room again, in both directions.
    link.listening(query()).expect("room");
    assert!(primary.hear().contains(r#""act":"listening""#));
}

#[test]
fn after_the_primary_has_gone_every_call_says_so() {
    let (primary, link) = Primary::with_worker();
    let mut asking = pin!(link.query(query()));
    assert!(poll_once(asking.as_mut()).is_none());
    drop(primary);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let failed = runtime.block_on(asking).expect_err("nobody answers");
    assert_eq!(failed.kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!(link.listening(query()).expect_err("nobody reads").kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn a_worker_told_to_leave_waits_for_no_answer() {
    let (primary, link) = Primary::with_worker();
    let mut asking = pin!(link.query(query()));
    assert!(poll_once(asking.as_mut()).is_none());
    primary.say(&FromPrimary::Disconnect { seq: None }, None);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let failed = runtime.block_on(asking).expect_err("nobody answers");
    assert_eq!(failed.kind(), std::io::ErrorKind::BrokenPipe);
    let failed = runtime.block_on(link.query(query())).expect_err("nor later");
    assert_eq!(failed.kind(), std::io::ErrorKind::BrokenPipe);
}
