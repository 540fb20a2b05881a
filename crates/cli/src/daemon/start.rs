//! How a daemon comes to life and leaves: detached, ready, ended by signals, replaced by a newer program.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Place;
use crate::error::{Failure, plain};

/// No terminal and no directory holds this process.
pub(super) fn stand_alone() {
    // Fails where it leads a session already.
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
}

/// Tells who started this that it answers, and lets go of the pipe.
pub(super) fn say_ready() {
    // Whoever waited may have gone.
    let _ = io::stdout().write_all(b"{}\n").and_then(|()| io::stdout().flush());
    if let Ok(nothing) = std::fs::File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&nothing);
    }
}

/// The file of the program that runs: primaries are started with it. After an upgrade that is the new one.
pub(super) fn own_program() -> Result<PathBuf, Failure> {
    let failed = |cause: io::Error| Failure::new(format!("cannot find this program: {}", plain(&cause)));
    let path = std::env::current_exe().map_err(failed)?;
    let text = path.to_string_lossy().into_owned();
    // The kernel says so when the file was replaced since.
    Ok(text.strip_suffix(" (deleted)").map_or(path, PathBuf::from))
}

/// This process becomes that program. Comes back only when it cannot.
pub(super) fn become_new(program: &Path, place: Place) -> Failure {
    let mut command = Command::new(program);
    command.arg("daemon");
    if place == Place::Foreground {
        command.arg("--foreground");
    }
    let cause = command.exec();
    Failure::new(format!("cannot execute `{}`: {}", program.display(), plain(&cause)))
}

/// Signals that end a daemon.
pub(super) struct Terminate {
    signals: Vec<(&'static str, Signal)>,
}

pub(super) fn signals() -> Result<Terminate, Failure> {
    let failed = |cause: io::Error| Failure::new(format!("cannot receive signals: {}", plain(&cause)));
    let wanted = [
        ("SIGTERM", SignalKind::terminate()),
        ("SIGINT", SignalKind::interrupt()),
        ("SIGQUIT", SignalKind::quit()),
    ];
    let signals = wanted.into_iter().map(|(name, kind)| Ok((name, signal(kind).map_err(failed)?)));
    Ok(Terminate { signals: signals.collect::<Result<_, Failure>>()? })
}

impl Terminate {
    pub(super) async fn recv(&mut self) -> &'static str {
        std::future::poll_fn(|cx| {
            for (name, signal) in &mut self.signals {
                if signal.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(*name);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
