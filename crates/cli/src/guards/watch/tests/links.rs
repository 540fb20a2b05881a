//! Symbolic links: followed only when asked, but a root that is one is what it leads to.

use std::os::unix::fs::symlink;

use super::*;
use crate::guards::watch::polled::Polled;

fn following(spec: AppSpec) -> AppSpec {
    let options = WatchOptions { follow_symlinks: Some(true), ..spec.watch_options.unwrap_or_default() };
    AppSpec { watch_options: Some(options), ..spec }
}

#[test]
fn links_out_of_the_root_are_not_followed() {
    both(|dir, how| {
        dir.write("outside/x.js");
        dir.write("app/a.js");
        symlink(dir.path("outside"), dir.path("app/directory")).unwrap();
        symlink(dir.path("outside/x.js"), dir.path("app/file.js")).unwrap();
        let mut watching = Watching::own(&dir.path("app"), &how(spec()), &[]);
        dir.write("outside/x.js");
        watching.expect_nothing_but(dir, "app/a.js");
        fs::remove_file(dir.path("app/file.js")).unwrap();
        symlink(dir.path("outside/y.js"), dir.path("app/file.js")).unwrap();
        let told = watching.next();
        assert!(
            [dir.path("app/file.js"), dir.path("app")].contains(&told),
            "the link itself is looked at: {told:?}"
        );
    });
}

#[test]
fn links_are_followed_when_asked_and_those_that_lead_back_are_not_entered_again() {
    both(|dir, how| {
        dir.write("outside/x.js");
        dir.write("single.js");
        dir.write("app/a.js");
        symlink(dir.path("outside"), dir.path("app/directory")).unwrap();
        symlink(dir.path("single.js"), dir.path("app/file.js")).unwrap();
        symlink(dir.path("app"), dir.path("app/back")).unwrap();
        symlink(dir.path("nowhere"), dir.path("app/broken")).unwrap();
        let mut watching = Watching::own(&dir.path("app"), &how(following(spec())), &[]);
        dir.write("outside/x.js");
        assert_eq!(watching.next(), dir.path("app/directory/x.js"));
        dir.write("single.js");
        assert_eq!(watching.next(), dir.path("app/file.js"));
        fs::rename(dir.write("new.js"), dir.path("single.js")).unwrap();
        assert_eq!(watching.next(), dir.path("app/file.js"), "its target was exchanged");
        dir.write("single.js");
        assert_eq!(watching.next(), dir.path("app/file.js"), "and is still watched");
        symlink(dir.path("single.js"), dir.path("app/late.js")).unwrap();
        assert_eq!(watching.next(), dir.path("app/late.js"));
        watching.expect_nothing_but(dir, "app/a.js");
    });
}

#[test]
fn a_tree_with_a_link_back_is_finite() {
    let dir = Dir::new();
    dir.write("a/x.js");
    symlink(dir.path("a"), dir.path("a/back")).unwrap();
    symlink(&dir.0, dir.path("a/top")).unwrap();
    let watching = Watching::new(&dir, &following(spec()));
    assert_eq!(watches(&watching), 2);
    // The root, a, a/x.js, a/back and a/top, and as much once more on the other way.
    let scan = Polled::with_most(&watching.watcher.plan, Duration::ZERO, 10).1;
    assert!(!scan.is_cut);
}

#[test]
fn a_root_that_is_a_link_may_be_turned_to_another_directory() {
    both(|dir, how| {
        dir.write("1/a.js");
        dir.write("2/a.js");
        symlink(dir.path("1"), dir.path("current")).unwrap();
        let mut watching = Watching::own(&dir.path("current"), &how(spec()), &[]);
        symlink(dir.path("2"), dir.path("next")).unwrap();
        fs::rename(dir.path("next"), dir.path("current")).unwrap();
        assert_eq!(watching.next(), dir.path("current"));
        dir.write("1/a.js");
        dir.write("2/b.js");
        assert_eq!(watching.next(), dir.path("current/b.js"));
    });
}
