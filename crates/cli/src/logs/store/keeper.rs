//! Compressing what was put aside, on a thread of its own with the lowest priority; one file at a time, the
//! oldest first. The thread is there only while there is something to compress. Whatever happens in the
//! middle, a file with its final name is whole: what is not goes by another name, and is removed later.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::tidy;
use crate::logs::aside::{Aside, PACKED, Packed, UNFINISHED};
use crate::logs::plan::{Compress, Plan};

/// A file is left alone until nobody has written to it for so long: another process that writes to the same
/// one notices within a second that it was put aside.
const SETTLED: Duration = Duration::from_millis(1500);
/// Half a file that is older was left by somebody who is gone.
const LEFT: Duration = Duration::from_secs(60);
/// Logs become hardly smaller with more, and it takes longer.
const LEVEL: Compression = Compression::new(4);

#[derive(Default)]
pub(super) struct Keeper(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    job: Option<Job>,
    runs: bool,
}

struct Job {
    plan: Plan,
    linked: Vec<PathBuf>,
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    /// Something was put aside.
    pub(super) fn compress(&self, plan: &Plan, linked: &[PathBuf]) {
        match plan.rotation.compress {
            Compress::Gzip => {}
            Compress::Nothing => return,
        }
        let mut state = lock(&self.0);
        let mut linked = linked.to_vec();
        linked.extend(state.job.take().into_iter().flat_map(|job| job.linked));
        linked.sort();
        linked.dedup();
        state.job = Some(Job { plan: plan.clone(), linked });
        self.0.changed.notify_all();
        if !state.runs {
            let shared = self.0.clone();
            // Without a thread it stays as it is until the next time.
            state.runs = thread::Builder::new().name("compress".into()).spawn(move || run(&shared)).is_ok();
        }
    }
}

fn run(shared: &Shared) {
    // Of this thread alone. Where it is refused it runs like any other.
    let _ = rustix::process::nice(19);
    let mut known: Option<Job> = None;
    loop {
        let mut state = lock(shared);
        if let Some(job) = state.job.take() {
            let older = known.take().map(|job| job.linked).unwrap_or_default();
            let mut linked = job.linked;
            linked.extend(older);
            linked.sort();
            linked.dedup();
            known = Some(Job { plan: job.plan, linked });
        }
        let Some(job) = &known else {
            state.runs = false;
            return;
        };
        drop(state);
        let wait = step(job);
        let state = lock(shared);
        match wait {
            Step::Again => {}
            Step::Later(wait) => {
                drop(shared.changed.wait_timeout_while(state, wait, |state| state.job.is_none()))
            }
            Step::Done if state.job.is_none() => known = None,
            Step::Done => {}
        }
    }
}

enum Step {
    Again,
    /// Not yet.
    Later(Duration),
    Done,
}

/// The oldest that is not compressed yet.
fn step(job: &Job) -> Step {
    for aside in tidy::all(&job.plan, &job.linked) {
        let age =
            aside.modified.and_then(|then| SystemTime::now().duration_since(then).ok()).unwrap_or_default();
        match aside.packed {
            Packed::Plain if age < SETTLED => return Step::Later(SETTLED - age),
            // One that cannot be compressed must not keep the others from it.
            Packed::Plain if pack(&aside).is_ok() => return Step::Again,
            Packed::Unfinished if age > LEFT => drop(fs::remove_file(&aside.path)),
            Packed::Plain | Packed::Unfinished | Packed::Gzip => {}
        }
    }
    Step::Done
}

fn pack(aside: &Aside) -> io::Result<()> {
    let named = |ending: &str| {
        let mut name = aside.path.clone().into_os_string();
        name.push(ending);
        PathBuf::from(name)
    };
    let (unfinished, packed) = (named(UNFINISHED), named(PACKED));
    let done = copy(aside, &unfinished).and_then(|()| fs::rename(&unfinished, &packed));
    match done {
        Ok(()) => fs::remove_file(&aside.path),
        Err(error) => {
            // There may be none.
            let _ = fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

/// Nobody else's file, and not through a link that somebody who may write to that directory has put there.
fn create_new(path: &PathBuf) -> io::Result<File> {
    let create = || File::options().write(true).create_new(true).mode(0o600).open(path);
    match create() {
        // Left by one that was killed in the middle.
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            create()
        }
        created => created,
    }
}

fn copy(aside: &Aside, to: &PathBuf) -> io::Result<()> {
    let mut from = File::open(&aside.path)?;
    let into = create_new(to)?;
    let metadata = from.metadata()?;
    into.set_permissions(Permissions::from_mode(metadata.mode() & 0o7777))?;
    let mut encoder = GzEncoder::new(BufWriter::with_capacity(64 * 1024, into), LEVEL);
    let read = io::copy(&mut from, &mut encoder)?;
    let into = encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    if let Ok(then) = metadata.modified() {
        // Only for people who look.
        let _ = into.set_modified(then);
    }
    // Removed meanwhile because there was too much, or written on by somebody: as it was.
    match fs::metadata(&aside.path)?.len() == read {
        true => Ok(()),
        false => Err(io::Error::from(io::ErrorKind::Interrupted)),
    }
}
