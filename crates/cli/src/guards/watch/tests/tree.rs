//! The tree itself changes: directories come, go and move; roots that are not there yet, or no more; the bounds.

use super::*;
use crate::guards::watch::notified::Notified;

#[test]
fn directories_that_appear_are_watched_and_those_that_move_still_are() {
    let dir = Dir::new();
    let mut watching = Watching::new(&dir, &spec());
    dir.write("a/b/c/x.js");
    assert_eq!(watching.next(), dir.path("a"));
    assert_eq!(
        {
            dir.write("a/b/c/x.js");
            watching.next()
        },
        dir.path("a/b/c/x.js")
    );
    fs::rename(dir.path("a/b"), dir.path("moved")).unwrap();
    watching.next();
    assert_eq!(
        {
            dir.write("moved/c/x.js");
            watching.next()
        },
        dir.path("moved/c/x.js"),
        "under its new name"
    );
    assert_eq!(watches(&watching), 4, "the root, a, moved, moved/c");
    let outside = Dir::new();
    fs::rename(dir.path("moved"), outside.path("moved")).unwrap();
    assert_eq!(watching.next(), dir.path("moved"));
    assert_eq!(watches(&watching), 2, "what left is not watched any more");
    outside.write("moved/c/x.js");
    watching.expect_nothing_but(&dir, "a/y.js");
    fs::remove_dir_all(dir.path("a")).unwrap();
    watching.next();
    // The walk may have come between two removals.
    while watches(&watching) != 1 {
        assert!(watching.next().starts_with(dir.path("a")));
    }
}

#[test]
fn ignored_directories_are_not_entered() {
    let dir = Dir::new();
    for directory in ["node_modules/a/b", ".git/x", "dist/y", "src/z"] {
        fs::create_dir_all(dir.path(directory)).unwrap();
    }
    let spec = AppSpec { ignore_watch: vec!["dist/**".to_owned()], ..spec() };
    assert_eq!(watches(&Watching::new(&dir, &spec)), 3, "the root, src, src/z");
    assert_eq!(watches(&Watching::new(&dir, &paths(&["*.js"]))), 1, "a glob that reaches no deeper");
}

#[test]
fn only_what_is_named_is_watched() {
    both(|dir, how| {
        for file in ["src/a.js", "src/a.css", "config/x.json", ".env", "other.js"] {
            dir.write(file);
        }
        let mut watching = Watching::new(dir, &how(paths(&["src/*.js", "config", ".env"])));
        for file in ["src/a.css", "other.js", ".env2"] {
            dir.write(file);
        }
        watching.expect_nothing_but(dir, "src/a.js");
        watching.expect_nothing_but(dir, "config/x.json");
        watching.expect_nothing_but(dir, ".env");
        fs::rename(dir.write("new"), dir.path(".env")).unwrap();
        assert_eq!(watching.next(), dir.path(".env"), "exchanged by renaming");
        watching.expect_nothing_but(dir, ".env");
    });
}

#[test]
fn a_root_that_is_not_there_yet_is_waited_for() {
    both(|dir, how| {
        let mut watching = Watching::new(dir, &how(paths(&["a/b/c", "kept"])));
        fs::create_dir(dir.path("a")).unwrap();
        dir.write("a/x");
        watching.expect_nothing_but(dir, "kept");
        dir.write("a/b/c/x.js");
        assert_eq!(watching.next(), dir.path("a/b/c"));
        watching.expect_nothing_but(dir, "a/b/c/x.js");
    });
}

#[test]
fn a_root_that_is_removed_is_a_change_and_waited_for() {
    both(|dir, how| {
        dir.write("src/x.js");
        let mut watching = Watching::new(dir, &how(paths(&["src"])));
        fs::rename(dir.path("src"), dir.path("away")).unwrap();
        assert_eq!(watching.next(), dir.path("src"));
        dir.write("away/x.js");
        fs::create_dir(dir.path("src")).unwrap();
        assert_eq!(watching.next(), dir.path("src"));
        watching.expect_nothing_but(dir, "src/x.js");
    });
}

#[test]
fn while_the_apps_directory_is_away_nothing_is_told() {
    both(|dir, how| {
        let cwd = dir.path("app");
        dir.write("app/x.js");
        let mut watching = Watching::own(&cwd, &how(spec()), &[]);
        fs::remove_dir_all(&cwd).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while watching.watcher.pending.is_none() {
            assert_eq!(watching.turn(deadline).changed, None);
        }
        let due = watching.watcher.pending.as_ref().unwrap().due;
        assert_eq!(watching.watcher.turn(due).changed, None);
        dir.write("app/x.js");
        let told = watching.next();
        assert!(told.starts_with(&cwd), "{told:?}");
        // The walk may have come between the directory and the file.
        let later = dir.write("app/later.js");
        while watching.next() != later {}
    });
}

#[test]
fn more_events_than_the_kernel_keeps_are_a_change_and_lose_nothing_after() {
    let dir = Dir::new();
    let mut watching = Watching::new(&dir, &spec());
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    if limit > 50_000 {
        return;
    }
    // Ignored ones, so that only the loss itself is told. Two names in turn: the same event twice is one.
    for _ in 0..=limit / 2 {
        for name in [".a", ".b"] {
            fs::write(dir.path(name), "").unwrap();
        }
    }
    fs::create_dir_all(dir.path("unseen")).unwrap();
    assert_eq!(watching.next(), dir.0);
    watching.expect_nothing_but(&dir, "unseen/x.js");
}

#[test]
fn more_directories_than_are_watched_are_told_once() {
    let dir = Dir::new();
    for number in 0..10 {
        fs::create_dir(dir.path(&number.to_string())).unwrap();
    }
    let mut watching = Watching::new(&dir, &spec());
    let mut notified = Notified::with_most(5).unwrap();
    assert!(notified.scan(&watching.watcher.plan).unwrap().is_cut);
    assert_eq!(notified.watches(), 5);
    watching.watcher.means = Means::Notified(notified);
    for _ in 0..2 {
        watching.watcher.walk(Instant::now(), &mut watching.notes);
    }
    let [note] = watching.notes.as_slice() else { panic!("{:?}", watching.notes) };
    assert!(note.message.ends_with(": it has too many directories or files"), "{}", note.message);
    watching.expect_nothing_but(&dir, "x.js");
}

#[test]
fn where_the_kernel_gives_no_more_watches_files_are_looked_at() {
    let dir = Dir::new();
    dir.write("a.js");
    let options = WatchOptions { interval: Some(Span(1)), ..WatchOptions::default() };
    let mut watching = Watching::new(&dir, &AppSpec { watch_options: Some(options), ..spec() });
    watching.watcher.fall_back(Errno::NOSPC, &mut watching.notes);
    let [note] = watching.notes.as_slice() else { panic!("{:?}", watching.notes) };
    assert!(note.message.contains("the limit of inotify watches is reached"), "{}", note.message);
    assert!(note.hint.as_ref().unwrap().contains("fs.inotify.max_user_watches"));
    watching.expect_nothing_but(&dir, "a.js");
}
