//! Watching a job that a primary does. Who stops watching stops nothing.

use std::process::ExitCode;

use oneport_wire::control::{Job, JobState};
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
    if last.state == JobState::Running {
        let mut lines = match link.client().lines(&path).await {
            Ok(lines) => lines,
            Err(CallError::Refused(problem)) => return Err(super::link::of_problem(&problem)),
            Err(error) => {
                return Err(Failure::new(format!(
                    "cannot watch the {} of `{app}`: {error}",
                    last.kind.word()
                )));
            }
        };
        while last.state == JobState::Running {
            let line = tokio::select! {
                line = lines.next() => line,
                _ = interrupted.recv() => {
                    let text = format!("the {} of `{app}` goes on; `oneport list` shows how far it is", last.kind.word());
                    super::say(Tone::Warning, &text);
                    return Ok(Ended::LeftAlone);
                }
            };
            match line {
                Ok(Some(line)) => {
                    if let Ok(job) = serde_json::from_str(&line) {
                        show(&job);
                        last = job;
                    }
                }
                // A primary that ends with its app says so last, and may be gone before.
                Ok(None) | Err(_) if last.kind == oneport_wire::control::JobKind::Delete => {
                    return Ok(Ended::Done);
                }
                Ok(None) | Err(_) => {
                    let verb = last.kind.word();
                    return Err(Failure::new(format!(
                        "cannot watch the {verb} of `{app}`: its primary has ended"
                    ))
                    .hint("`oneport list` shows how it is"));
                }
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
