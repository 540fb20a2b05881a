//! `FromPrimary`: no line does more than be refused, what is no JSON is refused as that and nothing else is, and what is
//! understood is written as one line that is understood alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oneport_wire::Violation;
use oneport_wire::node::message::{FromPrimary, Json};

fuzz_target!(|input: &[u8]| {
    // A channel never shows a decoder a newline.
    for line in input.split(|byte| *byte == b'\n') {
        let is_json = std::str::from_utf8(line).is_ok_and(|text| Json::parse(text).is_ok());
        let message = match FromPrimary::decode(line) {
            Ok(message) => message,
            Err(violation) => {
                assert_eq!(violation == Violation::NotJson, !is_json);
                assert!(violation.to_string().starts_with("cannot read "));
                continue;
            }
        };
        assert!(is_json, "what is not JSON is understood");
        let mut written = Vec::new();
        message.encode(&mut written);
        assert_eq!(written.pop(), Some(b'\n'));
        assert!(!written.contains(&b'\n'), "more than one line");
        assert_eq!(FromPrimary::decode(&written).as_ref(), Ok(&message));
    }
});
