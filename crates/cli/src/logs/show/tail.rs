//! Where the last lines of a file begin. It is read backwards in blocks, so its size does not matter; where
//! it has too few, because it has just been put aside, the rest is in what was put aside before, compressed
//! or not.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rustix::fs::OFlags;

use crate::logs::aside::{self, Aside, Packed};

const BLOCK: usize = 64 * 1024;

/// What is to be read, the oldest first.
pub(super) enum Part {
    /// From here to there.
    Plain { file: File, from: u64, to: u64 },
    /// Without so many lines at its beginning.
    Gzip { path: PathBuf, skip: usize },
}

#[derive(Default)]
pub(super) struct Tail {
    pub(super) parts: Vec<Part>,
    /// The file of that name, and how far it was looked at.
    pub(super) current: Option<(File, u64)>,
    /// The stamp of the newest that had been put aside before that was opened.
    pub(super) newest: Option<String>,
    /// Why it cannot be read, where it is there.
    pub(super) trouble: Option<io::Error>,
}

/// Without waiting for a writer, and only what has an end: a FIFO is read by whoever it is meant for.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::from(io::ErrorKind::Unsupported)),
    }
}

/// The stamp of what was put aside last.
pub(super) fn newest(path: &Path) -> Option<String> {
    asides(path).pop().map(|aside| aside.stamp)
}

/// What was put aside of a file, also where its name is a symbolic link.
pub(super) fn asides(path: &Path) -> Vec<Aside> {
    let linked = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    let real = if linked { fs::canonicalize(path).ok() } else { None };
    aside::of_file(real.as_deref().unwrap_or(path))
}

pub(super) fn last(path: &Path, lines: usize) -> Tail {
    let newest = asides(path).pop().map(|aside| aside.stamp);
    let mut tail = Tail { newest, ..Tail::default() };
    let mut missing = lines;
    let mut inode = None;
    let opened = open(path).map_err(|error| {
        let nothing = [io::ErrorKind::NotFound, io::ErrorKind::Unsupported].contains(&error.kind());
        tail.trouble = (!nothing).then_some(error);
    });
    if let Ok(file) = opened
        && let Ok(metadata) = file.metadata()
        && let Ok(again) = file.try_clone()
    {
        let to = metadata.len();
        let (from, found) = back(&file, to, lines).unwrap_or((to, 0));
        missing -= found;
        inode = Some(metadata.ino());
        if found > 0 {
            tail.parts.push(Part::Plain { file: again, from, to });
        }
        tail.current = Some((file, to));
    }
    for aside in asides(path).iter().rev() {
        if missing == 0 {
            break;
        }
        // It was opened by its old name.
        if Some(aside.inode) == inode {
            continue;
        }
        if let Ok(Some((part, found))) = of_aside(aside, missing) {
            missing -= found;
            tail.parts.push(part);
        }
    }
    tail.parts.reverse();
    tail
}

fn of_aside(aside: &Aside, lines: usize) -> io::Result<Option<(Part, usize)>> {
    match aside.packed {
        Packed::Plain => {
            let file = open(&aside.path)?;
            let to = file.metadata()?.len();
            let (from, found) = back(&file, to, lines)?;
            Ok((found > 0).then_some((Part::Plain { file, from, to }, found)))
        }
        Packed::Gzip => {
            let all = count(MultiGzDecoder::new(open(&aside.path)?));
            let found = all.min(lines);
            let part = Part::Gzip { path: aside.path.clone(), skip: all - found };
            Ok((found > 0).then_some((part, found)))
        }
        Packed::Unfinished => Ok(None),
    }
}

/// Where the last lines begin, and how many there are: fewer than asked for where the file has fewer.
fn back(file: &File, end: u64, lines: usize) -> io::Result<(u64, usize)> {
    if lines == 0 || end == 0 {
        return Ok((end, 0));
    }
    let mut block = vec![0; BLOCK];
    let (mut at, mut found) = (end, 0);
    while at > 0 {
        let len = usize::try_from(at).unwrap_or(BLOCK).min(BLOCK);
        let start = at - len as u64;
        file.read_exact_at(&mut block[..len], start)?;
        for place in (0..len).rev() {
            // The last line feed ends the last line and begins none.
            let begins = block[place] == b'\n' && start + place as u64 + 1 < end;
            found += usize::from(begins);
            if found == lines {
                return Ok((start + place as u64 + 1, lines));
            }
        }
        at = start;
    }
    Ok((0, found + 1))
}

/// As far as it can be read.
fn count(mut from: impl Read) -> usize {
    let mut block = vec![0; BLOCK];
    let (mut lines, mut unfinished) = (0, false);
    while let Ok(n @ 1..) = from.read(&mut block) {
        lines += block[..n].iter().filter(|byte| **byte == b'\n').count();
        unfinished = block[n - 1] != b'\n';
    }
    lines + usize::from(unfinished)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_of(content: &str, lines: usize) -> (String, usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, content).unwrap();
        let (from, found) = back(&open(&path).unwrap(), content.len() as u64, lines).unwrap();
        (content[usize::try_from(from).unwrap()..].to_owned(), found)
    }

    #[test]
    fn lines_are_counted_from_the_end() {
        assert_eq!(last_of("a\nb\nc\n", 2), ("b\nc\n".into(), 2));
        assert_eq!(last_of("a\nb\nc", 2), ("b\nc".into(), 2));
        assert_eq!(last_of("a\nb\n\n", 2), ("b\n\n".into(), 2));
        assert_eq!(last_of("a\nb\n", 5), ("a\nb\n".into(), 2));
        assert_eq!(last_of("\n", 1), ("\n".into(), 1));
        assert_eq!(last_of("", 3), (String::new(), 0));
        assert_eq!(last_of("a\n", 0), (String::new(), 0));
    }

    #[test]
    fn lines_longer_than_a_block_are_found_too() {
        let long = "x".repeat(3 * BLOCK);
        assert_eq!(last_of(&format!("a\n{long}\n{long}"), 1), (long.clone(), 1));
        assert_eq!(last_of(&format!("{}\n{}\n", &long[1..BLOCK], &long[..BLOCK]), 2).1, 2);
        for around in BLOCK - 2..BLOCK + 2 {
            assert_eq!(last_of(&format!("a\n{}\n", &long[..around]), 1).1, 1);
        }
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        assert!(open(Path::new("/dev/zero")).is_err());
        assert!(open(Path::new("/")).is_err());
        assert!(last(Path::new("/nowhere/at/all"), 5).current.is_none());
    }
}
