//! The life of an app, told as Node's own cluster example tells it: primary, workers started, address, deaths.
//! One function per thing that can be said; text for people, JSON for programs, the same facts in both. The first line is
//! in `beginning`, and what is said about programs alone in `program`.

use oneport::{Address, AddressKind, EndCause, Exit, ReloadFailure, Slot, WorkerRef};
use oneport_sys::process::Signal;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::scribe::Scribe;
use super::span;
use crate::args::LogFormat;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loudness {
    /// Only what went wrong.
    Quiet,
    Normal,
    /// Every transition.
    Verbose,
}

/// What went wrong lately, for who asks later. The newest last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Arc<Mutex<VecDeque<String>>>);

/// Notes kept, and characters of each.
const NOTES: usize = 16;
const OF_A_NOTE: usize = 400;

impl Notes {
    fn add(&self, text: &str) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text: String = text.chars().take(OF_A_NOTE).collect();
        if notes.back() != Some(&text) {
            notes.push_back(text);
        }
        if notes.len() > NOTES {
            notes.pop_front();
        }
    }

    /// All of them.
    pub(crate) fn list(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

pub(crate) struct Teller {
    pub(crate) format: LogFormat,
    pub(crate) loudness: Loudness,
    pub(crate) app: String,
    pub(crate) scribe: Scribe,
    /// Where notices and errors are kept.
    pub(crate) notes: Option<Notes>,
}

/// The words for lines of this log that were lost because nobody read it.
pub(crate) fn gap(format: LogFormat, app: &str, dropped: u64) -> String {
    let lines = if dropped == 1 { "1 line".to_owned() } else { format!("{dropped} lines") };
    let message = format!("{lines} of this log dropped here: it was not being read");
    match format {
        LogFormat::Json => object("notice", app, json!({"message": message, "hint": null})),
        LogFormat::Text => format!("note: {message}"),
    }
}

fn object(event: &str, app: &str, fields: Value) -> String {
    let mut object = Map::new();
    object.insert("event".into(), event.into());
    object.insert("app".into(), app.into());
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    Value::Object(object).to_string()
}

impl Teller {
    /// Tells one thing, if it is loud enough. `fields` are the facts, `text` is the sentence.
    pub(super) fn tell(&self, loudness: Loudness, event: &str, fields: Value, text: &str) {
        if loudness == Loudness::Quiet
            && let Some(notes) = &self.notes
        {
            notes.add(text.lines().next().unwrap_or_default());
        }
        match self.format {
            LogFormat::Json if self.loudness == Loudness::Quiet && loudness > Loudness::Quiet => {}
            LogFormat::Json => {
                self.scribe.say(loudness, object(event, &self.app, fields));
            }
            LogFormat::Text if loudness <= self.loudness && !text.is_empty() => {
                self.scribe.say(loudness, text.to_owned())
            }
            LogFormat::Text => {}
        }
    }

    pub(crate) fn started(&self, worker: WorkerRef) {
        self.tell(Loudness::Normal, "started", facts(worker), &format!("worker {} started", worker.pid));
    }

    /// Something that is of interest only to who looks closely.
    pub(crate) fn step(&self, event: &str, worker: WorkerRef) {
        self.tell(Loudness::Verbose, event, facts(worker), &format!("worker {} {event}", worker.pid));
    }

    /// `first`: nobody has listened there before.
    pub(crate) fn listening(&self, worker: WorkerRef, address: &Address, first: bool) {
        let kind = match address.kind {
            AddressKind::Tcp => "tcp",
            AddressKind::Unix => "unix",
            AddressKind::Udp => "udp",
        };
        let mut fields = facts(worker);
        fields["address"] = address.text.as_str().into();
        fields["kind"] = kind.into();
        let (loudness, text) = match first {
            true => (Loudness::Normal, format!("listening on {address}")),
            false => (Loudness::Verbose, format!("worker {} listening on {address}", worker.pid)),
        };
        self.tell(loudness, "listening", fields, &text);
    }

    /// `stopped`: we had sent it the stop signal.
    pub(crate) fn died(&self, worker: WorkerRef, exit: Exit, cause: EndCause, stopped: bool) {
        let mut fields = facts(worker);
        let (code, signal) = match exit {
            Exit::Code(code) => (Value::from(code), Value::Null),
            Exit::Signal(signal) => (Value::Null, Value::from(signal_name(signal))),
            Exit::NotSpawned => (Value::Null, Value::Null),
        };
        fields["code"] = code;
        fields["signal"] = signal;
        fields["expected"] = is_expected(cause).into();
        // Nobody asked, and it got the stop signal nevertheless: that happens to one without a channel.
        let cut_off = stopped && cause == EndCause::ByItself;
        fields["why"] = if cut_off { "its channel closed" } else { cause_name(cause) }.into();
        let how = exit_words(exit);
        let asked = match cause {
            EndCause::Asked => ", as asked",
            EndCause::Voluntary => ", of its own accord",
            EndCause::ByItself if cut_off => ": its channel closed",
            EndCause::ByItself
            | EndCause::Violation
            | EndCause::Hung
            | EndCause::NotReady
            | EndCause::Shortage
            | EndCause::Killed => "",
        };
        let text = match exit {
            // Told when it failed to start.
            Exit::NotSpawned => String::new(),
            Exit::Code(_) | Exit::Signal(_) => format!("worker {} died ({how}){asked}", worker.pid),
        };
        self.tell(if is_expected(cause) { Loudness::Normal } else { Loudness::Quiet }, "died", fields, &text);
    }

    /// A slot stays empty.
    pub(crate) fn finished(&self, slot: Slot) {
        let text = format!("slot {slot} is not started again");
        self.tell(Loudness::Normal, "finished", json!({"slot": slot.0}), &text);
    }

    pub(crate) fn restarting(&self, slot: Slot, delay: std::time::Duration) {
        self.tell(
            Loudness::Normal,
            "restarting",
            json!({"slot": slot.0, "delay_ms": delay.as_millis() as u64}),
            &format!("slot {slot} starts again in {}", span(delay)),
        );
    }

    pub(crate) fn errored(&self, slot: Slot, restarts: u32, last: &[String]) {
        let text = format!(
            "slot {slot} is given up: ended before --min-uptime {} in a row{}",
            if restarts == 1 { "once".to_owned() } else { format!("{restarts} times") },
            quoted(last)
        );
        let fields = json!({"slot": slot.0, "restarts": restarts, "last_stderr": trimmed(last)});
        self.tell(Loudness::Quiet, "errored", fields, &text);
    }

    pub(crate) fn not_ready_yet(&self, worker: WorkerRef, after: std::time::Duration) {
        let mut fields = facts(worker);
        fields["after_ms"] = (after.as_millis() as u64).into();
        let text =
            format!("note: worker {} is not ready after {}: it gets no connections", worker.pid, span(after));
        self.tell(Loudness::Normal, "not_ready", fields, &text);
    }

    pub(crate) fn violation(&self, worker: WorkerRef, reason: &str) {
        let mut fields = facts(worker);
        fields["reason"] = reason.into();
        self.tell(Loudness::Quiet, "violation", fields, &format!("worker {} is ended: {reason}", worker.pid));
    }

    pub(crate) fn reload(&self, workers: usize) {
        let text = format!("reload: replacing {}, the new one first", count(workers));
        self.tell(Loudness::Normal, "reload", json!({"workers": workers}), &text);
    }

    pub(crate) fn replaced(&self, slot: Slot, worker: WorkerRef) {
        let mut fields = facts(worker);
        fields["slot"] = slot.0.into();
        self.tell(
            Loudness::Normal,
            "replaced",
            fields,
            &format!("reload: slot {slot} is worker {} now", worker.pid),
        );
    }

    pub(crate) fn reloaded(&self, replaced: usize, took: std::time::Duration) {
        let fields = json!({"replaced": replaced, "ms": took.as_millis() as u64});
        let text = format!("reload done: {} in {}", count(replaced), span(took));
        self.tell(Loudness::Normal, "reloaded", fields, &text);
    }

    pub(crate) fn reload_aborted(
        &self,
        slot: Slot,
        worker: WorkerRef,
        failure: ReloadFailure,
        replaced: usize,
        last: &[String],
    ) {
        let reason = match failure {
            ReloadFailure::Died(Exit::NotSpawned) => "the new worker could not be started".to_owned(),
            ReloadFailure::Died(exit @ (Exit::Code(_) | Exit::Signal(_))) => {
                format!("the new worker ended before it was proven ({})", exit_words(exit))
            }
            ReloadFailure::NotReady(limit) => format!("the new worker was not ready within {}", span(limit)),
            ReloadFailure::Condemned(cause) => {
                format!("the new worker had to be ended ({})", cause_name(cause))
            }
            ReloadFailure::Interrupted => "it was interrupted".to_owned(),
        };
        let mixed = match (failure, replaced) {
            (ReloadFailure::Interrupted, _) => "the app is ending".to_owned(),
            (_, 0) => "the old workers serve on".to_owned(),
            (_, n) => format!("mixed: {n} new and otherwise old workers serve on"),
        };
        let text = format!("reload aborted at slot {slot}: {reason}; {mixed}{}", quoted(last));
        let mut fields = facts(worker);
        fields["slot"] = slot.0.into();
        fields["reason"] = reason.into();
        fields["replaced"] = replaced.into();
        fields["last_stderr"] = trimmed(last).into();
        self.tell(Loudness::Quiet, "reload_aborted", fields, &text);
    }

    /// Somebody else holds an address.
    pub(crate) fn taken(&self, address: &Address, holder: Option<&(i32, String)>) {
        let (pid, command) = match holder {
            Some((pid, command)) => (Value::from(*pid), Value::from(command.as_str())),
            None => (Value::Null, Value::Null),
        };
        let by = match holder {
            Some((pid, command)) => format!("pid {pid} ({command}) holds it"),
            None => "somebody else holds it".to_owned(),
        };
        let fields = json!({"address": address.text, "pid": pid, "command": command});
        self.tell(
            Loudness::Quiet,
            "taken",
            fields,
            &format!("error: cannot listen on `{address}`: address already in use; {by}"),
        );
    }

    /// Worth knowing, not wrong.
    pub(crate) fn notice(&self, message: &str, hint: Option<&str>) {
        self.notes.iter().for_each(|notes| notes.add(message));
        let text = format!("note: {message}{}", hint_line(hint));
        self.tell(Loudness::Normal, "notice", json!({"message": message, "hint": hint}), &text);
    }

    /// Wrong, and the app goes on.
    pub(crate) fn error(&self, message: &str, hint: Option<&str>) {
        let text = format!("error: {message}{}", hint_line(hint));
        self.tell(Loudness::Quiet, "error", json!({"message": message, "hint": hint}), &text);
    }

    pub(crate) fn stopped(&self) {
        self.tell(Loudness::Normal, "stopped", json!({}), "stopped");
    }
}

pub(super) fn count(workers: usize) -> String {
    if workers == 1 { "1 worker".to_owned() } else { format!("{workers} workers") }
}

pub(super) fn facts(worker: WorkerRef) -> Value {
    // One that could not be started has no process.
    let pid = Some(worker.pid).filter(|pid| *pid != 0);
    json!({"worker": worker.id.0, "slot": worker.slot.map(|slot| slot.0), "pid": pid})
}

pub(super) fn hint_line(hint: Option<&str>) -> String {
    hint.map(|hint| format!("\n hint: {hint}")).unwrap_or_default()
}

fn trimmed(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.trim_end_matches('\n')).collect()
}

fn quoted(lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let body: String = trimmed(lines).iter().map(|line| format!("\n  | {line}")).collect();
    format!("\n  its last words on standard error:{body}")
}

fn is_expected(cause: EndCause) -> bool {
    match cause {
        EndCause::Asked | EndCause::Voluntary => true,
        EndCause::ByItself
        | EndCause::Violation
        | EndCause::Hung
        | EndCause::NotReady
        | EndCause::Shortage
        | EndCause::Killed => false,
    }
}

fn cause_name(cause: EndCause) -> &'static str {
    match cause {
        EndCause::ByItself => "by itself",
        EndCause::Voluntary => "voluntary",
        EndCause::Asked => "asked",
        EndCause::Violation => "protocol violation",
        EndCause::Hung => "hung",
        EndCause::NotReady => "not ready in time",
        EndCause::Shortage => "out of descriptors, memory or processes",
        EndCause::Killed => "killed",
    }
}

fn exit_words(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("code {code}"),
        Exit::Signal(signal) => signal_name(signal),
        Exit::NotSpawned => "could not be started".to_owned(),
    }
}

pub(super) fn signal_name(signal: i32) -> String {
    Signal::from_number(signal).map_or_else(|| format!("signal {signal}"), |signal| signal.name().to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use oneport::WorkerId;

    use super::*;
    use crate::render::scribe::tests::{held, take};

    const NEVER_STARTED: WorkerRef = WorkerRef { id: WorkerId(7), slot: Some(Slot(2)), pid: 0 };
    const STARTED: WorkerRef = WorkerRef { id: WorkerId(8), slot: Some(Slot(2)), pid: 4711 };

    pub(in crate::render) fn told(format: LogFormat, tell: impl Fn(&Teller)) -> Vec<String> {
        let scribe = held();
        tell(&Teller {
            format,
            loudness: Loudness::Verbose,
            app: "app".into(),
            scribe: scribe.clone(),
            notes: None,
        });
        take(&scribe, usize::MAX)
    }

    #[test]
    fn the_death_of_a_worker_that_never_lived_is_no_line_and_has_no_pid() {
        let died = |teller: &Teller| {
            teller.died(NEVER_STARTED, Exit::NotSpawned, EndCause::ByItself, false);
        };
        assert_eq!(told(LogFormat::Text, died), [""; 0]);
        let lines = told(LogFormat::Json, died);
        let object: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((&object["pid"], &object["worker"]), (&Value::Null, &Value::from(7)));
    }

    #[test]
    fn a_reload_whose_worker_cannot_be_started_says_so() {
        let failure = ReloadFailure::Died(Exit::NotSpawned);
        let lines =
            told(LogFormat::Text, |teller| teller.reload_aborted(Slot(2), NEVER_STARTED, failure, 0, &[]));
        assert_eq!(
            lines,
            ["reload aborted at slot 2: the new worker could not be started; the old workers serve on"]
        );
    }

    #[test]
    fn a_worker_that_got_the_stop_signal_unasked_had_lost_its_channel() {
        let died = |stopped| {
            told(LogFormat::Text, |teller: &Teller| {
                teller.died(STARTED, Exit::Signal(2), EndCause::ByItself, stopped);
            })
        };
        assert_eq!(died(true), ["worker 4711 died (SIGINT): its channel closed"]);
        assert_eq!(died(false), ["worker 4711 died (SIGINT)"]);
    }

    #[test]
    fn a_gap_is_told_in_either_format() {
        assert_eq!(
            gap(LogFormat::Text, "app", 1),
            "note: 1 line of this log dropped here: it was not being read"
        );
        let object: Value = serde_json::from_str(&gap(LogFormat::Json, "app", 12)).unwrap();
        assert_eq!((&object["event"], &object["app"]), (&Value::from("notice"), &Value::from("app")));
        assert!(object["message"].as_str().unwrap().starts_with("12 lines"));
    }
}
