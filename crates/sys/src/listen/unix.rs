//! Unix stream sockets with a name: binding, and taking away a name that is ours.
//!
//! What does not live here: who may use a name (`rights`).
//! Invariant: a file is removed only if it is a socket nobody serves (at bind) or the very inode we made (at close).

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with};

use super::rights::chmod_unix;

/// `sun_path` has 108 bytes, one of them for the terminating NUL.
const MAX_PATH: usize = 107;

/// How often a path may be removed in the moment in which it is bound.
const MOST_TRIES: u32 = 64;

/// Who may use a Unix socket beside its owner (`readableAll`, `writableAll` of Node's `listen`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnixMode {
    /// Everyone may read (adds 0444).
    pub readable_all: bool,
    /// Everyone may write, which is what Linux asks of `connect` (adds 0222).
    pub writable_all: bool,
}

/// Which file a bound path is; both 0 for an abstract name, which has no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixIdentity {
    /// Device number.
    pub dev: u64,
    /// Inode number on it.
    pub ino: u64,
}

/// Binds a Unix stream socket to a path, or to an abstract name when the path begins with a NUL byte, without
/// listening. A path left behind by a dead server is taken over. `EADDRINUSE`: someone serves it, or it is no socket;
/// `EACCES`: no permission, or no such directory (libuv says so, and Node's users know it); `ENAMETOOLONG`: more than
/// 107 bytes; `EINVAL`: empty.
pub fn bind_unix(path: &Path, mode: UnixMode) -> io::Result<(OwnedFd, UnixIdentity)> {
    let address = spell_address(path)?;
    let mut tries = 1;
    loop {
        match bind_once(path, &address, mode) {
            // Another server that begins just now removed it: they do before they bind.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && tries < MOST_TRIES => tries += 1,
            outcome => return outcome,
        }
    }
}

/// `ENOENT`: the path was removed after it was bound.
fn bind_once(path: &Path, address: &SocketAddrUnix, mode: UnixMode) -> io::Result<(OwnedFd, UnixIdentity)> {
    let socket = open_socket()?;
    match bind(&socket, address) {
        Err(Errno::ADDRINUSE) if !is_abstract(path) => {
            unlink_stale(path, address)?;
            bind(&socket, address).map_err(word_as_libuv)?;
        }
        other => other.map_err(word_as_libuv)?,
    }
    if is_abstract(path) {
        return Ok((socket, UnixIdentity { dev: 0, ino: 0 }));
    }
    let identity = read_identity(path)?;
    chmod_unix(path, &identity, mode)?;
    Ok((socket, identity))
}

/// Removes the path if it is still the socket we made; answers whether it did. A path that is gone or that another
/// server made since is left alone. Between look and removal there is a moment without protection: the kernel has no
/// "unlink this inode".
pub fn unlink_if_ours(path: &Path, identity: &UnixIdentity) -> io::Result<bool> {
    if is_abstract(path) {
        return Ok(false);
    }
    match read_identity(path) {
        Ok(present) if present == *identity => {
            fs::remove_file(path)?;
            Ok(true)
        }
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives a bound path a second, hidden name beside it, by which it can be [named again](name_again) when a program has
/// removed the first: connecting finds a socket by its inode, whatever name led there. A hidden name left behind by a dead
/// primary is taken over. `EPERM`: the file system has no hard links.
pub fn second_name(path: &Path) -> io::Result<PathBuf> {
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(path.file_name().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?);
    hidden.push(".oneport");
    let hidden = path.with_file_name(hidden);
    match fs::hard_link(path, &hidden) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !fs::symlink_metadata(&hidden)?.file_type().is_socket() {
                return Err(error);
            }
            fs::remove_file(&hidden)?;
            fs::hard_link(path, &hidden)?;
        }
        other => other?,
    }
    Ok(hidden)
}

/// Makes the path lead to the socket once more, if it does not. `EADDRINUSE`: it is something else by now.
pub fn name_again(hidden: &Path, path: &Path, identity: &UnixIdentity) -> io::Result<()> {
    match fs::hard_link(hidden, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if read_identity(path)? == *identity {
                return Ok(());
            }
            Err(io::Error::from_raw_os_error(libc::EADDRINUSE))
        }
        other => other,
    }
}

/// Removes a path that is a socket nobody serves; `EADDRINUSE` otherwise. A socket that is bound but does not listen
/// yet refuses connections like a dead one (a shared handle between the primary's bind and the worker's listen), so
/// the kernel's table of bound names is asked as well.
fn unlink_stale(path: &Path, address: &SocketAddrUnix) -> io::Result<()> {
    let in_use = || io::Error::from_raw_os_error(libc::EADDRINUSE);
    let metadata = fs::symlink_metadata(path).map_err(|_| in_use())?;
    // Connecting to a plain file answers ECONNREFUSED too.
    if !metadata.file_type().is_socket() || crate::proc::is_unix_path_bound(path) {
        return Err(in_use());
    }
    let probed = UnixIdentity { dev: metadata.dev(), ino: metadata.ino() };
    // Non-blocking: a live server with a full backlog answers EAGAIN instead of making us wait.
    match connect(open_socket()?, address) {
        Err(Errno::CONNREFUSED) => {}
        Ok(()) | Err(_) => return Err(in_use()),
    }
    // Two servers starting at once may both find the name stale; the second must not remove the first one's socket.
    match unlink_if_ours(path, &probed) {
        Ok(_) => Ok(()),
        Err(_) => Err(in_use()),
    }
}

fn open_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

fn spell_address(path: &Path) -> io::Result<SocketAddrUnix> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() > MAX_PATH {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    match bytes {
        // An empty name would make the kernel choose an abstract one.
        [] => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        [0, name @ ..] => Ok(SocketAddrUnix::new_abstract_name(name)?),
        name => Ok(SocketAddrUnix::new(name)?),
    }
}

pub(super) fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_bytes().first() == Some(&0)
}

fn read_identity(path: &Path) -> io::Result<UnixIdentity> {
    let metadata = fs::symlink_metadata(path)?;
    Ok(UnixIdentity { dev: metadata.dev(), ino: metadata.ino() })
}

fn word_as_libuv(error: Errno) -> io::Error {
    match error {
        Errno::NOENT => io::Error::from_raw_os_error(libc::EACCES),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::{UnixMode, bind_unix, name_again, second_name, unlink_if_ours};
    use crate::listen::start_listening;

    #[test]
    fn a_path_that_was_removed_leads_to_the_same_socket_again() {
        let directory = std::env::temp_dir().join(format!("oneport-names-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("app.sock");
        let (socket, identity) = bind_unix(&path, UnixMode::default()).unwrap();
        start_listening(socket.as_fd(), 8).unwrap();
        let hidden = second_name(&path).unwrap();
        // As after a primary that was killed.
        assert_eq!(second_name(&path).unwrap(), hidden);
        fs::remove_file(&path).unwrap();
        assert!(UnixStream::connect(&path).is_err());
        for _ in 0..2 {
            name_again(&hidden, &path, &identity).unwrap();
            UnixStream::connect(&path).unwrap();
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        let error = name_again(&hidden, &path, &identity).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        assert!(unlink_if_ours(&hidden, &identity).unwrap());
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_path_that_others_remove_all_the_time_is_bound_all_the_same() {
        let directory = std::env::temp_dir().join(format!("oneport-removed-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("app.sock");
        let over = std::sync::atomic::AtomicBool::new(false);
        let bound = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = fs::remove_file(&path);
                }
            });
            let bound: Vec<_> = (0..300).map(|_| bind_unix(&path, UnixMode::default())).collect();
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            bound
        });
        // What lies there still is somebody's as long as it does.
        let failed = |error: &std::io::Error| error.raw_os_error() != Some(libc::EADDRINUSE);
        let failed: Vec<_> = bound.into_iter().filter_map(Result::err).filter(failed).collect();
        assert!(failed.is_empty(), "{failed:?}");
        fs::remove_dir_all(&directory).unwrap();
    }
}
