//! Where the parts of an ELF file lie: segments, sections, notes, of 32 and 64 bits.
//!
//! What does not live here: what a part means. Invariant: reads are checked and bounded; a part that cannot be read is as good
//! as not there.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::Class;

/// Real programs have about a dozen program headers and a few dozen sections.
const MAX_HEADERS: u16 = 256;
/// Bytes read of one part.
const MAX_PART: u64 = 64 * 1024;
const PT_NOTE: u32 = 4;
const SHT_NOTE: u32 = 7;

/// The longest header of any table.
const ENTRY: usize = 64;

/// Whether the file begins with the magic number.
pub(super) fn has_magic(file: &File) -> bool {
    read_at::<4>(file, 0) == Some(*b"\x7fELF")
}

/// Of how many bits the file says it is, in whatever byte order.
pub(super) fn class_of(file: &File) -> Class {
    match read_at::<5>(file, 0) {
        Some([0x7f, b'E', b'L', b'F', 1]) => Class::Bits32,
        Some([0x7f, b'E', b'L', b'F', 2]) => Class::Bits64,
        Some(_) | None => Class::NotElf,
    }
}

/// An ELF file of this machine's byte order.
pub(super) struct Elf<'a> {
    file: &'a File,
    class: Class,
    segments: Table,
    sections: Table,
    /// Which section holds the names of the sections.
    names: u16,
}

/// A stretch of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// `PT_*` or `SHT_*`.
    pub(super) kind: u32,
    /// Where a section's name begins among the names.
    name: u32,
    offset: u64,
    size: u64,
    align: u64,
}

/// One record of a note segment or section.
pub(super) struct Note<'a> {
    /// Its meaning, to be read together with the name.
    pub(super) kind: u32,
    /// Whose note it is, with the terminating NUL.
    pub(super) name: &'a [u8],
    /// What it says.
    pub(super) contents: &'a [u8],
}

/// A table of headers, as the file describes it.
struct Table {
    offset: u64,
    size: u16,
    count: u16,
}

impl<'a> Elf<'a> {
    /// `None`: not an ELF file, too short, or of the other byte order.
    pub(super) fn read(file: &'a File) -> Option<Self> {
        let header: [u8; 64] = match read_at::<64>(file, 0) {
            Some(header) => header,
            None => widen(read_at::<52>(file, 0)?),
        };
        let native = if cfg!(target_endian = "little") { 1 } else { 2 };
        if !header.starts_with(b"\x7fELF") || header[5] != native {
            return None;
        }
        // e_phoff, e_shoff; then e_phentsize, e_phnum, e_shentsize, e_shnum and e_shstrndx, two bytes each.
        let (class, starts, counts) = match header[4] {
            1 => (Class::Bits32, [word(&header, 28)?, word(&header, 32)?], 42),
            2 => (Class::Bits64, [u64_at(&header, 32)?, u64_at(&header, 40)?], 54),
            _ => return None,
        };
        let table = |start: u64, at: usize| {
            Some(Table { offset: start, size: u16_at(&header, at)?, count: u16_at(&header, at + 2)? })
        };
        let [segments, sections] = starts;
        let (segments, sections) = (table(segments, counts)?, table(sections, counts + 4)?);
        Some(Self { file, class, segments, sections, names: u16_at(&header, counts + 8)? })
    }

    /// The program headers.
    pub(super) fn segments(&self) -> impl Iterator<Item = Part> + '_ {
        self.segments.entries(self.file, if self.is_wide() { 56 } else { 32 }).filter_map(|entry| {
            let kind = u32_at(&entry, 0)?;
            Some(if self.is_wide() {
                // p_offset, p_filesz, p_align
                let (offset, size, align) = (u64_at(&entry, 8)?, u64_at(&entry, 32)?, u64_at(&entry, 48)?);
                Part { kind, name: 0, offset, size, align }
            } else {
                let (offset, size, align) = (word(&entry, 4)?, word(&entry, 16)?, word(&entry, 28)?);
                Part { kind, name: 0, offset, size, align }
            })
        })
    }

    /// The section headers; a stripped program may have none.
    pub(super) fn sections(&self) -> impl Iterator<Item = Part> + '_ {
        let size = if self.is_wide() { 64 } else { 40 };
        self.sections.entries(self.file, size).filter_map(|entry| self.parse_section(&entry))
    }

    fn parse_section(&self, entry: &[u8; ENTRY]) -> Option<Part> {
        let (name, kind) = (u32_at(entry, 0)?, u32_at(entry, 4)?);
        Some(if self.is_wide() {
            // sh_offset, sh_size, sh_addralign
            let (offset, size, align) = (u64_at(entry, 24)?, u64_at(entry, 32)?, u64_at(entry, 48)?);
            Part { kind, name, offset, size, align }
        } else {
            let (offset, size, align) = (word(entry, 16)?, word(entry, 20)?, word(entry, 32)?);
            Part { kind, name, offset, size, align }
        })
    }

    /// What a part holds, cut at 64 KiB; `None` when the file ends before.
    pub(super) fn contents(&self, part: &Part) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(part.size.min(MAX_PART)).ok()?];
        self.file.read_exact_at(&mut bytes, part.offset).ok()?;
        Some(bytes)
    }

    /// Whether a section bears that name.
    pub(super) fn has_section(&self, wanted: &[u8]) -> bool {
        let names = self.sections().nth(usize::from(self.names)).and_then(|part| self.contents(&part));
        let Some(names) = names else { return false };
        self.sections().any(|part| {
            let start = usize::try_from(part.name).ok().and_then(|start| names.get(start..));
            start.and_then(|rest| rest.split(|byte| *byte == 0).next()) == Some(wanted)
        })
    }

    /// Looks through the note segments, then through the note sections (an object without program headers).
    pub(super) fn any_note(&self, matches: impl Fn(&Note<'_>) -> bool) -> bool {
        let segments = self.segments().filter(|part| part.kind == PT_NOTE);
        let sections = self.sections().filter(|part| part.kind == SHT_NOTE);
        segments.chain(sections).any(|part| {
            let bytes = self.contents(&part).unwrap_or_default();
            // Padded to 4 bytes, or to 8 where the segment is aligned so (`.note.gnu.property`).
            let pad = if part.align == 8 { 8 } else { 4 };
            let mut rest = bytes.as_slice();
            while let Some((note, next)) = split_note(rest, pad) {
                if matches(&note) {
                    return true;
                }
                rest = next;
            }
            false
        })
    }

    fn is_wide(&self) -> bool {
        self.class == Class::Bits64
    }
}

impl Table {
    /// Its headers, each with zeroes behind what the file has; none if they are shorter than `least`.
    fn entries<'a>(&'a self, file: &'a File, least: usize) -> impl Iterator<Item = [u8; ENTRY]> + 'a {
        let count = if usize::from(self.size) >= least { self.count.min(MAX_HEADERS) } else { 0 };
        (0..count).filter_map(move |index| {
            let offset = self.offset.checked_add(u64::from(index) * u64::from(self.size))?;
            let mut entry = [0; ENTRY];
            file.read_exact_at(entry.get_mut(..least)?, offset).ok()?;
            Some(entry)
        })
    }
}

/// The first note and what follows it, always fewer bytes.
fn split_note(bytes: &[u8], pad: usize) -> Option<(Note<'_>, &[u8])> {
    let name_size = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let size = usize::try_from(u32_at(bytes, 4)?).ok()?;
    let kind = u32_at(bytes, 8)?;
    let name = bytes.get(12..)?.get(..name_size)?;
    let start = 12usize.checked_add(name_size)?.checked_next_multiple_of(pad)?;
    let end = start.checked_add(size)?;
    let contents = bytes.get(start..end)?;
    // The last one may lack its padding.
    let rest = bytes.get(end.checked_next_multiple_of(pad)?..).unwrap_or(&[]);
    Some((Note { kind, name, contents }, rest))
}

/// The shorter header of 32-bit files, with zeroes behind.
fn widen(short: [u8; 52]) -> [u8; 64] {
    let mut wide = [0; 64];
    if let Some(place) = wide.first_chunk_mut() {
        *place = short;
    }
    wide
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

/// A 32-bit number of a 32-bit file.
fn word(bytes: &[u8], offset: usize) -> Option<u64> {
    u32_at(bytes, offset).map(u64::from)
}
