//! Reading just enough of an executable to know how it can be attached: whether it speaks the channel, and what else the
//! way in depends on (`facts`).
//!
//! What lives here: the questions. What does not: where headers lie (`layout`), writing our note (`startup`). Invariant: a
//! file is a stranger's; any size, offset or count in it may lie, and then the answer is "no such thing", never a panic or
//! a long read.

mod facts;
mod layout;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use self::layout::{Elf, Note};

pub use facts::{Class, Facts, facts};

/// Type number of our note; its name is `oneport`.
pub(crate) const NOTE_KIND: u32 = 1;

const NOTE_NAME: &[u8] = b"oneport\0";

/// Whether the regular file begins with the ELF magic number. Errors are those of opening it.
pub fn is_elf(path: &Path) -> io::Result<bool> {
    Ok(open_regular(path)?.as_ref().is_some_and(layout::has_magic))
}

/// Whether the executable carries the note that this crate leaves in every binary it is linked into. Errors are
/// those of opening the file; a malformed one, and one of the other byte order, answers `false`.
pub fn has_note(path: &Path) -> io::Result<bool> {
    let Some(file) = open_regular(path)? else { return Ok(false) };
    let ours = |note: &Note<'_>| note.kind == NOTE_KIND && note.name == NOTE_NAME && note.contents.len() == 4;
    Ok(Elf::read(&file).is_some_and(|elf| elf.any_note(ours)))
}

/// `None` for anything but a regular file. Non-blocking: opening a fifo would wait for a writer.
fn open_regular(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}
