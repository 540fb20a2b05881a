//! The ways in which connections reach a library worker, so that each listening test can go all of them: the hand-off stream,
//! the channel as with Node's workers, a shared socket, and a socket of its own. And the clients of these tests.
//!
//! A worker of today always offers the stream. `behind_a_relay` runs another program behind a relay that takes the offer
//! out of what it says, so that its primary speaks to it as to a worker of Node's.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use oneport::{Policy, Settings};
use oneport_sys::fdpass;
use oneport_sys::startup::{dup_inherited, take_channel, worker_env};
use oneport_sys::tree::MARK_VARIABLE;
use oneport_wire::node::env;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::harness::{ARGS, PATIENCE, PROGRAM, Test, connect, programs, who_answers};

programs! { behind_a_relay, relay }

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Stream,
    Channel,
    Shared,
    /// A socket of each worker's own, of which the kernel chooses.
    Lanes,
}

impl Way {
    /// A cluster of so many forked workers, which do nothing yet.
    pub(crate) fn cluster(self, workers: u32) -> Test {
        self.cluster_of("ear", workers, |_| {})
    }

    /// As [`cluster`](Self::cluster), of workers that run this program.
    pub(crate) fn cluster_of(self, program: &str, workers: u32, change: impl FnOnce(&mut Settings)) -> Test {
        Test::forked(workers, program, |settings| {
            self.arrange(settings);
            change(settings);
        })
    }

    /// The variable that names the program of a fork.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Way::Channel => BEHIND,
            Way::Stream | Way::Shared | Way::Lanes => PROGRAM,
        }
    }

    /// Has workers go this way.
    pub(crate) fn arrange(self, settings: &mut Settings) {
        if self == Way::Channel {
            let (_, program) = settings.env.iter_mut().find(|(name, _)| name == PROGRAM).unwrap();
            let behind = std::mem::replace(program, "behind_a_relay".into());
            settings.env.push((BEHIND.into(), behind));
        }
        settings.conduct.policy = match self {
            Way::Stream | Way::Channel => Policy::RoundRobin,
            Way::Shared => Policy::Shared,
            Way::Lanes => Policy::Least,
        };
    }
}

/// One test for each way that is named.
macro_rules! in_ways {
    ($($way:ident),*; $(#[doc = $doc:literal])* fn $name:ident($test_way:ident: Way) $body:block) => {
        mod $name {
            use super::*;
            $(#[doc = $doc])*
            fn check($test_way: Way) $body
            $(crate::listening_ways::in_ways! { @ $way })*
        }
    };
    (@ Stream) => { #[test] fn over_the_stream() { check(Way::Stream) } };
    (@ Channel) => { #[test] fn over_the_channel() { check(Way::Channel) } };
    (@ Shared) => { #[test] fn on_a_shared_socket() { check(Way::Shared) } };
    (@ Lanes) => { #[test] fn on_a_socket_of_its_own() { check(Way::Lanes) } };
}
pub(crate) use in_ways;

/// One test for each way.
macro_rules! in_every_way {
    ($($test:tt)*) => { crate::listening_ways::in_ways! { Stream, Channel, Shared, Lanes; $($test)* } };
}
pub(crate) use in_every_way;

/// Has a worker of ours open something that it shares, and waits until its primary knows; where.
pub(crate) fn open(test: &mut Test, worker: u32, order: &str) -> String {
    let before = heard_of(test, worker);
    let address = test.ask(worker, order);
    let refused = address.starts_with(|first: char| first.is_ascii_uppercase());
    assert!(!refused, "`{order}` of worker {worker}: {address}");
    test.until("the worker listens", |test| (heard_of(test, worker) > before).then_some(()));
    address
}

/// As [`open`], on an address with a port.
pub(crate) fn open_port(test: &mut Test, worker: u32, order: &str) -> SocketAddr {
    open(test, worker, order).parse().unwrap()
}

/// A loopback address that no other test uses, and no client either: a port that was let go there is nobody else's in the
/// next moment.
pub(crate) fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    Ipv4Addr::new(127, 43, (std::process::id() % 256) as u8, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Waits for something that only the kernel knows, and that nobody tells.
pub(crate) fn until_seen(what: &str, mut seen: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !seen() {
        assert!(Instant::now() < deadline, "{what} is not to be seen");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// How often a worker said that it listens.
pub(crate) fn heard_of(test: &Test, worker: u32) -> usize {
    test.life(worker).iter().filter(|event| **event == "listening").count()
}

/// Which worker and which of its tasks answers, on a connection that stays open.
pub(crate) fn greet(stream: TcpStream) -> ((u32, i64), TcpStream) {
    let mut stream = BufReader::new(stream);
    let mut answer = String::new();
    stream.read_line(&mut answer).unwrap();
    let (worker, task) = answer.trim_end().split_once(' ').unwrap();
    ((worker.parse().unwrap(), task.parse().unwrap()), stream.into_inner())
}

/// Clients that connected at about the same time and wait for their answers.
pub(crate) struct Crowd {
    pub(crate) address: SocketAddr,
    waiting: Vec<TcpStream>,
    /// The workers that answered, in the order in which that was seen.
    pub(crate) answers: Vec<u32>,
}

impl Crowd {
    pub(crate) fn connect(address: SocketAddr, clients: usize) -> Crowd {
        let mut crowd = Crowd { address, waiting: Vec::new(), answers: Vec::new() };
        crowd.join(clients);
        crowd
    }

    /// So many more.
    pub(crate) fn join(&mut self, clients: usize) {
        self.waiting.extend((0..clients).map(|_| connect(self.address)));
    }

    /// Waits until so many have been answered in all. None may be lost.
    pub(crate) fn until_answered(&mut self, clients: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.answers.len() < clients {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} of {clients} are answered", self.answers.len());
            let mut wanted: Vec<PollFd<'_>> =
                self.waiting.iter().map(|stream| PollFd::new(stream, PollFlags::IN)).collect();
            poll(&mut wanted, Some(&Timespec::try_from(left).unwrap())).unwrap();
            let ready: Vec<bool> = wanted.iter().map(|client| !client.revents().is_empty()).collect();
            let all = std::mem::take(&mut self.waiting);
            for (stream, ready) in all.into_iter().zip(ready) {
                if ready {
                    self.answers.push(who_answers(stream).unwrap().0);
                } else {
                    self.waiting.push(stream);
                }
            }
        }
    }

    /// How many a worker answered so far.
    pub(crate) fn by(&self, worker: u32) -> usize {
        self.answers.iter().filter(|answer| **answer == worker).count()
    }
}

/// Names the program that runs behind a relay.
const BEHIND: &str = "TEST_BEHIND";

/// Starts a relay with the channel, and becomes the program whose channel is the relay.
#[expect(clippy::zombie_processes, reason = "it ends after this process, and is nobody's to wait for")]
async fn behind_a_relay() {
    let behind = std::env::var(BEHIND).unwrap();
    let found = worker_env().unwrap();
    let channel = take_channel().unwrap().unwrap();
    let (theirs, ours) = UnixStream::pair().unwrap();
    pass_on(&[channel.as_fd(), theirs.as_fd()]);
    let program = |name: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(ARGS).env(PROGRAM, name).stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    // Not marked as the worker's: it has the worker's last words to deliver when the worker's tree is ended.
    let mut relay = program("relay");
    relay.env(RELAYED, format!("{} {}", channel.as_raw_fd(), theirs.as_raw_fd()));
    relay.env_remove(MARK_VARIABLE).spawn().unwrap();
    drop((channel, theirs));
    pass_on(&[ours.as_fd()]);
    let channel = [
        (env::CHANNEL_FD, ours.as_raw_fd().to_string()),
        (env::UNIQUE_ID, found.unique_id.clone().unwrap()),
        (env::SERIALIZATION_MODE, env::SERIALIZATION_JSON.into()),
    ];
    panic!("cannot become `{behind}`: {}", program(&behind).envs(channel).exec());
}

/// Lets the next program have these.
fn pass_on(fds: &[BorrowedFd<'_>]) {
    for fd in fds {
        fcntl_setfd(fd, FdFlags::empty()).unwrap();
    }
}

/// Tells the relay its descriptors: the primary's end and the worker's.
const RELAYED: &str = "TEST_RELAYED";
const OFFER: &str = r#","handoff":1"#;

/// Ends with either end, whatever was said in that direction delivered.
async fn relay() {
    // Out of the worker's session, for the reason above.
    rustix::process::setsid().unwrap();
    let fds = std::env::var(RELAYED).unwrap();
    let mut fds = fds.split(' ').map(|fd| dup_inherited(fd.parse().unwrap()).unwrap());
    let (primary, worker) = (fds.next().unwrap(), fds.next().unwrap());
    let (to_primary, to_worker) = (primary.try_clone().unwrap(), worker.try_clone().unwrap());
    std::thread::spawn(move || relay_one_way(&primary, &to_worker, str::to_owned));
    relay_one_way(&worker, &to_primary, |lines| lines.replace(OFFER, ""));
}

/// Whole lines are passed on, and a descriptor no later than the line it came with.
fn relay_one_way(from: &OwnedFd, to: &OwnedFd, change: impl Fn(&str) -> String) {
    let (mut text, mut bytes) = (String::new(), vec![0; 65_536]);
    let wait = |fd: &OwnedFd, what| poll(&mut [PollFd::new(fd, what)], None).unwrap();
    loop {
        wait(from, PollFlags::IN);
        let Ok(received) = fdpass::receive(from.as_fd(), &mut bytes) else { std::process::exit(0) };
        if received.bytes == 0 {
            std::process::exit(0);
        }
        text.push_str(std::str::from_utf8(&bytes[..received.bytes]).unwrap());
        let mut fd = received.fd;
        let lines = text.rfind('\n').map_or(0, |end| end + 1);
        assert!(lines > 0 || fd.is_none(), "half a line with a descriptor");
        let rest = text.split_off(lines);
        let lines = change(&std::mem::replace(&mut text, rest));
        let mut left = lines.as_bytes();
        while !left.is_empty() {
            wait(to, PollFlags::OUT);
            match fdpass::send(to.as_fd(), left, fd.as_ref().map(AsFd::as_fd)) {
                Ok(sent) => (left, fd) = (&left[sent..], None),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => std::process::exit(0),
            }
        }
    }
}
