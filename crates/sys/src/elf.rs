//! Reading just enough of an executable to know whether it speaks the channel.
//!
//! What lives here: bounded, checked reads of 64-bit ELF headers and notes. What does not: writing the note
//! (`startup`). Invariant: a file is a stranger's; any size, offset or count in it may lie, and then the answer is
//! "no note", never a panic or a long read.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Type number of our note; its name is `oneport`.
pub(crate) const NOTE_KIND: u32 = 1;

const NOTE_NAME: &[u8] = b"oneport\0";
/// Real programs have about a dozen program headers and a few dozen sections.
const MAX_HEADERS: u16 = 256;
const MAX_NOTES: u64 = 64 * 1024;
const PT_NOTE: u32 = 4;
const SHT_NOTE: u32 = 7;

/// Whether the regular file begins with the ELF magic number. Errors are those of opening it.
pub fn is_elf(path: &Path) -> io::Result<bool> {
    Ok(open_regular(path)?.is_some_and(|file| read_at::<4>(&file, 0) == Some(*b"\x7fELF")))
}

/// Whether the executable carries the note that this crate leaves in every binary it is linked into. Errors are
/// those of opening the file; a malformed, foreign or 32-bit one answers `false`.
pub fn has_note(path: &Path) -> io::Result<bool> {
    Ok(open_regular(path)?.is_some_and(|file| search_notes(&file).unwrap_or(false)))
}

/// `None` for anything but a regular file. Non-blocking: opening a fifo would wait for a writer.
fn open_regular(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

/// Looks through the note segments, then through the note sections (an object without program headers).
fn search_notes(file: &File) -> Option<bool> {
    let header: [u8; 64] = read_at(file, 0)?;
    let native = if cfg!(target_endian = "little") { 1 } else { 2 };
    if !header.starts_with(b"\x7fELF") || header[4] != 2 || header[5] != native {
        return Some(false);
    }
    let segments =
        Table { offset: u64_at(&header, 32)?, size: u16_at(&header, 54)?, count: u16_at(&header, 56)? };
    let sections =
        Table { offset: u64_at(&header, 40)?, size: u16_at(&header, 58)?, count: u16_at(&header, 60)? };
    let in_segments = segments.any_entry::<56>(file, |entry| {
        // p_type 0, p_offset 8, p_filesz 32, p_align 48
        (u32_at(entry, 0)? == PT_NOTE)
            .then(|| notes_match(file, u64_at(entry, 8)?, u64_at(entry, 32)?, u64_at(entry, 48)?))?
    });
    if in_segments {
        return Some(true);
    }
    Some(sections.any_entry::<64>(file, |entry| {
        // sh_type 4, sh_offset 24, sh_size 32, sh_addralign 48
        (u32_at(entry, 4)? == SHT_NOTE)
            .then(|| notes_match(file, u64_at(entry, 24)?, u64_at(entry, 32)?, u64_at(entry, 48)?))?
    }))
}

/// A table of headers, as the file describes it.
struct Table {
    offset: u64,
    size: u16,
    count: u16,
}

impl Table {
    fn any_entry<const N: usize>(&self, file: &File, matches: impl Fn(&[u8; N]) -> Option<bool>) -> bool {
        usize::from(self.size) >= N
            && (0..self.count.min(MAX_HEADERS)).any(|index| {
                let step = u64::from(index) * u64::from(self.size);
                self.offset
                    .checked_add(step)
                    .and_then(|offset| read_at::<N>(file, offset))
                    .and_then(|entry| matches(&entry))
                    .unwrap_or(false)
            })
    }
}

/// Walks the notes of one segment or section. Names and contents are padded to 4 bytes, or to 8 where the
/// segment is aligned so (`.note.gnu.property`).
fn notes_match(file: &File, offset: u64, size: u64, align: u64) -> Option<bool> {
    let mut bytes = vec![0; usize::try_from(size.min(MAX_NOTES)).ok()?];
    file.read_exact_at(&mut bytes, offset).ok()?;
    let pad = if align == 8 { 8 } else { 4 };
    let mut rest = bytes.as_slice();
    loop {
        let name_size = usize::try_from(u32_at(rest, 0)?).ok()?;
        let contents_size = usize::try_from(u32_at(rest, 4)?).ok()?;
        let kind = u32_at(rest, 8)?;
        let name = rest.get(12..)?.get(..name_size)?;
        if kind == NOTE_KIND && name == NOTE_NAME && contents_size == 4 {
            return Some(true);
        }
        let contents = 12usize.checked_add(name_size)?.checked_next_multiple_of(pad)?;
        let next = contents.checked_add(contents_size)?.checked_next_multiple_of(pad)?;
        rest = rest.get(next..)?; // always forward: `next` is at least 12
    }
}

fn read_at<const N: usize>(file: &File, offset: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}
