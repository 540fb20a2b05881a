//! How the runner reports what it could not do.
//!
//! One opaque sentence, `cannot <verb> <object>: <cause>`: nothing here is handled by kind, it is only shown and
//! noted in the report. A peer that fails costs its own column, never the run.

use std::fmt;

/// One sentence saying what could not be done and why.
#[derive(Debug, Clone)]
pub(crate) struct Failure(String);

/// A result whose error is a sentence for the report.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// `cannot <what>: <cause>`.
    pub(crate) fn cannot(what: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self(format!("cannot {what}: {cause}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Words an error of any source as a [`Failure`].
pub(crate) trait Cannot<T> {
    /// Turns the error into `cannot <what>: <error>`.
    fn cannot(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Cannot<T> for std::result::Result<T, E> {
    fn cannot(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Failure::cannot(what(), cause))
    }
}
