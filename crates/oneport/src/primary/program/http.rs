//! Asking a program over HTTP whether it is well: one copy alone, while its siblings get everybody else's connections and
//! it gets none.
//!
//! A thread for each copy binds its own end first and tells the loop from where it is going to ask; the loop makes that
//! one address the exception among the copies' sockets (`group`), and takes it back once the connection is there. One
//! copy of a port is asked at a time, as the kernel knows one exception. Invariant: only a copy that lives and
//! listens is asked, each by one thread at most; a copy is asked until it is well, at first often and then each second.
//!
//! Only TCP can be asked. A copy that never listens on a socket of its own is never well, which is told as that of any
//! other ([`Event::NotReadyYet`](crate::Event::NotReadyYet)).

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use oneport_core::{Event as Core, LaneId, PortId, WorkerId};
use oneport_sys::listen::{bound_to, only_v6};
use oneport_wire::health::{Heard, MOST_BYTES, hear, request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use tracing::{debug, warn};

use crate::cluster::Commands;
use crate::primary::lane::LaneKind;
use crate::primary::{Command, Primary};
use crate::program::ReadyOn;

/// Between two questions, until the time to begin listening is over, and from then on.
const SOON: Duration = Duration::from_millis(250);
const LATER: Duration = Duration::from_secs(1);
const TURN: Duration = Duration::from_millis(25);
/// Answers that are well. What redirects is there.
const WELL: std::ops::RangeInclusive<u16> = 200..=399;
/// A thread that reads one short answer needs no more.
const STACK: usize = 256 * 1024;

/// A copy that is to be asked, and from where. Dropped unanswered: not any more.
#[derive(Debug)]
pub(crate) struct Question {
    worker: WorkerId,
    lane: LaneId,
    from: SocketAddr,
    go: SyncSender<()>,
}

/// Questions of all copies.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// Whose port is busy; at most one of each copy.
    waiting: VecDeque<Question>,
    under_way: Vec<(PortId, LaneId)>,
}

impl Primary {
    /// It listens: if its own health is what makes it ready it is asked from now on.
    pub(super) fn begin_asking(&mut self, worker: WorkerId, lane: LaneId) {
        let ReadyOn::Http { path, patience } = &self.settings.program.ready_on else { return };
        let Some((socket, LaneKind::Stream, _)) = self.lanes.copy_of(lane) else { return };
        let Some(target) = target(&socket) else { return };
        let asker = Asker {
            worker,
            lane,
            target,
            path: path.clone(),
            patience: *patience,
            often: self.settings.conduct.listen_timeout,
            commands: self.own_commands.clone(),
        };
        let Some(program) = self.program_mut(worker).filter(|program| !program.is_asked) else { return };
        let started =
            thread::Builder::new().name("oneport-ask".into()).stack_size(STACK).spawn(move || asker.run());
        match started {
            Ok(_) => program.is_asked = true,
            // Its next listener is the next chance.
            Err(cause) => warn!(%cause, worker = worker.0, "cannot ask whether the worker is well"),
        }
    }

    pub(in crate::primary) fn ask_alone(&mut self, question: Question) {
        self.programs.questions.waiting.push_back(question);
        self.next_questions();
    }

    /// The connection is there, or will not be.
    pub(in crate::primary) fn asked_alone(&mut self, lane: LaneId) {
        let questions = &mut self.programs.questions.under_way;
        if let Some(at) = questions.iter().position(|(_, asked)| *asked == lane) {
            let (port, _) = questions.swap_remove(at);
            self.lanes.ask_from(port, None);
        }
        self.next_questions();
    }

    /// Lets those ask whose port is free.
    fn next_questions(&mut self) {
        for question in std::mem::take(&mut self.programs.questions.waiting) {
            let Some(port) = self.is_to_be_asked(&question) else {
                // Should it listen anew, it is asked anew.
                if let Some(program) = self.program_mut(question.worker) {
                    program.is_asked = false;
                }
                continue;
            };
            if self.programs.questions.under_way.iter().any(|(of, _)| *of == port) {
                self.programs.questions.waiting.push_back(question);
                continue;
            }
            self.lanes.ask_from(port, Some((question.from, question.lane)));
            match question.go.send(()) {
                Ok(()) => self.programs.questions.under_way.push((port, question.lane)),
                Err(_) => self.lanes.ask_from(port, None),
            }
        }
    }

    /// Where it listens, if it still does and is to go on.
    fn is_to_be_asked(&self, question: &Question) -> Option<PortId> {
        let stays = self.core.phase(question.worker).is_some_and(|phase| !phase.is_leaving());
        let (tenant, port) = self.lanes.tenant_of(question.lane)?;
        let listens = tenant == question.worker && self.lanes.is_in_group(question.lane);
        (stays && listens).then_some(port)
    }
}

/// Where a question reaches the socket: at its own address, or where every address is meant, on the loopback interface.
fn target(socket: &OwnedFd) -> Option<SocketAddr> {
    let bound = bound_to(socket.as_fd()).ok()??;
    let ip: IpAddr = match bound.ip().to_canonical() {
        IpAddr::V6(ip) if ip.is_unspecified() && only_v6(socket.as_fd()) => Ipv6Addr::LOCALHOST.into(),
        ip if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => return Some(bound),
        IpAddr::V4(ip) => ip.into(),
    };
    Some(SocketAddr::new(ip, bound.port()))
}

/// What one copy's thread knows.
struct Asker {
    worker: WorkerId,
    lane: LaneId,
    target: SocketAddr,
    path: String,
    patience: Duration,
    often: Duration,
    commands: Commands,
}

/// Why a copy was not found well.
enum Ill {
    Failed(io::Error),
    Says(u16),
    NoHttp,
    /// It is not to be asked any more.
    Over,
}

impl From<io::Error> for Ill {
    fn from(error: io::Error) -> Ill {
        Ill::Failed(error)
    }
}

impl Asker {
    fn run(self) {
        let began = Instant::now();
        loop {
            match self.ask() {
                Ok(connection) => {
                    self.commands.send(Command::Core(Core::Ready { worker: self.worker }));
                    return hear_out(connection, Instant::now() + self.patience);
                }
                Err(Ill::Over) => return,
                Err(Ill::Failed(cause)) => debug!(worker = self.worker.0, %cause, "not well"),
                Err(Ill::Says(status)) => debug!(worker = self.worker.0, status, "not well"),
                Err(Ill::NoHttp) => debug!(worker = self.worker.0, "not well: no HTTP"),
            }
            thread::sleep(if began.elapsed() < self.often { SOON } else { LATER });
        }
    }

    fn ask(&self) -> Result<TcpStream, Ill> {
        let client = client_of(self.target)?;
        let from = bound_to(client.as_fd())?.ok_or(io::Error::from(io::ErrorKind::AddrNotAvailable))?;
        let (go, may_go) = sync_channel(1);
        let question = Question { worker: self.worker, lane: self.lane, from, go };
        if !self.commands.send(Command::AskAlone(question)) || may_go.recv().is_err() {
            return Err(Ill::Over);
        }
        let until = Instant::now() + self.patience;
        let asked = Instant::now();
        let connected = connect_until(&client, self.target, until);
        // Each question is two BPF programs, and the kernel frees hundreds at once badly: its port has a turn for so long.
        thread::sleep(TURN.saturating_sub(asked.elapsed()));
        self.commands.send(Command::AskedAlone { lane: self.lane });
        connected?;
        let mut connection = TcpStream::from(client);
        connection.set_nonblocking(false)?;
        connection.set_write_timeout(Some(left(until)?))?;
        connection.write_all(&request(&self.path, self.target))?;
        let status = read_status(&mut connection, until)?;
        if WELL.contains(&status) {
            return Ok(connection);
        }
        hear_out(connection, until);
        Err(Ill::Says(status))
    }
}

fn read_status(connection: &mut TcpStream, until: Instant) -> Result<u16, Ill> {
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    loop {
        connection.set_read_timeout(Some(left(until)?))?;
        let read = connection.read(&mut part)?;
        answer.extend_from_slice(part.get(..read).unwrap_or_default());
        match hear(&answer) {
            Heard::Status(status) => return Ok(status),
            Heard::Part if read > 0 && answer.len() < MOST_BYTES => {}
            Heard::Part | Heard::Nonsense => return Err(Ill::NoHttp),
        }
    }
}

/// Lets the server finish what it says: closing on unread bytes would reset its connection, which some report as an error.
fn hear_out(mut connection: TcpStream, until: Instant) {
    let mut part = [0; 1024];
    for _ in 0..MOST_BYTES / part.len() {
        let Ok(left) = left(until) else { return };
        let waits = connection.set_read_timeout(Some(left));
        if waits.is_err() || !matches!(connection.read(&mut part), Ok(1..)) {
            return;
        }
    }
}

/// Our end, with an address before it is known where it goes.
fn client_of(target: SocketAddr) -> io::Result<OwnedFd> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let client = socket_with(family, SocketType::STREAM, flags, None)?;
    let mut own = target;
    own.set_port(0);
    bind(&client, &own)?;
    Ok(client)
}

fn connect_until(client: &OwnedFd, target: SocketAddr, until: Instant) -> io::Result<()> {
    match connect(client, &target) {
        Ok(()) => return Ok(()),
        Err(Errno::INPROGRESS | Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    loop {
        let left = Timespec::try_from(left(until)?).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut asked = [PollFd::new(client, PollFlags::OUT)];
        match poll(&mut asked, Some(&left)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    sockopt::socket_error(client)?.map_err(io::Error::from)
}

/// What is left of the patience; none is an error, as sockets take no time of zero for a limit.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::{AsFd, OwnedFd};
    use std::time::{Duration, Instant};

    use oneport_sys::listen::{V6, bind_tcp, bound_to};

    use super::{Ill, client_of, connect_until, read_status, target};

    /// What becomes of this answer, after which the server says nothing more but stays.
    fn status_of(answer: &[u8], patience: Duration) -> Result<u16, Ill> {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let (mut served, _) = server.accept().unwrap();
        served.write_all(answer).unwrap();
        read_status(&mut client, Instant::now() + patience)
    }

    #[test]
    fn an_answer_is_waited_for_no_longer_and_kept_no_further_than_it_may_take() {
        let long = Duration::from_secs(20);
        assert!(matches!(status_of(b"HTTP/1.1 204 So\r\n", long), Ok(204)));
        assert!(matches!(status_of(b"SSH-2.0-x\r\n", long), Err(Ill::NoHttp)));
        let endless = [b"HTTP/1.1 100 So\r\n".as_slice(), &b"A: b\r\n".repeat(4000)].concat();
        assert!(matches!(status_of(&endless, long), Err(Ill::NoHttp)));
        assert!(matches!(status_of(b"HTTP/1.1 2", Duration::from_millis(50)), Err(Ill::Failed(_))));
        assert!(matches!(status_of(b"HTTP/1.1 200 So\r\n", Duration::ZERO), Err(Ill::Failed(_))));
    }

    #[test]
    fn a_question_goes_where_the_socket_is_reached_from_here() {
        for (bound, v6, reached) in [
            ("0.0.0.0:0", V6::Dual, "127.0.0.1"),
            ("[::]:0", V6::Dual, "127.0.0.1"),
            ("[::]:0", V6::Only, "::1"),
            ("[::1]:0", V6::Dual, "::1"),
            ("127.0.0.7:0", V6::Dual, "127.0.0.7"),
            ("[::ffff:127.0.0.1]:0", V6::Dual, "127.0.0.1"),
        ] {
            let Ok(socket) = bind_tcp(bound.parse().unwrap(), v6) else {
                eprintln!("skipped: no IPv6");
                continue;
            };
            let port = bound_to(socket.as_fd()).unwrap().unwrap().port();
            assert_eq!(target(&socket), Some(SocketAddr::new(reached.parse().unwrap(), port)), "{bound}");
        }
    }

    #[test]
    fn nobody_there_is_an_error_and_somebody_is_reached_from_the_address_that_was_told() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = server.local_addr().unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        let client: OwnedFd = client_of(there).unwrap();
        connect_until(&client, there, until).unwrap();
        let (_, from) = server.accept().unwrap();
        assert_eq!(bound_to(client.as_fd()).unwrap(), Some(from));
        drop(server);
        let late = client_of(there).unwrap();
        let refused = connect_until(&late, there, until).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}
