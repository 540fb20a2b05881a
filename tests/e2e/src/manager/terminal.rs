//! A command on a terminal of its own, and what stands on its screen.

use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::PATIENCE;
use crate::procfs;
use crate::wait::eventually_within;

/// What the command has written, and what a terminal makes of that.
struct Shown {
    screen: vt100::Parser,
    bytes: Vec<u8>,
}

/// A command that runs on a terminal.
pub struct Terminal {
    child: Child,
    shown: Arc<Mutex<Shown>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    pub(super) fn start(mut command: Command, rows: u16, columns: u16) -> Terminal {
        let (master, slave) = pair(rows, columns).expect("a terminal can be had");
        let end = || slave.try_clone().expect("a descriptor can be copied");
        command.stdin(end()).stdout(end()).stderr(end()).process_group(0).env("TERM", "xterm");
        let child = command.spawn().expect("the command can be started");
        // Its copies go with the command: reading ends when it does.
        drop((command, slave));
        let size = |n: u16| NonZero::new(n).expect("a terminal has lines and columns");
        let screen = vt100::Parser::new(size(rows), size(columns), 1000);
        let shown = Arc::new(Mutex::new(Shown { screen, bytes: Vec::new() }));
        let (reading, mut from) = (shown.clone(), File::from(master));
        let reader = std::thread::spawn(move || {
            let mut block = [0; 4096];
            // EIO: nobody has the other end any more.
            while let Ok(n @ 1..) = from.read(&mut block) {
                let mut shown = reading.lock().unwrap_or_else(PoisonError::into_inner);
                shown.screen.process(&block[..n]);
                shown.bytes.extend_from_slice(&block[..n]);
            }
        });
        Terminal { child, shown, reader: Some(reader) }
    }

    /// What stands there now, line by line.
    pub fn screen(&self) -> String {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).screen.screen().contents()
    }

    /// Everything that was written, with all that moves the cursor.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap_or_else(PoisonError::into_inner).bytes).into_owned()
    }

    /// Waits until the screen is like this.
    #[track_caller]
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        eventually_within(PATIENCE, &format!("{what} on the screen:\n{}", self.screen()), || {
            Some(self.screen()).filter(|screen| is_so(screen))
        })
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        procfs::signal(self.child.id(), signal);
    }

    /// Waits for its end: the exit code, 128 and the number after a signal.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        let status = eventually_within(PATIENCE, "the end of a command on a terminal", || {
            self.child.try_wait().expect("a child can be waited for")
        });
        if let Some(reader) = self.reader.take() {
            reader.join().expect("a reader does not panic");
        }
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended long since.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Ours, and the command's.
fn pair(rows: u16, columns: u16) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let slave = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    tcsetwinsize(&slave, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    Ok((master, slave))
}
