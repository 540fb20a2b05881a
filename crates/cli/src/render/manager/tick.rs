//! Lines between people's commands and the table: what is begun, and a tick for each slot in which it is
//! done.

use anstyle::Style;
use oneport_wire::control::{Job, JobKind, Step, StepState};

use super::letters::{LONGEST, shown};
use super::paint::{CYAN, GREEN, RED, YELLOW, paint};

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Normal,
    Error,
    Warning,
    Info,
}

impl Tone {
    fn prefix(self) -> (&'static str, Style) {
        match self {
            Tone::Normal => ("[oneport] ", GREEN),
            Tone::Error => ("[oneport][ERROR] ", RED),
            Tone::Warning => ("[oneport][WARN] ", YELLOW),
            Tone::Info => ("[oneport][INFO] ", CYAN),
        }
    }
}

/// The text with our prefix before each of its lines. What of it a stranger chose has to be clean already.
pub(crate) fn says(tone: Tone, text: &str) -> String {
    let (prefix, style) = tone.prefix();
    let prefix = paint(style, prefix);
    text.lines().map(|line| format!("{prefix}{line}\n")).collect()
}

/// Numbers of slots that are named in one line; more are counted.
const MOST_IDS: usize = 16;

/// What is begun: `reload of [api](0, 1)`.
pub(crate) fn applying(kind: JobKind, app: &str, ids: &[u32]) -> String {
    let named: Vec<String> = ids.iter().take(MOST_IDS).map(u32::to_string).collect();
    let more = match ids.len().saturating_sub(MOST_IDS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let of = shown(app, LONGEST);
    let ids = if ids.is_empty() { String::new() } else { format!("({}{more})", named.join(", ")) };
    says(Tone::Normal, &format!("{} of [{of}]{ids}", kind.word()))
}

/// `[api](0)`.
pub(super) fn slot_name(app: &str, id: u32) -> String {
    format!("[{}]({id})", shown(app, LONGEST))
}

/// The line for one slot. None: it is not decided yet.
pub(crate) fn tick(app: &str, step: &Step) -> Option<String> {
    let name = slot_name(app, step.id);
    let note = step.note.as_ref().map(|note| format!(" {}", shown(note, LONGEST))).unwrap_or_default();
    match step.state {
        StepState::Done => Some(says(Tone::Normal, &format!("{name} {}{note}", paint(GREEN, "✓")))),
        StepState::Failed => Some(says(Tone::Error, &format!("{name} {}", paint(RED, &format!("✗{note}"))))),
        StepState::Waiting
        | StepState::Starting
        | StepState::Proving
        | StepState::Draining
        | StepState::Stopping => None,
    }
}

/// The lines for all slots of a job that has ended.
pub(crate) fn ticks(app: &str, job: &Job) -> String {
    job.steps.iter().filter_map(|step| tick(app, step)).collect()
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::super::sample;
    use super::*;

    #[test]
    fn each_slot_has_its_tick() {
        let text = ticks("api", &sample::failed_job());
        assert_eq!(
            strip_str(&text).to_string(),
            "[oneport] [api](0) ✓\n\
             [oneport][ERROR] [api](1) ✗ the new worker ended before it was proven (code 1)\n"
        );
        assert!(text.starts_with("\x1b[32m[oneport] \x1b[0m[api](0) \x1b[32m✓\x1b[0m\n"), "{text:?}");
    }

    #[test]
    fn notes_and_names_move_no_cursor() {
        let mut step = sample::step(1, StepState::Failed);
        step.note = Some("a\nb\x1b[2J".to_owned());
        let text = strip_str(&tick("x\x1b[1m", &step).unwrap()).to_string();
        assert_eq!(text, "[oneport][ERROR] [x\\x1b[1m](1) ✗ a\\nb\\x1b[2J\n");
    }

    #[test]
    fn what_is_begun_names_a_few_slots() {
        let plain = |ids: &[u32]| strip_str(&applying(JobKind::Reload, "api", ids)).to_string();
        assert_eq!(plain(&[0, 1]), "[oneport] reload of [api](0, 1)\n");
        assert_eq!(plain(&[]), "[oneport] reload of [api]\n");
        let many: Vec<u32> = (0..64).collect();
        assert!(plain(&many).ends_with(", 14, 15 and 48 more)\n"));
    }

    #[test]
    fn every_line_has_a_prefix() {
        let text = says(Tone::Warning, "one\ntwo");
        assert_eq!(strip_str(&text).to_string(), "[oneport][WARN] one\n[oneport][WARN] two\n");
        assert_eq!(strip_str(&says(Tone::Info, "x")).to_string(), "[oneport][INFO] x\n");
    }
}
