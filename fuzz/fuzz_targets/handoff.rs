//! The hand-off stream, both directions: whatever a read brings, no handle is lost, doubled or out of order, and what came
//! before a breach counts; answers match hand-offs in order, and nothing is answered twice.
#![no_main]

use std::collections::VecDeque;

use libfuzzer_sys::fuzz_target;
use oneport_wire::handoff::{Answer, CONNECTION, match_answers, pair};

fuzz_target!(|input: &[u8]| {
    let [handles, truncated, handed, bytes @ ..] = input else { return };
    connections(bytes, *handles, truncated & 1 == 1);
    answers(bytes, *handed);
});

fn connections(bytes: &[u8], handles: u8, truncated: bool) {
    let mut given = Vec::new();
    let outcome = pair(bytes, 0..handles, truncated, |handle| given.push(handle));
    let lawful = bytes.iter().take_while(|byte| **byte == CONNECTION).count();
    assert!(given.len() <= lawful);
    // In order, none twice, and only the last ones lost.
    let got: Vec<u8> = given.iter().copied().flatten().collect();
    assert!(got.iter().copied().eq(0..u8::try_from(got.len()).expect("no more than there were")));
    assert!(given.iter().skip(got.len()).all(Option::is_none));
    assert!(truncated || got.len() == given.len(), "a connection without its handle");
    if outcome.is_ok() {
        assert_eq!((given.len(), got.len()), (bytes.len(), usize::from(handles)));
    }
}

fn answers(bytes: &[u8], handed: u8) {
    let mut awaiting: VecDeque<u8> = (0..handed).collect();
    let mut given = Vec::new();
    let outcome =
        match_answers(bytes, &mut awaiting, |hand_off, answer: Answer| given.push((hand_off, answer)));
    assert_eq!(given.len() + awaiting.len(), usize::from(handed));
    assert!(given.iter().map(|(hand_off, _)| *hand_off).chain(awaiting).eq(0..handed));
    assert!(given.iter().map(|(_, answer)| answer.encode()).eq(bytes[..given.len()].iter().copied()));
    assert!(outcome.is_err() || given.len() == bytes.len());
}
