//! What lies in one watched directory, as far as it is of interest.

use std::fs::{self, FileType};
use std::path::{Path, PathBuf};

use super::Plan;
use super::root::Root;

/// Whether symbolic links below a root are followed. If not, only the link itself is looked at, so that nothing outside is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    Kept,
    Followed,
}

/// An entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To be entered.
    Directory,
    /// A file, or a link that is not followed.
    File,
    /// A link that is followed to a file.
    LinkedFile,
}

/// What is in a directory, without what is ignored. Sockets, pipes and devices are not files. Nothing, if it cannot be read.
pub(super) fn entries(plan: &Plan, root: &Root, directory: &Path) -> impl Iterator<Item = (PathBuf, Kind)> {
    let entries = fs::read_dir(directory).ok();
    entries.into_iter().flatten().flatten().filter_map(|entry| {
        let path = entry.path();
        if plan.rules.ignores(&path, root.dots) {
            return None;
        }
        let kind = kind(&path, entry.file_type().ok()?, plan.links)?;
        (kind != Kind::Directory || root.enters(&path)).then_some((path, kind))
    })
}

/// `None`: neither a file nor a directory.
pub(super) fn kind(path: &Path, found: FileType, links: Links) -> Option<Kind> {
    if found.is_dir() {
        return Some(Kind::Directory);
    }
    if found.is_file() {
        return Some(Kind::File);
    }
    if !found.is_symlink() {
        return None;
    }
    match (links, fs::metadata(path)) {
        (Links::Kept, _) | (Links::Followed, Err(_)) => Some(Kind::File),
        (Links::Followed, Ok(target)) if target.is_dir() => Some(Kind::Directory),
        (Links::Followed, Ok(_)) => Some(Kind::LinkedFile),
    }
}
