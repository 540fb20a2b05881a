//! What came of it, as text for people and as one JSON object, with the same facts. Whether that is good is `judge`'s.

use std::path::Path;
use std::process::ExitCode;

use oneport::{Attach, ProgramSettings};
use serde_json::{Value, json};

use super::judge::{notes, problems};
use super::seen::Seen;
use crate::attach::{Attachment, Bits, Blocked, Image, Linked, Obstacle, Rights, Survey, grouped, inspect};
use crate::render::voice;

/// How the program is to be attached.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) attach: Attach,
    name: &'static str,
    why: String,
    pub(super) settings: Option<ProgramSettings>,
    over: Vec<Obstacle>,
    notes: Vec<String>,
}

impl Plan {
    /// By other means than its binds.
    pub(super) fn of(attach: Attach, name: &'static str, why: &str) -> Plan {
        Plan { attach, name, why: why.to_owned(), settings: None, over: Vec::new(), notes: Vec::new() }
    }

    pub(super) fn attached(attachment: Attachment, over: Vec<Obstacle>) -> Plan {
        // What is in the way of better ones has lines of its own.
        let why = attachment.why.split("; not ").next().unwrap_or_default().to_owned();
        let notes = attachment.notes.iter().map(|note| format!("{} ({})", note.message, note.hint)).collect();
        let (attach, name, settings) = (attachment.attach, attachment.name, Some(attachment.settings));
        Plan { attach, name, why, settings, over, notes }
    }
}

/// One of the files that its processes execute.
#[derive(Debug)]
struct File {
    path: String,
    image: Image,
}

#[derive(Debug, Default)]
pub(super) struct Report {
    program: String,
    files: Vec<File>,
    /// The way and what it means; none when there is none.
    way: Option<(&'static str, String)>,
    over: Vec<Obstacle>,
    listens: Vec<(String, &'static str)>,
    alone: Vec<String>,
    processes: usize,
    /// Why it will not work. Empty: it will.
    problems: Vec<String>,
    /// What would help.
    remedies: Vec<&'static str>,
    notes: Vec<String>,
    last_lines: Vec<String>,
}

impl File {
    fn of(path: &Path, image: Image) -> File {
        File { path: path.display().to_string(), image }
    }

    fn build(&self) -> Vec<&'static str> {
        let bits = match self.image.bits {
            Bits::ThirtyTwo => "32-bit",
            Bits::SixtyFour => "64-bit",
        };
        let linked = match self.image.linked {
            Linked::Dynamically => "linked dynamically",
            Linked::Statically => "linked statically",
            Linked::Go => "Go",
        };
        let rights = match self.image.rights {
            Rights::None => None,
            Rights::SetUid => Some("setuid"),
            Rights::FileCapabilities => Some("file capabilities"),
        };
        [bits, linked].into_iter().chain(rights).collect()
    }

    fn note(&self, attach: Attach) -> Option<String> {
        let cause = match (attach, self.image.linked) {
            (Attach::Program, Linked::Go) => "makes its system calls itself",
            (Attach::Program, Linked::Statically) => "is linked statically",
            (Attach::Program | Attach::Channel | Attach::Nothing, _) => return None,
        };
        Some(format!("`{}` {cause}: preload would do nothing", self.path))
    }
}

impl Report {
    /// It cannot be attached here, so nothing was started.
    pub(super) fn refused(title: &str, survey: &Survey, blocked: Blocked) -> Report {
        let problems = vec![format!("it cannot be attached: {}", grouped(&blocked.obstacles))];
        let remedies = blocked.remedies();
        Report { over: blocked.obstacles, problems, remedies, ..Report::about(title, survey) }
    }

    pub(super) fn of(title: &str, survey: &Survey, plan: Plan, seen: &Seen) -> Report {
        let mut report = Report::about(title, survey);
        report.problems = problems(plan.attach, plan.name, seen);
        // A wrapper may have become something else.
        if !seen.files.is_empty() {
            report.files = seen.files.iter().map(|path| File::of(path, inspect(path).0)).collect();
        }
        report.notes = plan.notes.into_iter().chain(notes(survey, plan.name, seen)).collect();
        report.notes.extend(report.files.iter().filter_map(|file| file.note(plan.attach)));
        if !report.problems.is_empty() {
            report.last_lines.clone_from(&seen.last_lines);
        }
        report.way = Some((plan.name, plan.why));
        report.over = plan.over;
        report.listens.clone_from(&seen.listens);
        report.alone.clone_from(&seen.alone);
        report.processes = seen.processes;
        report
    }

    fn about(title: &str, survey: &Survey) -> Report {
        let files = vec![File::of(&survey.file, survey.image)];
        Report { program: title.to_owned(), files, ..Report::default() }
    }

    /// Prints it and gives the exit code.
    pub(super) fn tell(&self, as_json: bool) -> ExitCode {
        if as_json {
            voice::out(format_args!("{}", self.json()));
        } else {
            voice::out(format_args!("{}", self.text()));
        }
        if self.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn json(&self) -> Value {
        let listens = |(address, kind): &(String, &str)| json!({"address": address, "kind": kind});
        let over = |obstacle: &Obstacle| json!({"way": obstacle.way.name(), "reason": obstacle.lack.reason, "remedy": obstacle.lack.remedy});
        json!({
            "program": self.program,
            "files": self.files.iter().map(|file| json!({"path": file.path, "build": file.build()})).collect::<Vec<_>>(),
            "works": self.problems.is_empty(),
            "attach": self.way.as_ref().map(|(name, _)| name),
            "why": self.way.as_ref().map(|(_, why)| why),
            "passed_over": self.over.iter().map(over).collect::<Vec<_>>(),
            "listens": self.listens.iter().map(listens).collect::<Vec<_>>(),
            "alone": self.alone,
            "processes": self.processes,
            "problems": self.problems,
            "notes": self.notes,
            "last_output": self.last_lines,
        })
    }

    fn text(&self) -> String {
        let verdict =
            if self.problems.is_empty() { "can be run in copies" } else { "cannot be run in copies" };
        let mut lines = vec![format!("`{}` {verdict}", self.program)];
        let mut row = |name: &str, text: &str| lines.push(format!("  {name:<9} {text}"));
        for problem in &self.problems {
            row("problem", problem);
        }
        for remedy in &self.remedies {
            row("remedy", remedy);
        }
        if let Some((name, why)) = &self.way {
            row("attach", &format!("{name}: {why}"));
        }
        for obstacle in self.over.iter().filter(|_| self.way.is_some()) {
            row("", &format!("not {obstacle}"));
        }
        for file in &self.files {
            row("file", &format!("{} ({})", file.path, file.build().join(", ")));
        }
        for (address, kind) in &self.listens {
            row("listens", &format!("{address} ({kind}), shared by all copies"));
        }
        for address in &self.alone {
            row("listens", &format!("{address}, each copy for itself"));
        }
        for note in &self.notes {
            row("note", note);
        }
        if !self.last_lines.is_empty() {
            lines.push("  the last lines of its output:".to_owned());
            lines.extend(self.last_lines.iter().map(|line| format!("  | {line}")));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Image = Image { bits: Bits::SixtyFour, linked: Linked::Dynamically, rights: Rights::None };

    #[test]
    fn text_and_json_have_the_same_facts() {
        let report = Report {
            program: "app.py".into(),
            files: vec![File::of(Path::new("/usr/bin/python3"), PLAIN)],
            way: Some(("own", "each on its own".into())),
            listens: vec![("0.0.0.0:8000".into(), "tcp")],
            alone: vec!["127.0.0.1:9000".into()],
            processes: 2,
            notes: vec!["one copy is 2 processes".into()],
            ..Report::default()
        };
        assert_eq!(
            report.text(),
            "`app.py` can be run in copies\n\
             \x20 attach    own: each on its own\n\
             \x20 file      /usr/bin/python3 (64-bit, linked dynamically)\n\
             \x20 listens   0.0.0.0:8000 (tcp), shared by all copies\n\
             \x20 listens   127.0.0.1:9000, each copy for itself\n\
             \x20 note      one copy is 2 processes"
        );
        let object = report.json();
        assert_eq!((&object["works"], &object["attach"]), (&true.into(), &"own".into()));
        assert_eq!(object["listens"][0]["address"], "0.0.0.0:8000");
    }
}
