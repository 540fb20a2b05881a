//! The cgroup that this process is in, in the second version's hierarchy.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Its directory. `NotFound`: no such hierarchy is mounted here, we are not in it, or only a part of it is mounted that we are
/// not in.
pub fn own() -> io::Result<PathBuf> {
    let path = own_path(&std::fs::read_to_string("/proc/self/cgroup")?);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let found = path.and_then(|path| directories(&mounts, &path).find(|directory| directory.is_dir()));
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// That directory, opened.
pub fn open_own() -> io::Result<File> {
    File::open(own()?)
}

fn own_path(cgroups: &str) -> Option<String> {
    cgroups.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// Where a cgroup is to be found, by the mounts of the second hierarchy and what of it each shows:
/// `36 35 0:30 /shown /at rw,nosuid - cgroup2 cgroup2 rw`; any number of fields may stand before the dash.
fn directories<'a>(mounts: &'a str, cgroup: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    mounts.lines().filter_map(move |line| {
        let (before, after) = line.split_once(" - ")?;
        let is_second = after.split(' ').next() == Some("cgroup2");
        let mut fields = before.split(' ').skip(3);
        let (shown, at) = (unescaped(fields.next()?), unescaped(fields.next()?));
        // Seen from a namespace of cgroups, one above its root begins with `/..`.
        let below = Path::new(cgroup).strip_prefix(&shown).ok().filter(|_| is_second)?;
        Some(at.join(below))
    })
}

/// Blanks and such are written as three octal digits (`\040`).
fn unescaped(field: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = field.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let digits = others.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\');
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &others[3..] } else { others };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{directories, own_path};

    #[test]
    fn the_second_hierarchy_is_told_from_the_first() {
        assert_eq!(own_path("4:memory:/a\n0::/user.slice/b\n").as_deref(), Some("/user.slice/b"));
        assert_eq!(own_path("4:memory:/a\n"), None);
        let mounts = "1 2 0:1 / / rw - ext4 /dev/vda rw\n\
                      2 1 0:2 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      4 1 0:3 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(found(mounts, "/a/b"), ["/sys/fs/cgroup/unified/a/b"]);
        assert_eq!(found(mounts, "/"), ["/sys/fs/cgroup/unified"]);
        assert_eq!(found("1 2 0:1 / / rw - ext4 /dev/vda rw\n", "/"), [""; 0]);
    }

    #[test]
    fn a_part_of_it_shows_what_is_in_that() {
        let mounts = "3 1 0:3 /docker/ab /mnt/my\\040part rw - cgroup2 cgroup2 rw\n";
        assert_eq!(found(mounts, "/docker/ab/c"), ["/mnt/my part/c"]);
        assert_eq!(found(mounts, "/docker/ab"), ["/mnt/my part"]);
        assert_eq!(found(mounts, "/docker/abc"), [""; 0]);
        assert_eq!(found(mounts, "/"), [""; 0]);
    }

    fn found(mounts: &str, cgroup: &str) -> Vec<String> {
        let shown = |path: PathBuf| path.to_string_lossy().trim_end_matches('/').to_owned();
        directories(mounts, cgroup).map(shown).collect()
    }
}
