//! The worker of `listening_strangers`: it asks for the hand-off stream as the library does, and then does with it what its
//! test tells it, one order after the other. It speaks for itself, without the library.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use oneport_sys::fdpass;
use oneport_sys::startup::take_channel;
use oneport_wire::handoff;
use oneport_wire::node::MAX_LINE;
use oneport_wire::node::inbox::Inbox;
use oneport_wire::node::message::{
    AddressType, FromPrimary, FromWorker, HandleEnvelope, HandleKind, Json, Outcome, Query, SocketNote,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::{TestLine, programs};

programs! { stranger }

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
/// | `hoard N PORT` | asks N times for that port and closes it again, and keeps every stream: how many it got |
/// | `mention LENGTH` | asks for the open connections of a server whose key is so long: how many |
/// | `pass LENGTH` | passes on a connection of such a server: `passed` |
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
            "hoard" => stranger.hoard(object),
            "mention" => stranger.mention(object.parse().unwrap()),
            "pass" => stranger.pass(object.parse().unwrap()),
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
        self.tell_with(message, None);
    }

    fn tell_with(&self, message: &FromWorker<'_>, fd: Option<BorrowedFd<'_>>) {
        let mut line = Vec::new();
        message.encode(&mut line);
        assert_eq!(fdpass::send(self.channel.as_fd(), &line, fd).unwrap(), line.len());
    }

    fn ask(&mut self, port: i32) -> String {
        let port = match self.query(port) {
            Ok((_, port)) => port,
            Err(errno) => return errno.to_string(),
        };
        let query = Query { handoff: None, ..wish(port) };
        self.tell(&FromWorker::Listening { seq: None, query });
        port.to_string()
    }

    /// Keeps the stream. The key and the port, or the error's number.
    fn query(&mut self, port: i32) -> Result<(String, i32), i32> {
        self.seq += 1;
        self.tell(&FromWorker::Query { seq: self.seq, query: wish(port) });
        loop {
            while let Some((message, handle)) = self.inbox.next_from_primary().unwrap() {
                let FromPrimary::Reply { outcome, key, .. } = message else { continue };
                let sockname = match outcome {
                    Outcome::HandOff { sockname, .. } | Outcome::RoundRobin { sockname } => sockname.unwrap(),
                    Outcome::Failed { errno } => return Err(errno.to_os()),
                    other => panic!("{other:?}"),
                };
                let granted = (key.into_owned(), sockname.port.into());
                if let Some(stream) = handle {
                    self.streams.push_back(stream);
                    self.tell(&FromWorker::HandleAck);
                }
                return Ok(granted);
            }
            self.receive();
        }
    }

    fn receive(&mut self) {
        wait(&self.channel);
        let received = fdpass::receive(self.channel.as_fd(), self.inbox.space()).unwrap();
        assert_ne!(received.bytes, 0, "the primary has closed the channel");
        self.inbox.received(received.bytes, received.fd).unwrap();
    }

    fn hoard(&mut self, order: &str) -> String {
        let (times, port) = order.split_once(' ').unwrap();
        let most = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
        for _ in 0..times.parse().unwrap() {
            let (key, _) = self.query(port.parse().unwrap()).unwrap();
            self.tell(&FromWorker::Close { key: key.into(), seq: None });
        }
        self.streams.len().to_string()
    }

    fn mention(&mut self, length: usize) -> String {
        self.tell(&FromWorker::Sockets(SocketNote::GetCount { key: "k".repeat(length).into() }));
        loop {
            while let Some((message, _)) = self.inbox.next_from_primary().unwrap() {
                if let FromPrimary::Sockets(SocketNote::Count { count, .. }) = message {
                    return count.to_string();
                }
            }
            self.receive();
        }
    }

    fn pass(&mut self, length: usize) -> String {
        let (connection, _) = UnixStream::pair().unwrap();
        let message = Json::parse("1".to_owned()).unwrap();
        let key = Some("k".repeat(length).into());
        let envelope = HandleEnvelope { kind: HandleKind::NetSocket, message, key };
        self.tell_with(&FromWorker::Handle(envelope), Some(connection.as_fd()));
        "passed".into()
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

/// A port of 127.0.0.1.
fn wish(port: i32) -> Query<'static> {
    Query {
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
    }
}
