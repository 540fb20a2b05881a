//! What workers write: read from their pipes by one thread and written on byte for byte. On a terminal each line
//! gets `name|slot` in front. The last lines of standard error are kept, for when a worker has to be explained.
//!
//! A slow terminal presses back on the workers, as it would on a program of one's own; the primary never waits, and
//! nobody waits for this thread without a limit: a reader that has stopped reading holds it for ever.

mod awaited;
mod last_words;
mod progress;

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use oneport::{Output, WorkerId, WorkerRef};
use oneport_sys::poll::{Interest, Poller, Readiness};
use oneport_sys::waker::Waker;
use rustix::termios::isatty;

use crate::error::Failure;
use crate::logs::{Source, Store, Stream};
pub(crate) use awaited::Awaited;
use awaited::Unfinished;
use last_words::LastWords;
pub(crate) use progress::{Progress, write_all};

/// A line longer than this is written in pieces.
const LONGEST_LINE: usize = 8 * 1024;
/// For an answer of a thread that may be writing to somebody slow.
const PATIENCE: Duration = Duration::from_secs(1);
const WAKER: u64 = u64::MAX;

enum Order {
    Add {
        worker: WorkerRef,
        label: String,
        output: Output,
        awaited: Option<Awaited>,
    },
    /// Read what is there, then say so.
    Read {
        worker: WorkerId,
        done: Sender<()>,
    },
    Forget {
        worker: WorkerId,
    },
    Finish {
        done: Box<dyn FnOnce() + Send>,
    },
}

/// What is kept for explanations. Filled before it is written on, so that it can be had even when nobody reads.
type Kept = Arc<Mutex<HashMap<WorkerId, LastWords>>>;

/// What becomes of the output.
#[derive(Clone)]
pub(crate) enum Sink {
    /// It is written on; of standard error the last lines are kept.
    Pass,
    /// Of both streams the last lines are kept, and nothing is written.
    Keep,
    /// It is stored in files; of standard error the last lines are kept.
    Store(Shelf),
}

/// Where output is stored, and by which numbers slots are known there.
#[derive(Clone)]
pub(crate) struct Shelf {
    pub(crate) store: Store,
    /// By slot: the number among all of the daemon.
    pub(crate) ids: Arc<Mutex<Vec<u32>>>,
}

impl Shelf {
    fn source(&self, worker: &WorkerRef) -> Option<Source> {
        let slot = worker.slot?.0;
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Source { id: *ids.get(slot as usize)?, slot, pid: worker.pid })
    }
}

/// The thread that carries output.
pub(crate) struct Carrier {
    orders: Sender<Order>,
    waker: Arc<Waker>,
    kept: Kept,
    progress: Progress,
    /// How far it had come when it last failed to answer in time.
    stuck_at: Cell<Option<u64>>,
}

impl Carrier {
    pub(crate) fn start(sink: Sink) -> Result<Carrier, Failure> {
        let failed = |cause: io::Error| Failure::new(format!("cannot carry output: {cause}"));
        let waker = Arc::new(Waker::new().map_err(failed)?);
        let poller = Poller::new().map_err(failed)?;
        poller.add(waker.as_fd(), WAKER, Interest::READ).map_err(failed)?;
        let (orders, received) = channel();
        let (kept, progress) = (Kept::default(), Progress::default());
        let pump = Pump {
            sink,
            poller,
            waker: waker.clone(),
            orders: received,
            pipes: HashMap::new(),
            awaited: HashMap::new(),
            next: 0,
            kept: kept.clone(),
            progress: progress.clone(),
        };
        thread::Builder::new().name("output".into()).spawn(|| pump.run()).map_err(failed)?;
        Ok(Carrier { orders, waker, kept, progress, stuck_at: Cell::new(None) })
    }

    /// Carries what it writes, and waits for a line of it.
    pub(crate) fn add(&self, worker: WorkerRef, label: String, output: Output, awaited: Option<Awaited>) {
        self.order(Order::Add { worker, label, output, awaited });
    }

    /// The last lines a worker wrote to standard error; everything it wrote before this call counts, unless our own
    /// output is stuck. One that was stuck and has not moved since is not waited for again.
    pub(crate) fn last_lines(&self, worker: WorkerId) -> Vec<String> {
        let now_at = Some(self.progress.seen());
        if self.stuck_at.get() != now_at {
            let (done, read) = channel();
            self.order(Order::Read { worker, done });
            let answered = read.recv_timeout(PATIENCE).is_ok();
            self.stuck_at.set(if answered { None } else { Some(self.progress.seen()) });
        }
        lock(&self.kept).get(&worker).map(LastWords::lines).unwrap_or_default()
    }

    pub(crate) fn forget(&self, worker: WorkerId) {
        self.order(Order::Forget { worker });
    }

    /// Writes what is still in the pipes, calls `done` and ends; where output is stored, once nobody writes any more.
    pub(crate) fn finish(&self, done: impl FnOnce() + Send + 'static) {
        self.order(Order::Finish { done: Box::new(done) });
    }

    /// How much it has written.
    pub(crate) fn progress(&self) -> u64 {
        self.progress.seen()
    }

    fn order(&self, order: Order) {
        // Both fail only when the thread has ended, and then there is nothing to carry.
        let _ = self.orders.send(order);
        let _ = self.waker.wake();
    }
}

impl Drop for Carrier {
    /// One that was never used, or finished already, ends as well.
    fn drop(&mut self) {
        self.finish(|| {});
    }
}

fn lock(kept: &Kept) -> MutexGuard<'_, HashMap<WorkerId, LastWords>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Pipe {
    worker: WorkerId,
    /// Who it is where output is stored.
    source: Option<Source>,
    stream: Stream,
    fd: OwnedFd,
    label: Option<String>,
    line: Vec<u8>,
    unfinished: Unfinished,
}

struct Pump {
    sink: Sink,
    poller: Poller,
    waker: Arc<Waker>,
    orders: Receiver<Order>,
    pipes: HashMap<u64, Pipe>,
    /// Whose line has not come yet.
    awaited: HashMap<WorkerId, Awaited>,
    next: u64,
    kept: Kept,
    progress: Progress,
}

enum Flow {
    GoesOn,
    /// Until nobody writes any more.
    Lingers,
    Ends,
}

impl Pump {
    fn run(mut self) {
        let mut readiness = Readiness::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut lingers = false;
        while !lingers || !self.pipes.is_empty() {
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
            if ordered {
                match self.obey(&mut buffer) {
                    Flow::GoesOn => {}
                    Flow::Lingers => lingers = true,
                    Flow::Ends => return,
                }
            }
        }
    }

    fn obey(&mut self, buffer: &mut [u8]) -> Flow {
        // A waker that cannot be cleared only makes this run again.
        let _ = self.waker.clear();
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Add { worker, label, output, awaited } => {
                    if let Some(awaited) = awaited {
                        self.awaited.insert(worker.id, awaited);
                    }
                    for (stream, fd) in [(Stream::Out, output.stdout), (Stream::Err, output.stderr)] {
                        fd.into_iter().for_each(|fd| self.watch(worker, stream, fd, &label));
                    }
                }
                Order::Read { worker, done } => {
                    self.carry_all(Some(worker), buffer);
                    // Nobody waits any more: nothing to say.
                    let _ = done.send(());
                }
                Order::Forget { worker } => {
                    self.carry_all(Some(worker), buffer);
                    lock(&self.kept).remove(&worker);
                    self.awaited.remove(&worker);
                }
                Order::Finish { done } => {
                    self.carry_all(None, buffer);
                    done();
                    return match &self.sink {
                        Sink::Pass | Sink::Keep => Flow::Ends,
                        // Who was left alone when a worker ended (`treekill`) has the same pipes, and would end of writing to
                        // one that nobody reads.
                        Sink::Store(_) => Flow::Lingers,
                    };
                }
            }
        }
        Flow::GoesOn
    }

    fn watch(&mut self, worker: WorkerRef, stream: Stream, fd: OwnedFd, label: &str) {
        let terminal = match (&self.sink, stream) {
            (Sink::Keep | Sink::Store(_), _) => false,
            (Sink::Pass, Stream::Out) => isatty(rustix::stdio::stdout()),
            (Sink::Pass, Stream::Err) => isatty(rustix::stdio::stderr()),
        };
        let source = match &self.sink {
            Sink::Store(shelf) => shelf.source(&worker),
            Sink::Pass | Sink::Keep => None,
        };
        let worker = worker.id;
        let token = self.next;
        self.next += 1;
        let label = terminal.then(|| format!("{label} | "));
        if self.poller.add(fd.as_fd(), token, Interest::READ).is_ok() {
            let (line, unfinished) = (Vec::new(), Unfinished::default());
            self.pipes.insert(token, Pipe { worker, source, stream, fd, label, line, unfinished });
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
                if pipe.stream == Stream::Err || matches!(self.sink, Sink::Keep) {
                    lock(&self.kept).entry(pipe.worker).or_default().add(&buffer[..n]);
                }
                // Before it is written: who reads slowly must not keep it from becoming ready.
                let found = |awaited: &Awaited| pipe.unfinished.finds(&awaited.pattern, &buffer[..n]);
                if self.awaited.get(&pipe.worker).is_some_and(found)
                    && let Some(awaited) = self.awaited.remove(&pipe.worker)
                {
                    (awaited.done)();
                }
                match (&self.sink, pipe.source) {
                    (Sink::Pass, _) => pipe.write(&buffer[..n], &self.progress),
                    (Sink::Store(shelf), Some(source)) => {
                        shelf.store.put(source, pipe.stream, &buffer[..n]);
                        shelf.store.breathe();
                    }
                    (Sink::Keep, _) | (Sink::Store(_), None) => {}
                }
                true
            }
            Err(rustix::io::Errno::AGAIN) => false,
            Ok(_) | Err(_) => {
                pipe.finish_line(&self.progress);
                if let (Sink::Store(shelf), Some(source)) = (&self.sink, pipe.source) {
                    shelf.store.line_end(source, pipe.stream);
                }
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

    fn write(&mut self, bytes: &[u8], progress: &Progress) {
        let target = self.target();
        let Some(label) = &self.label else { return write_all(target, bytes, progress) };
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
        write_all(target, &out, progress);
    }

    fn finish_line(&mut self, progress: &Progress) {
        if let Some(label) = self.label.as_ref().filter(|_| !self.line.is_empty()) {
            let mut out = label.as_bytes().to_vec();
            out.append(&mut self.line);
            out.push(b'\n');
            write_all(self.target(), &out, progress);
        }
    }
}
