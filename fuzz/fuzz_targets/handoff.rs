//! The hand-off stream: a byte is the answer that is written as this byte, or it is refused by its number.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oneport_wire::Violation;
use oneport_wire::handoff::Answer;

fuzz_target!(|input: &[u8]| {
    for byte in input.iter().copied() {
        match Answer::decode(byte) {
            Ok(answer) => assert_eq!(answer.encode(), byte),
            Err(violation) => {
                assert_eq!(violation, Violation::NoAnswer { byte });
                assert!([Answer::Taken, Answer::Refused].iter().all(|answer| answer.encode() != byte));
            }
        }
    }
});
