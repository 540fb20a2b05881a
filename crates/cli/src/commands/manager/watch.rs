//! Watching a job that a primary does. Who stops watching stops nothing.

use std::process::ExitCode;
use std::time::Duration;

use oneport_wire::control::{Job, JobKind, JobState, ProblemKind, StepState};
use tokio::signal::unix::{SignalKind, signal};

use super::link::Link;
use super::{Manner, screen};
use crate::control::client::CallError;
use crate::control::segment;
use crate::error::Failure;
use crate::render::manager::{Colours, Place, Progress, Tone, job_failure};
use crate::render::voice;

/// How watching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Done,
    Failed,
    /// The person stopped watching.
    LeftAlone,
}

impl Ended {
    pub(super) fn and(self, other: Ended) -> Ended {
        match (self, other) {
            (Ended::LeftAlone, _) | (_, Ended::LeftAlone) => Ended::LeftAlone,
            (Ended::Failed, _) | (_, Ended::Failed) => Ended::Failed,
            (Ended::Done, Ended::Done) => Ended::Done,
        }
    }

    pub(super) fn code(self) -> ExitCode {
        match self {
            Ended::Done => ExitCode::SUCCESS,
            Ended::Failed => ExitCode::from(1),
            Ended::LeftAlone => ExitCode::from(130),
        }
    }
}

/// Watches to the end of it, and tells how it went.
pub(super) async fn watch(link: &Link, app: &str, job: Job, manner: Manner) -> Result<Ended, Failure> {
    let place = match screen() {
        Some((width, height)) => Place::Terminal { width, height },
        None => Place::Pipe,
    };
    let colours = match anstream::AutoStream::choice(&std::io::stdout()) {
        anstream::ColorChoice::Never => Colours::No,
        anstream::ColorChoice::Auto | anstream::ColorChoice::Always | anstream::ColorChoice::AlwaysAnsi => {
            Colours::Yes
        }
    };
    let mut progress = Progress::new(app, place, colours);
    let mut show = |job: &Job| {
        if !manner.silent {
            voice::show(format_args!("{}", progress.update(job)));
        }
    };
    show(&job);
    let mut last = job;
    let mut interrupted = signal(SignalKind::interrupt())
        .map_err(|cause| Failure::new(format!("cannot receive signals: {cause}")))?;
    let path = format!("/v1/apps/{}/jobs/{}/watch", segment(app), last.id);
    let mut tries = 0;
    while last.state == JobState::Running {
        let followed = tokio::select! {
            followed = follow(link, &path, &mut last, &mut show) => followed,
            _ = interrupted.recv() => {
                let text =
                    format!("the {} of `{app}` goes on; `oneport list` shows how far it is", last.kind.word());
                super::say(Tone::Warning, &text);
                return Ok(Ended::LeftAlone);
            }
        };
        match followed {
            Ok(()) if last.state != JobState::Running => {}
            // A primary that ends with its app says so last, and may be gone before; so may the app be, by name.
            _ if last.kind == JobKind::Delete && is_gone(app).await? => {
                last.state = JobState::Done;
                last.steps.iter_mut().for_each(|step| step.state = StepState::Done);
                show(&last);
                return Ok(Ended::Done);
            }
            // Its primary has ended, and the daemon is about to notice.
            Err(CallError::Refused(problem))
                if last.kind == JobKind::Delete && problem.kind == ProblemKind::Failed && tries < TRIES =>
            {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(CallError::Refused(problem)) => return Err(super::link::of_problem(&problem)),
            // The daemon was killed or updated: the job knows nothing of that.
            Ok(()) | Err(_) if tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
                Link::open().await?;
            }
            Ok(()) | Err(_) => {
                let verb = last.kind.word();
                return Err(Failure::new(format!(
                    "cannot watch the {verb} of `{app}`: its primary does not answer"
                ))
                .hint("`oneport list` shows how it is"));
            }
        }
    }
    match job_failure(app, &last) {
        Some(text) => {
            voice::err(format_args!("{text}"));
            Ok(Ended::Failed)
        }
        None => Ok(Ended::Done),
    }
}

/// How often a job that is lost from sight is looked for again, and the pause before that.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Shows the job as it goes on, as long as its lines come.
async fn follow(
    link: &Link,
    path: &str,
    last: &mut Job,
    show: &mut impl FnMut(&Job),
) -> Result<(), CallError> {
    let mut lines = link.client().lines(path).await?;
    while let Some(line) = lines.next().await? {
        if let Ok(job) = serde_json::from_str(&line) {
            show(&job);
            *last = job;
        }
    }
    Ok(())
}

/// Whether there is no app of this name any more.
async fn is_gone(app: &str) -> Result<bool, Failure> {
    let names: Vec<String> = Link::open().await?.get("/v1/names").await?;
    Ok(!names.iter().any(|name| name == app))
}
