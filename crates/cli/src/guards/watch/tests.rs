//! Real files in a directory of each test. That something is *not* told is seen from what is told next: a file that was written
//! after it.

mod links;
mod polling;
mod tree;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use oneport_wire::control::{AppSpec, Span, Watch, WatchOptions};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{DELAY, LONGEST, Means, Note, Plan, Turn, Watcher};

const PATIENCE: Duration = Duration::from_secs(20);

/// A directory that is removed with the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("oneport-watch-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Dir(path.canonicalize().unwrap())
    }

    fn path(&self, below: &str) -> PathBuf {
        if below.is_empty() { self.0.clone() } else { self.0.join(below) }
    }

    /// Writes a file, and the directories above it.
    fn write(&self, below: &str) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("{:?}", Instant::now())).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Everything below the directory is watched, with a short delay.
fn spec() -> AppSpec {
    AppSpec { watch: Watch::Everything, watch_delay: Some(Span(50)), ..AppSpec::default() }
}

fn paths(paths: &[&str]) -> AppSpec {
    AppSpec { watch: Watch::Paths(paths.iter().map(|path| (*path).to_owned()).collect()), ..spec() }
}

fn polling(spec: AppSpec) -> AppSpec {
    let options = spec.watch_options.unwrap_or_default();
    let options = WatchOptions { use_polling: Some(true), interval: Some(Span(1)), ..options };
    AppSpec { watch_options: Some(options), ..spec }
}

struct Watching {
    watcher: Watcher,
    notes: Vec<Note>,
}

impl Watching {
    fn new(dir: &Dir, spec: &AppSpec) -> Watching {
        Watching::own(&dir.0, spec, &[])
    }

    fn own(cwd: &Path, spec: &AppSpec, own: &[PathBuf]) -> Watching {
        let (watcher, notes) = Watcher::start(Plan::of(spec, cwd, own).unwrap().unwrap());
        Watching { watcher, notes }
    }

    /// Sleeps until it has something to do, and lets it.
    fn turn(&mut self, deadline: Instant) -> Turn {
        let due = self.watcher.due().unwrap_or(deadline).min(deadline);
        let left = due.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
        let fd = self.watcher.fd();
        let mut polled: Vec<PollFd<'_>> =
            fd.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let _ = poll(&mut polled, Some(&timeout));
        self.watcher.turn(Instant::now())
    }

    /// What is told next.
    fn next(&mut self) -> PathBuf {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "nothing in time");
            let turn = self.turn(deadline);
            self.notes.extend(turn.notes);
            if let Some(path) = turn.changed {
                return path;
            }
        }
    }

    /// Nothing that was done before is told: a file that is written now is the next.
    #[track_caller]
    fn expect_nothing_but(&mut self, dir: &Dir, sentinel: &str) {
        let written = dir.write(sentinel);
        assert_eq!(self.next(), written);
    }
}

fn watches(watching: &Watching) -> usize {
    match &watching.watcher.means {
        Means::Notified(notified) => notified.watches(),
        Means::Polled(_) => panic!("not notified"),
    }
}

/// Both ways of watching, each with a directory of its own.
fn both(test: impl Fn(&Dir, &dyn Fn(AppSpec) -> AppSpec)) {
    test(&Dir::new(), &|spec| spec);
    test(&Dir::new(), &polling);
}

#[test]
fn files_that_are_written_made_moved_and_removed_are_changes() {
    let dir = Dir::new();
    let old = dir.write("src/old.js");
    let mut watching = Watching::new(&dir, &spec());
    assert_eq!(watching.notes, []);
    dir.write("src/old.js");
    assert_eq!(watching.next(), old);
    assert_eq!(
        {
            dir.write("new.js");
            watching.next()
        },
        dir.path("new.js")
    );
    fs::rename(&old, dir.path("src/moved.js")).unwrap();
    assert_eq!(watching.next(), old);
    fs::remove_file(dir.path("src/moved.js")).unwrap();
    assert_eq!(watching.next(), dir.path("src/moved.js"));
    fs::create_dir(dir.path("made")).unwrap();
    assert_eq!(watching.next(), dir.path("made"));
}

#[test]
fn what_is_ignored_is_not_told() {
    both(|dir, how| {
        for file in
            [".git/index", "node_modules/a/b.js", "tmp/x", "deep/tmp/y", "a.bak", "logs/out.log", "kept.js"]
        {
            dir.write(file);
        }
        let ignore = ["tmp", "*.bak", "./data/*.db"].map(str::to_owned).to_vec();
        let spec = how(AppSpec { ignore_watch: ignore, ..spec() });
        let mut watching = Watching::own(&dir.0, &spec, &[dir.path("logs/out.log"), dir.path("app.pid")]);
        for file in [
            ".git/index",
            ".env",
            "node_modules/a/b.js",
            "tmp/x",
            "deep/tmp/y",
            "a.bak",
            "logs/out.log",
            "logs/out.log.1",
            "app.pid",
        ] {
            dir.write(file);
        }
        fs::rename(dir.path("logs/out.log"), dir.path("logs/out.log.2")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path("server")).unwrap();
        watching.expect_nothing_but(dir, "kept.js");
    });
}

#[test]
fn a_directory_for_the_apps_own_files_may_appear() {
    both(|dir, how| {
        dir.write("a.js");
        let mut watching = Watching::own(&dir.0, &how(spec()), &[dir.path("run/logs/out.log")]);
        dir.write("run/logs/out.log");
        watching.expect_nothing_but(dir, "a.js");
    });
}

#[test]
fn own_files_are_known_through_links_and_from_before_they_are_there() {
    let dir = Dir::new();
    dir.write("releases/5/a.js");
    std::os::unix::fs::symlink(dir.path("releases/5"), dir.path("current")).unwrap();
    let own = [dir.path("releases/5/out.log"), dir.0.clone()];
    let mut watching = Watching::own(&dir.path("current"), &spec(), &own);
    dir.write("releases/5/out.log");
    dir.write("releases/5/a.js");
    assert_eq!(watching.next(), dir.path("current/a.js"), "and a home around it all does not hide it");
}

#[test]
fn an_editor_that_writes_by_renaming_is_one_change() {
    let dir = Dir::new();
    let file = dir.write("server.js");
    // Until it is quiet, however slow this test is.
    let mut watching = Watching::new(&dir, &AppSpec { watch_delay: Some(Span(300)), ..spec() });
    dir.write("4913");
    fs::remove_file(dir.path("4913")).unwrap();
    fs::rename(&file, dir.path("server.js~")).unwrap();
    dir.write("server.js");
    fs::remove_file(dir.path("server.js~")).unwrap();
    dir.write("server.js.tmp");
    fs::rename(dir.path("server.js.tmp"), &file).unwrap();
    assert_eq!(watching.next(), dir.path("4913"));
    watching.expect_nothing_but(&dir, "other.js");
}

#[test]
fn of_attributes_only_the_time_is_a_change() {
    let dir = Dir::new();
    let file = dir.write("server.js");
    let open = fs::File::options().append(true).open(&file).unwrap();
    open.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let mut watching = Watching::new(&dir, &spec());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    fs::hard_link(&file, dir.path(".hidden")).unwrap();
    fs::File::open(&file).unwrap();
    watching.expect_nothing_but(&dir, "other.js");
    open.set_modified(SystemTime::now()).unwrap();
    assert_eq!(watching.next(), file, "as `touch` does");
}

#[test]
fn a_burst_is_one_change_and_one_that_does_not_end_is_told_all_the_same() {
    let dir = Dir::new();
    let mut watcher = Watching::new(&dir, &AppSpec { watch_delay: None, ..spec() }).watcher;
    let begun = Instant::now();
    let step = DELAY / 2;
    let mut now = begun;
    let first = dir.write("0");
    let told = loop {
        if let Some(path) = watcher.turn(now).changed {
            break path;
        }
        now += step;
        assert!(now < begun + 4 * (DELAY + LONGEST), "not told");
        dir.write("0");
    };
    assert_eq!(told, first);
    let after = now - begun;
    assert!(after >= DELAY + LONGEST && after <= DELAY + LONGEST + 2 * step, "{after:?}");
    let quiet = now + DELAY;
    assert_eq!(watcher.turn(now).changed, None);
    let last = watcher.turn(quiet).changed;
    assert_eq!(watcher.turn(quiet + 2 * LONGEST).changed, None, "after {last:?}");
    assert_eq!(watcher.due(), None, "nothing is waited for");
}

#[test]
fn what_cannot_be_understood_is_refused() {
    let refuse = |spec: AppSpec| Plan::of(&spec, Path::new("/app"), &[]).unwrap_err().words();
    assert!(refuse(paths(&["src/{a"])).contains("cannot watch `src/{a` (`watch`): unclosed brace"));
    let ignore = AppSpec { ignore_watch: vec!["+(a|b)".to_owned()], ..spec() };
    assert!(refuse(ignore).contains("`+(...)` is not understood"));
    assert!(Plan::of(&AppSpec::default(), Path::new("/app"), &[]).unwrap().is_none());
    assert!(Plan::of(&paths(&[" "]), Path::new("/app"), &[]).unwrap().is_none());
}
