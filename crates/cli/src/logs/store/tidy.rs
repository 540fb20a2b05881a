//! How much of what was put aside is kept: so many files of each name, and so many bytes of all files of the
//! app with the current ones. The oldest go first. Done at once when a file is put aside, so that the bound
//! holds during a flood.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::logs::aside::{self, Aside, Packed};
use crate::logs::plan::Plan;

/// What was put aside for an app, the oldest first. `linked`: files that its names are symbolic links to.
pub(super) fn all(plan: &Plan, linked: &[PathBuf]) -> Vec<Aside> {
    let mut folders = plan.folders();
    folders.extend(linked.iter().filter_map(|path| path.parent().map(Path::to_owned)));
    folders.sort();
    folders.dedup();
    let mut found = Vec::new();
    for folder in folders {
        let is_ours = |base: &str| {
            let path = folder.join(base);
            plan.owns(&path) || linked.contains(&path)
        };
        // A folder that cannot be read is left as it is.
        found.append(&mut aside::all_in(&folder, is_ours).unwrap_or_default());
    }
    found.sort();
    found
}

/// The current files of the app that are there, also of slots that are gone.
pub(super) fn current(plan: &Plan) -> Vec<PathBuf> {
    let entries = plan.folders().into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| plan.owns(path)).collect()
}

/// `live`: the files that are written to, each of which may become as large as `limit`: for that there is
/// room left. The last file of a slot that is gone counts among those that were put aside.
pub(super) fn prune(plan: &Plan, linked: &[PathBuf], live: &[PathBuf], limit: Option<u64>) {
    let mut asides = all(plan, linked);
    let mut of_name: HashMap<PathBuf, usize> = HashMap::new();
    let mut stays = |aside: &Aside| {
        let base = aside.path.file_name().and_then(|name| aside::base(name.to_str()?));
        let seen = of_name.entry(aside.path.with_file_name(base.unwrap_or_default())).or_default();
        *seen += 1;
        *seen <= plan.rotation.keep || !gone(&aside.path)
    };
    // The newest first.
    asides.reverse();
    asides.retain(|aside| aside.packed == Packed::Unfinished || stays(aside));
    if plan.rotation.max_total == 0 {
        return;
    }
    let mut left: Vec<Left> = asides.iter().map(Left::aside).collect();
    let mut total = left.iter().map(|left| left.size).fold(0, u64::saturating_add);
    let reserved = u64::try_from(live.len()).unwrap_or(u64::MAX).saturating_mul(limit.unwrap_or(0));
    let mut current_size = 0;
    for path in current(plan) {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if live.contains(&path) {
            current_size += metadata.len();
        } else {
            let age = metadata.modified().ok();
            left.push(Left { age, path, size: metadata.len() });
            total = total.saturating_add(metadata.len());
        }
    }
    total = total.saturating_add(reserved.max(current_size));
    left.sort();
    for left in left {
        if total <= plan.rotation.max_total {
            return;
        }
        if gone(&left.path) {
            total = total.saturating_sub(left.size);
        }
    }
}

/// What may go, the oldest first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Left {
    age: Option<SystemTime>,
    path: PathBuf,
    size: u64,
}

impl Left {
    /// What is being compressed goes with the rest: then that fails, and nothing is left of it.
    fn aside(aside: &Aside) -> Left {
        let age = aside::put_aside_at(&aside.stamp).or(aside.modified);
        Left { age, path: aside.path.clone(), size: aside.size }
    }
}

fn gone(path: &Path) -> bool {
    fs::remove_file(path).is_ok()
}
