//! Programs that listen on a Unix path of the app's: whoever comes or goes, the path leads to all copies, and it is as if the
//! program itself had made it.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use oneport_e2e::http::Client;
use oneport_e2e::programs::{all_answer, python_words, run};
use oneport_e2e::{App, Signal, TempDir, place, procfs};

struct Shared {
    app: App,
    path: PathBuf,
    _dir: TempDir,
}

impl Shared {
    /// Two copies that serve on one path.
    fn start(way: &str, habits: &[&str]) -> Self {
        let dir = TempDir::new();
        // For those who are nobody.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let path = dir.file("sock");
        let text = path.to_str().unwrap().to_owned();
        let words = [text.as_str()].into_iter().chain(habits.iter().copied());
        let options = ["--attach", way, "--unix", &text];
        let app = run(python_words("odd/unix.py", words)).instances(2).args(options).start();
        app.wait_count("2 proven workers", 2, |event| event.is("proven"));
        app.wait_count("2 workers listening", 2, |event| event.is("listening"));
        Self { app, path, _dir: dir }
    }

    fn ask(&self) -> io::Result<u32> {
        let mut client = Client::unix(&self.path)?;
        client.send("/", "Connection: close\r\n")?;
        client.receive()?.answered_by()
    }

    fn all_answer(&self) {
        all_answer(&self.app, || self.ask());
    }

    fn reload(&self) {
        self.app.signal(Signal::HUP);
        self.app.wait_for("the reload to be done", |event| event.is("reloaded"));
    }

    /// Nothing is left where it was.
    fn stop(self) {
        self.app.stop();
        let left = std::fs::read_dir(self.path.parent().unwrap()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn copies_share_a_listed_unix_path() {
    let shared = Shared::start("own", &[]);
    shared.all_answer();
    shared.reload();
    shared.all_answer();
    shared.stop();
}

#[test]
fn copies_share_a_listed_unix_path_in_slot_mode() {
    let shared = Shared::start("slot", &[]);
    shared.all_answer();
    shared.reload();
    shared.all_answer();
    shared.stop();
}

#[test]
fn a_path_outlives_the_copies_that_are_killed() {
    let shared = Shared::start("own", &[]);
    for round in 1..=2 {
        let victim = shared.app.worker(0);
        procfs::signal(victim, Signal::KILL);
        // Until then it may still come out of `accept` with one.
        shared.app.wait_for("its death", |event| event.is("died") && event.of(victim));
        // The path never leads nowhere: the other serves.
        shared.ask().unwrap();
        shared.app.wait_count("a replacement", 2 + round, |event| event.is("proven"));
        shared.all_answer();
    }
    shared.stop();
}

#[test]
fn a_path_that_programs_unlink_as_they_end_leads_to_those_who_stay() {
    let shared = Shared::start("own", &["tidy"]);
    shared.reload();
    shared.all_answer();
    procfs::signal(shared.app.worker(0), Signal::TERM);
    shared.app.wait_count("a replacement", 5, |event| event.is("proven"));
    shared.all_answer();
    shared.stop();
}

#[test]
fn a_path_has_the_mode_that_the_programs_umask_gives_it() {
    for (umask, mode) in [("umask=077", 0o700), ("umask=000", 0o777)] {
        let shared = Shared::start("own", &[umask]);
        assert_eq!(std::fs::symlink_metadata(&shared.path).unwrap().mode() & 0o7777, mode, "{umask}");
        shared.all_answer();
        shared.stop();
    }
}

#[test]
fn a_path_is_owned_by_whoever_the_program_is() {
    if !rustix::process::geteuid().is_root() {
        return place::skipped("a_path_is_owned", "only root can become somebody else");
    }
    let shared = Shared::start("own", &["umask=027", "nobody"]);
    let found = std::fs::symlink_metadata(&shared.path).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (65534, 65534, 0o750));
    shared.all_answer();
    shared.stop();
}
