//! Files as the kernel tells of them: inotify, one watch for each directory.
//!
//! The kernel's own words are used (rustix), not the crate `notify`: that asks for every `open` of every file (8.2), so a server
//! that reads its files would wake its primary at each request, it has a thread of its own, and it enters directories before
//! anybody can say that they are ignored.
//!
//! Invariants: a directory is watched before it is read, so nothing in it is missed; what the tree looks like is never pieced
//! together from events: after one that changes it the tree is walked again, and watches that were not met are given back. Both
//! bounds, ours and the kernel's, are told.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::fs::MetadataExt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch};
use rustix::io::Errno;

use super::root::{Root, Standing};
use super::walk::{Kind, Links, entries, kind};
use super::{Plan, Scan};

/// Directories watched at most: each costs a kilobyte of the kernel's memory.
const MOST_WATCHES: usize = 32_768;
/// Events read at a time; the rest keeps the descriptor readable.
const MOST_EVENTS: usize = 4096;
/// How often a root is looked at again that changes while it is.
const TRIES: usize = 8;

/// The same for all, as a second watch of one directory replaces the first.
const MASK: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::EXCL_UNLINK);
const APPEARED: ReadFlags = ReadFlags::CREATE.union(ReadFlags::MOVED_TO);
const VANISHED: ReadFlags = ReadFlags::DELETE.union(ReadFlags::MOVED_FROM);
const SELF: ReadFlags =
    ReadFlags::DELETE_SELF.union(ReadFlags::MOVE_SELF).union(ReadFlags::UNMOUNT).union(ReadFlags::IGNORED);

#[derive(Debug)]
pub(super) struct Notified {
    inotify: OwnedFd,
    watched: HashMap<i32, Watched>,
    standings: Vec<Standing>,
    most: usize,
}

/// What one watch is for.
#[derive(Debug, Default)]
struct Watched {
    path: PathBuf,
    /// The roots, by place, that want to know of everything in it.
    roots: Vec<usize>,
    /// Names in it where a root is, would appear, or is exchanged.
    doors: Vec<(OsString, usize)>,
    /// Somewhere outside, reached by a link.
    is_linked_file: bool,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The first thing that changed.
    pub(super) changed: Option<PathBuf>,
    /// The tree is another: it has to be walked again.
    pub(super) is_stale: bool,
}

impl Notified {
    /// Watches nothing yet. `EMFILE`: too many instances of this user (fs.inotify.max_user_instances), or descriptors.
    pub(super) fn new() -> Result<Notified, Errno> {
        Self::with_most(MOST_WATCHES)
    }

    pub(super) fn with_most(most: usize) -> Result<Notified, Errno> {
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Notified { inotify, watched: HashMap::new(), standings: Vec::new(), most })
    }

    /// Walks the tree and watches what is there now. `ENOSPC`: the kernel gives no more watches to this user.
    pub(super) fn scan(&mut self, plan: &Plan) -> Result<Scan, Errno> {
        let (inotify, most) = (&self.inotify, self.most);
        let mut round = Round { inotify, plan, watched: HashMap::new(), scan: Scan::default(), most };
        let mut standings = Vec::new();
        for (place, root) in plan.roots.iter().enumerate() {
            let standing = round.root(place, root)?;
            if self.standings.get(place).is_some_and(|before| *before != standing) {
                round.scan.changed.get_or_insert_with(|| root.path.clone());
            }
            standings.push(standing);
        }
        let Round { watched, scan, .. } = round;
        for number in self.watched.keys().filter(|number| !watched.contains_key(number)) {
            // The kernel may have given it back already.
            let _ = remove_watch(&self.inotify, *number);
        }
        (self.watched, self.standings) = (watched, standings);
        Ok(scan)
    }

    /// Reads what there is, without waiting.
    pub(super) fn read(&mut self, plan: &Plan) -> News {
        let mut news = News::default();
        let mut room = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = Reader::new(&self.inotify, &mut room);
        for _ in 0..MOST_EVENTS {
            let Ok(event) = reader.next() else { break };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                let first = plan.roots.first().map(|root| root.path.clone());
                news = News { changed: news.changed.or(first), is_stale: true };
            } else if let Some(watched) = self.watched.get(&event.wd()) {
                watched.hear(plan, &self.standings, event.events(), event.file_name(), &mut news);
            }
        }
        news
    }

    /// As the kernel counts them.
    #[cfg(test)]
    pub(super) fn watches(&self) -> usize {
        use std::os::fd::AsRawFd;
        let info = format!("/proc/self/fdinfo/{}", self.inotify.as_raw_fd());
        let count = std::fs::read_to_string(info)
            .unwrap()
            .lines()
            .filter(|line| line.starts_with("inotify "))
            .count();
        assert_eq!(count, self.watched.len());
        count
    }
}

impl AsFd for Notified {
    /// Readable when there is something to read.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl Watched {
    fn hear(
        &self,
        plan: &Plan,
        standings: &[Standing],
        what: ReadFlags,
        name: Option<&CStr>,
        news: &mut News,
    ) {
        if what.intersects(SELF) {
            news.is_stale = true;
            if self.is_linked_file {
                news.note(&self.path);
            }
        }
        let name = name.map(|name| OsStr::from_bytes(name.to_bytes())).filter(|name| !name.is_empty());
        let Some(name) = name else {
            if self.is_linked_file && is_change(&self.path, what) {
                news.note(&self.path);
            }
            return;
        };
        let path = self.path.join(name);
        let moved = what.intersects(APPEARED | VANISHED);
        for (_, place) in self.doors.iter().filter(|(door, _)| door == name) {
            news.is_stale |= moved;
            match standings.get(*place) {
                Some(Standing::File) if !plan.rules.is_own(&path) && is_change(&path, what) => {
                    news.note(&path)
                }
                Some(Standing::Link) if moved => news.note(&path),
                // That a missing one is there now is seen when the tree is walked.
                Some(Standing::File | Standing::Link | Standing::Directory | Standing::Missing) | None => {}
            }
        }
        for root in self.roots.iter().filter_map(|place| plan.roots.get(*place)) {
            if plan.rules.ignores(&path, root.dots) {
                continue;
            }
            let is_directory = what.contains(ReadFlags::ISDIR);
            // With followed links a link may be a directory too, and a file beyond one wants a watch of its own.
            let is_tree = is_directory && root.enters(&path) || plan.links == Links::Followed;
            news.is_stale |= moved && is_tree;
            let is_meant = root.means(&path) && !(is_directory && plan.rules.leads_to_own(&path));
            if is_meant && (if is_directory { moved } else { is_change(&path, what) }) {
                news.note(&path);
            }
        }
    }
}

impl News {
    fn note(&mut self, path: &Path) {
        self.changed.get_or_insert_with(|| path.to_owned());
    }
}

/// Whether it is one to a file. Of attributes only its time is: `touch` sets that to the present, which the time of the last
/// change of attributes is as well; a changed mode or count of links leaves it behind.
fn is_change(path: &Path, what: ReadFlags) -> bool {
    if what.intersects(VANISHED | ReadFlags::MODIFY) {
        return true;
    }
    let Ok(found) = path.symlink_metadata() else { return false };
    if what.intersects(APPEARED) {
        return kind(path, found.file_type(), Links::Kept).is_some();
    }
    let age = found.st_ctime().abs_diff(found.st_mtime());
    what.contains(ReadFlags::ATTRIB) && age <= 1
}

/// One walk through all roots.
struct Round<'a> {
    inotify: &'a OwnedFd,
    plan: &'a Plan,
    watched: HashMap<i32, Watched>,
    scan: Scan,
    most: usize,
}

impl Round<'_> {
    /// Watched is first and looked at after it, until both agree.
    fn root(&mut self, place: usize, root: &Root) -> Result<Standing, Errno> {
        let mut standing = root.standing();
        for _ in 0..TRIES {
            let door = match standing {
                Standing::Directory => None,
                Standing::Link | Standing::File | Standing::Missing => root.door(),
            };
            if let Some((directory, name)) = &door
                && let Some(watched) = self.add(directory, WatchFlags::ONLYDIR)?
                && !watched.doors.contains(&(name.clone(), place))
            {
                watched.doors.push((name.clone(), place));
            }
            match standing {
                Standing::Directory | Standing::Link => self.tree(place, root)?,
                Standing::File | Standing::Missing => {}
            }
            let now = root.standing();
            if now == standing && (door.is_none() || root.door() == door) {
                break;
            }
            standing = now;
        }
        Ok(standing)
    }

    fn tree(&mut self, place: usize, root: &Root) -> Result<(), Errno> {
        let mut next = vec![root.path.clone()];
        while let Some(directory) = next.pop() {
            let flags = match self.plan.links {
                Links::Kept if directory != root.path => WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW,
                Links::Kept | Links::Followed => WatchFlags::ONLYDIR,
            };
            let Some(watched) = self.add(&directory, flags)? else { continue };
            // A link that leads back, or two ways to one directory.
            if watched.roots.contains(&place) {
                continue;
            }
            watched.roots.push(place);
            let plan = self.plan;
            for (path, kind) in entries(plan, root, &directory) {
                match kind {
                    Kind::Directory => next.push(path),
                    Kind::LinkedFile if root.means(&path) => {
                        if let Some(watched) = self.add(&path, WatchFlags::empty())? {
                            watched.is_linked_file = true;
                        }
                    }
                    Kind::LinkedFile | Kind::File => {}
                }
            }
        }
        Ok(())
    }

    /// `None`: it is gone, may not be read, or is one too many. Of two paths to the same the first names it.
    fn add(&mut self, path: &Path, flags: WatchFlags) -> Result<Option<&mut Watched>, Errno> {
        if self.watched.len() >= self.most {
            self.scan.is_cut = true;
            return Ok(None);
        }
        match add_watch(self.inotify, path, MASK | flags) {
            Ok(number) => {
                let new = || Watched { path: path.to_owned(), ..Watched::default() };
                Ok(Some(self.watched.entry(number).or_insert_with(new)))
            }
            Err(error @ (Errno::NOSPC | Errno::NOMEM)) => Err(error),
            Err(Errno::ACCESS) => {
                self.scan.refused.get_or_insert_with(|| path.to_owned());
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }
}
