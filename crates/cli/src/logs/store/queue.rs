//! What waits for the disk: at most 1 MiB of an app, all workers together, with what the thread is writing
//! now. Beyond that whole pieces are dropped and counted until half of it is free again, so that there is one
//! gap and not many.
//!
//! Invariants: nobody who puts something in waits for the disk; in steady state nothing is allocated, for two
//! buffers change places; the thread is woken when it rests, and under a flood only every few milliseconds.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::logs::moment;
use crate::logs::plan::{Form, Plan};
use crate::logs::{Source, Stream};

/// Room for everything that waits.
pub(super) const ROOM: usize = 1 << 20;
/// So much is written at once rather than waiting for more.
const PLENTY: usize = ROOM / 4;
/// How long more may come before the next write.
const PAUSE: Duration = Duration::from_millis(4);
/// What an entry costs beside its bytes: many tiny pieces take room too.
const OF_AN_ENTRY: usize = size_of::<Entry>();
/// A buffer that has grown larger is given back when the app is quiet.
const KEPT: usize = 64 * 1024;
/// One wait of `breathe`, and all of them within a second.
const BREATH: Duration = Duration::from_millis(10);
const BREATHS: Duration = Duration::from_millis(100);

pub(super) enum Entry {
    /// So many of the bytes that come with it.
    Bytes {
        source: Source,
        stream: Stream,
        at: i64,
        len: usize,
    },
    /// So many bytes are missing here.
    Gap {
        source: Source,
        stream: Stream,
        bytes: u64,
    },
    LineEnd {
        source: Source,
        stream: Stream,
    },
    Reopen,
    Empty,
    Replan(Box<Plan>),
    Finish(Box<dyn FnOnce() + Send>),
}

/// What the thread takes at a time.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    pub(super) bytes: Vec<u8>,
    charged: usize,
}

impl Batch {
    fn shrink(&mut self) {
        self.bytes.shrink_to(KEPT);
        self.entries.shrink_to(KEPT / OF_AN_ENTRY);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    /// It is to be woken by anything.
    Rests,
    /// It waits a little for more, and is to be woken by plenty.
    Gathers,
    Works,
}

/// One for each stream of a slot, however many processes came and went in it.
#[derive(Clone, Copy)]
struct Gap {
    source: Source,
    stream: Stream,
    bytes: u64,
}

impl Gap {
    fn is_of(&self, source: Source, stream: Stream) -> bool {
        (self.source.id, self.stream) == (source.id, stream)
    }

    fn entry(self) -> Entry {
        let Gap { source, stream, bytes } = self;
        Entry::Gap { source, stream, bytes }
    }
}

struct Waiting {
    batch: Batch,
    /// What was dropped since there was room for its source.
    gaps: Vec<Gap>,
    full: bool,
    ended: bool,
    thread: Thread,
}

/// What was found when the thread came for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Work,
    /// Nothing for as long as was asked for.
    Quiet,
}

pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
    room: Condvar,
    /// Of everything that is in here or being written. Only raised under the lock.
    taken: AtomicUsize,
    dropped: AtomicU64,
    written: AtomicU64,
    /// Whether the time is of interest, and whether anything is.
    timed: AtomicBool,
    stores: AtomicBool,
    trouble: Mutex<Option<String>>,
    breaths: Mutex<Breaths>,
}

struct Breaths {
    since: Instant,
    spent: Duration,
    /// How far the thread was when it was waited for in vain.
    stuck_at: Option<u64>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    pub(super) fn new(plan: &Plan) -> Queue {
        let queue = Queue {
            waiting: Mutex::new(Waiting {
                batch: Batch::default(),
                gaps: Vec::new(),
                full: false,
                ended: false,
                thread: Thread::Works,
            }),
            more: Condvar::new(),
            room: Condvar::new(),
            taken: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            written: AtomicU64::new(0),
            timed: AtomicBool::new(false),
            stores: AtomicBool::new(false),
            trouble: Mutex::new(None),
            breaths: Mutex::new(Breaths { since: Instant::now(), spent: Duration::ZERO, stuck_at: None }),
        };
        queue.follow(plan);
        queue
    }

    fn follow(&self, plan: &Plan) {
        self.timed.store(plan.form != Form::Raw, Ordering::Relaxed);
        self.stores.store(!plan.stores_nothing(), Ordering::Relaxed);
    }

    pub(super) fn put(&self, source: Source, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() || !self.stores.load(Ordering::Relaxed) {
            return;
        }
        let at = if self.timed.load(Ordering::Relaxed) { moment::now() } else { 0 };
        let mut waiting = lock(&self.waiting);
        let taken = self.taken.load(Ordering::Relaxed);
        if waiting.full && taken <= ROOM / 2 {
            waiting.full = false;
        }
        if waiting.ended {
            return self.drop_bytes(bytes.len());
        }
        let room_for = bytes.len().saturating_add(2 * OF_AN_ENTRY);
        if waiting.full || taken.saturating_add(room_for) > ROOM {
            waiting.full = true;
            self.drop_bytes(bytes.len());
            return waiting.miss(source, stream, bytes.len());
        }
        let entries = waiting.append(source, stream, at, bytes);
        self.charge(&mut waiting, bytes.len() + entries * OF_AN_ENTRY);
        self.call(waiting);
    }

    /// An order is dropped only when the thread has hung for long while workers came and went.
    pub(super) fn order(&self, entry: Entry) {
        let mut waiting = lock(&self.waiting);
        let again = match (&entry, waiting.batch.entries.last()) {
            (Entry::Reopen, Some(Entry::Reopen)) | (Entry::Empty, Some(Entry::Empty)) => true,
            // The newer one is in force; nothing happened under the older.
            (Entry::Replan(_), Some(Entry::Replan(_))) => {
                waiting.batch.entries.pop();
                waiting.batch.charged -= OF_AN_ENTRY;
                self.taken.fetch_sub(OF_AN_ENTRY, Ordering::Relaxed);
                false
            }
            (
                Entry::Bytes { .. }
                | Entry::Gap { .. }
                | Entry::LineEnd { .. }
                | Entry::Reopen
                | Entry::Empty
                | Entry::Replan(_)
                | Entry::Finish(_),
                _,
            ) => false,
        };
        let too_many = self.taken.load(Ordering::Relaxed) > 2 * ROOM && !matches!(entry, Entry::Finish(_));
        if again || waiting.ended || too_many {
            return;
        }
        match &entry {
            Entry::Replan(plan) => self.follow(plan),
            Entry::Finish(_) => waiting.ended = true,
            Entry::Bytes { .. }
            | Entry::Gap { .. }
            | Entry::LineEnd { .. }
            | Entry::Reopen
            | Entry::Empty => {}
        }
        // An order comes after the gap that was there before it.
        let entries = waiting.tell_gaps() + 1;
        waiting.batch.entries.push(entry);
        self.charge(&mut waiting, entries * OF_AN_ENTRY);
        if waiting.thread != Thread::Works {
            waiting.thread = Thread::Works;
            self.more.notify_one();
        }
    }

    fn charge(&self, waiting: &mut Waiting, cost: usize) {
        waiting.batch.charged += cost;
        self.taken.fetch_add(cost, Ordering::Relaxed);
    }

    fn call(&self, mut waiting: MutexGuard<'_, Waiting>) {
        let wanted = match waiting.thread {
            Thread::Rests => true,
            Thread::Gathers => waiting.batch.charged >= PLENTY,
            Thread::Works => false,
        };
        if wanted {
            waiting.thread = Thread::Works;
            drop(waiting);
            self.more.notify_one();
        }
    }

    /// Gives back the room of what was in `batch`, waits, and takes what came. `quiet`: for so long at most.
    pub(super) fn next(&self, batch: &mut Batch, quiet: Option<Duration>) -> Found {
        let worked = std::mem::take(&mut batch.charged);
        batch.entries.clear();
        batch.bytes.clear();
        let mut waiting = lock(&self.waiting);
        self.taken.fetch_sub(worked, Ordering::Relaxed);
        if self.taken.load(Ordering::Relaxed) <= ROOM / 2 {
            self.room.notify_all();
        }
        if worked > 0 && waiting.batch.charged < PLENTY && !waiting.ended {
            waiting.thread = Thread::Gathers;
            let gathers = |waiting: &mut Waiting| waiting.thread == Thread::Gathers;
            waiting = match self.more.wait_timeout_while(waiting, PAUSE, gathers) {
                Ok((waiting, _)) => waiting,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        if waiting.batch.entries.is_empty() && waiting.gaps.is_empty() {
            waiting.thread = Thread::Rests;
            let rests = |waiting: &mut Waiting| waiting.thread == Thread::Rests;
            waiting = match quiet {
                None => self.more.wait_while(waiting, rests).unwrap_or_else(PoisonError::into_inner),
                Some(quiet) => match self.more.wait_timeout_while(waiting, quiet, rests) {
                    Ok((waiting, _)) => waiting,
                    Err(poisoned) => poisoned.into_inner().0,
                },
            };
        }
        waiting.thread = Thread::Works;
        let entries = waiting.tell_gaps();
        self.charge(&mut waiting, entries * OF_AN_ENTRY);
        std::mem::swap(&mut waiting.batch, batch);
        if batch.entries.is_empty() { Found::Quiet } else { Found::Work }
    }

    /// The app has been quiet for long.
    pub(super) fn shrink(&self, batch: &mut Batch) {
        batch.shrink();
        lock(&self.waiting).batch.shrink();
    }

    pub(super) fn breathe(&self) {
        if self.taken.load(Ordering::Relaxed) <= ROOM / 2 {
            return;
        }
        let mut breaths = lock(&self.breaths);
        if breaths.since.elapsed() > Duration::from_secs(1) {
            (breaths.since, breaths.spent) = (Instant::now(), Duration::ZERO);
        }
        let wait = BREATH.min(BREATHS.saturating_sub(breaths.spent));
        if wait.is_zero() || breaths.stuck_at == Some(self.written()) {
            return;
        }
        let (began, at) = (Instant::now(), self.written());
        let behind = |_: &mut Waiting| self.taken.load(Ordering::Relaxed) > ROOM / 2;
        // Whoever was woken by a panic of the thread has nothing to wait for.
        let _ = self.room.wait_timeout_while(lock(&self.waiting), wait, behind);
        breaths.spent += began.elapsed();
        breaths.stuck_at = (self.written() == at).then_some(at);
    }

    pub(super) fn drop_bytes(&self, bytes: usize) {
        self.dropped.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn write_bytes(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(super) fn say_trouble(&self, trouble: Option<String>) {
        *lock(&self.trouble) = trouble;
    }

    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }
}

impl Waiting {
    /// How many entries it took.
    fn append(&mut self, source: Source, stream: Stream, at: i64, bytes: &[u8]) -> usize {
        let missed = self.gaps.iter().position(|gap| gap.is_of(source, stream));
        let missed = missed.map(|place| self.gaps.swap_remove(place));
        self.batch.entries.extend(missed.map(Gap::entry));
        self.batch.bytes.extend_from_slice(bytes);
        if let Some(Entry::Bytes { source: before, stream: same, at: then, len }) =
            self.batch.entries.last_mut()
            && (*before, *same, *then) == (source, stream, at)
        {
            *len += bytes.len();
            return 0;
        }
        self.batch.entries.push(Entry::Bytes { source, stream, at, len: bytes.len() });
        1 + usize::from(missed.is_some())
    }

    fn miss(&mut self, source: Source, stream: Stream, bytes: usize) {
        match self.gaps.iter_mut().find(|gap| gap.is_of(source, stream)) {
            Some(gap) => gap.bytes += bytes as u64,
            None => self.gaps.push(Gap { source, stream, bytes: bytes as u64 }),
        }
    }

    /// Behind everything that was there before them. How many entries it took.
    fn tell_gaps(&mut self) -> usize {
        let gaps = self.gaps.len();
        self.batch.entries.extend(self.gaps.drain(..).map(Gap::entry));
        gaps
    }
}
