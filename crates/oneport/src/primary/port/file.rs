//! The path of a Unix socket: a file that we made, and that programs remove and expect as if they had made it.
//!
//! Invariant: it is removed, changed and named again only while it is the socket we made.

use std::io;
use std::path::{Path, PathBuf};

use oneport_sys::foreign::Maker;
use oneport_sys::listen::{self, UnixIdentity, UnixMode};

/// Removed when dropped.
pub(super) struct SocketFile {
    path: PathBuf,
    identity: UnixIdentity,
    /// Its second name, under programs: they remove their path before they bind it and when they leave, though others serve there.
    hidden: Option<PathBuf>,
    /// The program that would have made it without us.
    maker: Option<Maker>,
}

impl SocketFile {
    /// `None`: an abstract name, which has no file. It is found under its own path wherever we are by then.
    pub(super) fn new(path: &Path, identity: UnixIdentity) -> io::Result<Option<SocketFile>> {
        if path.as_os_str().as_encoded_bytes().starts_with(b"\0") {
            return Ok(None);
        }
        let path = std::path::absolute(path)?;
        Ok(Some(SocketFile { path, identity, hidden: None, maker: None }))
    }

    pub(super) fn widen(&self, mode: UnixMode) -> io::Result<()> {
        listen::chmod_unix(&self.path, &self.identity, mode)
    }

    /// A program binds it. The first one decides about its mode and owner, as it would without us. `NotFound` before it
    /// [is kept](Self::is_kept): the socket has lost its only name, and cannot be given another.
    pub(super) fn bind_for(&mut self, maker: Option<Maker>) -> io::Result<()> {
        let hidden = match self.hidden.take() {
            Some(hidden) => hidden,
            None => listen::second_name(&self.path)?,
        };
        let hidden = self.hidden.insert(hidden);
        if let (Some(maker), None) = (maker, self.maker) {
            listen::make_as(hidden, &self.identity, maker)?;
            self.maker = Some(maker);
        }
        listen::name_again(hidden, &self.path, &self.identity)
    }

    /// Whether it outlives that its path is removed.
    pub(super) fn is_kept(&self) -> bool {
        self.hidden.is_some()
    }

    /// A worker is gone; it may have removed the path.
    pub(super) fn name_after_departure(&self) -> io::Result<()> {
        match &self.hidden {
            Some(hidden) => listen::name_again(hidden, &self.path, &self.identity),
            None => Ok(()),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        for path in self.hidden.iter().chain([&self.path]) {
            // Gone or replaced by somebody else: not ours any more either way.
            let _ = listen::unlink_if_ours(path, &self.identity);
        }
    }
}
