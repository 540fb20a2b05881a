//! The cgroup that this process is in, in the second version's hierarchy.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Its directory. `NotFound`: no such hierarchy is mounted here, or we are not in it.
pub fn own() -> io::Result<PathBuf> {
    let path = own_path(&std::fs::read_to_string("/proc/self/cgroup")?);
    let mount = mount_point(&std::fs::read_to_string("/proc/self/mountinfo")?);
    let (path, mount) = path.zip(mount).ok_or(io::ErrorKind::NotFound)?;
    // Seen from a namespace of cgroups, one above its root begins with `/..`.
    let directory = Path::new(&mount).join(path.trim_start_matches('/'));
    if directory.is_dir() { Ok(directory) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// That directory, opened.
pub fn open_own() -> io::Result<File> {
    File::open(own()?)
}

fn own_path(cgroups: &str) -> Option<String> {
    cgroups.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// `36 35 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw`: any number of fields may stand before the dash.
fn mount_point(mounts: &str) -> Option<String> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let is_second = after.split(' ').next() == Some("cgroup2");
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // A part of the hierarchy that is mounted somewhere is not what paths are from.
        (is_second && root == "/").then(|| point.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::{mount_point, own_path};

    #[test]
    fn the_second_hierarchy_is_told_from_the_first() {
        assert_eq!(own_path("4:memory:/a\n0::/user.slice/b\n").as_deref(), Some("/user.slice/b"));
        assert_eq!(own_path("4:memory:/a\n"), None);
        let mounts = "1 2 0:1 / / rw - ext4 /dev/vda rw\n\
                      2 1 0:2 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      3 1 0:3 /part /mnt rw - cgroup2 cgroup2 rw\n\
                      4 1 0:3 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(mounts).as_deref(), Some("/sys/fs/cgroup/unified"));
        assert_eq!(mount_point("1 2 0:1 / / rw - ext4 /dev/vda rw\n"), None);
    }
}
