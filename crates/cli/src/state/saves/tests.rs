use std::fs;
use std::os::unix::net::UnixListener;

use oneport_wire::control::{AppSpec, SavedApp};

use super::*;
use crate::state::scratch::{Scratch, mode, names};

fn list(apps: &[&str]) -> Saved {
    let app = |name: &&str| {
        let spec = AppSpec { name: (*name).into(), script: "/srv/app.js".into(), ..AppSpec::default() };
        SavedApp { spec, ids: vec![0], instances: 1, ..SavedApp::default() }
    };
    Saved { version: 1, saved_at: 1, oneport: "0.1.0".into(), apps: apps.iter().map(app).collect() }
}

fn saves(scratch: &Scratch) -> Saves {
    Saves { directory: scratch.path().to_owned() }
}

fn save(scratch: &Scratch, apps: &[&str]) -> Written {
    saves(scratch).write(&list(apps), Force::No).unwrap()
}

/// The names of the apps that are read, and the warnings.
fn read(scratch: &Scratch) -> (Vec<String>, Vec<String>) {
    let (saved, warnings) = saves(scratch).read().unwrap();
    (saved.apps.into_iter().map(|app| app.spec.name).collect(), warnings)
}

#[test]
fn what_is_saved_is_read_and_is_its_users_alone() {
    let scratch = Scratch::new();
    assert_eq!(save(&scratch, &["a", "b"]).change, Change::Replaced);
    assert_eq!(read(&scratch), (vec!["a".into(), "b".into()], vec![]));
    assert_eq!(names(scratch.path()), ["save.json"]);
    assert_eq!(mode(&scratch.join("save.json")), 0o600);
    assert_eq!(saves(&scratch).peek(), Some(list(&["a", "b"])));
}

#[test]
fn five_generations_are_kept_besides() {
    let scratch = Scratch::new();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        save(&scratch, &[name]);
    }
    let kept = ["save.1.json", "save.2.json", "save.3.json", "save.4.json", "save.5.json", "save.json"];
    assert_eq!(names(scratch.path()), kept);
    let oldest = fs::read(scratch.join("save.5.json")).unwrap();
    assert_eq!(Saved::parse(&oldest).unwrap(), list(&["c"]));
    assert_eq!(read(&scratch).0, ["h"]);
}

#[test]
fn the_same_apps_make_no_generation() {
    let scratch = Scratch::new();
    save(&scratch, &["a"]);
    let later = Saved { saved_at: 2, oneport: "0.2.0".into(), ..list(&["a"]) };
    assert_eq!(saves(&scratch).write(&later, Force::No).unwrap().change, Change::Same);
    assert_eq!(names(scratch.path()), ["save.json"]);
}

#[test]
fn an_empty_list_replaces_a_full_one_only_by_force() {
    let scratch = Scratch::new();
    save(&scratch, &[]);
    save(&scratch, &["a", "b"]);
    let words = saves(&scratch).write(&list(&[]), Force::No).unwrap_err().words();
    assert!(words.contains("it has 2 apps") && words.contains("--force"), "{words}");
    fs::write(scratch.join("save.json"), "{").unwrap();
    fs::write(scratch.join("save.1.json"), list(&["a"]).write().unwrap()).unwrap();
    let words = saves(&scratch).write(&list(&[]), Force::No).unwrap_err().words();
    assert!(words.contains("save.1.json`: it has 1 app"), "{words}");
    assert!(scratch.join("save.json").exists());

    assert_eq!(saves(&scratch).write(&list(&[]), Force::Yes).unwrap().change, Change::Replaced);
    assert_eq!(read(&scratch), (vec![], vec![]));
}

#[test]
fn after_a_cleardump_nothing_is_restored_and_nothing_is_lost() {
    let scratch = Scratch::new();
    save(&scratch, &["a"]);
    saves(&scratch).cleardump(7, "0.1.0").unwrap();
    assert_eq!(read(&scratch), (vec![], vec![]));
    let before = fs::read(scratch.join("save.1.json")).unwrap();
    assert_eq!(Saved::parse(&before).unwrap(), list(&["a"]));
}

#[test]
fn a_broken_list_falls_back_and_is_kept_aside() {
    for broken in ["", "{\"version\": 1, \"apps\": [", "null", "\u{0}\u{0}", "{\"version\": 1}"] {
        let scratch = Scratch::new();
        save(&scratch, &["old"]);
        save(&scratch, &["new"]);
        fs::write(scratch.join("save.json"), broken).unwrap();
        let (apps, warnings) = read(&scratch);
        assert_eq!(apps, ["old"]);
        assert!(warnings[0].starts_with("`save.json` is broken: "), "{warnings:?}");
        assert_eq!(warnings[1], "the apps are those of `save.1.json`");
        assert_eq!(fs::read_to_string(scratch.join("save.json.broken")).unwrap(), broken);
        assert_eq!(read(&scratch).1[0], "`save.json` is missing");
    }
}

#[test]
fn broken_lists_do_not_replace_each_other() {
    let scratch = Scratch::new();
    for text in ["one", "two", "three"] {
        fs::write(scratch.join("save.json"), text).unwrap();
        assert!(saves(&scratch).read().unwrap_err().words().contains("no list is good"));
    }
    let kept = ["save.json.broken", "save.json.broken.2", "save.json.broken.3"];
    assert_eq!(names(scratch.path()), kept);
    assert_eq!(fs::read_to_string(scratch.join("save.json.broken.2")).unwrap(), "two");
}

#[test]
fn the_names_for_broken_lists_are_bounded() {
    let scratch = Scratch::new();
    for number in 2..=99 {
        fs::write(scratch.join(&format!("save.json.broken.{number}")), "x").unwrap();
    }
    for expected in ["kept as `save.json.broken`", "it stays"] {
        fs::write(scratch.join("save.json"), "x").unwrap();
        let words = saves(&scratch).read().unwrap_err().words();
        assert!(words.contains(expected), "{words}");
    }
    assert_eq!(fs::read_to_string(scratch.join("save.json")).unwrap(), "x");
    save(&scratch, &["a"]);
    assert_eq!(read(&scratch).0, ["a"]);
}

#[test]
fn saving_over_a_broken_list_puts_it_aside() {
    let scratch = Scratch::new();
    save(&scratch, &["old"]);
    fs::write(scratch.join("save.json"), "{").unwrap();
    let written = save(&scratch, &["new"]);
    assert!(written.warnings[0].contains("kept as `save.json.broken`"));
    assert_eq!(names(scratch.path()), ["save.json", "save.json.broken"]);
}

#[test]
fn what_is_no_file_is_broken_too() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.join("save.json")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scratch.join("save.1.json"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    fs::write(scratch.join("save.2.json"), list(&["a"]).write().unwrap()).unwrap();
    let (apps, warnings) = read(&scratch);
    assert_eq!(apps, ["a"]);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
}

#[test]
fn what_cannot_be_opened_stays_and_is_said() {
    let scratch = Scratch::new();
    let _listener = UnixListener::bind(scratch.join("save.json")).unwrap();
    fs::write(scratch.join("save.1.json"), list(&["a"]).write().unwrap()).unwrap();
    let (apps, warnings) = read(&scratch);
    assert_eq!(apps, ["a"]);
    assert!(warnings[0].starts_with("`save.json` cannot be read: "), "{warnings:?}");
    assert!(scratch.join("save.json").exists());
    assert!(saves(&scratch).write(&list(&[]), Force::No).is_err());
}

#[test]
fn nothing_saved_is_said() {
    let scratch = Scratch::new();
    let words = saves(&scratch).read().unwrap_err().words();
    assert!(words.contains("nothing was saved") && words.contains("`oneport save`"), "{words}");
}

#[test]
fn a_list_of_a_newer_oneport_is_neither_read_nor_lost() {
    let scratch = Scratch::new();
    save(&scratch, &["a"]);
    save(&scratch, &["b"]);
    let newer = r#"{"version": 2, "oneport": "9.1.0", "things": []}"#;
    fs::write(scratch.join("save.json"), newer).unwrap();
    let words = saves(&scratch).read().unwrap_err().words();
    assert!(words.contains("written by oneport 9.1.0"), "{words}");
    assert!(saves(&scratch).write(&list(&[]), Force::No).is_err());
    save(&scratch, &["c"]);
    assert_eq!(fs::read_to_string(scratch.join("save.1.json")).unwrap(), newer);
}

#[test]
fn a_file_that_is_too_long_is_not_read_whole() {
    let scratch = Scratch::new();
    let file = fs::File::create(scratch.join("save.json")).unwrap();
    file.set_len(1 << 40).unwrap();
    assert!(saves(&scratch).read().unwrap_err().words().contains("longer than 67108864 bytes"));
}

#[test]
fn a_save_that_fails_leaves_the_list_before_it() {
    let scratch = Scratch::new();
    save(&scratch, &["a"]);
    fs::create_dir_all(scratch.join("save.5.json/below")).unwrap();
    fs::write(scratch.join("save.4.json"), "").unwrap();
    let words = saves(&scratch).write(&list(&["b"]), Force::No).unwrap_err().words();
    assert!(words.contains("cannot save apps to `"), "{words}");
    assert_eq!(names(scratch.path()), ["save.4.json", "save.5.json", "save.json"]);
    assert_eq!(read(&scratch).0, ["a"]);
}

#[test]
fn many_who_save_at_once_leave_good_lists_only() {
    let scratch = Scratch::new();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let scratch = &scratch;
            scope.spawn(move || {
                for round in 0..10 {
                    save(scratch, &[&format!("{writer}-{round}")]);
                    saves(scratch).read().unwrap();
                }
            });
        }
    });
    assert_eq!(names(scratch.path()).len(), 6);
    for generation in Generation::all() {
        let text = fs::read(scratch.join(&generation.name())).unwrap();
        assert!(Saved::parse(&text).is_ok(), "{generation:?}");
    }
}
