//! How many descriptors a process has open.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, fstat, open};

use crate::process::Pid;

/// A process whose descriptors are counted again and again: `/proc/PID/fd`, kept open. It goes on naming that process when the
/// number is another's.
#[derive(Debug)]
pub struct OpenFiles {
    directory: OwnedFd,
    pid: Pid,
}

impl OpenFiles {
    /// `ENOENT`: no such process; `EACCES`: not ours to look at.
    pub fn of(pid: Pid) -> io::Result<OpenFiles> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(OpenFiles { directory: open(format!("/proc/{pid}/fd"), flags, Mode::empty())?, pid })
    }

    /// How many there are now: what the directory calls its size (Linux 6.2, a third of a microsecond), before that its entries
    /// counted. `None`: the process is gone.
    pub fn count(&self) -> Option<u32> {
        let size = fstat(&self.directory).ok()?.st_size;
        match u32::try_from(size) {
            Ok(0) | Err(_) => self.count_entries(),
            Ok(count) => Some(count),
        }
    }

    fn count_entries(&self) -> Option<u32> {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).ok()?;
        u32::try_from(entries.count()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::OpenFiles;
    use crate::process::own_pid;

    #[test]
    fn one_more_descriptor_is_one_more() {
        let open = OpenFiles::of(own_pid()).unwrap();
        let before = open.count().unwrap();
        let _files = [(); 500].map(|()| std::fs::File::open("/dev/null").unwrap());
        // Other tests of this process open and close some.
        assert!(open.count().unwrap() >= before + 400);
    }
}
