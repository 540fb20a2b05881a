//! Files looked at again and again, where nobody tells of changes: network file systems, some mounts of containers, and when the
//! kernel gives no more watches.
//!
//! What is kept of each file is a number for its path and one for its time and size, so the memory is bounded.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::root::{Root, Standing};
use super::walk::{Kind, Links, entries};
use super::{Plan, Scan};

/// Files looked at, at most.
const MOST_FILES: usize = 200_000;
/// Looking takes at most this share of the time: one part in so many.
const SHARE: u32 = 10;

/// What stood there at the last look.
#[derive(Debug)]
pub(super) struct Polled {
    interval: Duration,
    next: Instant,
    hasher: RandomState,
    /// For each root.
    seen: Vec<HashMap<u64, u64>>,
    most: usize,
}

impl Polled {
    /// The first look, which nothing can have changed before.
    pub(super) fn new(plan: &Plan, interval: Duration) -> (Polled, Scan) {
        Self::with_most(plan, interval, MOST_FILES)
    }

    pub(super) fn with_most(plan: &Plan, interval: Duration, most: usize) -> (Polled, Scan) {
        let (hasher, next) = (RandomState::new(), Instant::now());
        let mut polled = Polled { interval, next, hasher, seen: Vec::new(), most };
        let scan = polled.look(plan);
        (polled, scan)
    }

    /// When to look again.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// One look at everything. What is missing now counts as its root's change: names are not kept.
    pub(super) fn look(&mut self, plan: &Plan) -> Scan {
        let begun = Instant::now();
        let mut scan = Scan::default();
        let mut left = self.most;
        let is_first = self.seen.is_empty();
        let mut before = std::mem::take(&mut self.seen).into_iter();
        for root in &plan.roots {
            let before = before.next().unwrap_or_default();
            let mut after = HashMap::with_capacity(before.len());
            // Broken off at the bound, which the scan tells.
            let _ = visit(plan, root, &mut |path, state| {
                if left == 0 {
                    scan.is_cut = true;
                    return ControlFlow::Break(());
                }
                left -= 1;
                let key = self.hasher.hash_one(path);
                if !is_first && before.get(&key) != Some(&state) {
                    scan.changed.get_or_insert_with(|| path.to_owned());
                }
                after.insert(key, state);
                ControlFlow::Continue(())
            });
            if !is_first && before.keys().any(|key| !after.contains_key(key)) {
                scan.changed.get_or_insert_with(|| root.path.clone());
            }
            self.seen.push(after);
        }
        let ended = Instant::now();
        self.next = ended + self.interval.max(ended.duration_since(begun).saturating_mul(SHARE));
        scan
    }
}

type See<'a> = dyn FnMut(&Path, u64) -> ControlFlow<()> + 'a;

/// Everything of a root that is of interest, with its state.
fn visit(plan: &Plan, root: &Root, see: &mut See<'_>) -> ControlFlow<()> {
    match root.standing() {
        Standing::Missing => return ControlFlow::Continue(()),
        Standing::File if plan.rules.is_own(&root.path) => return ControlFlow::Continue(()),
        Standing::File => return see(&root.path, state(std::fs::metadata(&root.path).ok())),
        Standing::Link => {
            // Where it leads, so that one that is turned to another directory is another.
            let target = std::fs::metadata(&root.path).map_or(0, |target| target.st_ino());
            see(&root.path, target)?;
        }
        Standing::Directory => see(&root.path, 0)?,
    }
    let mut entered = HashSet::new();
    let mut next: Vec<PathBuf> = vec![root.path.clone()];
    while let Some(directory) = next.pop() {
        if plan.links == Links::Followed {
            let Ok(found) = std::fs::metadata(&directory) else { continue };
            // A link that leads back.
            if !entered.insert((found.st_dev(), found.st_ino())) {
                continue;
            }
        }
        for (path, kind) in entries(plan, root, &directory) {
            let is_meant = root.means(&path);
            match kind {
                Kind::Directory => {
                    if is_meant && !plan.rules.leads_to_own(&path) {
                        see(&path, 0)?;
                    }
                    next.push(path);
                }
                Kind::File if is_meant => see(&path, state(path.symlink_metadata().ok()))?,
                Kind::LinkedFile if is_meant => see(&path, state(path.metadata().ok()))?,
                Kind::File | Kind::LinkedFile => {}
            }
        }
    }
    ControlFlow::Continue(())
}

/// Time and size in one number. A file that is gone meanwhile has another.
fn state(found: Option<Metadata>) -> u64 {
    let Some(found) = found else { return u64::MAX };
    let time = found.st_mtime().cast_unsigned().wrapping_mul(1_000_000_000);
    let time = time.wrapping_add(found.st_mtime_nsec().cast_unsigned());
    time ^ found.st_size().rotate_left(40)
}
