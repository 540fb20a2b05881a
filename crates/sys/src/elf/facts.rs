//! What an executable is, as far as the way in depends on it.
//!
//! Invariant: says what the file says; nothing is run. A dynamic linker given on the command line, or a script's interpreter, is
//! another file, to be asked about for itself.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::layout::{Elf, Note, class_of};
use super::open_regular;

const PT_INTERP: u32 = 3;
/// `.note.go.buildid` (cmd/internal/buildid): the linker writes it unless told to leave the id empty.
const GO_NOTE_NAME: &[u8] = b"Go\0\0";
const GO_BUILD_ID: u32 = 4;
/// Every Go program has it since Go 1.13, as long as it has section headers.
const GO_SECTION: &[u8] = b".go.buildinfo";

/// Of how many bits an executable is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 32 bits: on a 64-bit kernel its calls are another architecture's, and are not trapped.
    Bits32,
    /// 64 bits.
    Bits64,
    /// A script, another format, no regular file.
    NotElf,
}

/// What an executable is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Of how many bits it is.
    pub class: Class,
    /// Its dynamic linker (`PT_INTERP`), as the file spells it. `None`: static, also when position-independent: nothing can be
    /// preloaded into it.
    pub interpreter: Option<PathBuf>,
    /// Whether Go's linker made it: such a program makes its calls itself even where it has a dynamic linker, and makes
    /// multipath TCP listeners by default (Go 1.24).
    pub go: bool,
    /// Whether it runs as its owner, or with its owner's group (mode 4000, or 2000 together with execution by the group).
    /// Without effect under `no_new_privs`.
    pub setuid: bool,
    /// Whether capabilities come with the file (`setcap`). Without effect under `no_new_privs`.
    pub file_capabilities: bool,
}

/// What the executable is. Errors are those of opening it, which needs the permission to read: a file that can only be
/// executed answers `EACCES`, and a process that runs it is not dumpable.
pub fn facts(path: &Path) -> io::Result<Facts> {
    let mut facts =
        Facts { class: Class::NotElf, interpreter: None, go: false, setuid: false, file_capabilities: false };
    let Some(file) = open_regular(path)? else { return Ok(facts) };
    facts.class = class_of(&file);
    facts.setuid = is_setuid(file.metadata()?.mode());
    facts.file_capabilities = has_capabilities(&file);
    if let Some(elf) = Elf::read(&file) {
        facts.interpreter = interpreter(&elf);
        facts.go = is_go(&elf);
    }
    Ok(facts)
}

/// A group's bit without execution by the group once meant mandatory locking, and no other group.
fn is_setuid(mode: u32) -> bool {
    let group = libc::S_ISGID | libc::S_IXGRP;
    mode & libc::S_ISUID != 0 || mode & group == group
}

/// File systems without such attributes have no capabilities either.
fn has_capabilities(file: &File) -> bool {
    // The longest kind has 24 bytes.
    rustix::fs::fgetxattr(file, "security.capability", &mut [0; 64][..]).is_ok()
}

fn interpreter(elf: &Elf<'_>) -> Option<PathBuf> {
    let segment = elf.segments().find(|part| part.kind == PT_INTERP)?;
    let bytes = elf.contents(&segment)?;
    let path = bytes.split(|byte| *byte == 0).next().filter(|path| !path.is_empty())?;
    let longest = usize::try_from(libc::PATH_MAX).ok()?;
    (path.len() < longest).then(|| PathBuf::from(OsString::from_vec(path.to_vec())))
}

fn is_go(elf: &Elf<'_>) -> bool {
    let build_id = |note: &Note<'_>| note.kind == GO_BUILD_ID && note.name == GO_NOTE_NAME;
    elf.any_note(build_id) || elf.has_section(GO_SECTION)
}
