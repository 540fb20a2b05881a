use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{chown, symlink};

use super::*;
use crate::state::scratch::{Scratch, is_root, mode, names, set_mode};

fn refused(path: &Path) -> String {
    Home::open_at(path).unwrap_err().words()
}

#[test]
fn it_is_where_the_variable_says_else_in_the_users_home() {
    let found = |named: Option<&str>, home: Option<&str>| {
        locate(named.map(OsString::from), home.map(OsString::from))
            .map(|path| path.display().to_string())
            .map_err(|failure| failure.words())
    };
    assert_eq!(found(Some("/a"), Some("/b")).unwrap(), "/a");
    assert_eq!(found(None, Some("/b")).unwrap(), "/b/.oneport");
    assert_eq!(found(Some(""), Some("/b")).unwrap(), "/b/.oneport");
    for nothing in [None, Some("")] {
        assert!(found(None, nothing).unwrap_err().contains("neither `ONEPORT_HOME` nor `HOME` is set"));
    }
}

#[test]
fn a_relative_path_is_made_absolute() {
    let found = locate(Some("state/../x".into()), None).unwrap();
    assert_eq!(found, std::env::current_dir().unwrap().join("state/../x"));
}

#[test]
fn a_path_that_is_no_text_is_refused() {
    let named = OsString::from_vec(b"/tmp/\xff\xfe".to_vec());
    let failure = locate(Some(named), None).unwrap_err();
    assert!(failure.words().contains("its name is not UTF-8"), "{}", failure.words());
}

#[test]
fn it_is_made_with_all_that_belongs_in_it_for_its_user_alone() {
    let scratch = Scratch::new();
    let (home, warnings) = Home::open_at(&scratch.join("a/b")).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(names(home.path()), ["logs", "pids", "run"]);
    for path in [home.path(), &scratch.join("a"), &home.logs(), &home.pids(), &home.run()] {
        assert_eq!(mode(path), 0o700, "{path:?}");
    }
    assert_eq!(Home::open_at(home.path()).unwrap(), (home, vec![]));
}

#[test]
fn looking_for_one_makes_none() {
    let scratch = Scratch::new();
    let path = scratch.join("home");
    assert_eq!(Home::existing_at(&path).unwrap(), None);
    assert!(names(scratch.path()).is_empty());
    let made = Home::open_at(&path).unwrap();
    assert_eq!(Home::existing_at(&path).unwrap(), Some(made));
}

#[test]
fn what_crashed_writers_left_is_tidied_up() {
    let scratch = Scratch::new();
    let (home, _) = Home::open_at(scratch.path()).unwrap();
    let left = home.run().join(".oneport-1-1.tmp");
    let file = fs::File::create(&left).unwrap();
    file.set_times(fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH)).unwrap();
    drop(file);
    home.tidy();
    assert!(!left.exists());
}

#[test]
fn one_that_others_may_read_is_narrowed_and_that_is_said() {
    let scratch = Scratch::new();
    set_mode(scratch.path(), 0o755);
    let (home, warnings) = Home::open_at(scratch.path()).unwrap();
    assert_eq!(mode(home.path()), 0o700);
    assert!(warnings[0].contains("was open to others (mode 755)"), "{warnings:?}");
    set_mode(&home.run(), 0o711);
    assert_eq!(Home::open_at(scratch.path()).unwrap().1.len(), 1);
    assert_eq!(mode(&home.run()), 0o700);
}

#[test]
fn one_that_others_may_write_to_is_refused_and_left_as_it_is() {
    let scratch = Scratch::new();
    for open in [0o770, 0o707, 0o1777] {
        set_mode(scratch.path(), open);
        assert!(refused(scratch.path()).contains("others may write to it"));
        assert_eq!(mode(scratch.path()), open);
    }
}

#[test]
fn one_that_cannot_be_written_to_is_refused() {
    let scratch = Scratch::new();
    set_mode(scratch.path(), 0o500);
    let words = refused(scratch.path());
    assert!(words.contains("forbids you to write") && words.contains("chmod 700"), "{words}");
    set_mode(scratch.path(), 0o700);
}

#[test]
fn a_read_only_file_system_is_said() {
    // The kernel's own: nobody, not even root, makes a directory there.
    let words = refused(Path::new("/proc/oneport"));
    assert!(words.contains("cannot create home directory `/proc/oneport`"), "{words}");
}

#[test]
fn a_file_in_the_way_is_said() {
    let scratch = Scratch::new();
    fs::write(scratch.join("file"), "").unwrap();
    assert!(refused(&scratch.join("file")).contains("a file is in the way"));
    assert!(refused(&scratch.join("file/below")).contains("a file is in the way"));
    fs::write(scratch.join("run"), "").unwrap();
    assert!(refused(scratch.path()).contains("/run`: a file is in the way"));
}

#[test]
fn logs_may_be_elsewhere_and_sockets_may_not() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.join("elsewhere")).unwrap();
    let home = scratch.join("home");
    fs::create_dir(&home).unwrap();
    set_mode(&home, 0o700);
    symlink(scratch.join("elsewhere"), home.join("logs")).unwrap();
    assert!(Home::open_at(&home).is_ok());
    fs::remove_dir(home.join("run")).unwrap();
    symlink(scratch.join("elsewhere"), home.join("run")).unwrap();
    assert!(Home::open_at(&home).is_err());
}

#[test]
fn one_of_another_user_is_refused() {
    if !is_root("one_of_another_user_is_refused") {
        return;
    }
    let scratch = Scratch::new();
    chown(scratch.path(), Some(12345), None).unwrap();
    let words = refused(scratch.path());
    assert!(words.contains("it belongs to user 12345, not to 0"), "{words}");
}

#[test]
fn ten_who_make_it_at_once_all_get_it() {
    let scratch = Scratch::new();
    let path = scratch.join("home");
    let opened = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..10).map(|_| scope.spawn(|| Home::open_at(&path).is_ok())).collect();
        threads.into_iter().all(|thread| thread.join().unwrap())
    });
    assert!(opened);
}
