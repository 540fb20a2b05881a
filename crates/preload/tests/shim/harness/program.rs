//! A C program under the library: what it says, and its end.

use std::ffi::OsString;
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oneport_sys::preload::VARIABLE;
use oneport_sys::process::{self, Exit, Pid, Signal};
use oneport_sys::spawn::{Child, Command, Stdio};
use rustix::event::{PollFd, PollFlags, poll};

use super::{PATIENCE, Primary, library, wait_readable};

pub(crate) struct Program {
    child: Child,
    output: OwnedFd,
}

impl Program {
    /// An act of the C programs, with its number.
    pub(crate) fn start(probe: &Path, act: &str, number: u16, primary: &Primary) -> Self {
        let words = [act.into(), number.to_string().into()];
        Self::run(probe.into(), words.into(), Some(primary.listener.variable(&primary.token)), None)
    }

    /// The same through a shell, which does something afterwards, so that it stays.
    pub(crate) fn start_in_shell(probe: &Path, act: &str, number: u16, primary: &Primary) -> Self {
        let line = format!("'{}' '{act}' {number}; true", probe.display());
        let value = primary.listener.variable(&primary.token);
        Self::run("/bin/sh".into(), ["-c".into(), line.into()].into(), Some(value), None)
    }

    /// Any program, any value of the variable, any directory.
    pub(crate) fn run(
        program: PathBuf,
        args: Vec<OsString>,
        value: Option<OsString>,
        cwd: Option<PathBuf>,
    ) -> Self {
        let mut command = Command::new(program);
        command.args = args;
        command.env = vec![("LD_PRELOAD".into(), library().into())];
        command.env.extend(value.map(|value| (VARIABLE.into(), value)));
        command.cwd = cwd;
        command.stdout = Stdio::Pipe;
        let mut child = command.spawn().expect("spawn");
        let output = child.stdout.take().expect("piped");
        Self { child, output }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.child.pid
    }

    /// The next line it prints.
    pub(crate) fn line(&self) -> String {
        let mut line = Vec::new();
        loop {
            wait_readable(&self.output);
            let mut byte = [0];
            let read = rustix::io::read(&self.output, &mut byte).expect("read");
            assert_eq!(read, 1, "ended after `{}`", String::from_utf8_lossy(&line));
            if byte[0] == b'\n' {
                return String::from_utf8(line).expect("utf-8");
            }
            line.push(byte[0]);
        }
    }

    /// The next lines it prints.
    pub(crate) fn lines<const N: usize>(&self) -> [String; N] {
        std::array::from_fn(|_| self.line())
    }

    /// The line that says where it listens.
    pub(crate) fn listening(&self) -> u16 {
        let line = self.line();
        let port = line.strip_prefix("listening ").unwrap_or_else(|| panic!("{line}"));
        port.parse().expect("a port")
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn wait(&self) {
        wait_readable(&self.child.pidfd);
        let exit = process::reap(self.child.pidfd.as_fd()).expect("reap").expect("ended");
        assert_eq!(exit, Exit::Code(0));
    }

    /// Ends it at once, and its children.
    pub(crate) fn end(self) {}
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = process::signal_group(self.child.pid, Signal::KILL);
        if process::signal(self.child.pidfd.as_fd(), Signal::KILL).is_ok() {
            let _ = poll(&mut [PollFd::new(&self.child.pidfd, PollFlags::IN)], None);
            let _ = process::reap(self.child.pidfd.as_fd());
        }
    }
}

/// Connects; answers which process answered.
pub(crate) fn ask_pid(port: u16) -> i32 {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connect");
    connection.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let mut text = String::new();
    connection.read_to_string(&mut text).expect("an answer");
    text.trim().parse().expect("a number")
}
