//! Connections in flight: connect, request, answer, reset.
//!
//! Knows nothing of when to start the next one (`closed`, `open`). A connection is in exactly one phase; its
//! socket is closed, by reset, when it leaves the table.

use super::{Outcome, http};
use crate::error::{Cannot, Result};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{bind, connect, recv, send, socket_with, sockopt};
use std::time::{Duration, Instant};

/// After this long without an answer a connection has failed.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Events taken per wake-up.
const EVENTS: usize = 256;

/// Where connections come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// One address, the kernel's choice.
    One,
    /// Many, in turn; each connection then costs a `bind` as well.
    Many,
}

/// What a connection asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// An ordinary answer.
    Plain,
    /// An answer after 200 ms of computing.
    Block,
    /// An answer after 500 ms of waiting.
    Slow,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Waiting,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    since: Instant,
    ask: Ask,
    phase: Phase,
}

/// What became of an event on a connection.
enum Step {
    Going,
    /// By the worker with this pid, if it said who it is.
    Answered(Option<i32>),
    Failed,
}

/// All connections in flight against one port.
pub(super) struct Engine {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    slots: Vec<Option<Connection>>,
    free: Vec<usize>,
    port: u16,
    source: Source,
    started: usize,
    last_answer: Instant,
    last_sweep: Instant,
    outcome: Outcome,
}

impl Engine {
    /// Room for `capacity` connections at a time to `port`; `expected` answers in all.
    pub(super) fn new(port: u16, capacity: usize, expected: usize) -> Result<Self> {
        let now = Instant::now();
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).cannot(|| "make an epoll".into())?,
            events: Vec::with_capacity(EVENTS),
            slots: (0..capacity).map(|_| None).collect(),
            free: (0..capacity).rev().collect(),
            port,
            source: Source::One,
            started: 0,
            last_answer: now,
            last_sweep: now,
            outcome: Outcome { latencies: Vec::with_capacity(expected), ..Outcome::default() },
        })
    }

    /// The same from elsewhere.
    pub(super) fn from(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// Connections in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Connections started so far.
    pub(super) fn started(&self) -> usize {
        self.started
    }

    /// Starts one connection, its latency counted from `since`; without room it counts as failed.
    pub(super) fn start(&mut self, since: Instant, ask: Ask) {
        self.started += 1;
        match self.try_start(since, ask) {
            Ok(()) => {}
            Err(_refused_or_no_room) => self.outcome.failed += 1,
        }
    }

    fn try_start(&mut self, since: Instant, ask: Ask) -> rustix::io::Result<()> {
        let slot = *self.free.last().ok_or(Errno::NOBUFS)?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        // Linger zero: close sends RST, so no TIME_WAIT piles up on this side.
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        match self.source {
            Source::One => {}
            Source::Many => bind(&socket, &http::source(self.started))?,
        }
        match connect(&socket, &http::address(self.port, self.started)) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let data = epoll::EventData::new_u64(slot as u64);
        epoll::add(&self.epoll, &socket, data, epoll::EventFlags::OUT)?;
        self.free.pop();
        self.slots[slot] = Some(Connection { socket, since, ask, phase: Phase::Connecting });
        Ok(())
    }

    /// Waits at most `limit` for something to happen, and moves along what did.
    pub(super) fn turn(&mut self, limit: Duration) -> Result<()> {
        let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).cannot(|| "wait for connections".into()),
        }
        for index in 0..self.events.len() {
            let slot = self.events[index].data.u64() as usize;
            self.advance(slot);
        }
        self.sweep();
        Ok(())
    }

    fn advance(&mut self, slot: usize) {
        let Some(connection) = self.slots[slot].as_mut() else { return };
        let step = match connection.phase {
            Phase::Connecting => request(&self.epoll, connection, slot),
            Phase::Waiting => answer(connection),
        };
        match step {
            Step::Going => {}
            Step::Answered(worker) => {
                if let Some(worker) = worker {
                    *self.outcome.workers.entry(worker).or_default() += 1;
                }
                let now = Instant::now();
                let latency = now.saturating_duration_since(connection.since).as_micros();
                match connection.ask {
                    Ask::Plain | Ask::Slow => {
                        self.outcome.latencies.push(u32::try_from(latency).unwrap_or(u32::MAX))
                    }
                    Ask::Block => self.outcome.blocks += 1,
                }
                self.last_answer = now;
                self.release(slot);
            }
            Step::Failed => {
                self.outcome.failed += 1;
                self.release(slot);
            }
        }
    }

    fn release(&mut self, slot: usize) {
        self.slots[slot] = None;
        self.free.push(slot);
    }

    /// Gives up on connections nobody answers; looks ten times a second.
    fn sweep(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.last_sweep) < Duration::from_millis(100) {
            return;
        }
        self.last_sweep = now;
        for slot in 0..self.slots.len() {
            let late = |c: &Connection| now.saturating_duration_since(c.since) > ANSWER_LIMIT;
            if self.slots[slot].as_ref().is_some_and(late) {
                self.outcome.failed += 1;
                self.release(slot);
            }
        }
    }

    /// Ends the run that began at `begin`; what is still in flight has failed.
    pub(super) fn finish(mut self, begin: Instant) -> Outcome {
        self.outcome.failed += self.in_flight() as u32;
        self.outcome.elapsed = self.last_answer.saturating_duration_since(begin);
        self.outcome.latencies.sort_unstable();
        self.outcome
    }
}

/// Connected, or failed to: send the request.
fn request(epoll: &OwnedFd, connection: &mut Connection, slot: usize) -> Step {
    let words = match connection.ask {
        Ask::Plain => http::PLAIN,
        Ask::Block => http::BLOCK,
        Ask::Slow => http::SLOW,
    };
    match send(&connection.socket, words, SendFlags::NOSIGNAL) {
        Ok(sent) if sent == words.len() => {}
        Ok(_) | Err(_) => return Step::Failed,
    }
    connection.phase = Phase::Waiting;
    let data = epoll::EventData::new_u64(slot as u64);
    match epoll::modify(epoll, &connection.socket, data, epoll::EventFlags::IN) {
        Ok(()) => Step::Going,
        Err(_) => Step::Failed,
    }
}

/// Readable: the answer, an early end, or nothing after all.
fn answer(connection: &Connection) -> Step {
    let mut buffer = [0; 1024];
    match recv(&connection.socket, &mut buffer, RecvFlags::empty()) {
        Ok((length, _)) if http::is_ok(&buffer[..length]) => Step::Answered(http::worker(&buffer[..length])),
        Err(Errno::AGAIN | Errno::INTR) => Step::Going,
        Ok(_) | Err(_) => Step::Failed,
    }
}
