//! What `systemctl enable` does to files, for where systemd does not run: a link in the directory of the target.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Directories on the way are made. The link is made anew where it is there already.
pub(super) fn enable(link: &Path, unit: &Path) -> io::Result<()> {
    if let Some(parent) = link.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::read_link(link) {
        Ok(there) if there == unit => return Ok(()),
        Ok(_) => std::fs::remove_file(link)?,
        Err(_) => {}
    }
    symlink(unit, link)
}

/// Removes a link; anything else of that name stays.
pub(super) fn disable(link: &Path) -> io::Result<()> {
    match std::fs::read_link(link) {
        Ok(_) => std::fs::remove_file(link),
        Err(_) => Ok(()),
    }
}

/// Where the link is, beside the units.
pub(super) fn link_of(directory: &Path, target: &str, file: &str) -> PathBuf {
    directory.join(format!("{target}.wants")).join(file)
}
