//! Who may use a Unix path: the mode and the owner of its file.
//!
//! What does not live here: binding it and giving it names (`unix`). Invariant: nothing is changed but the very inode we
//! made. Whoever may write to the directory can put another file or a symbolic link in its place at any moment, so the file
//! is opened without being followed, looked at, and changed through that descriptor.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fstat, open};
use rustix::process::getegid;

use super::unix::{UnixIdentity, UnixMode, is_abstract};
use crate::foreign::Maker;

/// Adds the permissions to the path; never takes any away. Nothing to do for an abstract name. `EADDRINUSE`: it is something
/// else by now; `ENOENT`: it is gone.
pub fn chmod_unix(path: &Path, identity: &UnixIdentity, mode: UnixMode) -> io::Result<()> {
    let wanted = if mode.readable_all { 0o444 } else { 0 } | if mode.writable_all { 0o222 } else { 0 };
    if wanted == 0 || is_abstract(path) {
        return Ok(());
    }
    let (file, stat) = open_ours(path, identity)?;
    set_mode(&file, stat.st_mode & 0o7777 | wanted)
}

/// Gives the path the mode and the owner that it would have if that process had bound it. The group of a directory that
/// gives its own away (setgid) stays; so does our own user where we may not give files to others. Nothing to do for an
/// abstract name. Errors as for [`chmod_unix`].
pub fn make_as(path: &Path, identity: &UnixIdentity, maker: Maker) -> io::Result<()> {
    if is_abstract(path) {
        return Ok(());
    }
    let (file, stat) = open_ours(path, identity)?;
    // First, so that nobody has more than is meant in between.
    set_mode(&file, 0o777 & !maker.umask)?;
    let user = (stat.st_uid != maker.user).then(|| Uid::from_raw(maker.user));
    let is_groups_ours = stat.st_gid == getegid().as_raw() && stat.st_gid != maker.group;
    let group = is_groups_ours.then(|| Gid::from_raw(maker.group));
    if user.is_some() || group.is_some() {
        match chownat(&file, "", user, group, AtFlags::EMPTY_PATH) {
            Ok(()) | Err(rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// `O_PATH`, which needs no permission on the file and does nothing to it.
fn open_ours(path: &Path, identity: &UnixIdentity) -> io::Result<(OwnedFd, Stat)> {
    let file = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstat(&file)?;
    let found = UnixIdentity { dev: stat.st_dev, ino: stat.st_ino };
    if found != *identity || FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
    }
    Ok((file, stat))
}

/// By the descriptor's name: `fchmod` refuses one of `O_PATH`, and `fchmodat2` came with Linux 6.6 only.
fn set_mode(file: &OwnedFd, mode: u32) -> io::Result<()> {
    fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    use super::{chmod_unix, make_as};
    use crate::foreign::Maker;
    use crate::listen::{UnixMode, bind_unix};

    const EVERYBODY: UnixMode = UnixMode { readable_all: true, writable_all: true };

    fn scratch(name: &str) -> std::path::PathBuf {
        let directory = std::env::temp_dir().join(format!("oneport-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn what_stands_in_place_of_the_socket_keeps_its_mode() {
        let directory = scratch("replaced");
        let (path, secret) = (directory.join("app.sock"), directory.join("secret"));
        let (_socket, identity) = bind_unix(&path, UnixMode::default()).unwrap();
        fs::write(&secret, "").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let maker = Maker { umask: 0, user: fs::metadata(&secret).unwrap().uid(), group: 0 };
        let away = directory.join("away.sock");
        fs::rename(&path, &away).unwrap();
        let replace: [fn(&Path, &Path); 3] = [
            |secret, path| symlink(secret, path).unwrap(),
            |secret, path| fs::hard_link(secret, path).unwrap(),
            |secret, path| symlink(secret.with_file_name("away.sock"), path).unwrap(),
        ];
        let before = mode(&away);
        for replace in replace {
            replace(&secret, &path);
            for error in [
                chmod_unix(&path, &identity, EVERYBODY).unwrap_err(),
                make_as(&path, &identity, maker).unwrap_err(),
            ] {
                assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
            }
            assert_eq!((mode(&secret), mode(&away)), (0o600, before));
            fs::remove_file(&path).unwrap();
        }
        chmod_unix(&away, &identity, EVERYBODY).unwrap();
        assert_eq!(mode(&away), before | 0o666);
        let gone = chmod_unix(&path, &identity, EVERYBODY).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ENOENT));
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_path_is_as_if_another_process_had_made_it() {
        let directory = scratch("made");
        let path = directory.join("app.sock");
        let (_socket, identity) = bind_unix(&path, UnixMode::default()).unwrap();
        let found = fs::metadata(&path).unwrap();
        let (user, group) = (found.uid(), found.gid());
        for umask in [0o077, 0o000, 0o022] {
            make_as(&path, &identity, Maker { umask, user, group }).unwrap();
            assert_eq!(mode(&path), 0o777 & !umask);
        }
        // Given away by root alone; for others that it stays theirs is no error.
        make_as(&path, &identity, Maker { umask: 0o177, user: user + 1, group: group + 1 }).unwrap();
        let given = fs::metadata(&path).unwrap();
        let expected = if user == 0 { (1, group + 1) } else { (user, group) };
        assert_eq!((mode(&path), (given.uid(), given.gid())), (0o600, expected));
        fs::remove_dir_all(&directory).unwrap();
    }
}
