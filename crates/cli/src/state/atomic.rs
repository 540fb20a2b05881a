//! Files that are there whole or not at all: written beside, made durable, put in place by `rename(2)`.
//!
//! Drafts of a writer that was killed are known by three things: their name, their age, and that nobody has them locked.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, fchmod, flock, fstat, fsync, open, openat,
    renameat, unlinkat,
};
use rustix::io::Errno;

const PREFIX: &str = ".oneport-";
const SUFFIX: &str = ".tmp";
/// Between making a draft and locking it a living writer needs far less.
const OLD: Duration = Duration::from_secs(60);

/// Writes a file for its user alone, in place of what is there. Its directory has to exist.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, bytes, Mode::RUSR | Mode::WUSR)
}

/// The same for what means nothing after the machine has gone down: whole or not there, and not made durable.
pub(crate) fn write_fleeting(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // By this name what a writer that was killed has left is cleared away.
    let draft = path.with_file_name(format!("{PREFIX}{name}{SUFFIX}"));
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(bytes).and_then(|()| std::fs::rename(&draft, path)).inspect_err(|_| {
        // What is left of it is overwritten by the next.
        let _ = std::fs::remove_file(&draft);
    })
}

/// The same for everybody to read, whatever the umask says.
pub(crate) fn write_for_all(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, bytes, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)
}

fn write_with(path: &Path, bytes: &[u8], mode: Mode) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::INVAL.into());
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let directory = open_directory(parent)?;
    let draft = Draft::new(directory.as_fd(), bytes)?;
    fchmod(&draft.file, mode)?;
    draft.place(name)
}

pub(super) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// What a file is to hold, on disk and not yet in its place. Gone when it is dropped before it is placed.
pub(super) struct Draft<'directory> {
    directory: BorrowedFd<'directory>,
    name: String,
    /// Holds the lock.
    file: File,
    placed: bool,
}

impl<'directory> Draft<'directory> {
    pub(super) fn new(directory: BorrowedFd<'directory>, bytes: &[u8]) -> io::Result<Draft<'directory>> {
        let (name, file) = create(directory)?;
        let mut draft = Draft { directory, name, file, placed: false };
        // Not every file system has locks; then its age alone protects it.
        let _ = flock(&draft.file, FlockOperation::NonBlockingLockExclusive);
        draft.file.write_all(bytes)?;
        draft.file.sync_all()?;
        Ok(draft)
    }

    pub(super) fn place(mut self, name: &OsStr) -> io::Result<()> {
        renameat(self.directory, self.name.as_str(), self.directory, name)?;
        self.placed = true;
        match fsync(self.directory) {
            // A file system that cannot, for a directory.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.placed {
            let _ = unlinkat(self.directory, self.name.as_str(), AtFlags::empty());
        }
    }
}

fn create(directory: BorrowedFd<'_>) -> io::Result<(String, File)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Another pid namespace may have our number; each try is another name.
    for _ in 0..1000 {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}{SUFFIX}", std::process::id());
        match openat(directory, name.as_str(), flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => return Ok((name, file.into())),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::EXIST.into())
}

/// Removes the drafts of writers that are gone. How many.
pub(crate) fn clean(directory: &Path) -> io::Result<usize> {
    let directory = open_directory(directory)?;
    let mut removed = 0;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        let drafted = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        if drafted && is_left(&directory, name) && unlinkat(&directory, name, AtFlags::empty()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

fn is_left(directory: &OwnedFd, name: &OsStr) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat(directory, name, flags, Mode::empty()) else { return false };
    let Ok(facts) = fstat(&file) else { return false };
    if !FileType::from_raw_mode(facts.st_mode).is_file() {
        return false;
    }
    let written = u64::try_from(facts.st_mtime).unwrap_or(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    now.saturating_sub(written) > OLD.as_secs()
        && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, FileTimes};

    use super::*;
    use crate::state::scratch::{Scratch, mode, names};

    fn age(path: &Path) {
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_times(FileTimes::new().set_modified(long_ago))
            .unwrap();
    }

    #[test]
    fn a_file_is_replaced_whole_and_is_its_users_alone() {
        let scratch = Scratch::new();
        let path = scratch.join("file");
        for text in ["first, and longer", "second"] {
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(mode(&path), 0o600);
        assert_eq!(names(scratch.path()), ["file"]);
    }

    #[test]
    fn what_cannot_be_put_in_place_leaves_nothing_behind() {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.join("taken/below")).unwrap();
        assert!(write(&scratch.join("taken"), b"x").is_err());
        assert!(write(&scratch.join("nowhere/file"), b"x").is_err());
        assert_eq!(names(scratch.path()), ["taken"]);
    }

    #[test]
    fn writers_at_once_do_not_meet() {
        let scratch = Scratch::new();
        let path = scratch.join("file");
        std::thread::scope(|scope| {
            for writer in 0..8_u8 {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| write(path, &[writer; 5000]).unwrap()));
            }
        });
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() == 5000 && bytes.iter().all(|byte| *byte == bytes[0]));
        assert_eq!(names(scratch.path()), ["file"]);
    }

    #[test]
    fn drafts_of_the_dead_are_removed_and_all_else_stays() {
        let scratch = Scratch::new();
        for name in [".oneport-1-1.tmp", ".oneport-1-2.tmp", ".other-1.tmp", "save.json"] {
            fs::write(scratch.join(name), "x").unwrap();
            age(&scratch.join(name));
        }
        fs::write(scratch.join(".oneport-1-3.tmp"), "young").unwrap();
        fs::create_dir(scratch.join(".oneport-1-4.tmp")).unwrap();
        let directory = open_directory(scratch.path()).unwrap();
        let living = Draft::new(directory.as_fd(), b"x").unwrap();
        age(&scratch.join(&living.name));

        assert_eq!(clean(scratch.path()).unwrap(), 2);
        let left = names(scratch.path());
        assert_eq!(left.len(), 5, "{left:?}");
        assert!(left.contains(&living.name));
        living.place(OsStr::new("placed")).unwrap();
        assert!(scratch.join("placed").exists());
    }
}
