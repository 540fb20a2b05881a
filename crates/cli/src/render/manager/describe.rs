//! `describe`: everything that is known of one slot, in the words of PM2 and then in ours.

use anstyle::Style;
use oneport_wire::control::{AppView, ExecMode, Job, JobState, StopWith, WorkerView};

use super::environment::{Difference, configured, configured_block, difference_block};
use super::failed::exit_words;
use super::grid::{Pair, pairs};
use super::letters::{LONGEST, shown};
use super::paint::{INVERSE, RED, YELLOW, mode_style, paint, status_style};
use super::progress::state_word;
use super::rows::{cpu, memory, uptime};
use super::secrets::Secrets;
use super::table::mode_word;
use super::units;

/// How it is to be described.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Description<'a> {
    /// The time, in milliseconds since 1970.
    pub(crate) now_ms: u64,
    /// Columns of the terminal. None: there is none, and nothing is wrapped.
    pub(crate) width: Option<usize>,
    pub(crate) secrets: Secrets,
    /// The version of Node, where the interpreter is one and the caller asked it.
    pub(crate) node_version: Option<&'a str>,
    /// Where the environment of the app differs from that of who asks. None: that was not looked at.
    pub(crate) differences: Option<&'a [Difference]>,
}

/// One slot of an app.
pub(crate) fn describe(app: &AppView, worker: &WorkerView, how: &Description<'_>) -> String {
    let title = format!(
        " id {}: {}, slot {} of {} ",
        worker.id,
        shown(&app.name, LONGEST),
        worker.slot,
        app.instances
    );
    let mut rows = known(app, worker, how);
    rows.extend(ours(app, worker));
    rows.extend(troubles(app, worker));
    let mut out = format!("{}\n{}", paint(INVERSE, &title), pairs(&rows, how.width));
    out += &configured_block(&configured(app, worker), how.secrets, how.width);
    if let Some(differences) = how.differences {
        out += &difference_block(differences, how.secrets, how.width);
    }
    out
}

fn styled(name: &str, value: impl Into<String>, style: Style) -> Pair {
    Pair { style, ..Pair::new(name, value) }
}

fn or_nothing(value: Option<&String>) -> String {
    value.cloned().unwrap_or_else(|| "N/A".to_owned())
}

/// Arguments as a shell would read them.
fn words(words: &[String]) -> String {
    let quoted = |word: &String| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,@%+".contains(&byte);
        match !word.is_empty() && word.bytes().all(plain) {
            true => word.clone(),
            false => format!("'{}'", word.replace('\'', "'\\''")),
        }
    };
    match words.is_empty() {
        true => "N/A".to_owned(),
        false => words.iter().map(quoted).collect::<Vec<_>>().join(" "),
    }
}

/// What users of PM2 look for, in its order.
fn known(app: &AppView, worker: &WorkerView, how: &Description<'_>) -> Vec<Pair> {
    let spec = &app.spec;
    let up = uptime(worker, how.now_ms).map_or_else(|| "0".to_owned(), units::uptime);
    let mut rows = vec![
        styled("status", worker.status.word(), status_style(worker.status)),
        Pair::new("name", &app.name),
        Pair::new("namespace", &app.namespace),
        Pair::new("version", or_nothing(app.version.as_ref())),
        Pair::new("restarts", worker.restarts.to_string()),
        Pair::new("uptime", up),
        Pair::new("script path", &spec.script),
        Pair::new("script args", words(&spec.args)),
        Pair::new("error log path", or_nothing(worker.logs.error.as_ref())),
        Pair::new("out log path", or_nothing(worker.logs.out.as_ref())),
    ];
    rows.extend(worker.logs.both.as_ref().map(|path| Pair::new("merged log path", path)));
    rows.extend([
        Pair::new("pid path", or_nothing(worker.pid_file.as_ref())),
        Pair::new("interpreter", &app.interpreter),
        Pair::new("interpreter args", words(&spec.node_args)),
        Pair::new("script id", worker.id.to_string()),
        Pair::new("exec cwd", or_nothing(spec.cwd.as_ref())),
        styled("exec mode", format!("{}_mode", mode_word(app.mode)), mode_style(app.mode)),
        Pair::new("node.js version", how.node_version.unwrap_or("N/A")),
        Pair::new("watch & reload", if spec.watch.is_off() { "✘" } else { "✔" }),
        Pair::new("unstable restarts", worker.unstable_restarts.to_string()),
        Pair::new("created at", units::moment(app.created_at)),
    ]);
    rows
}

/// What there is only here.
fn ours(app: &AppView, worker: &WorkerView) -> Vec<Pair> {
    let spec = &app.spec;
    let number = |value: Option<u64>| value.map_or_else(|| "N/A".to_owned(), |value| value.to_string());
    let mut rows = vec![
        Pair::new("pid", worker.pid.map_or_else(|| "0".to_owned(), |pid| pid.to_string())),
        Pair::new("cpu", units::cpu(cpu(worker))),
        Pair::new("memory", units::memory(memory(worker))),
        Pair::new("policy", &app.policy),
        Pair::new("attach", &app.attach),
    ];
    rows.push(match app.addresses.is_empty() {
        true => Pair::new(
            "addresses",
            match app.mode {
                ExecMode::Cluster => "none",
                ExecMode::Fork => "its own, if any",
            },
        ),
        false => Pair { lines: app.addresses.clone(), ..Pair::new("addresses", "") },
    });
    rows.extend([
        Pair::new("open connections", number(worker.connections)),
        match app.primary_pid {
            Some(pid) => Pair::new("primary pid", pid.to_string()),
            None => styled("primary pid", "none: it is being started again", RED),
        },
        Pair::new("primary version", &app.primary_version),
        Pair::new("proven", if worker.proven { "yes" } else { "no" }),
        Pair::new("last exit", worker.last_exit.map_or_else(|| "N/A".to_owned(), exit_words)),
        Pair::new("listen timeout", units::limit(spec.listen_timeout, "30 s")),
        Pair::new("drain timeout", units::limit(spec.drain_timeout, "30 s")),
        Pair::new("kill timeout", units::limit(spec.kill_timeout, "5 s")),
        Pair::new("stopped with", stop_words(app)),
    ]);
    rows.extend(spec.max_memory_restart.map(|most| Pair::new("memory limit", most.to_string())));
    rows.extend(spec.cron_restart.as_ref().map(|cron| Pair::new("cron restart", &cron.0)));
    rows.extend(worker.says.as_ref().map(|says| Pair::new("says", says)));
    rows
}

fn stop_words(app: &AppView) -> String {
    let spec = &app.spec;
    let signal = spec.stop_signal.clone().unwrap_or_else(|| by_default(app).to_owned());
    match spec.stop_with.unwrap_or(StopWith::Signal) {
        StopWith::Disconnect => format!("disconnect, then {signal}"),
        StopWith::Signal if spec.shutdown_with_message => "the message `shutdown`".to_owned(),
        StopWith::Signal => signal,
    }
}

/// As `--stop-signal` has it.
fn by_default(app: &AppView) -> &'static str {
    let runs = std::path::Path::new(&app.interpreter).file_name().and_then(|name| name.to_str());
    match runs {
        Some("node" | "nodejs" | "deno") => "SIGINT (default)",
        Some(_) | None => "SIGTERM (default)",
    }
}

/// What is going on, and what went wrong.
fn troubles(app: &AppView, worker: &WorkerView) -> Vec<Pair> {
    let mut rows = Vec::new();
    rows.extend(app.job.as_ref().and_then(|job| job_row(job, worker.id)));
    if app.connections_lost > 0 {
        rows.push(styled("connections lost", app.connections_lost.to_string(), RED));
    }
    if app.log_bytes_dropped > 0 {
        rows.push(styled("log bytes dropped", units::memory(app.log_bytes_dropped), RED));
    }
    if !app.notes.is_empty() {
        rows.push(Pair { name: "notes".to_owned(), lines: app.notes.clone(), style: YELLOW });
    }
    rows
}

/// How far what is being done is in this slot, or why it was given up.
fn job_row(job: &Job, id: u32) -> Option<Pair> {
    match job.state {
        JobState::Done => None,
        JobState::Running => {
            let step = job.steps.iter().find(|step| step.id == id)?;
            let note = step.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
            Some(styled("now", format!("{}, {}{note}", job.kind.word(), state_word(step.state)), YELLOW))
        }
        JobState::Failed => Some(styled("last job", job.error.clone()?, RED)),
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use insta::assert_snapshot;
    use oneport_wire::control::{JobKind, Status, StepState};

    use super::super::letters::columns;
    use super::super::sample;
    use super::*;

    fn plain(app: &AppView, how: &Description<'_>) -> String {
        strip_str(&describe(app, &app.workers[0], how)).to_string()
    }

    fn how() -> Description<'static> {
        Description { now_ms: sample::NOW, ..Description::default() }
    }

    #[test]
    fn everything_is_described() {
        let differences =
            [Difference { name: "API_TOKEN".to_owned(), app: Some("x".to_owned()), here: None }];
        let how = Description { node_version: Some("24.1.0"), differences: Some(&differences), ..how() };
        assert_snapshot!("describe_full", plain(&sample::full(), &how));
    }

    #[test]
    fn what_is_not_known_is_said() {
        let mut app = sample::app("api", 1);
        app.workers[0].pid = None;
        app.workers[0].status = Status::Stopped;
        (app.primary_pid, app.mode) = (None, ExecMode::Fork);
        app.addresses.clear();
        assert_snapshot!("describe_bare", plain(&app, &Description { differences: Some(&[]), ..how() }));
    }

    #[test]
    fn what_is_being_done_in_the_slot_is_said() {
        let mut app = sample::app("api", 1);
        app.job = Some(sample::job(JobKind::Reload, &[StepState::Draining]));
        assert!(
            plain(&app, &how()).contains("│ now               │ reload, draining"),
            "{}",
            plain(&app, &how())
        );
        app.job = Some(sample::failed_job());
        assert!(plain(&app, &how()).contains("│ last job          │ cannot reload `api`: the new worker"));
    }

    #[test]
    fn a_narrow_terminal_wraps_and_loses_nothing() {
        let differences =
            [Difference { name: "N".repeat(90), app: Some("a".repeat(90)), here: Some("b".repeat(90)) }];
        let mut app = sample::full();
        app.spec.script = format!("/{}/server.js", "deep/".repeat(40));
        let text = plain(&app, &Description { width: Some(60), differences: Some(&differences), ..how() });
        assert!(text.lines().all(|line| columns(line) <= 60), "{text}");
        let pieces: String = text
            .lines()
            .skip_while(|line| !line.contains("script path"))
            .take_while(|line| !line.contains("script args"))
            .filter_map(|line| line.split('│').nth(2).map(str::trim))
            .collect();
        assert_eq!(pieces, app.spec.script);
    }

    #[test]
    fn secrets_are_shown_only_when_asked_for() {
        let shown = |secrets| plain(&sample::full(), &Description { secrets, ..how() }).contains("hunter2");
        assert_eq!((shown(Secrets::Masked), shown(Secrets::Shown)), (false, true));
    }

    #[test]
    fn words_of_a_worker_move_no_cursor_and_are_bounded() {
        let mut app = sample::full();
        app.workers[0].says = Some("\x1b[2J\n".repeat(100_000));
        app.notes = vec!["\x1b]0;title\x07".to_owned()];
        let text = plain(&app, &how());
        assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'));
        assert!(text.len() < 2_000_000, "{}", text.len());
    }
}
