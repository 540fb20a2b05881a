//! The library and the C programs, as files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs, process};

/// The library beside this very test, as `cargo build` made it last; `cargo test` alone does not make it (1.95).
pub(crate) fn library() -> PathBuf {
    let test = env::current_exe().expect("this test is a file");
    let library = test.with_file_name("liboneport_preload.so");
    assert!(
        library.is_file(),
        "`{}` is missing: run `cargo build -p oneport-preload` first",
        library.display()
    );
    library
}

/// The C programs. `None` where there is no C compiler, and that is said.
pub(crate) fn probe() -> Option<&'static Path> {
    static PROBE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let probe = PROBE.get_or_init(compile);
    if probe.is_none() {
        skipped(std::thread::current().name().unwrap_or("a test"), "no C compiler (`cc`) is installed");
    }
    probe.as_deref()
}

fn compile() -> Option<PathBuf> {
    if Command::new("cc").arg("--version").output().is_err() {
        return None;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shim/probe.c");
    let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("preload-probe");
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    if modified(&binary).is_some_and(|binary| Some(binary) > modified(&source)) {
        return Some(binary);
    }
    // Other test processes may be at it too: whoever is last puts the same there.
    let fresh = binary.with_extension(process::id().to_string());
    let output = Command::new("cc")
        .args(["-O1", "-Wall", "-Werror", "-pthread", "-o"])
        .args([&fresh, &source])
        .output()
        .expect("cc runs");
    assert!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
    fs::rename(&fresh, &binary).expect("rename");
    Some(binary)
}

/// Says that a test did not run, where people and the task runner see it, which counts it.
pub(crate) fn skipped(test: &str, why: &str) {
    eprintln!("skipped: {test}: {why}");
    if let Some(list) = env::var_os("ONEPORT_SKIP_FILE") {
        let file = fs::OpenOptions::new().append(true).create(true).open(list);
        let mut file = file.expect("the file that ONEPORT_SKIP_FILE names can be opened");
        file.write_all(format!("{test}: {why}\n").as_bytes()).expect("it can be written");
    }
}
