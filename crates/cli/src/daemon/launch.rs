//! Starting primaries, watching them, and starting them again when they end unasked.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use oneport_sys::cgroup::Below;
use oneport_sys::process::{self, Pid};
use oneport_sys::tree::MARK_VARIABLE;
use oneport_wire::control::{Happening, JobState, Problem, ProblemKind, What};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::time::timeout;

use super::apps::{App, Primary};
use super::leftovers::{TreeRule, close_group, end_leftovers, group_of};
use super::trace::{Left, forget, is_left};
use super::{Daemon, open_log};
use crate::commands::run::managed::{Boot, Origin, Trace, socket_of, trace_of};
use crate::control::client::Client;
use crate::control::{problem, segment};
use crate::error::plain;
use crate::state::{VARIABLE, environment};

/// How long a primary may take until it answers.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause before a primary that ended unasked is started again: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// One that ran so long has nothing to do with earlier ends.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

impl Daemon {
    /// Starts the primary of an app that is in the table, and watches it.
    /// Does nothing for one that has a primary, or is another one of that name by now.
    pub(super) async fn launch(&self, name: &str, serial: u32, stopped: Vec<u32>) -> Result<(), Problem> {
        let home = self.0.home.path();
        let boot = {
            let table = self.table();
            let app =
                table.apps.get(name).filter(|app| app.serial == serial && app.primary == Primary::Coming);
            app.filter(|_| !table.ending).map(|app| app.boot(home, self.0.nofile_soft, stopped))
        };
        let Some(boot) = boot else { return Ok(()) };
        // One that was there before has left its own, which tells more.
        if !is_left(&trace_of(home, serial))
            && let Err(failure) = boot.announce()
        {
            self.say(failure.message());
        }
        let _launching = self.0.launching.begin();
        match self.spawn(&boot).await {
            Ok((pid, pidfd)) => {
                if let Some(unwanted) = self.watch(name, serial, pid, pidfd) {
                    let _ = process::signal(unwanted.as_fd(), process::Signal::TERM);
                    let _ = timeout(PATIENCE, await_end(unwanted)).await;
                    end_leftovers(&boot.mark).await;
                    forget(home, serial);
                }
                Ok(())
            }
            Err(problem) => {
                // It may have come as far as to start workers.
                end_leftovers(&boot.mark).await;
                let _ = std::fs::remove_file(socket_of(home, serial));
                if self.table().apps.get(name).is_none_or(|app| app.serial != serial) {
                    // Taken off the list meanwhile.
                    forget(home, serial);
                }
                Err(problem)
            }
        }
    }

    /// From now on it is known who runs an app, and its end is noticed. Gives it back where the app was taken off the list
    /// while its primary was starting.
    pub(super) fn watch(&self, name: &str, serial: u32, pid: Pid, pidfd: OwnedFd) -> Option<OwnedFd> {
        {
            let mut table = self.table();
            match table.apps.get_mut(name).filter(|app| app.serial == serial) {
                Some(app) => {
                    (app.primary, app.up_since) = (Primary::Up { pid: pid.get() }, Some(Instant::now()));
                }
                None => return Some(pidfd),
            }
        }
        let (daemon, name) = (self.clone(), name.to_owned());
        tokio::spawn(async move {
            let followed = tokio::spawn(follow(daemon.clone(), name.clone(), serial));
            await_end(pidfd).await;
            followed.abort();
            daemon.ended(&name, serial, pid).await;
        });
        None
    }

    /// A primary is gone. It removes its trace and its socket when it was asked to go; on a full disk it may have no trace.
    async fn ended(&self, name: &str, serial: u32, pid: Pid) {
        let home = self.0.home.path();
        let in_order = !is_left(&trace_of(home, serial)) && !is_left(&socket_of(home, serial));
        // What was changed since it was started is in its trace.
        let trace = match Left::read(home, serial) {
            Left::Trace(trace) if trace.pid != 0 => Some(trace),
            Left::Trace(_) | Left::Nothing | Left::Broken | Left::Unreadable(_) => None,
        };
        let stopped = trace.as_ref().map(|trace| trace.stopped.clone()).unwrap_or_default();
        if in_order {
            return self.leaves(name, serial, pid).await;
        }
        let (mark, pause) = {
            let mut table = self.table();
            let Some(app) = table.apps.get_mut(name).filter(|app| app.is_run_by(serial, pid)) else { return };
            app.primary = Primary::Coming;
            if let Some(trace) = trace {
                let Trace { spec, ids, .. } = *trace;
                (app.spec, app.ids) = (spec, ids);
            }
            if app.up_since.is_some_and(|since| since.elapsed() > FORGIVEN_AFTER) {
                app.crashes = 0;
            }
            app.crashes += 1;
            let pause = FIRST_PAUSE.saturating_mul(1 << (app.crashes - 1).min(10)).min(LONGEST_PAUSE);
            (app.mark.clone(), pause)
        };
        self.say(&format!("the primary of `{name}` (pid {pid}) has ended unexpectedly; it is started again"));
        let left = end_leftovers(&mark).await;
        if left > 0 {
            self.say(&format!("{left} processes that it left behind were ended"));
        }
        self.bring_back(name.to_owned(), serial, stopped, pause);
    }

    /// An app that was deleted is off the list once nothing of it is left.
    async fn leaves(&self, name: &str, serial: u32, pid: Pid) {
        let app = self.table().apps.get(name).filter(|app| app.is_run_by(serial, pid)).cloned();
        let Some(app) = app else { return };
        close_group(app.mark, TreeRule::of(&app.spec)).await;
        let mut table = self.table();
        if table.apps.get(name).is_some_and(|app| app.is_run_by(serial, pid)) {
            table.apps.remove(name);
        }
    }

    /// Starts it again after a pause, as often as it takes.
    pub(super) fn bring_back(&self, name: String, serial: u32, stopped: Vec<u32>, mut pause: Duration) {
        let daemon = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                match daemon.launch(&name, serial, stopped.clone()).await {
                    Ok(()) => return,
                    Err(problem) => daemon.say(&problem.error),
                }
                pause = pause.saturating_mul(2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            }
        });
    }

    async fn spawn(&self, boot: &Boot) -> Result<(Pid, OwnedFd), Problem> {
        let name = &boot.spec.name;
        let failed = |cause: io::Error| {
            let message = format!("cannot start the primary of `{name}`: {}", plain(&cause));
            problem(ProblemKind::Failed, message, None)
        };
        let mut command = Command::new(&self.0.program);
        // What the app gets comes with the rest; the primary itself needs to know where programs are, and little else.
        command.arg("primary").env_clear().envs(environment::allowed(&boot.environment));
        command.envs(boot.environment.get_key_value("NODE_CLUSTER_SCHED_POLICY"));
        // Everything that it starts inherits this mark, by which it is found and ended if the primary is not there to do so.
        command.env(VARIABLE, self.0.home.path()).env(MARK_VARIABLE, &boot.mark);
        let log = open_log(&self.0.home).map(Stdio::from).unwrap_or_else(|_| Stdio::null());
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(failed)?;
        let unknown = || io::Error::other("it has no process");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::new).ok_or_else(unknown).map_err(failed)?;
        let pidfd = open_pidfd(pid).map_err(failed)?;
        // Before it is told what to be: all that it starts is in there with it.
        if let Err(cause) = Below::make(&group_of(&boot.mark))
            .and_then(|group| group.map_or(Ok(()), |group| group.take_in(pid)))
        {
            self.say(&format!("cannot give `{name}` a control group of its own: {}", plain(&cause)));
        }
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else { return Err(failed(unknown())) };
        let mut stdin = pipe::Sender::from_owned_fd(stdin.into()).map_err(failed)?;
        let mut stdout = pipe::Receiver::from_owned_fd(stdout.into()).map_err(failed)?;
        let text = serde_json::to_vec(boot).unwrap_or_default();
        let talk = async {
            stdin.write_all(&text).await?;
            drop(stdin);
            let mut answer = [0; 1];
            stdout.read(&mut answer).await
        };
        match timeout(PATIENCE, talk).await {
            Ok(Ok(n)) if n > 0 => Ok((pid, pidfd)),
            Ok(Ok(_) | Err(_)) | Err(_) => {
                // It did not come to answer: what it said is in the log.
                let _ = child.kill();
                // It may take a moment to be gone.
                let _ = tokio::task::spawn_blocking(move || child.wait()).await;
                let message = format!("cannot start the primary of `{name}`: it ended, or does not answer");
                let hint = format!("`{}` has its last words", self.0.home.log().display());
                Err(problem(ProblemKind::Failed, message, Some(&hint)))
            }
        }
    }

    /// An app was changed by a request that passed: its environment is nowhere but in its primary and here.
    pub(super) async fn refresh(&self, name: &str) {
        let client = self.table().apps.get(name).map(|app| (app.serial, self.client(app)));
        let Some((serial, client)) = client else { return };
        let asked = client.get::<Origin>(&format!("/v1/apps/{}/origin", segment(name))).await;
        if let Ok(origin) = asked
            && let Some(app) = self.table().apps.get_mut(name).filter(|app| app.serial == serial)
        {
            (app.spec, app.environment, app.ids) = (origin.spec, origin.environment, origin.ids);
            app.is_guessed = false;
        }
    }

    pub(super) fn client(&self, app: &App) -> Client {
        Client::new(socket_of(self.0.home.path(), app.serial))
    }
}

pub(super) fn open_pidfd(pid: Pid) -> io::Result<OwnedFd> {
    let number = rustix::process::Pid::from_raw(pid.get()).ok_or(rustix::io::Errno::SRCH)?;
    Ok(pidfd_open(number, PidfdFlags::empty())?)
}

/// How many primaries are being started: a daemon does not end in the middle of that.
#[derive(Debug, Default)]
pub(super) struct Launching(AtomicUsize);

/// One of them.
pub(super) struct Launch<'a>(&'a Launching);

impl Launching {
    fn begin(&self) -> Launch<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Launch(self)
    }

    pub(super) fn is_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Launch<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether this line tells of the end of a job: an app may be another one since.
fn is_job_over(line: &str) -> bool {
    // Most lines are of something else, and some are long.
    let told = line.contains("\"job\"").then(|| serde_json::from_str::<Happening>(line).ok()).flatten();
    told.is_some_and(|told| match told.what {
        What::Job { job } => job.state != JobState::Running,
        What::Worker { .. }
        | What::Listening { .. }
        | What::Created
        | What::Deleted
        | What::Missed { .. } => false,
    })
}

/// Passes on what a primary tells. Ended from outside, when it has ended.
async fn follow(daemon: Daemon, name: String, serial: u32) {
    let client = Client::new(socket_of(daemon.0.home.path(), serial));
    loop {
        if let Ok(mut lines) = client.lines("/v1/events").await {
            // What it told before was not heard.
            daemon.refresh(&name).await;
            while let Ok(Some(line)) = lines.next().await {
                if is_job_over(&line) {
                    // A reload that was aborted has put back what was before.
                    let (daemon, name) = (daemon.clone(), name.clone());
                    tokio::spawn(async move { daemon.refresh(&name).await });
                }
                // Nobody may be listening.
                let _ = daemon.0.events.send(line.into());
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Waits for the end of a process, and for the process if it is our child.
async fn await_end(pidfd: OwnedFd) {
    #[allow(deprecated, reason = "an `OwnedFd` keeps what its successor is `unsafe` for; that stays in sys")]
    match AsyncFd::try_with_interest(pidfd, tokio::io::Interest::READABLE) {
        Ok(ended) => {
            let _ = ended.readable().await;
            // Not our child, if another daemon has started it.
            let _ = process::reap(ended.get_ref().as_fd());
        }
        // No room in the set: a thread waits.
        Err(refused) => {
            let (pidfd, _) = refused.into_parts();
            let wait = move || {
                let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
                while poll(&mut ended, None) == Err(rustix::io::Errno::INTR) {}
                process::reap(pidfd.as_fd())
            };
            let _ = tokio::task::spawn_blocking(wait).await;
        }
    }
}
