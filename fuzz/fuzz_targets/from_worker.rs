//! `FromWorker`: no line does more than be refused, and what is understood is written as one line that is understood alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oneport_wire::node::message::FromWorker;

fuzz_target!(|input: &[u8]| {
    // A channel never shows a decoder a newline.
    for line in input.split(|byte| *byte == b'\n') {
        let message = match FromWorker::decode(line) {
            Ok(message) => message,
            Err(violation) => {
                assert!(violation.to_string().starts_with("cannot read "));
                continue;
            }
        };
        let mut written = Vec::new();
        message.encode(&mut written);
        assert_eq!(written.pop(), Some(b'\n'));
        assert!(!written.contains(&b'\n'), "more than one line");
        assert_eq!(FromWorker::decode(&written).as_ref(), Ok(&message));
    }
});
