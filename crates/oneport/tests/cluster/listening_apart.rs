//! Whole tests in a process of their own, for what a process has only one of: its user, its directory, its mask, and
//! the descriptors that it inherited. And directories that go with their test.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use oneport_sys::process::{Pid, Signal, signal_group};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::harness::{ARGS, PATIENCE, PROGRAM};
use crate::listening_ways::Way;

/// Tells the program which way to go.
const WAY: &str = "TEST_WAY";

/// Runs a program in a process of its own, after these lines of shell, and waits for its good end.
pub(crate) fn run_apart(program: &str, way: Way, shell: &str, change: impl FnOnce(&mut Command)) {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(format!("{shell}\nexec \"$0\" \"$@\""));
    command.arg(std::env::current_exe().unwrap()).args(ARGS);
    command.env(PROGRAM, program).env(WAY, format!("{way:?}"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    change(&mut command);
    let mut child = command.spawn().unwrap();
    let group = Pid::new(child.id().cast_signed()).unwrap();
    let pidfd = pidfd_open(rustix::process::Pid::from_child(&child), PidfdFlags::empty()).unwrap();
    let deadline = Instant::now() + 3 * PATIENCE;
    let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).unwrap();
    if poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)).unwrap() == 0 {
        let _ = signal_group(group, Signal::KILL);
        panic!("`{program}` does not end");
    }
    let status = child.wait().unwrap();
    assert!(status.success(), "`{program}` {way:?}: {status}");
}

/// Within such a process: the test itself, on a thread without a runtime.
pub(crate) fn test_apart(body: impl FnOnce(Way) + Send + 'static) {
    let way = std::env::var(WAY).unwrap();
    let ways = [Way::Stream, Way::Channel, Way::Shared, Way::Lanes];
    let way = ways.into_iter().find(|known| format!("{known:?}") == way).unwrap();
    std::thread::spawn(move || body(way)).join().unwrap();
}

/// An empty directory, removed with everything in it.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Directory {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("oneport-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A name in it.
    pub(crate) fn join(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
