//! A worker that asks for the hand-off stream as the library does, and then keeps none of its promises: that costs this
//! worker, and no client of the others.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use oneport::EndCause;
use oneport_sys::fdpass;
use oneport_sys::startup::take_channel;
use oneport_wire::handoff;
use oneport_wire::node::MAX_LINE;
use oneport_wire::node::inbox::Inbox;
use oneport_wire::node::message::{AddressType, FromPrimary, FromWorker, Outcome, Query};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{Shutdown, shutdown};

use crate::harness::{PROGRAM, Test, TestLine, programs};
use crate::listening_accept::CREDITS;
use crate::listening_ways::{Crowd, open_port};

programs! { stranger }

/// Speaks for itself, without the library.
struct Stranger {
    channel: OwnedFd,
    inbox: Inbox<OwnedFd>,
    seq: i64,
    streams: VecDeque<OwnedFd>,
    connections: Vec<OwnedFd>,
}

/// | order | what it does, and tells |
/// |---|---|
/// | `ask PORT` | asks for a port of 127.0.0.1 and says that it listens: which, or the error's number |
/// | `take N` | takes N connections off the stream: `taken` |
/// | `serve` | answers them as worker 1 and closes them: `served` |
/// | `say TEXT` | writes that on the stream: `said` |
/// | `shut`, `hush` | closes what it took and the stream, or only its own direction of that: `shut`, `hushed` |
async fn stranger() {
    let mut line = TestLine::open();
    let facts = line.facts();
    let channel = take_channel().unwrap().unwrap();
    let (inbox, streams) = (Inbox::new(MAX_LINE), VecDeque::new());
    let mut stranger = Stranger { channel, inbox, seq: 0, streams, connections: Vec::new() };
    stranger.tell(&FromWorker::Online { seq: None });
    while let Some(order) = line.order().await {
        let (verb, object) = order.split_once(' ').unwrap_or((&order, ""));
        facts.tell(match verb {
            "ask" => stranger.ask(object.parse().unwrap()),
            "take" => stranger.take(object.parse().unwrap()),
            "serve" => {
                for connection in stranger.connections.drain(..) {
                    rustix::io::write(&connection, b"1 0\n").unwrap();
                }
                "served".into()
            }
            "say" => {
                let stream = stranger.streams.back().unwrap();
                assert_eq!(rustix::io::write(stream, object.as_bytes()).unwrap(), object.len());
                "said".into()
            }
            "shut" => {
                stranger.connections.clear();
                stranger.streams.clear();
                "shut".into()
            }
            "hush" => {
                stranger.connections.clear();
                shutdown(stranger.streams.back().unwrap(), Shutdown::Write).unwrap();
                "hushed".into()
            }
            _ => panic!("no order is called {verb}"),
        });
    }
}

impl Stranger {
    fn tell(&self, message: &FromWorker<'_>) {
        let mut line = Vec::new();
        message.encode(&mut line);
        assert_eq!(fdpass::send(self.channel.as_fd(), &line, None).unwrap(), line.len());
    }

    fn ask(&mut self, port: i32) -> String {
        self.seq += 1;
        let query = Query {
            address: Some("127.0.0.1".into()),
            port: Some(port),
            address_type: AddressType::Tcp4,
            fd: None,
            flags: Some(0),
            backlog: Some(511),
            readable_all: false,
            writable_all: false,
            index: 0,
            data: None,
            handoff: Some(handoff::VERSION),
        };
        self.tell(&FromWorker::Query { seq: self.seq, query: query.clone() });
        let port = match self.reply() {
            Ok(port) => port,
            Err(errno) => return errno.to_string(),
        };
        let query = Query { port: Some(port), handoff: None, ..query };
        self.tell(&FromWorker::Listening { seq: None, query });
        port.to_string()
    }

    fn reply(&mut self) -> Result<i32, i32> {
        loop {
            while let Some((message, handle)) = self.inbox.next_from_primary().unwrap() {
                let FromPrimary::Reply { outcome, .. } = message else { continue };
                let port = match outcome {
                    Outcome::HandOff { sockname, .. } => i32::from(sockname.unwrap().port),
                    Outcome::Failed { errno } => return Err(errno.to_os()),
                    other => panic!("{other:?}"),
                };
                self.streams.push_back(handle.unwrap());
                self.tell(&FromWorker::HandleAck);
                return Ok(port);
            }
            wait(&self.channel);
            let received = fdpass::receive(self.channel.as_fd(), self.inbox.space()).unwrap();
            assert_ne!(received.bytes, 0, "the primary has closed the channel");
            self.inbox.received(received.bytes, received.fd).unwrap();
        }
    }

    fn take(&mut self, connections: usize) -> String {
        let stream = self.streams.back().unwrap();
        while self.connections.len() < connections {
            wait(stream);
            let received =
                fdpass::receive_many(stream.as_fd(), &mut [0; handoff::MOST], &mut self.connections);
            assert_ne!(received.unwrap().bytes, 0, "the primary has closed the stream");
        }
        "taken".into()
    }
}

fn wait(fd: &OwnedFd) {
    poll(&mut [PollFd::new(fd, PollFlags::IN)], None).unwrap();
}

/// A stranger and a worker that serves on the same port.
fn with_stranger() -> (Test, SocketAddr) {
    let mut test = Test::new("ear", |_| {});
    test.fork_with(&[(PROGRAM, "stranger")]);
    test.fork();
    let address = open_port(&mut test, 2, "tcp a 127.0.0.1:0");
    assert_eq!(test.ask(1, "ask 0"), address.port().to_string());
    test.event(1, "listening");
    (test, address)
}

const CROWD: usize = 40;

/// The same, and a crowd of which the stranger has taken what it may have.
fn with_crowd() -> (Test, Crowd) {
    let (mut test, address) = with_stranger();
    let mut crowd = Crowd::connect(address, CROWD);
    crowd.until_answered(CROWD - CREDITS);
    assert_eq!(test.ask(1, &format!("take {CREDITS}")), "taken");
    (test, crowd)
}

/// Every client is served by the other worker, which serves on.
fn all_is_well(mut test: Test, mut crowd: Crowd) {
    crowd.until_answered(CROWD);
    assert_eq!(crowd.by(2), CROWD);
    crowd.join(CROWD);
    test.worker(1).end_now().unwrap();
    test.exit(1);
    crowd.until_answered(2 * CROWD);
    assert_eq!(crowd.by(2), 2 * CROWD);
    test.stop();
}

#[test]
fn one_that_closes_the_stream_at_once_gets_nothing() {
    let (mut test, address) = with_stranger();
    assert_eq!(test.ask(1, "shut"), "shut");
    let crowd = Crowd::connect(address, CROWD);
    all_is_well(test, crowd);
}

#[test]
fn one_that_takes_connections_and_closes_the_stream_gives_them_back() {
    let (mut test, crowd) = with_crowd();
    assert_eq!(test.ask(1, "shut"), "shut");
    all_is_well(test, crowd);
}

#[test]
fn one_that_ends_its_answers_gives_back_what_it_took() {
    let (mut test, crowd) = with_crowd();
    assert_eq!(test.ask(1, "hush"), "hushed");
    all_is_well(test, crowd);
}

#[test]
fn one_that_never_answers_holds_no_more_than_its_credits_until_it_ends() {
    let (test, mut crowd) = with_crowd();
    crowd.join(CROWD);
    crowd.until_answered(2 * CROWD - CREDITS);
    test.worker(1).end_now().unwrap();
    crowd.until_answered(2 * CROWD);
    assert_eq!(crowd.by(2), 2 * CROWD);
    test.stop();
}

#[test]
fn one_that_answers_nonsense_is_ended_and_what_it_held_is_served() {
    let (mut test, crowd) = with_crowd();
    // It may not live to tell.
    test.tell(1, "say x");
    let reason = test.event(1, "condemned").text.unwrap();
    assert_eq!(reason, "cannot understand the answer to a hand-off: unknown byte 0x78");
    assert_eq!(test.exit(1).1, EndCause::Violation);
    all_is_well(test, crowd);
}

#[test]
fn one_that_answers_what_it_was_never_given_is_ended() {
    let (mut test, address) = with_stranger();
    test.tell(1, "say t");
    let reason = test.event(1, "condemned").text.unwrap();
    assert_eq!(reason, "cannot match the answer to a hand-off: nothing was handed over");
    assert_eq!(test.exit(1).1, EndCause::Violation);
    all_is_well(test, Crowd::connect(address, CROWD));
}

/// What it said that it took stays with it, whatever it says in the same breath; and so does what it took without a
/// word.
#[test]
fn what_one_took_before_it_broke_the_rules_is_given_to_nobody_else() {
    for breach in ["say ttt", "say ttx", "say tx", "say x", "shut"] {
        let (mut test, mut crowd) = with_crowd();
        assert_eq!(test.ask(1, "serve"), "served");
        test.tell(1, breach);
        if breach == "shut" {
            crowd.until_answered(CROWD);
            test.worker(1).end_now().unwrap();
            test.exit(1);
        } else {
            assert_eq!(test.exit(1).1, EndCause::Violation);
        }
        crowd.until_answered(CROWD);
        assert_eq!((crowd.by(1), crowd.by(2)), (CREDITS, CROWD - CREDITS));
        test.stop();
    }
}

#[test]
fn one_that_asks_again_for_what_it_has_is_refused_and_keeps_its_stream() {
    let (mut test, mut crowd) = with_crowd();
    let port = crowd.address.port();
    for _ in 0..100 {
        let refused = rustix::io::Errno::ADDRINUSE.raw_os_error().to_string();
        assert_eq!(test.ask(1, &format!("ask {port}")), refused);
    }
    assert_eq!(test.ask(1, "serve"), "served");
    assert_eq!(test.ask(1, "say tt"), "said");
    crowd.until_answered(CROWD);
    assert_eq!((crowd.by(1), crowd.by(2)), (CREDITS, CROWD - CREDITS));
    test.worker(1).end_now().unwrap();
    test.exit(1);
    test.stop();
}
