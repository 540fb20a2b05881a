//! The values with a reader of their own: `Json`, which is carried as text and must be one JSON text on one line wherever it
//! goes, and `AddressType`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oneport_wire::Violation;
use oneport_wire::node::message::{AddressType, FromPrimary, FromWorker, HandleEnvelope, HandleKind, Json};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(kind) = serde_json::from_str::<AddressType>(text) {
        let written = serde_json::to_string(&kind).expect("no map, no stranger's type");
        assert_eq!(serde_json::from_str::<AddressType>(&written).expect("our own"), kind);
    }
    let parsed = serde_json::from_str::<serde_json::Value>(text);
    let Ok(json) = Json::parse(text) else {
        assert!(parsed.is_err(), "JSON is refused");
        return;
    };
    carried(json.borrowed());
    // Node's answer to a value that looks like one of its own messages is to take it for that.
    let line = line(|out| FromWorker::User(json.borrowed()).encode(out));
    match FromWorker::decode(&line) {
        Ok(FromWorker::User(again)) => same(&json, &again),
        Ok(_) | Err(Violation::Malformed { .. }) => assert!(text.contains("cmd") || text.contains("\\u")),
        Err(violation) => panic!("a value does not pass: {violation}"),
    }
});

/// Beside a descriptor no value is mistaken for anything.
fn carried(message: Json<'_>) {
    let line = line(|out| {
        let envelope = HandleEnvelope { kind: HandleKind::NetSocket, message: message.borrowed(), key: None };
        FromPrimary::Handle(envelope).encode(out);
    });
    match FromPrimary::decode(&line) {
        Ok(FromPrimary::Handle(envelope)) => same(&message, &envelope.message),
        other => panic!("an envelope became {other:?}"),
    }
}

fn line(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut line = Vec::new();
    encode(&mut line);
    assert_eq!(line.pop(), Some(b'\n'));
    assert!(!line.contains(&b'\n'), "more than one line");
    line
}

/// White space between tokens is free, and a newline can stand nowhere else.
fn same(before: &Json<'_>, after: &Json<'_>) {
    assert_eq!(before.get().replace('\n', " ").trim_matches([' ', '\t', '\r']), after.get());
}
