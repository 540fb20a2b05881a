//! What tests of this module share.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use oneport_wire::control::AppSpec;
use tempfile::TempDir;

use super::{Plan, Source, Store, Stream};

/// Looks again and again until it is so.
pub(super) fn until(what: &str, so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < end, "it never came to this: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

pub(super) fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

pub(super) fn by(id: u32) -> Source {
    Source { id, slot: id, pid: 1000 + i32::try_from(id).unwrap() }
}

/// The store of an app `web` in a home of its own.
pub(super) struct House {
    pub(super) home: TempDir,
    pub(super) spec: AppSpec,
}

impl House {
    pub(super) fn new(change: impl FnOnce(&mut AppSpec, &Path)) -> House {
        let home = tempfile::tempdir().unwrap();
        let mut spec = AppSpec { name: "web".into(), ..AppSpec::default() };
        change(&mut spec, home.path());
        House { home, spec }
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.home.path().join("logs")
    }

    pub(super) fn plan(&self, instances: u32) -> Plan {
        Plan::of(&self.spec, &self.logs(), instances)
    }

    pub(super) fn start(&self, instances: u32) -> Store {
        Store::start(self.plan(instances)).unwrap()
    }

    pub(super) fn out(&self) -> PathBuf {
        self.logs().join("web-out.log")
    }

    /// Names of all files in the folder, in order.
    pub(super) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.logs()).into_iter().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Waits until everything is written.
pub(super) fn finish(store: &Store) {
    let (done, finished) = std::sync::mpsc::channel();
    store.finish(move || done.send(()).unwrap_or_default());
    finished.recv_timeout(Duration::from_secs(20)).expect("the store finishes");
}

pub(super) fn put(store: &Store, id: u32, text: &str) {
    store.put(by(id), Stream::Out, text.as_bytes());
}
