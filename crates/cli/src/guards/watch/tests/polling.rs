//! Looking at files again and again.

use super::*;
use crate::guards::watch::polled::Polled;

#[test]
fn changes_are_seen_without_being_told_of() {
    let dir = Dir::new();
    dir.write("src/a.js");
    let mut watching = Watching::new(&dir, &polling(spec()));
    assert!(watching.watcher.fd().is_none());
    watching.expect_nothing_but(&dir, "src/a.js");
    watching.expect_nothing_but(&dir, "src/new.js");
    fs::remove_file(dir.path("src/a.js")).unwrap();
    assert_eq!(watching.next(), dir.0, "which file is not known any more");
    watching.expect_nothing_but(&dir, "src/new.js");
}

#[test]
fn looking_takes_a_tenth_of_the_time_at_most_and_waits_for_the_interval() {
    let dir = Dir::new();
    let plan = Plan::of(&spec(), &dir.0, &[]).unwrap().unwrap();
    let before = Instant::now();
    let (polled, scan) = Polled::new(&plan, Duration::from_secs(5));
    assert!(polled.next() >= before + Duration::from_secs(5) && scan.changed.is_none());
}

#[test]
fn more_files_than_are_looked_at_are_told() {
    let dir = Dir::new();
    let mut watching = Watching::new(&dir, &polling(spec()));
    for number in 0..10 {
        dir.write(&number.to_string());
    }
    let (polled, scan) = Polled::with_most(&watching.watcher.plan, Duration::ZERO, 5);
    assert!(scan.is_cut);
    watching.watcher.means = Means::Polled(polled);
    let deadline = Instant::now() + PATIENCE;
    while watching.notes.is_empty() {
        let notes = watching.turn(deadline).notes;
        watching.notes.extend(notes);
    }
    assert!(watching.notes[0].message.contains("too many"), "{:?}", watching.notes);
}
