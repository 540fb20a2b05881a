//! One file that is open for writing: regular, or whatever else the configured path names (a FIFO, a
//! terminal, `/dev/full`).
//!
//! Nothing here decides what is done about a failure. Invariant: only a file system that hangs can keep the
//! thread here; a FIFO or terminal that nobody reads costs it a quarter of a second once.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::queue::Queue;

/// The owner writes, his group reads: output holds addresses and at times secrets, which are no business of
/// every user of the machine; who ships logs is put into the group.
const MODE: Mode = Mode::from_raw_mode(0o640);
/// Folders below the home directory.
const PRIVATE: u32 = 0o700;
/// How often it is looked whether the name still means this file.
const LOOK: Duration = Duration::from_secs(1);
/// How long a FIFO or a terminal may take nothing.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

pub(super) struct Open {
    file: File,
    /// What the name means, where it is a symbolic link.
    pub(super) real: PathBuf,
    pub(super) kind: Kind,
    /// Counted, not asked for at each write.
    pub(super) size: u64,
    /// When what is in it began.
    pub(super) since: SystemTime,
    inode: (u64, u64),
    looked: Instant,
    /// Nobody reads.
    stuck: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Regular,
    /// It has no size and is never put aside.
    Other,
}

/// What the next file of the name is like.
#[derive(Clone, Debug)]
pub(super) struct Like {
    mode: u32,
    user: u32,
    group: u32,
}

/// A write that failed, after some bytes.
pub(super) struct Failed {
    pub(super) written: usize,
    pub(super) cause: Errno,
}

impl Open {
    /// Opens or creates it, with the folders it is in.
    pub(super) fn by_name(path: &Path, home: &Path, like: Option<&Like>) -> io::Result<Open> {
        let opened = match open(path) {
            Err(Errno::NOENT) => {
                if let Some(folder) = path.parent() {
                    let mut builder = DirBuilder::new();
                    if folder.starts_with(home) {
                        builder.mode(PRIVATE);
                    }
                    builder.recursive(true).create(folder)?;
                }
                open(path)?
            }
            opened => opened?,
        };
        let metadata = opened.metadata()?;
        let (size, now) = (metadata.size(), SystemTime::now());
        if let Some(like) = like.filter(|_| size == 0) {
            // As well as it can be: only root may give files away.
            let _ = opened.set_permissions(Permissions::from_mode(like.mode));
            if (like.user, like.group) != (metadata.uid(), metadata.gid()) {
                let _ = fchown(&opened, Some(like.user), Some(like.group));
            }
        }
        let linked = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
        let begun = metadata.created().or_else(|_| metadata.modified()).unwrap_or(now);
        Ok(Open {
            file: opened,
            real: if linked { fs::canonicalize(path)? } else { path.to_owned() },
            kind: if metadata.is_file() { Kind::Regular } else { Kind::Other },
            size,
            since: if size == 0 { now } else { begun },
            inode: (metadata.dev(), metadata.ino()),
            looked: Instant::now(),
            stuck: false,
        })
    }

    /// Whether the name still means this file; looked up at most once a second. Somebody else may have cut
    /// it, too.
    pub(super) fn is_still_there(&mut self, now: Instant) -> bool {
        if self.kind == Kind::Other || now.duration_since(self.looked) < LOOK {
            return true;
        }
        self.looked = now;
        self.is_there()
    }

    pub(super) fn is_there(&mut self) -> bool {
        match fs::metadata(&self.real) {
            Ok(metadata) if (metadata.dev(), metadata.ino()) == self.inode => {
                self.size = metadata.size();
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    pub(super) fn like(&self) -> Option<Like> {
        let metadata = self.file.metadata().ok()?;
        Some(Like { mode: metadata.mode() & 0o7777, user: metadata.uid(), group: metadata.gid() })
    }

    pub(super) fn empty(&mut self) -> io::Result<()> {
        if self.kind == Kind::Regular {
            self.file.set_len(0)?;
            (self.size, self.since) = (0, SystemTime::now());
        }
        Ok(())
    }

    /// All of it, or how far it came.
    pub(super) fn write(&mut self, bytes: &[u8], queue: &Queue) -> Result<(), Failed> {
        let mut written = 0;
        while written < bytes.len() {
            let cause = match rustix::io::write(&self.file, &bytes[written..]) {
                Ok(0) => Errno::IO,
                Ok(n) => {
                    written += n;
                    self.size += n as u64;
                    self.stuck = false;
                    queue.write_bytes(n);
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) if !self.stuck => {
                    let mut wanted = [PollFd::from_borrowed_fd(self.file.as_fd(), PollFlags::OUT)];
                    self.stuck = !matches!(poll(&mut wanted, Some(&PATIENCE)), Ok(1..) | Err(Errno::INTR));
                    if !self.stuck {
                        continue;
                    }
                    Errno::AGAIN
                }
                Err(cause) => cause,
            };
            return Err(Failed { written, cause });
        }
        Ok(())
    }
}

/// Never waits for who is to read it: a FIFO without a reader is an error (ENXIO).
fn open(path: &Path) -> Result<File, Errno> {
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::APPEND
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC
        | trust(path);
    rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, MODE)).map(File::from)
}

/// In a directory that others may write to, root follows no link: they could have it write anywhere.
fn trust(path: &Path) -> OFlags {
    if !rustix::process::geteuid().is_root() {
        return OFlags::empty();
    }
    let others = path.parent().and_then(|folder| fs::metadata(folder).ok());
    match others.is_some_and(|folder| folder.uid() != 0 || folder.mode() & 0o022 != 0) {
        true => OFlags::NOFOLLOW,
        false => OFlags::empty(),
    }
}

/// Empties a file that is not open here. What is no regular file has nothing to be emptied of.
pub(in crate::logs) fn empty_by_name(path: &Path) -> io::Result<()> {
    let kind = match fs::metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() || kind.is_socket() {
        return Ok(());
    }
    let flags = trust(path).bits().cast_signed();
    File::options().write(true).truncate(true).custom_flags(flags).open(path).map(drop)
}
