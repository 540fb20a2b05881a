//! A job that failed, in words: why, what might help, and what the failed worker said last.

use oneport_wire::control::{Exit, Job, JobState, StepState};

use super::letters::{LONGEST, shown};
use crate::error::Failure;
use crate::render::life::signal_name;

/// Last lines that are shown. A primary keeps about as many.
const MOST_LINES: usize = 50;
/// Columns of one of them.
const LONGEST_LINE: usize = 1000;

/// How a process ended: `code 1`, `SIGKILL`, `could not be started`.
pub(crate) fn exit_words(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("code {code}"),
        Exit::Signal(number) => signal_name(number),
        Exit::NotStarted => "could not be started".to_owned(),
    }
}

/// The text for a job that failed, without an end of line. None: it did not.
pub(crate) fn job_failure(app: &str, job: &Job) -> Option<String> {
    match job.state {
        JobState::Running | JobState::Done => return None,
        JobState::Failed => {}
    }
    let unknown = || format!("cannot {} `{app}`: the primary gave no reason", job.kind.word());
    let mut failure = Failure::new(shown(&job.error.clone().unwrap_or_else(unknown), LONGEST));
    if let Some(hint) = &job.hint {
        failure = failure.hint(shown(hint, LONGEST));
    }
    let mut out = failure.words();
    let done = job.steps.iter().filter(|step| step.state == StepState::Done).count();
    if done > 0 {
        out += &format!("\n  {done} of {} slots were done before, and stay so", job.steps.len());
    }
    if !job.last_lines.is_empty() {
        out += "\n  last lines of the failed worker:";
    }
    for line in job.last_lines.iter().skip(job.last_lines.len().saturating_sub(MOST_LINES)) {
        out += &format!("\n  | {}", shown(line, LONGEST_LINE));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use insta::assert_snapshot;

    use super::super::sample;
    use super::*;

    #[test]
    fn a_failure_says_why_what_helps_and_the_last_lines() {
        let text = job_failure("api", &sample::failed_job()).unwrap();
        assert_snapshot!("job_failure", strip_str(&text).to_string());
    }

    #[test]
    fn a_failure_without_a_reason_says_so() {
        let mut job = sample::failed_job();
        (job.error, job.hint, job.last_lines) = (None, None, Vec::new());
        job.steps.clear();
        let text = job_failure("api", &job).unwrap();
        assert_eq!(strip_str(&text).to_string(), "error: cannot reload `api`: the primary gave no reason");
        job.state = JobState::Done;
        assert_eq!(job_failure("api", &job), None);
    }

    #[test]
    fn last_lines_are_bounded() {
        let mut job = sample::failed_job();
        job.last_lines = vec!["x".repeat(1 << 16); 10_000];
        let text = job_failure("api", &job).unwrap();
        assert!(text.lines().count() < MOST_LINES + 10 && text.len() < 2 * MOST_LINES * LONGEST_LINE);
    }

    #[test]
    fn an_end_has_the_name_of_its_signal() {
        let words = [Exit::Code(3), Exit::Signal(9), Exit::Signal(64), Exit::Signal(-1), Exit::NotStarted];
        assert_eq!(
            words.map(exit_words),
            ["code 3", "SIGKILL", "signal 64", "signal -1", "could not be started"].map(str::to_owned)
        );
    }
}
