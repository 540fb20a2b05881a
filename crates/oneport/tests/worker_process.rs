//! The worker's side as a process: what the environment makes of it, and how it ends. The primary is played by the test.
//!
//! A worker is this very test binary, started again to run only `entry_of_the_worker`, which does nothing in the
//! tests' own process. Invariant: every wait has a deadline, and nothing that a test started outlives it.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test says so by failing")]

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use oneport_sys::fdpass;
use oneport_sys::process::{self, Exit, Signal};
use oneport_sys::spawn::{Child, Command};
use oneport_wire::node::errno::Errno;
use oneport_wire::node::message::{FromPrimary, FromWorker, Outcome};

const PATIENCE: Duration = Duration::from_secs(20);
const PROGRAM: &str = "TEST_PROGRAM";
#[cfg(feature = "axum")]
const TERM: i32 = 15;

/// Runs in workers.
#[test]
fn entry_of_the_worker() {
    let Ok(program) = std::env::var(PROGRAM) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let program = async {
            match &*program {
                "facts" => facts().await,
                "errors" => errors().await,
                "leaves" => leaves().await,
                "crowded" => crowded().await,
                #[cfg(feature = "axum")]
                "serves" => serve(false).await,
                #[cfg(feature = "axum")]
                "serves gracefully" => serve(true).await,
                other => panic!("no program is called {other}"),
            }
        };
        tokio::time::timeout(3 * PATIENCE, program).await.expect("in time");
    });
    std::process::exit(0);
}

/// Tells what it is, and answers one message.
async fn facts() {
    let channel = oneport::channel().unwrap().unwrap();
    let variables = ["NODE_CHANNEL_FD", "NODE_UNIQUE_ID", "NODE_CHANNEL_SERIALIZATION_MODE"];
    let left = variables.iter().filter(|name| std::env::var_os(name).is_some()).count();
    let id = oneport::worker().map(|worker| worker.id().0);
    let bound = match id {
        None => oneport::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port() > 0,
        Some(_) => false,
    };
    channel.send(&(id, oneport::is_primary(), left, bound)).unwrap();
    let question = channel.recv().await.unwrap();
    channel.send(&question.parse::<u32>().unwrap().wrapping_add(1)).unwrap();
    assert_eq!(channel.recv().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    oneport::disconnected().await;
}

/// Fails, and exits with 0 if every call says why.
async fn errors() {
    let expected = std::env::var("TEST_EXPECTED").unwrap();
    let found = [
        oneport::TcpListener::bind("127.0.0.1:0").await.map(drop).unwrap_err(),
        oneport::UdpSocket::bind("127.0.0.1:0").await.map(drop).unwrap_err(),
        oneport::UnixListener::bind("/nowhere").await.map(drop).unwrap_err(),
        oneport::channel().map(drop).unwrap_err(),
        oneport::worker().unwrap().ready().unwrap_err(),
    ];
    for error in found {
        assert_eq!(format!("{:?}: {error}", error.kind()), expected);
    }
    assert!(!oneport::worker().unwrap().is_connected());
    oneport::disconnected().await;
    // What needs no primary works.
    oneport::ListenOptions::new().exclusive(true).listen("127.0.0.1:0").await.unwrap();
}

/// Says that it is ready, listens, and leaves by itself.
async fn leaves() {
    let worker = oneport::worker().unwrap();
    worker.ready().unwrap();
    assert!(worker.is_connected());
    assert_eq!(worker.exited_after_disconnect(), None);
    let refused = oneport::TcpListener::bind("127.0.0.1:80").await.unwrap_err();
    worker.send(&refused.raw_os_error()).unwrap();
    worker.disconnect().await.unwrap();
    worker.disconnected().await;
    assert!(!worker.is_connected());
    assert_eq!(worker.exited_after_disconnect(), Some(true));
    assert_eq!(worker.send("late").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

/// Has no descriptor left when a connection comes, and has again when the next one does.
async fn crowded() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let worker = oneport::worker().unwrap();
    let listener = oneport::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let before = getrlimit(Resource::Nofile);
    // Numbers from here on are refused; the lower ones are all taken.
    let lowest = std::os::fd::AsRawFd::as_raw_fd(&std::fs::File::open("/dev/null").unwrap());
    let limit = Rlimit { current: Some(u64::try_from(lowest).unwrap()), maximum: before.maximum };
    setrlimit(Resource::Nofile, limit).unwrap();
    worker.send("crowded").unwrap();
    let refused = listener.accept().await.unwrap_err();
    setrlimit(Resource::Nofile, before).unwrap();
    worker.send(&refused.raw_os_error()).unwrap();
    listener.accept().await.unwrap();
    worker.send("accepted").unwrap();
    worker.disconnected().await;
}

#[cfg(feature = "axum")]
async fn serve(gracefully: bool) {
    let app = axum::Router::new().route("/", axum::routing::get(|| async { "hello" }));
    let listener = oneport::TcpListener::bind("127.0.0.1:0").await.unwrap();
    match gracefully {
        true => axum::serve(listener, app).with_graceful_shutdown(oneport::disconnected()).await.unwrap(),
        false => axum::serve(listener, app).await.unwrap(),
    }
}

/// A worker and its channel.
struct Worker {
    channel: Option<OwnedFd>,
    unread: Vec<u8>,
    child: Child,
}

impl Worker {
    fn start(program: &str, env: &[(&str, &str)]) -> Worker {
        let (ours, theirs) = fdpass::channel_pair().unwrap();
        let mut command = own_binary(program, env);
        command.channel = Some(theirs);
        command.env.push(("NODE_CHANNEL_FD".into(), "3".into()));
        Worker { channel: Some(ours), unread: Vec::new(), child: command.spawn().unwrap() }
    }

    fn say(&self, message: &FromPrimary<'_>, fd: Option<&OwnedFd>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let channel = self.channel.as_ref().unwrap().as_fd();
        assert_eq!(fdpass::send(channel, &bytes, fd.map(AsFd::as_fd)).unwrap(), bytes.len());
    }

    fn say_json(&self, json: &str) {
        self.say(&FromPrimary::User(oneport_wire::node::message::Json::parse(json).unwrap()), None);
    }

    /// The next line; `None` at the end.
    fn hear(&mut self) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Some(String::from_utf8(line).unwrap().trim_end().to_owned());
            }
            assert!(Instant::now() < deadline, "the worker says nothing");
            let mut chunk = [0; 4096];
            match fdpass::receive(self.channel.as_ref().unwrap().as_fd(), &mut chunk) {
                Ok(received) if received.bytes == 0 => return None,
                Ok(received) => self.unread.extend_from_slice(&chunk[..received.bytes]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn hear_online(&mut self) {
        assert_eq!(self.hear().unwrap(), r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#);
    }

    /// Answers the next query.
    fn answer_query(&mut self, outcome: Outcome<'_>, fd: Option<&OwnedFd>) {
        let line = self.hear().unwrap();
        let said = FromWorker::decode(line.as_bytes()).unwrap();
        let FromWorker::Query { seq, .. } = said else { panic!("{said:?}") };
        self.say(&FromPrimary::Reply { ack: seq, seq: 0, key: "k".into(), data: None, outcome }, fd);
    }

    fn end(self) -> Exit {
        wait(&self.child)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Fails where `end` has reaped it.
        if process::signal(self.child.pidfd.as_fd(), Signal::KILL).is_ok() {
            wait(&self.child);
        }
    }
}

fn own_binary(program: &str, env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args = ["entry_of_the_worker", "--exact", "--nocapture"].map(OsString::from).to_vec();
    command.env = vec![(PROGRAM.into(), program.into())];
    command.env.extend(env.iter().map(|(name, value)| (name.into(), value.into())));
    command
}

/// How it ended; reaps it.
fn wait(child: &Child) -> Exit {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(exit) = process::reap(child.pidfd.as_fd()).unwrap() {
            return exit;
        }
        assert!(Instant::now() < deadline, "the worker does not end");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn a_child_that_was_forked_talks_and_listens_for_itself() {
    let mut child = Worker::start("facts", &[("NODE_CHANNEL_SERIALIZATION_MODE", "json")]);
    assert_eq!(child.hear().unwrap(), "[null,true,0,true]");
    child.say_json("41");
    assert_eq!(child.hear().unwrap(), "42");
    child.channel = None;
    assert_eq!(child.end(), Exit::Code(0));
}

#[test]
fn a_worker_has_its_number_and_says_that_it_is_online() {
    for (number, id) in [("7", "7"), ("x", "0")] {
        let mut worker = Worker::start("facts", &[("NODE_UNIQUE_ID", number)]);
        worker.hear_online();
        assert_eq!(worker.hear().unwrap(), format!("[{id},false,0,false]"));
        worker.say_json("1");
        assert_eq!(worker.hear().unwrap(), "2");
        worker.channel = None;
        assert_eq!(worker.end(), Exit::Code(0));
    }
}

#[test]
fn advanced_serialization_is_named_by_every_call() {
    let expected = "Unsupported: cannot talk to primary: it insists on `advanced` serialization, not `json`";
    let env = [
        ("NODE_UNIQUE_ID", "1"),
        ("NODE_CHANNEL_SERIALIZATION_MODE", "advanced"),
        ("TEST_EXPECTED", expected),
    ];
    assert_eq!(Worker::start("errors", &env).end(), Exit::Code(0));
}

#[test]
fn a_channel_that_is_no_socket_is_an_error_of_every_call() {
    let expected = "InvalidInput: cannot use channel descriptor `5`: not a Unix stream socket";
    let env = [("NODE_UNIQUE_ID", "1"), ("NODE_CHANNEL_FD", "5"), ("TEST_EXPECTED", expected)];
    let Command { program, args, env, .. } = own_binary("errors", &env);
    let mut command = Command::new("/bin/sh");
    command.args = vec!["-c".into(), "exec 5</dev/null; exec \"$0\" \"$@\"".into(), program];
    command.args.extend(args);
    command.env = env;
    let worker = Worker { channel: None, unread: Vec::new(), child: command.spawn().unwrap() };
    assert_eq!(worker.end(), Exit::Code(0));
}

#[test]
fn a_worker_that_leaves_by_itself_is_acknowledged_and_goes_on() {
    let mut worker = Worker::start("leaves", &[("NODE_UNIQUE_ID", "1")]);
    worker.hear_online();
    assert_eq!(worker.hear().unwrap(), r#""ready""#);
    worker.answer_query(Outcome::Failed { errno: Errno::EACCES }, None);
    assert_eq!(worker.hear().unwrap(), "13");
    let line = worker.hear().unwrap();
    let said = FromWorker::decode(line.as_bytes()).unwrap();
    let FromWorker::ExitedAfterDisconnect { seq } = said else { panic!("{said:?}") };
    worker.say(&FromPrimary::Acknowledge { ack: seq, seq: None }, None);
    assert_eq!(worker.hear(), None);
    assert_eq!(worker.end(), Exit::Code(0));
}

#[test]
fn a_connection_that_finds_no_descriptor_is_refused_and_the_next_one_is_taken() {
    let mut worker = Worker::start("crowded", &[("NODE_UNIQUE_ID", "1")]);
    worker.hear_online();
    let (ours, theirs) = fdpass::channel_pair().unwrap();
    worker.answer_query(Outcome::HandOff { sockname: None, version: 1 }, Some(&theirs));
    drop(theirs);
    while worker.hear().unwrap() != r#""crowded""# {}
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    accepted.set_nonblocking(true).unwrap();
    let answer = || {
        let mut byte = [0];
        assert_eq!(fdpass::receive(ours.as_fd(), &mut byte).unwrap().bytes, 1);
        byte[0]
    };
    fdpass::send_many(ours.as_fd(), b"c", &[accepted.as_fd()]).unwrap();
    assert_eq!(worker.hear().unwrap(), "24");
    assert_eq!(answer(), b'r');
    fdpass::send_many(ours.as_fd(), b"c", &[accepted.as_fd()]).unwrap();
    assert_eq!(worker.hear().unwrap(), r#""accepted""#);
    drop(client);
    worker.channel = None;
    assert_eq!(worker.end(), Exit::Code(0));
    // It never asked for another; its listener answered when it ended.
    assert_eq!(answer(), b't');
}

#[cfg(feature = "axum")]
mod with_axum {
    use std::io::{Read, Write};

    use super::*;

    /// A server that has served one request; the connection stays open.
    fn served(program: &str) -> (Worker, OwnedFd, std::net::TcpStream) {
        let mut worker = Worker::start(program, &[("NODE_UNIQUE_ID", "1")]);
        worker.hear_online();
        let (ours, theirs) = fdpass::channel_pair().unwrap();
        worker.answer_query(Outcome::HandOff { sockname: None, version: 1 }, Some(&theirs));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        fdpass::send_many(ours.as_fd(), b"c", &[accepted.as_fd()]).unwrap();
        drop(accepted);
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            let mut chunk = [0; 512];
            let read = client.read(&mut chunk).unwrap();
            assert!(read > 0);
            answer.extend_from_slice(&chunk[..read]);
        }
        (worker, ours, client)
    }

    #[test]
    fn a_server_whose_primary_is_gone_ends_itself_if_nobody_else_would() {
        let (mut worker, _stream, _client) = served("serves");
        worker.channel = None;
        assert_eq!(worker.end(), Exit::Signal(TERM));
    }

    #[test]
    fn a_server_that_knows_of_its_end_finishes_and_exits() {
        for told in [true, false] {
            let (mut worker, _stream, mut client) = served("serves gracefully");
            match told {
                true => worker.say(&FromPrimary::Disconnect { seq: None }, None),
                false => worker.channel = None,
            }
            // The idle connection is closed by the server, not by us.
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            assert_eq!(worker.end(), Exit::Code(0));
        }
    }

    #[test]
    fn a_server_that_knows_of_no_end_closes_its_channel_and_waits_for_its_signal() {
        let (mut worker, _stream, mut client) = served("serves");
        worker.say(&FromPrimary::Disconnect { seq: None }, None);
        while worker.hear().is_some() {}
        // Still served, although its channel is closed.
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        assert!(client.read(&mut [0; 512]).unwrap() > 0);
        process::signal(worker.child.pidfd.as_fd(), Signal::TERM).unwrap();
        assert_eq!(worker.end(), Exit::Signal(TERM));
    }
}
