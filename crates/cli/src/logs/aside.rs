//! Files that were put aside: `web-out.log` becomes `web-out.log.2026-11-30T12-00-00.000Z`, and later that
//! with `.gz`. The time is when it was put aside, in UTC, so that names in order are files in order of age;
//! `web-out.log.*` are all of them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::fmt::strtime;

/// `2026-11-30T12-00-00.000Z`: no colons, which some tools take for something else.
const SHAPE: &[u8] = b"0000-00-00T00-00-00.000Z";
pub(super) const PACKED: &str = ".gz";
/// What is being compressed, until it is whole.
pub(super) const UNFINISHED: &str = ".gz.tmp";

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Aside {
    /// First, because it is what they are ordered by.
    pub(super) stamp: String,
    pub(super) path: PathBuf,
    pub(super) packed: Packed,
    pub(super) size: u64,
    pub(super) inode: u64,
    pub(super) modified: Option<SystemTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Packed {
    Plain,
    Gzip,
    /// Half a file that somebody writes, or has left.
    Unfinished,
}

/// The name of the file that a file of this name was put aside from, its stamp, and how it is packed.
fn split(name: &str) -> Option<(&str, &str, Packed)> {
    let (rest, packed) = match (name.strip_suffix(UNFINISHED), name.strip_suffix(PACKED)) {
        (Some(rest), _) => (rest, Packed::Unfinished),
        (None, Some(rest)) => (rest, Packed::Gzip),
        (None, None) => (name, Packed::Plain),
    };
    let (base, stamp) = rest.split_at_checked(rest.len().checked_sub(SHAPE.len())?)?;
    let alike = |(byte, shape): (u8, u8)| if shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
    let fits = stamp.bytes().zip(SHAPE.iter().copied()).all(alike);
    Some((base.strip_suffix('.').filter(|base| !base.is_empty() && fits)?, stamp, packed))
}

pub(super) fn base(name: &str) -> Option<&str> {
    split(name).map(|(base, _, _)| base)
}

/// All in a folder whose file, before it was put aside, was one of these; the oldest first.
pub(super) fn all_in(folder: &Path, of: impl Fn(&str) -> bool) -> io::Result<Vec<Aside>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some((base, stamp, packed)) = name.to_str().and_then(split) else { continue };
        if !of(base) {
            continue;
        }
        // Gone meanwhile: not there.
        if let Ok(metadata) = entry.metadata()
            && metadata.is_file()
        {
            found.push(Aside {
                stamp: stamp.to_owned(),
                path: entry.path(),
                packed,
                size: metadata.size(),
                inode: metadata.ino(),
                modified: metadata.modified().ok(),
            });
        }
    }
    found.sort();
    Ok(found)
}

/// Those of one file that can be read, the oldest first, each once: while one is being replaced by its
/// compressed form both are there.
pub(super) fn of_file(file: &Path) -> Vec<Aside> {
    let (Some(folder), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let mut found = all_in(folder, |base| base == name).unwrap_or_default();
    found.retain(|aside| aside.packed != Packed::Unfinished);
    found.dedup_by(|later, earlier| later.stamp == earlier.stamp);
    found
}

/// The name for a file that is put aside now, behind all that are there, also when the clock has been set
/// back.
pub(super) fn name_for(file: &Path, now: i64, there: &[Aside]) -> PathBuf {
    let newest = there.iter().filter_map(|aside| millis(&aside.stamp)).max();
    let at = newest.map_or(now, |newest| now.max(newest.saturating_add(1)));
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", stamp(at)));
    file.with_file_name(name)
}

/// When that was.
pub(super) fn put_aside_at(stamp: &str) -> Option<SystemTime> {
    let at = Duration::from_millis(u64::try_from(millis(stamp)?).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(at)
}

fn stamp(at: i64) -> String {
    let at = Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H-%M-%S%.3fZ").to_string()
}

fn millis(stamp: &str) -> Option<i64> {
    let time = strtime::parse("%Y-%m-%dT%H-%M-%S%.fZ", stamp).ok()?.to_datetime().ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_age_also_when_the_clock_is_set_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("web-out.log");
        let mut names = Vec::new();
        for now in [1_000, 1_000, 500, 2_000_000_000_000] {
            let name = name_for(&file, now, &of_file(&file));
            fs::write(&name, "x").unwrap();
            names.push(name);
        }
        assert_eq!(names[0], folder.path().join("web-out.log.1970-01-01T00-00-01.000Z"));
        assert_eq!(names[2], folder.path().join("web-out.log.1970-01-01T00-00-01.002Z"));
        let listed: Vec<PathBuf> = of_file(&file).into_iter().map(|aside| aside.path).collect();
        assert_eq!(listed, names);
        assert!(names.is_sorted());
    }

    #[test]
    fn only_what_was_put_aside_counts() {
        assert_eq!(base("a.log.2026-11-30T12-00-00.000Z.gz"), Some("a.log"));
        assert_eq!(base("a.log.2026-11-30T12-00-00.000Z"), Some("a.log"));
        for other in [
            "a.log",
            "a.log.1",
            "a.log.gz",
            ".2026-11-30T12-00-00.000Z",
            "2026-11-30T12-00-00.000Z",
            "é".repeat(13).as_str(),
            "a.log.2026-11-30T12:00:00.000Z",
            "",
        ] {
            assert_eq!(base(other), None, "{other}");
        }
    }

    #[test]
    fn one_that_is_being_compressed_is_there_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.log");
        for ending in ["", PACKED, UNFINISHED] {
            fs::write(folder.path().join(format!("a.log.2026-11-30T12-00-00.000Z{ending}")), "x").unwrap();
        }
        let found = of_file(&file);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].packed, Packed::Plain);
    }
}
