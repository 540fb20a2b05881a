//! Recorded conversations of real Node clusters (see `record/record.py`): every line decodes, encodes to the same
//! JSON, claims a handle exactly when one came, and reads as its snapshot says.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use oneport_wire::node::Inbox;
use oneport_wire::node::key::spell_key;
use oneport_wire::node::message::{FromPrimary, FromWorker};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Record {
    worker: u32,
    from: Side,
    handle: bool,
    line: String,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Side {
    Worker,
    Primary,
}

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<_> = fs::read_dir(root)
        .expect("transcripts")
        .flat_map(|major| fs::read_dir(major.expect("major").path()).expect("scenarios"))
        .map(|file| file.expect("scenario").path())
        .collect();
    files.sort();
    files
}

fn name(file: &Path) -> String {
    let part = |path: Option<&std::ffi::OsStr>| path.expect("a name").to_string_lossy().into_owned();
    format!("{}__{}", part(file.parent().and_then(Path::file_name)), part(file.file_stem()))
}

fn records(file: &Path) -> Vec<Record> {
    let text = fs::read_to_string(file).expect("transcript");
    text.lines().skip(1).map(|line| serde_json::from_str(line).expect("record")).collect()
}

/// One line through the inbox as if it came alone; gives its Debug form and what encoding it gives.
fn pass(record: &Record) -> (String, Vec<u8>) {
    let mut inbox = Inbox::new(1 << 20);
    let line = format!("{}\n", record.line);
    inbox.space()[..line.len()].copy_from_slice(line.as_bytes());
    inbox.received(line.len(), record.handle.then_some(())).expect("one handle");
    let mut out = Vec::new();
    let (shown, handle) = match record.from {
        Side::Worker => {
            let (message, handle) = inbox.next_from_worker().expect("lawful").expect("a message");
            message.encode(&mut out);
            (format!("{message:?}"), handle)
        }
        Side::Primary => {
            let (message, handle) = inbox.next_from_primary().expect("lawful").expect("a message");
            message.encode(&mut out);
            (format!("{message:?}"), handle)
        }
    };
    assert_eq!(handle.is_some(), record.handle, "{}", record.line);
    assert!(inbox.is_empty());
    (shown, out)
}

/// What a line says; the fields that we read and do not write again are taken out.
fn meaning(line: &str) -> Value {
    let mut value: Value = match serde_json::from_str(line) {
        Ok(value) => value,
        // Half surrogate pairs are JSON and no Rust string; such lines are users' and carried as text.
        Err(_) => return Value::String(line.to_owned()),
    };
    if let Some(object) = value.as_object_mut() {
        if object.get("backlog") == Some(&Value::Bool(false)) {
            object.remove("backlog");
        }
        if object.get("cmd").is_some_and(|cmd| cmd == "NODE_FOO") {
            object.remove("any");
        }
        if object.get("cmd").is_some_and(|cmd| cmd == "NODE_CLUSTER") && object.len() == 1 {
            object.insert("act".into(), "".into());
        }
        if object.get("act").is_some_and(|act| act == "nothing of ours") {
            object.remove("seq");
        }
    }
    value
}

#[test]
fn every_recorded_line_is_written_again_as_node_wrote_it() {
    for file in files() {
        for record in records(&file) {
            let (_, out) = pass(&record);
            let text = std::str::from_utf8(&out).expect("UTF-8");
            let again = text.strip_suffix('\n').expect("one newline at the end");
            assert!(!again.contains('\n'), "{again}");
            assert_eq!(meaning(again), meaning(&record.line), "{}", file.display());
            if meaning(&record.line) == serde_json::from_str::<Value>(&record.line).unwrap_or_default() {
                assert_eq!(again, record.line, "order of fields, {}", file.display());
            }
        }
    }
}

#[test]
fn every_recorded_line_reads_as_reviewed() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for file in files() {
            let mut shown = String::new();
            for record in records(&file) {
                let from = match record.from {
                    Side::Worker => format!("W{}", record.worker),
                    Side::Primary => format!("P>{}", record.worker),
                };
                let handle = if record.handle { " +handle" } else { "" };
                writeln!(shown, "{from:<4}{}{handle}", pass(&record).0).expect("a String");
            }
            insta::assert_snapshot!(name(&file), shown);
        }
    });
}

#[test]
fn whole_conversations_pass_one_inbox_per_direction() {
    for file in files() {
        for worker in 1..=2 {
            let mut inboxes = (Inbox::new(1 << 20), Inbox::new(1 << 20));
            for record in records(&file).iter().filter(|record| record.worker == worker) {
                let inbox = match record.from {
                    Side::Worker => &mut inboxes.0,
                    Side::Primary => &mut inboxes.1,
                };
                let line = format!("{}\n", record.line);
                inbox.space()[..line.len()].copy_from_slice(line.as_bytes());
                inbox.received(line.len(), record.handle.then_some(())).expect("one handle");
                match record.from {
                    Side::Worker => assert_eq!(
                        inbox.next_from_worker().expect("lawful").map(|(message, _)| message),
                        FromWorker::decode(record.line.as_bytes()).ok()
                    ),
                    Side::Primary => assert_eq!(
                        inbox.next_from_primary().expect("lawful").map(|(message, _)| message),
                        FromPrimary::decode(record.line.as_bytes()).ok()
                    ),
                }
            }
        }
    }
}

#[test]
fn keys_are_spelt_as_the_recorded_primary_spelt_them() {
    let mut compared = 0;
    for file in files() {
        let always_indexed = name(&file).as_str() < "22";
        let mut asked = None;
        for record in records(&file) {
            match record.from {
                Side::Worker => {
                    if let Ok(FromWorker::Query { query, .. }) = FromWorker::decode(record.line.as_bytes()) {
                        let index = (always_indexed || query.port == Some(0)).then_some(query.index);
                        let address = query.address.as_deref();
                        asked = Some(spell_key(address, query.port, query.address_type, query.fd, index));
                    }
                }
                Side::Primary => {
                    if let Ok(FromPrimary::Reply { key, .. }) = FromPrimary::decode(record.line.as_bytes()) {
                        assert_eq!(asked.take().as_deref(), Some(&*key), "{}", file.display());
                        compared += 1;
                    }
                }
            }
        }
    }
    assert!(compared >= 5 * 20, "{compared}");
}

#[test]
fn recordings_of_five_majors_are_there() {
    let count = |major: &str| files().iter().filter(|file| name(file).starts_with(major)).count();
    for major in ["18__", "20__", "22__", "24__", "26__"] {
        assert_eq!(count(major), 11, "{major}");
    }
}
