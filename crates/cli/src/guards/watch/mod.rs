//! Telling when files of an app change: what PM2's `watch`, `ignore_watch`, `watch_delay` and `watch_options` mean.
//!
//! What lives here: which way files are watched, and that a burst of changes is one. The ways are in `notified` (inotify) and
//! `polled`; what is of interest in `root`, `rules` and `pattern`. What does not: a thread (`guards` has one), and what is done
//! about a change. Invariants: a change after `Watcher::start` is told, at the latest [`LONGEST`] after the delay; the tree that
//! is watched is bounded, and what is not watched is told.

mod notified;
mod pattern;
mod polled;
mod root;
mod rules;
mod walk;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oneport_wire::control::{AppSpec, Watch};
use rustix::io::Errno;

use super::Note;
use crate::error::Failure;
use notified::Notified;
use polled::Polled;
use root::Root;
use rules::Rules;
use walk::Links;

/// Quiet after the last change, unless `watch_delay` says otherwise: longer than an editor or a compiler pauses between files.
const DELAY: Duration = Duration::from_millis(200);
/// How long changes that do not end put it off beyond the delay.
const LONGEST: Duration = Duration::from_secs(2);
/// Between two looks, unless `watch_options.interval` says otherwise, and at least.
const INTERVAL: Duration = Duration::from_secs(1);
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);
/// While the app's directory is away nothing could be started: it is looked for again after this time.
const AWAY: Duration = Duration::from_secs(1);
/// After a walk through the tree the next one waits for so many times what it took.
const WALK_SHARE: u32 = 10;

/// What is watched, and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    cwd: PathBuf,
    roots: Vec<Root>,
    rules: Rules,
    links: Links,
    /// Poll from the beginning, or only when it must be.
    means: Wanted,
    interval: Duration,
    delay: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Notification,
    Polling,
}

impl Plan {
    /// What the app's configuration asks for; `None`: nothing. `cwd` is its working directory. `own`: files and directories that
    /// are written for it (logs, pid files, the home directory), whose changes are never of interest.
    pub(crate) fn of(spec: &AppSpec, cwd: &Path, own: &[PathBuf]) -> Result<Option<Plan>, Failure> {
        let cwd = std::path::absolute(cwd).map_or_else(|_| cwd.to_owned(), |cwd| pattern::normal(&cwd));
        let roots = match &spec.watch {
            Watch::Off => return Ok(None),
            Watch::Everything => vec![Root::everything(&cwd)],
            Watch::Paths(paths) => {
                let paths = paths.iter().map(|path| path.trim()).filter(|path| !path.is_empty());
                let root = |path| {
                    let refuse = |cause| Failure::usage(format!("cannot watch `{path}` (`watch`): {cause}"));
                    Root::parse(path, &cwd).map_err(refuse)
                };
                paths.map(root).collect::<Result<Vec<_>, _>>()?
            }
        };
        if roots.is_empty() {
            return Ok(None);
        }
        let options = spec.watch_options.unwrap_or_default();
        let yes = |option: Option<bool>| option.unwrap_or(false);
        let interval = options.interval.map_or(INTERVAL, |interval| interval.duration());
        Ok(Some(Plan {
            rules: Rules::new(&spec.ignore_watch, &cwd, reached(own, &roots)).map_err(Failure::usage)?,
            cwd,
            roots,
            links: if yes(options.follow_symlinks) { Links::Followed } else { Links::Kept },
            means: if yes(options.use_polling) { Wanted::Polling } else { Wanted::Notification },
            interval: interval.max(SHORTEST_INTERVAL),
            delay: spec.watch_delay.map_or(DELAY, |delay| delay.duration()),
        }))
    }
}

/// Own paths as they are met below the roots, which may go through symbolic links. A directory around a root is left out: all of
/// it would be own.
fn reached(own: &[PathBuf], roots: &[Root]) -> Vec<PathBuf> {
    let own = own.iter().filter(|path| path.is_absolute()).map(|path| pattern::normal(path));
    let mut all: Vec<PathBuf> = own.collect();
    for root in roots {
        let Ok(real_root) = root.path.canonicalize() else { continue };
        let below = |own: &PathBuf| Some(root.path.join(real(own)?.strip_prefix(&real_root).ok()?));
        let more: Vec<PathBuf> = all.iter().filter_map(below).collect();
        all.extend(more);
    }
    all.retain(|own| !roots.iter().any(|root| root.path.starts_with(own) && root.path != *own));
    all.sort_unstable();
    all.dedup();
    all
}

/// Through all links of what is there of it; a log may not be there yet.
fn real(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|there| Some(there.canonicalize().ok()?.join(path.strip_prefix(there).ok()?)))
}

/// What a walk through everything found.
#[derive(Debug, Default)]
struct Scan {
    changed: Option<PathBuf>,
    /// There is more than is watched.
    is_cut: bool,
    /// The first directory that may not be read.
    refused: Option<PathBuf>,
}

/// What there is to tell.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Something changed: this first. All that came with it has come.
    pub(crate) changed: Option<PathBuf>,
    pub(crate) notes: Vec<Note>,
}

/// Watches until it is dropped. It does nothing of itself: call `turn` when its descriptor is readable or its time has come.
#[derive(Debug)]
pub(crate) struct Watcher {
    plan: Plan,
    means: Means,
    pending: Option<Pending>,
    /// The tree is another since the last walk; it is walked again then.
    stale: Option<Instant>,
    rested: Instant,
    told: Told,
}

#[derive(Debug)]
enum Means {
    Notified(Notified),
    Polled(Polled),
}

/// Changes that are not told yet.
#[derive(Debug)]
struct Pending {
    path: PathBuf,
    first: Instant,
    due: Instant,
}

/// What was told, and is not told again.
#[derive(Debug, Default)]
struct Told {
    cut: bool,
    refused: bool,
}

impl Watcher {
    /// Walks the tree, so it may take a moment. What cannot be watched as asked is in the notes.
    pub(crate) fn start(plan: Plan) -> (Watcher, Vec<Note>) {
        let mut notes = Vec::new();
        let mut told = Told::default();
        let begun = Instant::now();
        let notified = match plan.means {
            Wanted::Polling => None,
            Wanted::Notification => {
                let notified = Notified::new().and_then(|mut notified| Ok((notified.scan(&plan)?, notified)));
                notified.map_err(|error| notes.push(fallen_back(&plan, error))).ok()
            }
        };
        let (scan, means) = match notified {
            Some((scan, notified)) => (scan, Means::Notified(notified)),
            None => {
                let (polled, scan) = Polled::new(&plan, plan.interval);
                (scan, Means::Polled(polled))
            }
        };
        told.tell(&plan, &scan, &mut notes);
        let mut watcher = Watcher { plan, means, pending: None, stale: None, rested: begun, told };
        watcher.rest(begun);
        (watcher, notes)
    }

    /// Readable when there is something to read. None where files are looked at again and again.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.means {
            Means::Notified(notified) => Some(notified.as_fd()),
            Means::Polled(_) => None,
        }
    }

    /// When `turn` is to be called at the latest.
    pub(crate) fn due(&self) -> Option<Instant> {
        let look = match &self.means {
            Means::Notified(_) => self.stale,
            Means::Polled(polled) => Some(polled.next()),
        };
        look.into_iter().chain(self.pending.as_ref().map(|pending| pending.due)).min()
    }

    /// Reads and looks as far as it is due.
    pub(crate) fn turn(&mut self, now: Instant) -> Turn {
        let mut turn = Turn::default();
        match &mut self.means {
            Means::Notified(notified) => {
                let news = notified.read(&self.plan);
                if news.is_stale {
                    self.stale.get_or_insert(self.rested.max(now));
                }
                self.note(news.changed, now);
            }
            Means::Polled(polled) if polled.next() <= now => {
                let scan = polled.look(&self.plan);
                self.told.tell(&self.plan, &scan, &mut turn.notes);
                self.note(scan.changed, now);
            }
            Means::Polled(_) => {}
        }
        let is_due = self.pending.as_ref().is_some_and(|pending| pending.due <= now);
        // Before a change is told the tree is known, so that what follows it is another one.
        if self.stale.is_some_and(|when| is_due || when <= now) {
            self.walk(now, &mut turn.notes);
        }
        if is_due {
            turn.changed = self.take(now);
        }
        turn
    }

    fn walk(&mut self, now: Instant, notes: &mut Vec<Note>) {
        self.stale = None;
        let scan = match &mut self.means {
            Means::Notified(notified) => notified.scan(&self.plan),
            Means::Polled(_) => return,
        };
        let scan = scan.unwrap_or_else(|error| self.fall_back(error, notes));
        self.told.tell(&self.plan, &scan, notes);
        self.note(scan.changed, now);
        self.rest(now);
    }

    /// The kernel tells no more: files are looked at from now on.
    fn fall_back(&mut self, error: Errno, notes: &mut Vec<Note>) -> Scan {
        notes.push(fallen_back(&self.plan, error));
        let (polled, scan) = Polled::new(&self.plan, self.plan.interval);
        self.means = Means::Polled(polled);
        scan
    }

    /// A tree that changes all the time is not walked all the time.
    fn rest(&mut self, begun: Instant) {
        let now = Instant::now();
        self.rested = now + now.saturating_duration_since(begun).saturating_mul(WALK_SHARE);
    }

    fn note(&mut self, changed: Option<PathBuf>, now: Instant) {
        let Some(path) = changed else { return };
        let pending = self.pending.get_or_insert(Pending { path, first: now, due: now });
        pending.due = (now + self.plan.delay).min(pending.first + self.plan.delay + LONGEST);
    }

    fn take(&mut self, now: Instant) -> Option<PathBuf> {
        if self.plan.cwd.is_dir() {
            return self.pending.take().map(|pending| pending.path);
        }
        if let Some(pending) = &mut self.pending {
            pending.due = now + AWAY;
        }
        None
    }
}

impl Told {
    fn tell(&mut self, plan: &Plan, scan: &Scan, notes: &mut Vec<Note>) {
        if scan.is_cut && !std::mem::replace(&mut self.cut, true) {
            let message =
                format!("cannot watch all of {}: it has too many directories or files", words(plan));
            notes.push(Note { message, hint: Some("name large directories in `ignore_watch`".to_owned()) });
        }
        if let Some(refused) = &scan.refused
            && !std::mem::replace(&mut self.refused, true)
        {
            let message = format!("cannot watch `{}`: permission denied", refused.display());
            notes.push(Note { message, hint: None });
        }
    }
}

/// The roots, as they are named in a message.
fn words(plan: &Plan) -> String {
    let names: Vec<String> =
        plan.roots.iter().take(3).map(|root| format!("`{}`", root.path.display())).collect();
    let more = if plan.roots.len() > names.len() { " and others" } else { "" };
    format!("{}{more}", names.join(", "))
}

/// What is said when the kernel does not tell of changes.
fn fallen_back(plan: &Plan, error: Errno) -> Note {
    let (cause, hint) = match error {
        Errno::NOSPC => (
            "the limit of inotify watches is reached".to_owned(),
            "raise it (`sysctl fs.inotify.max_user_watches=524288`), or name large directories in `ignore_watch`",
        ),
        Errno::MFILE => (
            "the limit of inotify instances is reached".to_owned(),
            "raise it (`sysctl fs.inotify.max_user_instances=1024`)",
        ),
        other => (
            crate::error::plain(&other.into()),
            "`watch_options: { usePolling: true }` asks for that at once",
        ),
    };
    let interval = plan.interval.as_millis();
    let message = format!(
        "cannot be told of changes in {}: {cause}; the files are looked at every {interval} ms",
        words(plan)
    );
    Note { message, hint: Some(hint.to_owned()) }
}

#[cfg(test)]
mod tests;
