//! How a daemon comes to life and leaves: detached, ready, ended by signals, replaced by a newer program.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Daemon, Place};
use crate::error::{Failure, plain};

/// The file of the program that runs: primaries are started with it. After an upgrade that is the new one.
pub(super) fn own_program() -> Result<PathBuf, Failure> {
    let failed = |cause: io::Error| Failure::new(format!("cannot find this program: {}", plain(&cause)));
    let path = std::env::current_exe().map_err(failed)?;
    let text = path.to_string_lossy().into_owned();
    // The kernel says so when the file was replaced since.
    Ok(text.strip_suffix(" (deleted)").map_or(path, PathBuf::from))
}

/// Says that lock and socket of a predecessor are standard input and output.
const TAKES_OVER: &str = "ONEPORT_DAEMON_TAKES_OVER";

/// This process becomes that program, with its lock, so that no other daemon comes in between, and its socket, so that nobody
/// finds it closed. Comes back only when it cannot.
pub(super) fn become_new(program: &Path, place: Place, lock: File, listener: OwnedFd) -> Failure {
    let mut command = Command::new(program);
    command.arg("daemon").env(TAKES_OVER, "1").stdin(lock).stdout(listener);
    if place == Place::Foreground {
        command.arg("--foreground");
    }
    let cause = command.exec();
    Failure::new(format!("cannot execute `{}`: {}", program.display(), plain(&cause)))
}

/// What a predecessor of this process has left to it.
pub(super) fn taken_over() -> Option<(File, OwnedFd)> {
    std::env::var_os(TAKES_OVER)?;
    // Copies that no child inherits, in place of those that every child would.
    let lock = io::stdin().as_fd().try_clone_to_owned().ok()?;
    let listener = io::stdout().as_fd().try_clone_to_owned().ok()?;
    let nothing = File::options().read(true).write(true).open("/dev/null").ok()?;
    rustix::stdio::dup2_stdin(&nothing).and_then(|()| rustix::stdio::dup2_stdout(&nothing)).ok()?;
    Some((lock.into(), listener))
}

/// The daemon's log may be so large; then it is put aside, in place of the one before.
const LARGEST_LOG: u64 = 8 * 1024 * 1024;

/// Keeps the log from growing without bound. All who write there append, so it may be emptied under them; what is written in
/// the moment between is lost.
pub(super) async fn tend_log(daemon: Daemon) {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let log = daemon.0.home.log();
        if std::fs::metadata(&log).is_ok_and(|found| found.len() > LARGEST_LOG) {
            let (from, to) = (log.clone(), log.with_extension("log.1"));
            let emptying = tokio::task::spawn_blocking(move || {
                std::fs::copy(&from, to).and_then(|_| File::options().write(true).open(&from)?.set_len(0))
            });
            if let Ok(Err(cause)) = emptying.await {
                daemon.say(&format!("cannot put `{}` aside: {}", log.display(), plain(&cause)));
            }
        }
    }
}

/// SIGUSR2 opens log files anew, as PM2's daemon does. SIGHUP is passed over; being heard, it is not ignored in children of a
/// daemon that `nohup` has started.
pub(super) async fn hear_other_signals(daemon: Daemon, mut others: OtherSignals) {
    loop {
        tokio::select! {
            _ = others.reopen.recv() => daemon.reopen_logs().await,
            _ = others.hangup.recv() => {}
        }
    }
}

/// Signals that end nobody.
pub(super) struct OtherSignals {
    reopen: Signal,
    hangup: Signal,
}

pub(super) fn other_signals() -> Result<OtherSignals, Failure> {
    let wanted = |kind| signal(kind).map_err(not_heard);
    Ok(OtherSignals { reopen: wanted(SignalKind::user_defined2())?, hangup: wanted(SignalKind::hangup())? })
}

fn not_heard(cause: io::Error) -> Failure {
    Failure::new(format!("cannot receive signals: {}", plain(&cause)))
}

/// Signals that end a daemon.
pub(super) struct Terminate {
    signals: Vec<(&'static str, Signal)>,
}

pub(super) fn signals() -> Result<Terminate, Failure> {
    let wanted = [
        ("SIGTERM", SignalKind::terminate()),
        ("SIGINT", SignalKind::interrupt()),
        ("SIGQUIT", SignalKind::quit()),
    ];
    let signals = wanted.into_iter().map(|(name, kind)| Ok((name, signal(kind).map_err(not_heard)?)));
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
