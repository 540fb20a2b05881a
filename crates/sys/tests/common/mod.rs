//! Waiting with a deadline and ending what a test started.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod program;
pub(crate) mod traps;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use oneport_sys::listen::selector;
use oneport_sys::process::{self, Exit, Signal};
use oneport_sys::spawn::{Child, Command, Stdio};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until the answer is yes.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Waits until the descriptor is readable or hung up.
pub(crate) fn wait_readable(fd: impl AsFd) {
    let timeout = Timespec { tv_sec: i64::try_from(PATIENCE.as_secs()).expect("small"), tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).expect("poll");
    assert_eq!(ready, 1, "nothing to read in time");
}

/// Everything a non-blocking descriptor delivers until its end.
pub(crate) fn read_to_end(fd: OwnedFd) -> String {
    let mut text = Vec::new();
    loop {
        wait_readable(&fd);
        let mut chunk = [0; 4096];
        match rustix::io::read(&fd, &mut chunk).expect("read") {
            0 => return String::from_utf8(text).expect("utf-8"),
            filled => text.extend_from_slice(&chunk[..filled]),
        }
    }
}

/// The first line a non-blocking descriptor delivers.
pub(crate) fn read_line(fd: &OwnedFd) -> String {
    let mut line = Vec::new();
    loop {
        wait_readable(fd);
        let mut byte = [0];
        assert_eq!(rustix::io::read(fd, &mut byte).expect("read"), 1, "ended before a line");
        if byte[0] == b'\n' {
            return String::from_utf8(line).expect("utf-8");
        }
        line.push(byte[0]);
    }
}

/// Spreads what comes over these sockets of the group, at random.
pub(crate) fn choose(fd: BorrowedFd<'_>, indexes: &[u32]) -> std::io::Result<()> {
    let selection = selector::Selection { indexes, spread: selector::Spread::AtRandom, exception: None };
    selector::attach(fd, &selection)
}

/// A command with a search path and piped output.
pub(crate) fn command(program: impl Into<std::ffi::OsString>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args = args.iter().map(Into::into).collect();
    command.env = vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into())];
    command.stdout = Stdio::Pipe;
    command
}

/// A child that is ended with its group when the test is over.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(command: Command) -> Self {
        Self(command.spawn().expect("spawn"))
    }

    pub(crate) fn take_output(&mut self) -> OwnedFd {
        self.0.stdout.take().expect("piped")
    }

    pub(crate) fn wait(&self) -> Exit {
        wait_readable(&self.0.pidfd);
        process::reap(self.0.pidfd.as_fd()).expect("reap").expect("ended")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = process::signal_group(self.0.pid, Signal::KILL);
        if process::signal(self.0.pidfd.as_fd(), Signal::KILL).is_ok() {
            let _ = poll(&mut [PollFd::new(&self.0.pidfd, PollFlags::IN)], None);
            let _ = process::reap(self.0.pidfd.as_fd());
        }
    }
}

/// A fresh directory with a short path, removed when the test is over.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("oneport-sys-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("scratch directory");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
