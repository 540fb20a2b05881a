//! Names of Unix sockets that are too long for an address: the directory is held open, and the socket named through it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

/// What the address of a Unix socket holds beside its final NUL (unix(7)).
pub(crate) const LONGEST_ADDRESS: usize = 107;

/// A path for `bind` and `connect` of this process. It is good as long as this value lives; a socket that is bound stays
/// where it is. Whoever unlinks uses the real path.
#[derive(Debug)]
pub(crate) struct SocketAddress {
    path: PathBuf,
    _directory: Option<OwnedFd>,
}

impl SocketAddress {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for SocketAddress {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

/// The address of a socket: its path itself, or where that is too long one through `/proc/self/fd`.
pub(crate) fn socket_address(path: &Path) -> io::Result<SocketAddress> {
    if path.as_os_str().len() <= LONGEST_ADDRESS {
        return Ok(SocketAddress { path: path.to_owned(), _directory: None });
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::INVAL.into());
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let directory = open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut through = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    through.push(OsStr::from_bytes(name.as_bytes()));
    match through.as_os_str().len() {
        length if length > LONGEST_ADDRESS => Err(Errno::NAMETOOLONG.into()),
        _ => Ok(SocketAddress { path: through, _directory: Some(directory) }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::state::scratch::Scratch;

    #[test]
    fn a_short_path_is_taken_as_it_is() {
        let path = "/".to_owned() + &"x".repeat(LONGEST_ADDRESS - 1);
        assert_eq!(socket_address(Path::new(&path)).unwrap().path(), Path::new(&path));
    }

    #[test]
    fn a_socket_at_the_end_of_a_long_path_is_bound_and_reached() {
        let scratch = Scratch::new();
        let directory = scratch.join(&"d".repeat(150));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("daemon.sock");
        let address = socket_address(&path).unwrap();
        assert!(address.path().starts_with("/proc/self/fd"));
        let listener = UnixListener::bind(address.path()).unwrap();
        drop(address);
        assert!(path.exists());

        let mut client = UnixStream::connect(socket_address(&path).unwrap()).unwrap();
        client.write_all(b"x").unwrap();
        drop(client);
        let mut heard = String::new();
        listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "x");
    }

    #[test]
    fn a_name_that_no_directory_shortens_is_refused() {
        let scratch = Scratch::new();
        let error = socket_address(&scratch.join(&"x".repeat(120))).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::NAMETOOLONG.raw_os_error()));
    }

    #[test]
    fn a_directory_that_is_not_there_is_said() {
        let path = format!("/nowhere/{}/daemon.sock", "x".repeat(100));
        assert_eq!(socket_address(Path::new(&path)).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
