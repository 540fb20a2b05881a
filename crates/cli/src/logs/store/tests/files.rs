use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::super::Store;
use crate::logs::testing::{House, by, finish, put, text, until};
use crate::logs::{Plan, Stream};

#[test]
fn each_stream_has_its_file_in_a_folder_of_the_user_alone() {
    let house = House::new(|_, _| {});
    let store = house.start(1);
    put(&store, 0, "one\ntw");
    store.put(by(0), Stream::Err, b"\xff\0no text");
    put(&store, 0, "o\n");
    finish(&store);
    assert_eq!(text(&house.out()), "one\ntwo\n");
    assert_eq!(fs::read(house.logs().join("web-error.log")).unwrap(), b"\xff\0no text");
    let mode = |path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(house.logs()), 0o700);
    assert_eq!(mode(house.out()) & !0o640, 0);
    assert_eq!(store.dropped(), 0);
    assert_eq!(store.progress(), 17);
    assert_eq!(store.paths(0, 0).out.unwrap(), house.out().to_str().unwrap());
}

#[test]
fn several_workers_have_files_of_their_own() {
    let house = House::new(|_, _| {});
    let store = house.start(2);
    put(&store, 4, "four");
    put(&store, 7, "seven");
    finish(&store);
    assert_eq!(house.names(), ["web-out-4.log", "web-out-7.log"]);
    assert_eq!(text(&house.logs().join("web-out-7.log")), "seven");
}

#[test]
fn a_file_for_both_streams_gets_both_and_its_folder_is_made() {
    let house = House::new(|spec, home| {
        spec.log_file = Some(home.join("a/b/all.log").display().to_string());
        spec.error_file = Some("/dev/null".into());
    });
    let store = house.start(1);
    put(&store, 0, "out\n");
    store.put(by(0), Stream::Err, b"err\n");
    finish(&store);
    assert_eq!(text(&house.home.path().join("a/b/all.log")), "out\nerr\n");
    assert_eq!(house.names(), ["web-out.log"]);
}

#[test]
fn what_is_stored_nowhere_opens_nothing_and_is_not_missing() {
    let house = House::new(|spec, _| spec.disable_logs = true);
    let store = house.start(1);
    put(&store, 0, "gone\n");
    finish(&store);
    assert!(!house.logs().exists());
    assert_eq!((store.dropped(), store.paths(0, 0).out), (0, None));
}

#[test]
fn what_waits_is_written_when_nobody_has_the_store_any_more() {
    let house = House::new(|_, _| {});
    put(&house.start(1), 0, "last words\n");
    until("it is written", || text(&house.out()) == "last words\n");
}

#[test]
fn what_comes_after_the_end_is_dropped_and_counted() {
    let house = House::new(|_, _| {});
    let store = house.start(1);
    finish(&store);
    put(&store, 0, "late");
    assert_eq!(store.dropped(), 4);
}

#[test]
fn a_file_that_was_renamed_or_removed_is_made_anew() {
    let house = House::new(|_, _| {});
    let store = house.start(1);
    for (n, vanish) in [
        |path: &std::path::Path| fs::rename(path, path.with_extension("old")).unwrap(),
        |path: &std::path::Path| fs::remove_file(path).unwrap(),
    ]
    .into_iter()
    .enumerate()
    {
        put(&store, 0, "before\n");
        until("the file is there", || text(&house.out()).ends_with("before\n"));
        vanish(&house.out());
        until("a new one is there", || {
            put(&store, 0, "after\n");
            house.out().exists()
        });
        assert_eq!(store.dropped(), 0, "{n}");
    }
    assert!(text(&house.logs().join("web-out.old")).starts_with("before\n"));
}

#[test]
fn reopening_makes_the_file_at_once() {
    let house = House::new(|_, _| {});
    let store = house.start(1);
    put(&store, 0, "before\n");
    until("it is written", || text(&house.out()) == "before\n");
    fs::rename(house.out(), house.logs().join("aside")).unwrap();
    store.reopen();
    until("the new one is there", || house.out().exists());
    put(&store, 0, "after\n");
    finish(&store);
    assert_eq!(text(&house.logs().join("aside")), "before\n");
    assert_eq!(text(&house.out()), "after\n");
}

#[test]
fn emptying_keeps_what_comes_after_it_and_reaches_files_that_are_not_open() {
    let house = House::new(|_, _| {});
    fs::create_dir(house.logs()).unwrap();
    let (gone, other) = (house.logs().join("web-out-9.log"), house.logs().join("other-out-9.log"));
    fs::write(&gone, "of a slot that is gone").unwrap();
    fs::write(&other, "of another app").unwrap();
    let store = house.start(2);
    put(&store, 0, "before\nunfini");
    store.empty();
    put(&store, 0, "after\n");
    finish(&store);
    assert_eq!(text(&house.logs().join("web-out-0.log")), "after\n");
    assert_eq!((text(&gone), text(&other)), (String::new(), "of another app".into()));
}

#[test]
fn a_changed_configuration_goes_to_other_files_from_there_on() {
    let house = House::new(|_, _| {});
    let store = house.start(1);
    put(&store, 3, "one\n");
    store.replan(house.plan(2));
    put(&store, 3, "two\n");
    store.replan(Plan::of(&house.spec, &house.home.path().join("elsewhere"), 2));
    assert!(store.paths(3, 0).out.unwrap().ends_with("elsewhere/web-out-3.log"));
    put(&store, 3, "three\n");
    finish(&store);
    assert_eq!(text(&house.out()), "one\n");
    assert_eq!(text(&house.logs().join("web-out-3.log")), "two\n");
    assert_eq!(text(&house.home.path().join("elsewhere/web-out-3.log")), "three\n");
}

#[test]
fn clones_are_the_same_store() {
    let house = House::new(|_, _| {});
    let store = house.start(1);
    let other: Store = store.clone();
    put(&other, 0, "a");
    drop(other);
    put(&store, 0, "b");
    finish(&store);
    assert_eq!(text(&house.out()), "ab");
}

#[test]
fn a_symbolic_link_is_followed_and_the_file_behind_it_is_put_aside() {
    let house = House::new(|spec, _| {
        spec.log_rotate = serde_json::from_str(r#"{"max_size": 10, "compress": false}"#).unwrap();
    });
    let behind = house.home.path().join("behind.log");
    fs::create_dir(house.logs()).unwrap();
    fs::write(&behind, "").unwrap();
    fs::set_permissions(&behind, PermissionsExt::from_mode(0o604)).unwrap();
    symlink(&behind, house.out()).unwrap();
    let store = house.start(1);
    put(&store, 0, "12345678\n");
    put(&store, 0, "abcdefgh\n");
    finish(&store);
    assert_eq!(text(&house.out()), "abcdefgh\n");
    assert!(house.out().is_symlink());
    assert_eq!(house.names(), ["web-out.log"]);
    assert_eq!(crate::logs::aside::of_file(&behind).len(), 1);
    assert_eq!(fs::metadata(&behind).unwrap().mode() & 0o777, 0o604, "the next file is like the one before");
}
