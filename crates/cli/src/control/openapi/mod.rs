//! `docs/openapi.json` says what the control API is: its types here, its paths in `routes`.

mod routes;
mod samples;
mod schema;

use std::collections::BTreeSet;
use std::fmt::Debug;

use oneport_wire::control::{
    AppSpec, Create, ExecMode, Exit, Happening, Instances, JobKind, JobState, Line, LogType, ProblemKind,
    Reload, Restart, SavedApp, Scale, Signal, Slots, Start, Status, StepState, StopWith, What,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::daemon::saving::{Resurrect, Save};

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// The names that a schema has, and those of them that are required.
fn told(document: &Value, name: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let schema = schema::named(document, name);
    let required = schema["required"].as_array().into_iter().flatten();
    let required = required.map(|name| name.as_str().unwrap().to_owned()).collect();
    (keys(&schema["properties"]), required)
}

#[test]
fn every_type_has_the_keys_of_its_schema_and_no_other() {
    let document = schema::document();
    for (name, full, least) in samples::all() {
        let (known, required) = told(&document, name);
        assert_eq!(keys(&full), known, "{name}: a full value");
        if name != "AppSpec" {
            // What is always there is required of answers. Of requests see the next test.
            assert!(required.is_subset(&keys(&least)), "{name}: {required:?} is more than is always there");
        }
        for value in [&full, &least] {
            schema::check(&document, &schema::named(&document, name), value)
                .unwrap_or_else(|why| panic!("{name}: {why}\n{value:#}"));
        }
    }
}

#[test]
fn what_is_always_in_an_answer_is_required() {
    let document = schema::document();
    for (name, _, least) in samples::all().into_iter().filter(|(name, ..)| !is_request(name)) {
        assert_eq!(told(&document, name).1, keys(&least), "{name}");
    }
}

/// Objects that people send. An app's configuration is in answers as well, but with its own defaults.
fn is_request(name: &str) -> bool {
    ["Create", "Slots", "Start", "Restart", "Reload", "Signal", "Line", "Save", "Resurrect"].contains(&name)
        || ["AppSpec", "SavedApp", "LogRotate", "WatchOptions"].contains(&name)
}

/// What the type takes is what the schema says: nothing unknown, nothing missing, every form of the examples.
fn taken_as_told<T: DeserializeOwned + Serialize + Debug>(document: &Value, name: &str, full: &Value) {
    let schema = schema::named(document, name);
    let read = |value: &Value| serde_json::from_value::<T>(value.clone());
    let mut unknown = full.clone();
    unknown["nonsense"] = json!(1);
    let is_closed = schema["additionalProperties"] == json!(false);
    assert_eq!(read(&unknown).is_err(), is_closed, "{name}: unknown keys");
    let required = told(document, name).1;
    for key in keys(full) {
        let mut without = full.clone();
        without.as_object_mut().unwrap().remove(&key);
        // A name and a script are asked for by the daemon, with a better message.
        let by_hand = name == "AppSpec" && ["name", "script"].contains(&key.as_str());
        assert_eq!(read(&without).is_err(), required.contains(&key) && !by_hand, "{name} without {key}");
    }
    let examples = schema["examples"].as_array().cloned().unwrap_or_default();
    for example in &examples {
        schema::check(document, &schema, example).unwrap_or_else(|why| panic!("{name}: {why}"));
        let value = read(example).unwrap_or_else(|why| panic!("{name}: {why}\n{example:#}"));
        let again = serde_json::to_value(&value).unwrap();
        assert!(keys(example).is_subset(&keys(&again)), "{name}: something of {example} is lost");
    }
    assert_eq!(examples.is_empty(), ["AppSpec", "SavedApp"].contains(&name), "{name}: examples");
}

#[test]
fn requests_are_taken_as_the_schema_says() {
    let document = schema::document();
    let full = |name: &str| samples::all().into_iter().find(|(known, ..)| *known == name).unwrap().1;
    taken_as_told::<Create>(&document, "Create", &full("Create"));
    taken_as_told::<Slots>(&document, "Slots", &full("Slots"));
    taken_as_told::<Start>(&document, "Start", &full("Start"));
    taken_as_told::<Restart>(&document, "Restart", &full("Restart"));
    taken_as_told::<Reload>(&document, "Reload", &full("Reload"));
    taken_as_told::<Signal>(&document, "Signal", &full("Signal"));
    taken_as_told::<Line>(&document, "Line", &full("Line"));
    taken_as_told::<Save>(&document, "Save", &full("Save"));
    taken_as_told::<Resurrect>(&document, "Resurrect", &full("Resurrect"));
    taken_as_told::<AppSpec>(&document, "AppSpec", &full("AppSpec"));
    taken_as_told::<SavedApp>(&document, "SavedApp", &full("SavedApp"));
    for example in schema::named(&document, "Scale")["examples"].as_array().unwrap() {
        serde_json::from_value::<Scale>(example.clone()).unwrap();
    }
}

/// Each form in which a key may be written is one that the type reads, and others are not.
#[test]
fn forms_of_a_configuration_are_those_that_are_read() {
    let document = schema::document();
    let app = schema::named(&document, "AppSpec");
    let values = [json!(1), json!(-1), json!(true), json!("1"), json!(["1"]), json!([1]), json!({"x": "1"})];
    for (key, says) in app["properties"].as_object().unwrap() {
        // serde reads a table from a list as well, field by field, which is no promise.
        let is_table = schema::meant(&document, says)["type"] == json!("object");
        for value in values.iter().filter(|value| !(is_table && value.is_array())) {
            let read = serde_json::from_value::<AppSpec>(json!({ key: value }));
            let fits = schema::check(&document, says, value);
            assert_eq!(read.is_ok(), fits.is_ok(), "{key} = {value}: {read:?}, {fits:?}");
        }
    }
    assert!(serde_json::from_value::<Instances>(json!(4097)).is_err());
    assert!(schema::check(&document, &schema::named(&document, "Instances"), &json!(4097)).is_err());
}

fn words<T: Serialize>(all: &[T]) -> Value {
    serde_json::to_value(all).unwrap()
}

/// Written out with a match in `samples`, so that a new one is missed by the compiler.
#[test]
fn words_to_choose_from_are_those_of_the_types() {
    let document = schema::document();
    let of = |name: &str| schema::named(&document, name)["enum"].clone();
    assert_eq!(of("Status"), words(&Status::ALL));
    assert_eq!(of("JobKind"), words(&samples::all_of::<JobKind>()));
    assert_eq!(of("JobState"), words(&samples::all_of::<JobState>()));
    assert_eq!(of("StepState"), words(&samples::all_of::<StepState>()));
    assert_eq!(of("ProblemKind"), words(&samples::all_of::<ProblemKind>()));
    assert_eq!(of("ExecMode"), words(&samples::all_of::<ExecMode>()));
    assert_eq!(of("StopWith"), words(&samples::all_of::<StopWith>()));
    assert_eq!(of("LogType"), words(&samples::all_of::<LogType>()));
    for exit in [Exit::Code(1), Exit::Signal(9), Exit::NotStarted] {
        schema::check(&document, &schema::named(&document, "Exit"), &json!(exit)).unwrap();
    }
    let statuses = schema::named(&document, "ProblemKind")["description"].as_str().unwrap().to_owned();
    for kind in samples::all_of::<ProblemKind>() {
        assert!(statuses.contains(&kind.status().to_string()), "{kind:?}");
    }
}

#[test]
fn every_event_is_one_of_those_that_are_told_and_the_other_way_round() {
    let document = schema::document();
    let choices = schema::named(&document, "Happening")["oneOf"].as_array().unwrap().clone();
    let mut seen = Vec::new();
    for what in samples::all_of::<What>() {
        let line = json!(Happening { at: 1, app: "web".into(), what });
        let fits = |choice: &&Value| schema::check(&document, choice, &line).is_ok();
        let found: Vec<&Value> = choices.iter().filter(fits).collect();
        assert_eq!(found.len(), 1, "{line}");
        assert_eq!(keys(&found[0]["properties"]), keys(&line), "{line}");
        seen.push(line["event"].clone());
    }
    let told: Vec<Value> = choices.iter().map(|one| one["properties"]["event"]["enum"][0].clone()).collect();
    assert_eq!(told, seen);
}

/// Whoever shows or stores requests can know what not to.
#[test]
fn what_is_secret_is_marked() {
    let document = schema::document();
    for (name, key) in [
        ("Create", "environment"),
        ("Restart", "environment"),
        ("Reload", "environment"),
        ("Origin", "environment"),
        ("AppSpec", "env"),
    ] {
        assert_eq!(schema::named(&document, name)["properties"][key]["x-secret"], true, "{name}.{key}");
    }
}
