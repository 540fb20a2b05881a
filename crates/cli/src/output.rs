//! What workers write: read from their pipes by one thread and written on byte for byte. On a terminal each line
//! gets `name|slot` in front. The last lines of standard error are kept, for when a worker has to be explained.
//!
//! A slow terminal presses back on the workers, as it would on a program of one's own; the primary never waits.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use oneport::{Output, WorkerId};
use oneport_sys::poll::{Interest, Poller, Readiness};
use oneport_sys::waker::Waker;
use rustix::termios::isatty;

use crate::error::Failure;

/// Lines and bytes of standard error kept per worker. An uncaught error of Node takes 25 lines or so, and the first
/// ones say what it is.
const LAST_LINES: usize = 40;
const LAST_BYTES: usize = 8 * 1024;
/// A line longer than this is written in pieces.
const LONGEST_LINE: usize = 8 * 1024;
const PATIENCE: Duration = Duration::from_secs(2);
const WAKER: u64 = u64::MAX;

enum Order {
    Add {
        worker: WorkerId,
        label: String,
        output: Output,
    },
    /// Read what is there, then say what the last lines were.
    LastLines {
        worker: WorkerId,
        answer: Sender<Vec<String>>,
    },
    Forget {
        worker: WorkerId,
    },
    Finish,
}

/// The thread that carries output.
pub(crate) struct Carrier {
    orders: Sender<Order>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Carrier {
    pub(crate) fn start() -> Result<Carrier, Failure> {
        let failed = |cause: io::Error| Failure::new(format!("cannot carry output: {cause}"));
        let waker = Arc::new(Waker::new().map_err(failed)?);
        let poller = Poller::new().map_err(failed)?;
        poller.add(waker.as_fd(), WAKER, Interest::READ).map_err(failed)?;
        let (orders, received) = channel();
        let pump = Pump {
            poller,
            waker: waker.clone(),
            orders: received,
            pipes: HashMap::new(),
            next: 0,
            last: HashMap::new(),
        };
        let thread = thread::Builder::new().name("output".into()).spawn(|| pump.run()).map_err(failed)?;
        Ok(Carrier { orders, waker, thread: Some(thread) })
    }

    pub(crate) fn add(&self, worker: WorkerId, label: String, output: Output) {
        self.order(Order::Add { worker, label, output });
    }

    /// The last lines a worker wrote to standard error; everything it wrote before this call counts.
    pub(crate) fn last_lines(&self, worker: WorkerId) -> Vec<String> {
        let (answer, lines) = channel();
        self.order(Order::LastLines { worker, answer });
        lines.recv_timeout(PATIENCE).unwrap_or_default()
    }

    pub(crate) fn forget(&self, worker: WorkerId) {
        self.order(Order::Forget { worker });
    }

    /// Writes what is still in the pipes and ends.
    pub(crate) fn finish(mut self) {
        self.order(Order::Finish);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; nothing to add.
            let _ = thread.join();
        }
    }

    fn order(&self, order: Order) {
        // Both fail only when the thread has ended, and then there is nothing to carry.
        let _ = self.orders.send(order);
        let _ = self.waker.wake();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

struct Pipe {
    worker: WorkerId,
    stream: Stream,
    fd: OwnedFd,
    label: Option<String>,
    line: Vec<u8>,
}

struct Pump {
    poller: Poller,
    waker: Arc<Waker>,
    orders: Receiver<Order>,
    pipes: HashMap<u64, Pipe>,
    next: u64,
    last: HashMap<WorkerId, VecDeque<String>>,
}

enum Flow {
    GoesOn,
    Ends,
}

impl Pump {
    fn run(mut self) {
        let mut readiness = Readiness::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if self.poller.wait(&mut readiness, None).is_err() {
                return;
            }
            let mut ordered = false;
            for ready in readiness.iter() {
                if ready.token == WAKER {
                    ordered = true;
                } else {
                    self.carry(ready.token, &mut buffer);
                }
            }
            if ordered && matches!(self.obey(&mut buffer), Flow::Ends) {
                return;
            }
        }
    }

    fn obey(&mut self, buffer: &mut [u8]) -> Flow {
        // A waker that cannot be cleared only makes this run again.
        let _ = self.waker.clear();
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Add { worker, label, output } => {
                    self.watch(worker, Stream::Out, output.stdout, &label);
                    self.watch(worker, Stream::Err, output.stderr, &label);
                }
                Order::LastLines { worker, answer } => {
                    self.carry_all(Some(worker), buffer);
                    let lines = self.last.get(&worker).map(|lines| lines.iter().cloned().collect());
                    // Nobody waits any more: nothing to say.
                    let _ = answer.send(lines.unwrap_or_default());
                }
                Order::Forget { worker } => {
                    self.carry_all(Some(worker), buffer);
                    self.last.remove(&worker);
                }
                Order::Finish => {
                    self.carry_all(None, buffer);
                    return Flow::Ends;
                }
            }
        }
        Flow::GoesOn
    }

    fn watch(&mut self, worker: WorkerId, stream: Stream, fd: OwnedFd, label: &str) {
        let terminal = match stream {
            Stream::Out => isatty(rustix::stdio::stdout()),
            Stream::Err => isatty(rustix::stdio::stderr()),
        };
        let token = self.next;
        self.next += 1;
        let label = terminal.then(|| format!("{label} | "));
        if self.poller.add(fd.as_fd(), token, Interest::READ).is_ok() {
            self.pipes.insert(token, Pipe { worker, stream, fd, label, line: Vec::new() });
        }
    }

    /// Everything that is in the pipes now.
    fn carry_all(&mut self, worker: Option<WorkerId>, buffer: &mut [u8]) {
        let chosen: Vec<u64> = self
            .pipes
            .iter()
            .filter(|(_, pipe)| worker.is_none_or(|worker| pipe.worker == worker))
            .map(|(&token, _)| token)
            .collect();
        for token in chosen {
            // A pipe holds 64 KiB (pipe(7)), at most 1 MiB when enlarged; a living writer must not keep us here.
            for _ in 0..16 {
                if !self.carry(token, buffer) {
                    break;
                }
            }
        }
    }

    /// Reads once and writes it on. False: nothing there.
    fn carry(&mut self, token: u64, buffer: &mut [u8]) -> bool {
        let Some(pipe) = self.pipes.get_mut(&token) else { return false };
        match rustix::io::retry_on_intr(|| rustix::io::read(&pipe.fd, &mut *buffer)) {
            Ok(n) if n > 0 => {
                if pipe.stream == Stream::Err {
                    remember(self.last.entry(pipe.worker).or_default(), &buffer[..n]);
                }
                pipe.write(&buffer[..n]);
                true
            }
            Err(rustix::io::Errno::AGAIN) => false,
            Ok(_) | Err(_) => {
                pipe.finish_line();
                // Gone from the set with its last descriptor anyway.
                let _ = self.poller.remove(pipe.fd.as_fd());
                self.pipes.remove(&token);
                false
            }
        }
    }
}

impl Pipe {
    fn target(&self) -> BorrowedFd<'static> {
        match self.stream {
            Stream::Out => rustix::stdio::stdout(),
            Stream::Err => rustix::stdio::stderr(),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let target = self.target();
        let Some(label) = &self.label else { return write_all(target, bytes) };
        let mut out = Vec::with_capacity(bytes.len() + 64);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.line.len() >= LONGEST_LINE {
                out.extend_from_slice(label.as_bytes());
                out.append(&mut self.line);
                if !out.ends_with(b"\n") {
                    out.push(b'\n');
                }
            }
        }
        write_all(target, &out);
    }

    fn finish_line(&mut self) {
        if let Some(label) = self.label.as_ref().filter(|_| !self.line.is_empty()) {
            let mut out = label.as_bytes().to_vec();
            out.append(&mut self.line);
            out.push(b'\n');
            write_all(self.target(), &out);
        }
    }
}

/// Writes everything, waiting where it has to. When nobody reads any more (EPIPE) the output is lost, and the
/// workers serve on.
fn write_all(target: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(target, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(rustix::io::Errno::INTR) => {}
            // Somebody made our output non-blocking, as Node does to a terminal or pipe it shares with us.
            Err(rustix::io::Errno::AGAIN) => {
                let mut wanted = [rustix::event::PollFd::new(&target, rustix::event::PollFlags::OUT)];
                if rustix::event::poll(&mut wanted, None).is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// Keeps the last lines. The newest entry may be a line still being written.
fn remember(last: &mut VecDeque<String>, bytes: &[u8]) {
    let start = bytes.len().saturating_sub(LAST_BYTES);
    let text = String::from_utf8_lossy(&bytes[start..]);
    for piece in text.split_inclusive('\n') {
        match last.back_mut() {
            Some(open) if !open.ends_with('\n') && open.len() < LAST_BYTES => open.push_str(piece),
            Some(_) | None => last.push_back(piece.to_owned()),
        }
        if last.len() > LAST_LINES {
            last.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept_and_pieces_are_joined() {
        let mut last = VecDeque::new();
        for n in 0..100 {
            remember(&mut last, format!("line {n}\nbegun ").as_bytes());
        }
        assert_eq!(last.len(), LAST_LINES);
        assert_eq!(last.back().map(String::as_str), Some("begun "));
        assert_eq!(last[LAST_LINES - 2], "begun line 99\n");
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let mut last = VecDeque::new();
        for _ in 0..1000 {
            remember(&mut last, &[b'x'; 1000]);
        }
        assert!(last.iter().map(String::len).sum::<usize>() < LAST_LINES * LAST_BYTES * 2);
    }
}
