//! Where this process is in the one hierarchy of cgroups that eBPF programs are attached to (version 2).

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstatfs, open};

/// What a file system of cgroups of version 2 says it is (statfs(2)).
const CGROUP2: u64 = 0x6367_7270;

/// The cgroup of this process, where it can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// Its name in the hierarchy, `/` for the first one that is seen from here.
    pub name: String,
    /// Its directory.
    pub directory: PathBuf,
}

/// That of this process. `NotFound`: the hierarchy is not mounted here, or not the part of it that we are in.
pub fn unified_cgroup() -> io::Result<Cgroup> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let name = own_name(&fs::read_to_string("/proc/self/cgroup")?).ok_or_else(missing)?;
    let mounts = fs::read("/proc/self/mountinfo")?;
    let directory = directory_of(&name, &mounts).ok_or_else(missing)?;
    // Another mount may lie over it.
    let opened = open(&directory, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    match u64::try_from(fstatfs(&opened)?.f_type) {
        Ok(CGROUP2) => Ok(Cgroup { name, directory }),
        Ok(_) | Err(_) => Err(missing()),
    }
}

/// The line of version 2 is `0::NAME`; a removed one has ` (deleted)` behind it.
fn own_name(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// A line of mountinfo is `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS] - TYPE SOURCE OPTIONS`, where `ROOT` is the part of
/// the hierarchy that is mounted.
fn directory_of(name: &str, mounts: &[u8]) -> Option<PathBuf> {
    mounts.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        if kind != b"cgroup2" {
            return None;
        }
        let below = Path::new(name).strip_prefix(unescape(root)).ok()?;
        // `/..` in front: in no cgroup that this namespace of them shows.
        let seen = !below.components().any(|part| part == std::path::Component::ParentDir);
        seen.then(|| unescape(point).join(below))
    })
}

/// Blanks and backslashes are written as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                Some((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))
            }
            _ => None,
        };
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &rest[4..] } else { tail };
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{directory_of, own_name, unified_cgroup};

    #[test]
    fn the_directory_is_found_whatever_part_of_the_hierarchy_is_mounted() {
        let mounts = b"23 1 0:21 / /proc rw - proc proc rw\n\
            31 23 0:28 / /sys/fs/cgroup rw shared:9 - tmpfs tmpfs rw\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,nosuid shared:10 master:2 - cgroup2 cgroup2 rw\n";
        let whole = |name| directory_of(name, mounts);
        assert_eq!(whole("/").as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(whole("/a/b").as_deref(), Some(Path::new("/sys/fs/cgroup/unified/a/b")));
        assert_eq!(whole("/../c"), None);
        let part = b"41 31 0:38 /docker/1 /sys/fs/my\\040cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(directory_of("/docker/1/x", part).as_deref(), Some(Path::new("/sys/fs/my cgroup/x")));
        assert_eq!(directory_of("/docker/2", part), None);
        assert_eq!(directory_of("/", b"31 23 0:30 / /cpu rw - cgroup cgroup rw,cpu\n\n"), None);
    }

    #[test]
    fn the_name_is_that_of_version_2() {
        assert_eq!(own_name("9:cpu:/x\n0::/a.slice/b.service\n").as_deref(), Some("/a.slice/b.service"));
        assert_eq!(own_name("9:cpu:/x\n"), None);
    }

    #[test]
    fn what_is_found_here_is_a_directory_with_this_process_in_it() {
        if let Ok(found) = unified_cgroup() {
            let members = std::fs::read_to_string(found.directory.join("cgroup.procs")).unwrap();
            assert!(members.lines().any(|pid| pid == std::process::id().to_string()), "{found:?}");
        }
    }
}
