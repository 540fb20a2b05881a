//! One generation of the list as a file: looked at, moved on, put aside.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use oneport_wire::control::{NotSaved, Saved};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, fstat, linkat, openat, renameat, renameat_with, statat,
};
use rustix::io::Errno;

use crate::error::plain;

/// Lists before the newest that are kept.
const OLDER: u8 = 5;
/// Broken ones that are put aside, of each generation.
const MOST_ASIDE: u32 = 99;

/// How old: 0 is the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(u8);

/// What is in a file.
#[derive(Debug)]
pub(super) enum Found {
    /// There is no file.
    Nothing,
    Good(Saved),
    /// Cut short, empty, or something else.
    Broken(String),
    /// Good, for a oneport that is newer.
    TooNew(String),
    /// It may be good; the system does not let us see.
    Unreadable(String),
}

impl Generation {
    pub(super) const NEWEST: Generation = Generation(0);

    /// All, the newest first.
    pub(super) fn all() -> impl Iterator<Item = Generation> {
        (0..=OLDER).map(Generation)
    }

    pub(super) fn name(self) -> String {
        match self.0 {
            0 => "save.json".to_owned(),
            age => format!("save.{age}.json"),
        }
    }

    pub(super) fn look(self, directory: &OwnedFd) -> Found {
        // Not blocking: it may be a pipe.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(directory, self.name(), flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Found::Nothing,
            Err(errno) => return Found::Unreadable(plain(&errno.into())),
        };
        match fstat(&file) {
            Ok(facts) if !FileType::from_raw_mode(facts.st_mode).is_file() => {
                return Found::Broken("it is no file".to_owned());
            }
            Ok(_) => {}
            Err(errno) => return Found::Unreadable(plain(&errno.into())),
        }
        let mut text = Vec::new();
        // One byte more than allowed shows that it is too long; the file may be growing.
        let most = u64::try_from(Saved::MOST_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        if let Err(error) = File::from(file).take(most).read_to_end(&mut text) {
            return Found::Unreadable(plain(&error));
        }
        match Saved::parse(&text) {
            Ok(saved) => Found::Good(saved),
            Err(NotSaved::Broken(cause)) => Found::Broken(cause),
            Err(newer @ NotSaved::TooNew { .. }) => Found::TooNew(newer.to_string()),
        }
    }
}

/// Makes each a generation older; the oldest is gone. The newest stays in its place, too, until another one takes it: who
/// is killed in between leaves it there.
pub(super) fn shift(directory: &OwnedFd) -> io::Result<()> {
    for age in (1..OLDER).rev() {
        match renameat(directory, Generation(age).name(), directory, Generation(age + 1).name()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let (newest, older) = (Generation::NEWEST.name(), Generation(1).name());
    match linkat(directory, &newest, directory, &older, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        // No second names on this file system, or not for a file of somebody else.
        Err(_) => Ok(renameat(directory, &newest, directory, &older)?),
    }
}

/// Puts a broken one aside, and says so.
pub(super) fn put_aside(directory: &OwnedFd, generation: Generation, cause: &str) -> io::Result<String> {
    let name = generation.name();
    for number in 1..=MOST_ASIDE {
        let aside = match number {
            1 => format!("{name}.broken"),
            _ => format!("{name}.broken.{number}"),
        };
        match rename_new(directory, &name, &aside) {
            Ok(()) => return Ok(format!("`{name}` is broken: {cause}; it is kept as `{aside}`")),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(format!("`{name}` is broken: {cause}; it stays, because there are {MOST_ASIDE} broken ones already"))
}

fn rename_new(directory: &OwnedFd, from: &str, to: &str) -> Result<(), Errno> {
    match renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE) {
        // A file system that cannot: the lock is what keeps others away.
        Err(Errno::INVAL | Errno::NOSYS) => match statat(directory, to, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(Errno::EXIST),
            Err(_) => renameat(directory, from, directory, to),
        },
        renamed => renamed,
    }
}
