//! The thread of the safeguards: it sleeps until the next of them is due.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Zoned;
use oneport_sys::clock::boot_time;
use oneport_sys::waker::Waker;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cron::Timetable;
use super::memory::MemoryGuard;
use super::watch::Watcher;
use super::{Alarm, Note, Plan};
use crate::error::{Failure, plain};
use crate::usage::Usage;

/// PM2 looks at memory every 30 s.
const MEMORY_INTERVAL: Duration = Duration::from_secs(1);

/// Guards until it is dropped.
#[derive(Debug)]
pub(crate) struct Guards {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    waker: Waker,
    stop: AtomicBool,
    /// It knows the tree that it watches, and looks whether it is to stop.
    looks: AtomicBool,
    /// Workers that are to be told of again. Emptied every second.
    again: Mutex<BTreeSet<u32>>,
}

impl Shared {
    fn again(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guards {
    /// `None`, and no thread, when the plan is nothing. `workers`: key and process of each worker now; `act` is told of what was
    /// found. Both are called on the thread and keep the others waiting. It may walk a large tree of files first: from then on changes
    /// are seen.
    pub(crate) fn start(
        plan: Plan,
        workers: impl Fn() -> Vec<(u32, i32)> + Send + 'static,
        act: impl Fn(Alarm) + Send + 'static,
    ) -> Result<Option<Guards>, Failure> {
        if plan.is_nothing() {
            return Ok(None);
        }
        let refuse =
            |error: std::io::Error| Failure::new(format!("cannot start the safeguards: {}", plain(&error)));
        let waker = Waker::new().map_err(refuse)?;
        let shared = Arc::new(Shared {
            waker,
            stop: AtomicBool::new(false),
            looks: AtomicBool::new(false),
            again: Mutex::default(),
        });
        let watch = plan.watch;
        let timetable = (!plan.cron.is_never()).then(|| Timetable::new(plan.cron, &Zoned::now(), boot()));
        let mut round = Round {
            shared: shared.clone(),
            memory: plan.memory.map(|limit| Memory {
                guard: MemoryGuard::new(limit),
                usage: Usage::default(),
                next: Instant::now(),
            }),
            timetable,
            watcher: None,
            workers,
            act,
        };
        let work = move || {
            // Of a large tree on a slow disk this takes minutes: nobody waits for it.
            let (watcher, notes) = watch.map(Watcher::start).unzip();
            round.watcher = watcher;
            round.shared.looks.store(true, Ordering::Release);
            round.run(notes.unwrap_or_default());
        };
        let thread = std::thread::Builder::new().name("guards".to_owned());
        let thread = thread.spawn(work).map_err(refuse)?;
        Ok(Some(Guards { shared, thread: Some(thread) }))
    }

    /// The replacement of a worker that takes too much memory failed: if it still does, it is told of again.
    pub(crate) fn forget(&self, key: u32) {
        self.shared.again().insert(key);
    }
}

impl Drop for Guards {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // It cannot fail but for a descriptor that is not one.
        let _ = self.shared.waker.wake();
        // In the middle of a walk through a large tree it ends when it is through: nobody waits for that.
        let looks = self.shared.looks.load(Ordering::Acquire);
        if let Some(thread) = self.thread.take()
            && looks
            && thread.thread().id() != std::thread::current().id()
        {
            // What was called on it has ended when this returns. Its panic is not passed on.
            let _ = thread.join();
        }
    }
}

fn boot() -> Duration {
    Duration::from_nanos(boot_time())
}

struct Memory {
    guard: MemoryGuard,
    usage: Usage,
    next: Instant,
}

struct Round<W, A> {
    shared: Arc<Shared>,
    memory: Option<Memory>,
    timetable: Option<Timetable>,
    watcher: Option<Watcher>,
    workers: W,
    act: A,
}

impl<W: Fn() -> Vec<(u32, i32)>, A: Fn(Alarm)> Round<W, A> {
    fn run(mut self, notes: Vec<Note>) {
        self.tell(notes.into_iter().map(Alarm::Note));
        loop {
            self.sleep();
            if self.shared.stop.load(Ordering::Acquire) {
                return;
            }
            self.look_at_files();
            self.look_at_memory();
            self.look_at_the_clock();
        }
    }

    /// The one who is told may drop what it is told by.
    fn tell(&self, alarms: impl IntoIterator<Item = Alarm>) {
        for alarm in alarms {
            if !self.shared.stop.load(Ordering::Acquire) {
                (self.act)(alarm);
            }
        }
    }

    fn sleep(&self) {
        let now = Instant::now();
        let until = |moment: Instant| moment.saturating_duration_since(now);
        let waits = [
            self.memory.as_ref().map(|memory| until(memory.next)),
            self.timetable.as_ref().map(|table| table.wait(&Zoned::now())),
            self.watcher.as_ref().and_then(Watcher::due).map(until),
        ];
        let timeout = waits.into_iter().flatten().min().map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        });
        let waker = self.shared.waker.as_fd();
        let files = self.watcher.as_ref().and_then(Watcher::fd);
        let mut polled: Vec<PollFd<'_>> = [Some(waker), files]
            .into_iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        // Interrupted: everything is looked at, and it sleeps on.
        let _ = poll(&mut polled, timeout.as_ref());
    }

    fn look_at_files(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let turn = watcher.turn(Instant::now());
        self.tell(turn.notes.into_iter().map(Alarm::Note));
        self.tell(turn.changed.map(|path| Alarm::Changed { path }));
    }

    fn look_at_memory(&mut self) {
        let Some(memory) = &mut self.memory else { return };
        if Instant::now() < memory.next {
            return;
        }
        std::mem::take(&mut *self.shared.again()).into_iter().for_each(|key| memory.guard.forget(key));
        let workers = (self.workers)();
        let samples = memory.usage.take(&workers, &[]);
        let limit = memory.guard.limit();
        let over = memory.guard.over(&workers, &samples, Instant::now());
        memory.next = Instant::now() + MEMORY_INTERVAL;
        self.tell(over.into_iter().map(|over| Alarm::Memory { key: over.key, used: over.used, limit }));
    }

    fn look_at_the_clock(&mut self) {
        let Some(table) = &mut self.timetable else { return };
        if table.is_due(&Zoned::now(), boot()) {
            self.tell([Alarm::Cron]);
        }
    }
}
