//! The way to the daemon: finding it, starting it where there is none, and its own verbs.

use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use oneport_wire::control::{AppView, Problem, ProblemKind, Welcome};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::{sleep, timeout};

use super::Manner;
use crate::Done;
use crate::args::manager::CommonArgs;
use crate::control::client::{ANSWER, CallError, Client};
use crate::error::{Failure, plain};
use crate::render::manager::Tone;
use crate::render::voice;
use crate::state::environment::listed;
use crate::state::{Home, VARIABLE, environment};

/// How long a daemon may take to start.
const STARTS: Duration = Duration::from_secs(10);
/// How long a daemon may take to give way to another, or to be the new version.
const CHANGES: Duration = Duration::from_secs(10);
/// How long all apps may take to end: the daemon kills what has not ended before.
const LONGEST_END: Duration = Duration::from_secs(16 * 60);
/// After so long it is said who is waited for.
const LONG: Duration = Duration::from_secs(5);
/// Between two looks at something that has no event.
const GLANCE: Duration = Duration::from_millis(10);
/// How often a daemon that breaks off is asked anew.
const TRIES: u32 = 3;

/// A daemon that answers.
pub(super) struct Link {
    pub(super) home: Home,
    client: Client,
}

impl Link {
    fn of(home: Home) -> Link {
        let client = Client::new(home.socket());
        Link { home, client }
    }

    /// To the daemon of this home; one is started where there is none.
    pub(super) async fn open() -> Result<Link, Failure> {
        let (home, warnings) = Home::open()?;
        for warning in warnings {
            super::say(Tone::Warning, &warning);
        }
        let link = Link::of(home);
        link.reach().await?;
        Ok(link)
    }

    /// To the daemon of this home, if there is one.
    pub(super) async fn existing() -> Result<Option<Link>, Failure> {
        let Some((home, _)) = Home::existing()? else { return Ok(None) };
        let link = Link::of(home);
        Ok(if link.is_answered().await? { Some(link) } else { None })
    }

    /// To the daemon of this home, if there is anything in it: one that died has left its apps running, and the next one
    /// finds them.
    async fn responsible() -> Result<Option<Link>, Failure> {
        let Some((home, _)) = Home::existing()? else { return Ok(None) };
        let link = Link::of(home);
        if !link.is_answered().await? {
            if !crate::daemon::has_traces(&link.home) {
                return Ok(None);
            }
            link.start_daemon().await?;
        }
        Ok(Some(link))
    }

    /// Starts a daemon where none answers.
    async fn reach(&self) -> Result<(), Failure> {
        if self.is_answered().await? { Ok(()) } else { self.start_daemon().await }
    }

    async fn is_answered(&self) -> Result<bool, Failure> {
        let mut tries = 0;
        loop {
            match self.client.get::<Welcome>("/v1").await {
                Ok(_) => return Ok(true),
                Err(error) if error.is_nobody() => return Ok(false),
                // One that was killed while it was asked: there is nobody now, or another one.
                Err(CallError::Broken(_)) if tries < TRIES => tries += 1,
                Err(error) => return Err(self.no_daemon(&error)),
            }
            sleep(GLANCE).await;
        }
    }

    fn no_daemon(&self, error: &CallError) -> Failure {
        let path = self.home.socket();
        Failure::no_daemon(format!("cannot reach the daemon at `{}`: {error}", path.display()))
    }

    async fn start_daemon(&self) -> Result<(), Failure> {
        let failed =
            |cause: io::Error| Failure::no_daemon(format!("cannot start the daemon: {}", plain(&cause)));
        let program = std::env::current_exe().map_err(failed)?;
        let log = crate::daemon::open_log(&self.home).map_err(|cause| {
            Failure::no_daemon(format!("cannot write `{}`: {}", self.home.log().display(), plain(&cause)))
        })?;
        let mut command = Command::new(program);
        command.arg("daemon").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        // It outlives this shell and starts apps of others: secrets of this environment are not its business.
        let kept = environment::allowed(&std::env::vars().collect());
        command.env_clear().envs(kept).env(VARIABLE, self.home.path());
        let mut child = command.spawn().map_err(failed)?;
        let Some(stdout) = child.stdout.take() else { return Ok(()) };
        let mut ready = pipe::Receiver::from_owned_fd(stdout.into()).map_err(failed)?;
        let mut word = [0; 1];
        match timeout(STARTS, ready.read(&mut word)).await {
            Ok(Ok(n)) if n > 0 => self.await_answer(STARTS).await,
            Ok(_) | Err(_) => {
                let log = self.home.log();
                let last = last_line(&log).unwrap_or_else(|| "it said nothing".to_owned());
                Err(Failure::no_daemon(format!("cannot start the daemon: {last}"))
                    .hint(format!("its log is `{}`", log.display())))
            }
        }
    }

    /// Waits until somebody answers: of two daemons that were started at once the other may have won, and open its door a
    /// moment later.
    async fn await_answer(&self, limit: Duration) -> Result<(), Failure> {
        let until = Instant::now() + limit;
        loop {
            match self.client.get::<Welcome>("/v1").await {
                Ok(_) => return Ok(()),
                Err(CallError::NotThere(_) | CallError::Broken(_)) if Instant::now() < until => {
                    sleep(GLANCE).await
                }
                Err(error) if error.is_nobody() => return Err(self.no_socket()),
                Err(error) => return Err(self.no_daemon(&error)),
            }
        }
    }

    /// A daemon has the lock, and nobody has the socket.
    fn no_socket(&self) -> Failure {
        let path = self.home.socket();
        let failure =
            Failure::no_daemon(format!("cannot reach the daemon: its socket `{}` is gone", path.display()));
        match std::fs::read_to_string(self.home.pid()) {
            Ok(pid) => failure.hint(format!(
                "kill -9 {} ends it, and the next command starts another one; apps do not notice",
                pid.trim()
            )),
            Err(_) => failure,
        }
    }

    pub(super) async fn apps(&self) -> Result<Vec<AppView>, Failure> {
        self.get("/v1/apps").await
    }

    /// Waits until the daemon is gone: it is the last to go, when all apps have drained. `tell`: who is waited for, where that
    /// takes long.
    pub(super) async fn await_end(&self, tell: impl Fn(&str)) -> Result<(), Failure> {
        let (until, mut told) = (Instant::now() + LONGEST_END, Instant::now());
        let mut pause = GLANCE;
        loop {
            if told.elapsed() > LONG {
                told = Instant::now();
                if let Ok(names) = self.client.get::<Vec<String>>("/v1/names").await {
                    tell(&format!("still ending: {}", listed(&names, super::NAMES)));
                }
            }
            match self.client.get::<Welcome>("/v1").await {
                Err(error) if error.is_nobody() => return Ok(()),
                // One that is slow to answer is there.
                Ok(_) | Err(CallError::TimedOut | CallError::Broken(_)) if Instant::now() < until => {}
                Ok(_) => {
                    return Err(Failure::no_daemon("cannot end the daemon: its apps do not end in time"));
                }
                Err(error) => return Err(self.no_daemon(&error)),
            }
            sleep(pause).await;
            pause = (pause * 2).min(GLANCE * 10);
        }
    }

    /// Waits until these are off the list: their primaries end a moment after their last worker.
    pub(super) async fn await_without(&self, gone: &[&str]) -> Result<(), Failure> {
        let until = Instant::now() + CHANGES;
        while !gone.is_empty() && Instant::now() < until {
            let names: Vec<String> = self.get("/v1/names").await?;
            if !names.iter().any(|name| gone.contains(&name.as_str())) {
                break;
            }
            sleep(GLANCE).await;
        }
        Ok(())
    }

    /// Asked again of the next daemon if this one was killed meanwhile.
    pub(super) async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let mut answer = self.client.get(path).await;
        if matches!(answer, Err(CallError::NotThere(_) | CallError::Broken(_))) {
            self.reach().await?;
            answer = self.client.get(path).await;
        }
        answer.map_err(|error| self.failed(error))
    }

    pub(super) async fn post<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, Failure> {
        self.post_within(path, body, ANSWER).await
    }

    /// For calls during which a primary is started.
    pub(super) async fn post_slow<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, Failure> {
        self.post_within(path, body, STARTS * 2).await
    }

    /// Of a daemon that was killed before it was asked, the next one is asked; one that was killed later may have done it.
    async fn post_within<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
        limit: Duration,
    ) -> Result<T, Failure> {
        let mut answer = self.client.post_within(path, body, limit).await;
        if matches!(answer, Err(CallError::NotThere(_))) {
            self.reach().await?;
            answer = self.client.post_within(path, body, limit).await;
        }
        answer.map_err(|error| self.failed(error))
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    fn failed(&self, error: CallError) -> Failure {
        match error {
            CallError::Refused(problem) => of_problem(&problem),
            error @ (CallError::NotThere(_) | CallError::TimedOut | CallError::Broken(_)) => {
                self.no_daemon(&error)
            }
        }
    }
}

/// The last line of a file.
fn last_line(path: &std::path::Path) -> Option<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(4096))).ok()?;
    let mut end = Vec::new();
    file.take(4096).read_to_end(&mut end).ok()?;
    String::from_utf8_lossy(&end).lines().last().map(str::to_owned)
}

/// A problem as a failure, with its exit code.
pub(super) fn of_problem(problem: &Problem) -> Failure {
    let failure = match problem.kind {
        ProblemKind::BadRequest => Failure::usage(&problem.error),
        ProblemKind::NotAllowed
        | ProblemKind::Unknown
        | ProblemKind::Conflict
        | ProblemKind::Failed
        | ProblemKind::TimedOut => Failure::new(&problem.error),
    };
    match &problem.hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

pub(super) async fn ping() -> Done {
    let link = Link::open().await?;
    let welcome: Welcome = link.get("/v1").await?;
    voice::out(format_args!("pong: oneport {}, pid {}, {}", welcome.version, welcome.pid, welcome.home));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn kill(common: &CommonArgs) -> Done {
    let manner = Manner::of(common)?;
    let say = |text: &str| {
        if !manner.silent {
            super::say(Tone::Normal, text);
        }
    };
    let Some(link) = Link::responsible().await? else {
        say("no daemon is running");
        return Ok(ExitCode::SUCCESS);
    };
    let _: Value = link.post("/v1/kill", &json!({})).await?;
    link.await_end(&say).await?;
    say("all apps are stopped and the daemon is gone");
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn update(common: &CommonArgs) -> Done {
    let manner = Manner::of(common)?;
    let Some(link) = Link::existing().await? else {
        let link = Link::open().await?;
        super::show_list(&link, manner).await?;
        return Ok(ExitCode::SUCCESS);
    };
    let before: Welcome = link.get("/v1").await?;
    match link.client.post::<Value>("/v1/update", &json!({})).await {
        // Somebody else may have had it updated, or killed: whoever comes next is the installed version.
        Ok(_) | Err(CallError::NotThere(_) | CallError::Broken(_)) => {}
        Err(error @ (CallError::Refused(_) | CallError::TimedOut)) => return Err(link.failed(error)),
    }
    let until = Instant::now() + CHANGES;
    loop {
        match link.client.get::<Welcome>("/v1").await {
            Ok(now) if now.started_at != before.started_at => {
                if manner.silent {
                    return Ok(ExitCode::SUCCESS);
                }
                let text = format!("the daemon is oneport {} now; apps went on", now.version);
                super::say(Tone::Normal, &text);
                super::show_list(&link, manner).await?;
                return Ok(ExitCode::SUCCESS);
            }
            _ if Instant::now() > until => {
                return Err(Failure::no_daemon("cannot update the daemon: it did not come back in time"));
            }
            Err(error) if error.is_nobody() => link.start_daemon().await?,
            _ => sleep(GLANCE).await,
        }
    }
}
