//! The crate's one error: what was tried, on what, and why it failed. The kinds are private; the cause is kept.

use std::fmt;
use std::io;
use std::path::PathBuf;

use oneport_core::WorkerId;

use crate::program::Unfit;

/// Something this crate could not do. Displays as `cannot <verb> <object>: <cause>`.
#[derive(Debug)]
pub struct Error(Box<Kind>);

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Kind {
    #[error("cannot start primary: {0}")]
    StartPrimary(#[source] io::Error),
    #[error("cannot use directory `{}`: {}", .0.display(), .1)]
    UseDirectory(PathBuf, #[source] io::Error),
    #[error("{0}")]
    UseProgram(#[source] Unfit),
    #[error("cannot reach primary: it has ended")]
    PrimaryEnded,
    #[error("cannot start worker: everything is being ended")]
    Fork,
    #[error("{0}")]
    SpellMessage(#[source] io::Error),
    #[error("cannot send to worker {0}: {1}")]
    Send(WorkerId, #[source] io::Error),
}

impl Error {
    /// The cause as an I/O error, where there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match &*self.0 {
            Kind::StartPrimary(cause)
            | Kind::UseDirectory(_, cause)
            | Kind::SpellMessage(cause)
            | Kind::Send(_, cause) => Some(cause),
            Kind::UseProgram(_) | Kind::PrimaryEnded | Kind::Fork => None,
        }
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Error {
        Error(Box::new(kind))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
