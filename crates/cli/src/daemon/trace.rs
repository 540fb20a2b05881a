//! What a primary leaves in `run` for the next daemon: its trace and its socket.

use std::io;
use std::path::Path;

use crate::commands::run::managed::{Trace, socket_of, trace_of};

/// What a primary has left in `run`.
pub(super) enum Left {
    Trace(Box<Trace>),
    Nothing,
    /// It is nothing that a primary writes.
    Broken,
    /// There is something, and it cannot be seen what.
    Unreadable(io::Error),
}

impl Left {
    pub(super) fn read(home: &Path, serial: u32) -> Left {
        match std::fs::read(trace_of(home, serial)) {
            Ok(text) => {
                serde_json::from_slice(&text).map_or(Left::Broken, |trace| Left::Trace(Box::new(trace)))
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Left::Nothing,
            Err(cause) => Left::Unreadable(cause),
        }
    }
}

/// Whether it is there, or may be.
pub(super) fn is_left(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

/// Removes what a primary has left in `run`.
pub(super) fn forget(home: &Path, serial: u32) {
    for path in [trace_of(home, serial), socket_of(home, serial)] {
        // Not there is as good.
        let _ = std::fs::remove_file(path);
    }
}
