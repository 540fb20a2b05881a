//! The directory of one daemon: where it is, whose it is, what lies in it.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat, fchmod, fstat, mkdirat, open, openat};
use rustix::io::Errno;

use super::atomic;
use crate::error::{Failure, plain};

/// The variable that names it.
pub(crate) const VARIABLE: &str = "ONEPORT_HOME";

/// The directory of one daemon, which is there, ours, and closed to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    path: PathBuf,
}

/// Where it is: what `ONEPORT_HOME` says, else `.oneport` in `HOME`. An empty variable counts as none. Always absolute and
/// UTF-8: it is written into units, views and environments.
pub(crate) fn locate(named: Option<OsString>, user_home: Option<OsString>) -> Result<PathBuf, Failure> {
    let given = |variable: Option<OsString>| variable.filter(|value| !value.is_empty()).map(PathBuf::from);
    let Some(path) = given(named).or_else(|| given(user_home).map(|home| home.join(".oneport"))) else {
        let message = "cannot find the home directory of oneport: neither `ONEPORT_HOME` nor `HOME` is set";
        return Err(Failure::new(message).hint("set `ONEPORT_HOME` to a directory of your own"));
    };
    let path = std::path::absolute(&path).map_err(|error| cannot_use(&path, plain(&error)))?;
    match path.to_str() {
        Some(_) => Ok(path),
        None => Err(cannot_use(&path, "its name is not UTF-8")),
    }
}

fn cannot_use(path: &Path, cause: impl std::fmt::Display) -> Failure {
    Failure::new(format!("cannot use `{}` as home directory: {cause}", path.display()))
}

impl Home {
    /// The one of this process's environment; it is made where it is not there. The texts are warnings: what was changed
    /// about it.
    pub(crate) fn open() -> Result<(Home, Vec<String>), Failure> {
        Home::open_at(&locate(std::env::var_os(VARIABLE), std::env::var_os("HOME"))?)
    }

    /// The same, of an absolute path.
    pub(crate) fn open_at(path: &Path) -> Result<(Home, Vec<String>), Failure> {
        let mut warnings = Vec::new();
        let directory = match enter(path) {
            Err(Errno::NOENT) => {
                make(path)?;
                enter(path)
            }
            entered => entered,
        };
        let directory = directory.map_err(|errno| cannot_use(path, why(errno)))?;
        warnings.extend(own(&directory, path)?);
        for name in ["logs", "pids", "run"] {
            warnings.extend(Home::below(&directory, path, name)?);
        }
        Ok((Home { path: path.to_owned() }, warnings))
    }

    /// The one of this process's environment, as it is: none where nothing was made yet.
    pub(crate) fn existing() -> Result<Option<(Home, Vec<String>)>, Failure> {
        Home::existing_at(&locate(std::env::var_os(VARIABLE), std::env::var_os("HOME"))?)
    }

    /// The same, of an absolute path.
    pub(crate) fn existing_at(path: &Path) -> Result<Option<(Home, Vec<String>)>, Failure> {
        match enter(path) {
            Ok(_) => Home::open_at(path).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(cannot_use(path, why(errno))),
        }
    }

    /// `logs` and `pids` may be links to somewhere else; `run`, with its sockets, may not.
    fn below(directory: &OwnedFd, home: &Path, name: &str) -> Result<Option<String>, Failure> {
        let path = home.join(name);
        let failed = |cause: String| Failure::new(format!("cannot use `{}`: {cause}", path.display()));
        match mkdirat(directory, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => {
                return Err(Failure::new(format!("cannot create `{}`: {}", path.display(), why(errno))));
            }
        }
        let flags = match name {
            "run" => OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            _ => OFlags::DIRECTORY | OFlags::CLOEXEC,
        };
        let opened = openat(directory, name, flags, Mode::empty()).map_err(|errno| failed(why(errno)))?;
        match name {
            "run" => own(&opened, &path),
            _ => Ok(None),
        }
    }

    /// Removes what crashed writers left behind, here and below. For the daemon, when it starts.
    pub(crate) fn tidy(&self) {
        for directory in [self.path.clone(), self.pids(), self.run()] {
            // Left-overs are small, and the next start tries again.
            let _ = atomic::clean(&directory);
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the daemon answers.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join("daemon.sock")
    }

    /// Locked while a daemon lives.
    pub(crate) fn lock(&self) -> PathBuf {
        self.path.join("daemon.lock")
    }

    /// The daemon's number, for people and scripts.
    pub(crate) fn pid(&self) -> PathBuf {
        self.path.join("daemon.pid")
    }

    /// What the daemon says.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("oneport.log")
    }

    /// The output of apps.
    pub(crate) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// The numbers of workers.
    pub(crate) fn pids(&self) -> PathBuf {
        self.path.join("pids")
    }

    /// Sockets of primaries and what they note of themselves.
    pub(crate) fn run(&self) -> PathBuf {
        self.path.join("run")
    }
}

fn enter(path: &Path) -> Result<OwnedFd, Errno> {
    open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn make(path: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        let cause = Errno::from_io_error(&error).map_or_else(|| plain(&error), why);
        let message = format!("cannot create home directory `{}`: {cause}", path.display());
        Failure::new(message).hint("`ONEPORT_HOME` names another")
    })
}

/// Makes sure that it is ours alone. Some: a warning.
fn own(directory: &OwnedFd, path: &Path) -> Result<Option<String>, Failure> {
    let failed = |errno: Errno| cannot_use(path, why(errno));
    let facts = fstat(directory).map_err(failed)?;
    let us = rustix::process::geteuid().as_raw();
    if facts.st_uid != us {
        let refused = cannot_use(path, format!("it belongs to user {}, not to {us}", facts.st_uid));
        return Err(refused.hint("be that user, or set `ONEPORT_HOME` to a directory of your own"));
    }
    let mode = facts.st_mode & 0o7777;
    if mode & 0o022 != 0 {
        let refused = cannot_use(path, format!("others may write to it (mode {mode:o})"));
        return Err(refused.hint(format!("look at what is in it, then: chmod 700 {}", path.display())));
    }
    if mode & 0o700 != 0o700 {
        let refused = cannot_use(path, format!("its mode {mode:o} forbids you to write or to enter"));
        return Err(refused.hint(format!("chmod 700 {}", path.display())));
    }
    // A mode says nothing of a file system that is mounted read-only.
    accessat(directory.as_fd(), ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).map_err(failed)?;
    if mode & 0o077 == 0 {
        return Ok(None);
    }
    let narrowed = (mode & 0o7000) | 0o700;
    fchmod(directory, Mode::from_raw_mode(narrowed)).map_err(failed)?;
    Ok(Some(format!(
        "`{}` was open to others (mode {mode:o}); now it is not (mode {narrowed:o})",
        path.display()
    )))
}

fn why(errno: Errno) -> String {
    match errno {
        Errno::NOTDIR | Errno::EXIST => "a file is in the way".to_owned(),
        errno => plain(&io::Error::from(errno)),
    }
}

#[cfg(test)]
mod tests;
