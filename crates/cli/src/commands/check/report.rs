//! What was seen, judged: whether copies of the program will work, and what is unusual about it. As text for people and
//! as one JSON object, with the same facts.

use std::process::ExitCode;

use oneport::{Attach, Exit, Oddity, ProgramSettings};
use serde_json::{Value, json};

use super::seen::Seen;
use crate::attach::{Attachment, Bits, Linked, Obstacle, Rights, Survey, grouped};
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

#[derive(Debug, Default)]
pub(super) struct Report {
    program: String,
    file: String,
    build: Vec<&'static str>,
    /// The way and what it means; none when there is none.
    way: Option<(&'static str, String)>,
    over: Vec<Obstacle>,
    listens: Vec<(String, &'static str)>,
    alone: Vec<String>,
    processes: usize,
    /// Why it will not work. Empty: it will.
    problems: Vec<String>,
    notes: Vec<String>,
    last_lines: Vec<String>,
}

impl Report {
    /// It cannot be attached here, so nothing was started.
    pub(super) fn refused(title: &str, survey: &Survey, over: Vec<Obstacle>) -> Report {
        let problems = vec![format!("it cannot be attached: {}", grouped(&over))];
        let mut notes: Vec<String> = Vec::new();
        for obstacle in &over {
            let note = format!("for {}: {}", obstacle.way.name(), obstacle.lack.remedy);
            notes.push(note);
        }
        Report { over, problems, notes, ..Report::about(title, survey) }
    }

    pub(super) fn of(title: &str, survey: &Survey, plan: Plan, seen: &Seen) -> Report {
        let mut report = Report::about(title, survey);
        report.problems = problems(&plan, seen);
        report.notes = plan.notes.into_iter().chain(notes(survey, plan.attach, seen)).collect();
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
        let bits = match survey.image.bits {
            Bits::ThirtyTwo => "32-bit",
            Bits::SixtyFour => "64-bit",
        };
        let linked = match survey.image.linked {
            Linked::Dynamically => "linked dynamically",
            Linked::Statically => "linked statically",
            Linked::Go => "Go",
        };
        let rights = match survey.image.rights {
            Rights::None => None,
            Rights::SetUid => Some("setuid"),
            Rights::FileCapabilities => Some("file capabilities"),
        };
        Report {
            program: title.to_owned(),
            file: survey.file.display().to_string(),
            build: [bits, linked].into_iter().chain(rights).collect(),
            ..Report::default()
        }
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
            "file": self.file,
            "build": self.build,
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
        if let Some((name, why)) = &self.way {
            row("attach", &format!("{name}: {why}"));
        }
        for obstacle in self.over.iter().filter(|_| self.way.is_some()) {
            row("", &format!("not {obstacle}"));
        }
        row("file", &format!("{} ({})", self.file, self.build.join(", ")));
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

/// What keeps copies from working.
fn problems(plan: &Plan, seen: &Seen) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(cause) = &seen.failed {
        problems.push(format!("it cannot be started: {cause}"));
    }
    match seen.ended {
        Some(Exit::Code(0)) if seen.failed.is_none() => problems.push(
            "it ended at once with code 0: if it goes into the background, tell it to stay in the foreground"
                .to_owned(),
        ),
        Some(Exit::Code(code)) if seen.failed.is_none() => {
            problems.push(format!("it ended by itself with code {code}"));
        }
        Some(Exit::Signal(signal)) if seen.failed.is_none() => {
            problems.push(format!("it was ended by signal {signal}"));
        }
        Some(Exit::Code(_) | Exit::Signal(_) | Exit::NotSpawned) | None => {}
    }
    for (address, error) in &seen.refused {
        problems.push(format!("it cannot listen on `{address}`: {error}"));
    }
    for (address, pid) in &seen.unseen {
        problems.push(format!(
            "pid {pid} listens on `{address}`, and its bind was not seen (io_uring, a 32-bit program, or a process that \
             cannot be looked into): a second copy gets EADDRINUSE"
        ));
    }
    for address in &seen.not_accepted {
        problems.push(format!("a connection to `{address}` was not accepted"));
    }
    for oddity in &seen.oddities {
        match oddity {
            Oddity::Unseen { error } => problems.push(format!("a call of it cannot be looked into: {error}")),
            Oddity::PolledEarly { address } => problems.push(format!(
                "it polls its socket on `{address}` since before it was bound, so that no other can take its place"
            )),
            Oddity::NotAccepting { address, .. } => {
                problems.push(format!("it does not accept on `{address}`"));
            }
            Oddity::LeftAlone { .. } | Oddity::Closed { .. } => {}
        }
    }
    // Why it has no port is told above, where it is known.
    if problems.is_empty() && plan.attach != Attach::Nothing {
        match (seen.listens.is_empty(), seen.proven) {
            (true, _) => problems.push(
                "it did not listen in time: there is nothing to share (--timeout, if it starts slowly)"
                    .to_owned(),
            ),
            (false, false) => problems.push("it listens and was not ready in time".to_owned()),
            (false, true) => {}
        }
    }
    problems
}

/// What is unusual, and works all the same.
fn notes(survey: &Survey, attach: Attach, seen: &Seen) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(cause) = &survey.unread {
        notes.push(format!("its file cannot be read ({cause}): only root may look into a process of it"));
    }
    match (attach, survey.image.linked) {
        (Attach::Program, Linked::Go) => {
            notes.push("a Go program makes its system calls itself: preload would do nothing".to_owned());
        }
        (Attach::Program, Linked::Statically) => {
            notes.push("it is linked statically: preload would do nothing".to_owned());
        }
        (Attach::Program | Attach::Channel | Attach::Nothing, _) => {}
    }
    for pid in &seen.rings {
        notes.push(format!(
            "pid {pid} uses io_uring: what it binds through that passes by (Linux 6.11 and later)"
        ));
    }
    for path in &seen.unix {
        notes.push(format!("it listens on the Unix socket `{path}`, which --unix would share"));
    }
    for oddity in &seen.oddities {
        match oddity {
            Oddity::Closed { address } => notes.push(format!("it closed its listener on `{address}` again")),
            Oddity::LeftAlone { .. }
            | Oddity::Unseen { .. }
            | Oddity::PolledEarly { .. }
            | Oddity::NotAccepting { .. } => {}
        }
    }
    if seen.processes > 1 {
        notes.push(format!("one copy is {} processes", seen.processes));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::of(Attach::Program, "own", "each on its own")
    }

    fn good() -> Seen {
        Seen { listens: vec![("0.0.0.0:8000".into(), "tcp")], proven: true, processes: 1, ..Seen::default() }
    }

    #[test]
    fn what_listened_and_stayed_up_works() {
        assert_eq!(problems(&plan(), &good()), [""; 0]);
    }

    #[test]
    fn each_thing_that_goes_wrong_is_one_problem() {
        let address = || "0.0.0.0:8000".to_owned();
        let table = [
            (Seen::default(), "did not listen in time"),
            (Seen { proven: false, ..good() }, "not ready in time"),
            (Seen { ended: Some(Exit::Code(1)), ..Seen::default() }, "code 1"),
            (Seen { ended: Some(Exit::Code(0)), ..Seen::default() }, "foreground"),
            (Seen { ended: Some(Exit::Signal(11)), ..good() }, "signal 11"),
            (Seen { refused: vec![(address(), "in use".into())], ..Seen::default() }, "in use"),
            (Seen { unseen: vec![(address(), 7)], ..Seen::default() }, "pid 7"),
            (Seen { not_accepted: vec![address()], ..good() }, "was not accepted"),
            (
                Seen { failed: Some("no".into()), ended: Some(Exit::NotSpawned), ..Seen::default() },
                "cannot be started",
            ),
        ];
        for (seen, words) in table {
            let problems = problems(&plan(), &seen);
            let [problem] = problems.as_slice() else { panic!("{problems:?}") };
            assert!(problem.contains(words), "{problem}");
        }
    }

    #[test]
    fn text_and_json_have_the_same_facts() {
        let report = Report {
            program: "app.py".into(),
            file: "/usr/bin/python3".into(),
            build: vec!["64-bit", "linked dynamically"],
            way: Some(("own", "each on its own".into())),
            listens: good().listens,
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
