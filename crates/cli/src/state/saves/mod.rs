//! The saved list: `save.json`, and before it `save.1.json` to `save.5.json`, the newest first.
//!
//! Invariants: at no moment is there less than one good list, if there was one; what cannot be read is put aside and never
//! removed; who changes something has the directory locked.

mod generation;
mod read;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oneport_wire::control::Saved;
use rustix::fs::{FlockOperation, flock};

use super::Home;
use super::atomic::{self, Draft, open_directory};
use crate::error::{Failure, plain};
use generation::{Found, Generation};

/// Whether a list of apps may be replaced by an empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Force {
    Yes,
    No,
}

/// What writing came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) path: PathBuf,
    pub(crate) change: Change,
    pub(crate) warnings: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The list is another one now, and the one before is a generation older.
    Replaced,
    /// The same apps were saved already.
    Same,
}

/// The saved lists of a home directory.
#[derive(Debug)]
pub(crate) struct Saves {
    directory: PathBuf,
}

impl Saves {
    pub(crate) fn new(home: &Home) -> Saves {
        Saves { directory: home.path().to_owned() }
    }

    /// Where the newest list is.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join(Generation::NEWEST.name())
    }

    /// Makes this the newest list.
    pub(crate) fn write(&self, saved: &Saved, force: Force) -> Result<Written, Failure> {
        let path = self.path();
        let failed =
            |cause: String| Failure::new(format!("cannot save apps to `{}`: {cause}", path.display()));
        let io_failed = |error: io::Error| failed(plain(&error));
        let text = saved.write().map_err(failed)?;
        let directory = self.lock().map_err(io_failed)?;
        // Left-overs are small, and the next save tries again.
        let _ = atomic::clean(&self.directory);
        let mut warnings = Vec::new();
        let newest = Generation::NEWEST.look(&directory);
        if saved.apps.is_empty() && force == Force::No {
            refuse_loss(&directory, &newest).map_err(|(found, cause)| {
                let message = format!("cannot save an empty list over `{}`: {cause}", self.shown(found));
                Failure::new(message).hint("to do it all the same: oneport save --force")
            })?;
        }
        match newest {
            Found::Good(before) if before.apps == saved.apps => {
                return Ok(Written { path, change: Change::Same, warnings });
            }
            Found::Broken(cause) => {
                let told = generation::put_aside(&directory, Generation::NEWEST, &cause);
                warnings.push(told.map_err(io_failed)?);
            }
            Found::Nothing | Found::Good(_) | Found::TooNew(_) | Found::Unreadable(_) => {}
        }
        // On disk before anything is moved: a disk that is full changes nothing.
        let draft = Draft::new(directory.as_fd(), text.as_bytes()).map_err(io_failed)?;
        generation::shift(&directory).map_err(io_failed)?;
        draft.place(OsStr::new(&Generation::NEWEST.name())).map_err(io_failed)?;
        Ok(Written { path, change: Change::Replaced, warnings })
    }

    /// Makes an empty list the newest. What was saved is a generation older.
    pub(crate) fn cleardump(&self, now: u64, oneport: &str) -> Result<Written, Failure> {
        let empty =
            Saved { version: Saved::VERSION, saved_at: now, oneport: oneport.to_owned(), apps: vec![] };
        self.write(&empty, Force::Yes)
    }

    /// Until what is given back is dropped.
    fn lock(&self) -> io::Result<OwnedFd> {
        let directory = open_directory(&self.directory)?;
        // A file system without locks: two who save at the same moment both write whole files, and one of them is last.
        let _ = rustix::io::retry_on_intr(|| flock(&directory, FlockOperation::LockExclusive));
        Ok(directory)
    }

    fn shown(&self, generation: Generation) -> String {
        Path::new(&self.directory).join(generation.name()).display().to_string()
    }
}

/// Whether an empty list would hide apps: those of the newest list that can be read.
fn refuse_loss(directory: &OwnedFd, newest: &Found) -> Result<(), (Generation, String)> {
    let count = |saved: &Saved| match saved.apps.len() {
        0 => Ok(()),
        1 => Err("it has 1 app".to_owned()),
        apps => Err(format!("it has {apps} apps")),
    };
    let here = |generation| move |cause| (generation, cause);
    match newest {
        Found::Good(saved) => return count(saved).map_err(here(Generation::NEWEST)),
        Found::TooNew(cause) | Found::Unreadable(cause) => {
            return Err((Generation::NEWEST, cause.clone()));
        }
        Found::Nothing | Found::Broken(_) => {}
    }
    for generation in Generation::all().skip(1) {
        match generation.look(directory) {
            Found::Good(saved) => return count(&saved).map_err(here(generation)),
            Found::Nothing | Found::Broken(_) | Found::TooNew(_) | Found::Unreadable(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
