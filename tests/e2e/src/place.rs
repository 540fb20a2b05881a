//! Where things are: the binary under test, Node, scripts, scratch directories, ports for a test of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The `oneport` binary: the one named by `ONEPORT_BIN`, else that of the profile these tests were built with.
///
/// # Panics
/// If it was not built.
pub fn oneport() -> PathBuf {
    if let Some(path) = std::env::var_os("ONEPORT_BIN") {
        return path.into();
    }
    let me = std::env::current_exe().expect("a running test has a path");
    let built =
        me.ancestors().nth(2).expect("test executables live in target/<profile>/deps").join("oneport");
    assert!(built.is_file(), "`{}` is missing: run `cargo build -p oneport-cli` first", built.display());
    built
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tests/e2e is two below the root").into()
}

/// A script of `examples/node`.
pub fn example(name: &str) -> PathBuf {
    root().join("examples/node").join(name)
}

/// A script of `tests/e2e/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// The Node binary named by `ONEPORT_NODE`, if any. Its directory goes first into `PATH` of what is run.
pub fn chosen_node() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("ONEPORT_NODE").filter(|value| !value.is_empty())?);
    assert!(
        path.is_absolute() && path.file_name().is_some_and(|name| name == "node"),
        "ONEPORT_NODE must be an absolute path that ends in `node`, not `{}`",
        path.display()
    );
    Some(path)
}

/// A command for Node itself, without oneport.
pub fn node() -> Command {
    Command::new(chosen_node().unwrap_or_else(|| "node".into()))
}

/// The `PATH` under which `node` is the Node under test.
pub fn path() -> std::ffi::OsString {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let Some(node) = chosen_node() else { return old };
    let first = node.parent().map(Path::to_path_buf);
    std::env::join_paths(first.into_iter().chain(std::env::split_paths(&old))).expect("PATH can be joined")
}

/// The major version of the Node under test.
///
/// # Panics
/// If Node cannot be run.
pub fn node_major() -> u32 {
    static MAJOR: OnceLock<u32> = OnceLock::new();
    *MAJOR.get_or_init(|| {
        let out = node().arg("--version").output().expect("cannot run `node`: is it installed?");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.trim_start_matches('v')
            .split('.')
            .next()
            .and_then(|major| major.parse().ok())
            .unwrap_or_else(|| panic!("cannot read the version of node: `{text}`"))
    })
}

/// Says, where people and the task runner see it, that a test did not run. The test then returns.
pub fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
    if let Some(list) = std::env::var_os("ONEPORT_SKIP_FILE") {
        use std::io::Write;
        let file = std::fs::OpenOptions::new().append(true).create(true).open(list);
        let mut file = file.expect("cannot open the file named by ONEPORT_SKIP_FILE");
        writeln!(file, "{test}: {why}").expect("cannot write the file named by ONEPORT_SKIP_FILE");
    }
}

/// A number no other test of this run uses (process id and a count).
fn unique() -> (u32, u32) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A text no other test of this run uses.
pub(crate) fn unique_name() -> String {
    let (pid, count) = unique();
    format!("{pid}-{count}")
}

/// A port that is free on every address now, below the range the kernel gives out for port 0.
///
/// # Panics
/// If none is found.
pub fn free_port() -> u16 {
    let (pid, count) = unique();
    for attempt in 0..400_u32 {
        let offset = (pid.wrapping_mul(61) + count.wrapping_mul(17) + attempt.wrapping_mul(7)) % 20_000;
        let port = 11_000 + u16::try_from(offset).expect("below 20000");
        let any4 = std::net::TcpListener::bind(("0.0.0.0", port));
        drop(any4.is_ok().then(|| std::net::TcpListener::bind(("::", port))));
        if any4.is_ok() {
            return port;
        }
    }
    panic!("no free port between 11000 and 31000");
}

/// A scratch directory with a short name (Unix socket paths are limited to 107 bytes), removed on drop.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes a new, empty one.
    ///
    /// # Panics
    /// If it cannot be made.
    #[expect(clippy::new_without_default, reason = "making a directory is no default")]
    pub fn new() -> Self {
        let (pid, count) = unique();
        let path = std::env::temp_dir().join(format!("op-{pid}-{count}"));
        std::fs::create_dir(&path).unwrap_or_else(|e| panic!("cannot make `{}`: {e}", path.display()));
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file in it and gives its path.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("cannot write `{}`: {e}", path.display()));
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A leftover scratch directory is no reason to fail a test.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
