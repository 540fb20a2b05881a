//! A job while it is watched: on a terminal a line for each slot, redrawn in place; in a pipe a line for each
//! step that comes on. When the job has ended, the ticks stay.

use std::collections::BTreeMap;

use anstream::adapter::strip_str;
use anstyle::Style;
use oneport_wire::control::{Job, JobState, Step, StepState};

use super::letters::{LONGEST, cut, shown};
use super::paint::{CYAN, GREEN, PLAIN, RED, paint};
use super::tick::{Tone, says, slot_name, tick, ticks};
use super::units;

/// Whether colours are wanted. The caller knows: `NO_COLOR`, `--no-color`, `TERM=dumb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    Yes,
    No,
}

/// Where it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A terminal of this size, which understands cursor movement.
    Terminal { width: usize, height: usize },
    /// A pipe, a file, a terminal that understands nothing.
    Pipe,
}

/// What has been shown of a job.
#[derive(Debug)]
pub(crate) struct Progress {
    app: String,
    place: Place,
    colours: Colours,
    /// The lines that stand above the cursor.
    drawn: Vec<String>,
    /// What was said of each slot. As many as the job last had.
    told: BTreeMap<u32, (StepState, Option<String>)>,
    ended: bool,
}

impl Progress {
    pub(crate) fn new(app: &str, place: Place, colours: Colours) -> Progress {
        let (drawn, told) = (Vec::new(), BTreeMap::new());
        Progress { app: app.to_owned(), place, colours, drawn, told, ended: false }
    }

    /// The terminal has another size now.
    pub(crate) fn resized(&mut self, width: usize, height: usize) {
        match &mut self.place {
            Place::Terminal { width: old_width, height: old_height } => {
                (*old_width, *old_height) = (width, height);
            }
            Place::Pipe => {}
        }
    }

    /// What to print next. It holds cursor movement, so it has to be written as it is.
    pub(crate) fn update(&mut self, job: &Job) -> String {
        if self.ended {
            return String::new();
        }
        self.ended = match job.state {
            JobState::Running => false,
            JobState::Done | JobState::Failed => true,
        };
        match self.place {
            Place::Pipe => self.news(job),
            Place::Terminal { .. } if self.ended => {
                let erased = format!("{}\x1b[J", self.back());
                self.drawn.clear();
                erased + &self.coloured(ticks(&self.app, job))
            }
            Place::Terminal { width, height } => self.redraw(job, width, height),
        }
    }

    fn coloured(&self, text: String) -> String {
        match self.colours {
            Colours::Yes => text,
            Colours::No => strip_str(&text).to_string(),
        }
    }

    /// To the beginning of what is drawn.
    fn back(&self) -> String {
        if self.drawn.is_empty() { "\r".to_owned() } else { format!("\r\x1b[{}A", self.drawn.len()) }
    }

    fn redraw(&mut self, job: &Job, width: usize, height: usize) -> String {
        let lines: Vec<String> = self
            .lines(job, height)
            .into_iter()
            // The last column stays free: some terminals wrap as soon as it is written to.
            .map(|(text, style)| self.coloured(paint(style, &cut(&text, width.saturating_sub(1)))))
            .collect();
        if lines == self.drawn {
            return String::new();
        }
        let mut out = self.back();
        for line in &lines {
            out += &format!("{line}\x1b[K\n");
        }
        // What was longer before.
        out += "\x1b[J";
        self.drawn = lines;
        out
    }

    /// As many as fit above the line of the cursor.
    fn lines(&self, job: &Job, height: usize) -> Vec<(String, Style)> {
        let most = height.saturating_sub(1).max(1);
        if job.steps.len() <= most {
            return job.steps.iter().map(|step| self.line(step)).collect();
        }
        let mut chosen: Vec<(usize, &Step)> = job.steps.iter().enumerate().collect();
        chosen.sort_by_key(|(_, step)| interest(step.state));
        chosen.truncate(most - 1);
        chosen.sort_by_key(|(at, _)| *at);
        let mut lines: Vec<(String, Style)> = chosen.into_iter().map(|(_, step)| self.line(step)).collect();
        let done = job.steps.iter().filter(|step| step.state == StepState::Done).count();
        lines.push((format!("{done} of {} done, {}", job.steps.len(), units::took(job.took)), PLAIN));
        lines
    }

    fn line(&self, step: &Step) -> (String, Style) {
        let name = slot_name(&self.app, step.id);
        let (filled, mark, style) = match step.state {
            StepState::Waiting => (0, " ", PLAIN),
            StepState::Starting => (1, " ", CYAN),
            StepState::Proving => (2, " ", CYAN),
            StepState::Draining => (3, " ", CYAN),
            StepState::Stopping => (4, " ", CYAN),
            StepState::Done => (5, "✓", GREEN),
            StepState::Failed => (0, "✗", RED),
        };
        let bar: String = (0..5).map(|at| if at < filled { '▰' } else { '▱' }).collect();
        (format!("{mark} {name} {bar} {}", doing(step)), style)
    }

    /// A line for each slot of which there is something new.
    fn news(&mut self, job: &Job) -> String {
        let mut out = String::new();
        for step in &job.steps {
            let now = (step.state, step.note.clone());
            let news = match self.told.get(&step.id) {
                Some(before) => *before != now,
                None => step.state != StepState::Waiting,
            };
            if news {
                let name = slot_name(&self.app, step.id);
                let line = tick(&self.app, step);
                out += &line.unwrap_or_else(|| says(Tone::Normal, &format!("{name} {}", doing(step))));
            }
        }
        self.told = job.steps.iter().map(|step| (step.id, (step.state, step.note.clone()))).collect();
        self.coloured(out)
    }
}

/// Who is shown when not all can be: what went wrong, what moves, what is to come.
fn interest(state: StepState) -> u8 {
    match state {
        StepState::Failed => 0,
        StepState::Starting | StepState::Proving | StepState::Draining | StepState::Stopping => 1,
        StepState::Waiting => 2,
        StepState::Done => 3,
    }
}

/// The word for how far a step is.
pub(super) fn state_word(state: StepState) -> &'static str {
    match state {
        StepState::Waiting => "waiting",
        StepState::Starting => "starting",
        StepState::Proving => "proving",
        StepState::Draining => "draining",
        StepState::Stopping => "stopping",
        StepState::Done => "done",
        StepState::Failed => "failed",
    }
}

fn doing(step: &Step) -> String {
    let word = state_word(step.state);
    let pid = step.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let note = step.note.as_ref().map(|note| format!(": {}", shown(note, LONGEST))).unwrap_or_default();
    format!("{word}{pid}{note}")
}

#[cfg(test)]
mod tests;
