//! The cgroup that this process is in, in the second version's hierarchy, and such that are made below it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::process::{PidfdFlags, pidfd_open};

use crate::process::{self, Pid, Signal};

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

/// How systemd marks what it has handed over (`Delegate=`): the first since version 251, the second, which only root can read,
/// before. Elsewhere a hierarchy has one writer, and that is not us (systemd's CGROUP_DELEGATION).
const HANDED_OVER: [&str; 2] = ["user.delegate", "trusted.delegate"];
/// For kernels without `cgroup.kill`: who is started between two readings is found by the next.
const MOST_READINGS: u32 = 5;

/// A cgroup below our own. Whoever is in it, and whatever they start, stays in it.
#[derive(Debug)]
pub struct Below(PathBuf);

impl Below {
    /// Makes it; `None` where our own was not handed over to us. One that is there is as good.
    pub fn make(name: &str) -> io::Result<Option<Below>> {
        let own = own()?;
        if !is_handed_over(&own) {
            return Ok(None);
        }
        let path = own.join(name);
        match fs::create_dir(&path) {
            Ok(()) => Ok(Some(Below(path))),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(Some(Below(path))),
            // Handed over to the container as a whole, and shown to what is in it to look at.
            Err(cause)
                if matches!(
                    cause.kind(),
                    io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
                ) =>
            {
                Ok(None)
            }
            Err(cause) => Err(cause),
        }
    }

    /// One that was made earlier, by this process or another.
    pub fn find(name: &str) -> Option<Below> {
        let path = own().ok()?.join(name);
        path.join("cgroup.procs").exists().then_some(Below(path))
    }

    /// From now on that process is in it.
    pub fn take_in(&self, process: Pid) -> io::Result<()> {
        fs::write(self.0.join("cgroup.procs"), process.to_string())
    }

    /// Kills everybody in it, however they came there. They are gone a moment later.
    pub fn kill_all(&self) -> io::Result<()> {
        match fs::write(self.0.join("cgroup.kill"), "1") {
            // Before Linux 5.14.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => self.kill_each(),
            killed => killed,
        }
    }

    fn kill_each(&self) -> io::Result<()> {
        for _ in 0..MOST_READINGS {
            let found = fs::read_to_string(self.0.join("cgroup.procs"))?;
            let there: Vec<Pid> =
                found.lines().filter_map(|pid| pid.parse().ok().and_then(Pid::new)).collect();
            if there.is_empty() {
                break;
            }
            for pidfd in
                there.into_iter().filter_map(|pid| pidfd_open(pid.as_rustix(), PidfdFlags::empty()).ok())
            {
                // One that has ended meanwhile needs no signal.
                let _ = process::signal(pidfd.as_fd(), Signal::KILL);
            }
        }
        Ok(())
    }

    /// Removes it; `EBUSY` while anybody is in it.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_dir(&self.0)
    }
}

fn is_handed_over(cgroup: &Path) -> bool {
    HANDED_OVER.iter().any(|name| {
        let mut value = [0; 8];
        rustix::fs::getxattr(cgroup, *name, &mut value[..]).is_ok_and(|n| value.get(..n) == Some(b"1"))
    })
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
