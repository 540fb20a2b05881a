//! Several copies behind one port.

use std::collections::BTreeMap;

use oneport::ProgramSettings;

use crate::harness::{Test, ask, free_port, settings};

#[test]
fn all_copies_of_a_program_serve_one_port_evenly() {
    let address = format!("127.0.0.1:{}", free_port());
    let mut test = Test::start(settings("serve", &address, ProgramSettings::default()), 3);
    test.until_proven(3);
    let mut served = BTreeMap::<i32, usize>::new();
    for _ in 0..240 {
        *served.entry(ask(address.parse().unwrap()).expect("an answer")).or_default() += 1;
    }
    assert_eq!(served.keys().copied().collect::<Vec<_>>(), test.pids().into_iter().collect::<Vec<_>>());
    assert!(served.values().all(|count| (40..=120).contains(count)), "{served:?}");
    test.stop();
}
