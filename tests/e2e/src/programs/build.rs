//! Compiles the sources of `programs/` into `target/<profile>/e2e-programs`, each once per change.
//!
//! Invariant: tests of several processes may ask for the same program at the same time; one compiles, the others wait,
//! and nobody sees half a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use super::{Missing, installed, source, works};

/// How a C program is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// As usual: `LD_PRELOAD` reaches it.
    Dynamic,
    /// With glibc inside.
    Glibc,
    /// With musl inside.
    Musl,
    /// As a 32-bit program.
    Bits32,
}

impl Link {
    fn suffix(self) -> &'static str {
        match self {
            Self::Dynamic => "dynamic",
            Self::Glibc => "glibc",
            Self::Musl => "musl",
            Self::Bits32 => "32",
        }
    }
}

/// Where built programs are.
///
/// # Panics
/// If the directory cannot be made.
pub fn place() -> PathBuf {
    let me = std::env::current_exe().expect("a running test has a path");
    let profile = me.ancestors().nth(2).expect("test executables live in target/<profile>/deps");
    let dir = profile.join("e2e-programs");
    fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot make `{}`: {e}", dir.display()));
    dir
}

/// A C program, by the path of its source.
///
/// # Errors
/// The compiler for this kind of linking is missing.
///
/// # Panics
/// If it is there and does not compile the source.
pub fn c(from: &Path, link: Link) -> Result<PathBuf, Missing> {
    let compiler = match link {
        Link::Musl => installed("musl-gcc")?,
        Link::Dynamic | Link::Glibc | Link::Bits32 => installed("cc")?,
    };
    let flags: &[&str] = match link {
        Link::Dynamic => &[],
        Link::Glibc | Link::Musl => &["-static"],
        Link::Bits32 => &["-m32"],
    };
    if link != Link::Dynamic {
        let probe = place().join(format!("probe-{}-{}", link.suffix(), std::process::id()));
        let mut command = Command::new(&compiler);
        command.args(flags).arg("-o").arg(&probe).arg(source("c/probe.c"));
        let linked = works(&mut command, &format!("the library for `cc {}`", flags.join(" ")));
        drop(fs::remove_file(probe));
        linked?;
    }
    let stem = from.file_stem().expect("a source has a name").to_string_lossy().into_owned();
    let sources = [from.to_path_buf(), source("c/answer.h")];
    Ok(cached(&format!("{stem}-{}", link.suffix()), &sources, |to| {
        let mut command = Command::new(&compiler);
        command.args(["-O1", "-Wall", "-Wextra", "-Werror"]).args(flags).arg("-o").arg(to).arg(from);
        command
    }))
}

/// A Go program of `programs/go/NAME`.
///
/// # Errors
/// Go is missing, or with cgo the C compiler.
///
/// # Panics
/// If they are there and do not compile it.
pub fn go(name: &str, cgo: &str) -> Result<PathBuf, Missing> {
    let compiler = installed("go")?;
    let from = source("go").join(name).join("main.go");
    let cache = place().join("go-cache");
    Ok(cached(&format!("go-{name}"), std::slice::from_ref(&from), |to| {
        let mut command = Command::new(&compiler);
        command.args(["build", "-o"]).arg(to).arg(&from);
        command.env("GO111MODULE", "off").env("CGO_ENABLED", cgo).env("GOCACHE", &cache);
        command.env("GOFLAGS", "").env("GOTOOLCHAIN", "local");
        command
    }))
}

/// The Java program of `programs/java`: the directory of its class.
///
/// # Errors
/// The compiler is missing.
///
/// # Panics
/// If it is there and does not compile it.
pub fn java() -> Result<PathBuf, Missing> {
    let compiler = installed("javac")?;
    let from = source("java/Server.java");
    Ok(cached("java", std::slice::from_ref(&from), |to| {
        let mut command = Command::new(&compiler);
        command.arg("-d").arg(to).arg(&from);
        command
    }))
}

/// What `build` makes of the sources, unless it is there and newer than all of them.
fn cached(name: &str, sources: &[PathBuf], build: impl FnOnce(&Path) -> Command) -> PathBuf {
    let to = place().join(name);
    let lock = File::create(place().join(format!("{name}.lock"))).expect("the build directory is ours");
    lock.lock().expect("a file of ours can be locked");
    if changed(&to).is_some_and(|built| sources.iter().all(|from| changed(from).is_some_and(|t| t < built))) {
        return to;
    }
    let half = place().join(format!("{name}.half"));
    drop(fs::remove_dir_all(&half));
    let mut command = build(&half);
    let done =
        command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    assert!(done.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&done.stderr));
    drop(fs::remove_dir_all(&to));
    fs::rename(&half, &to).unwrap_or_else(|e| panic!("cannot keep `{}`: {e}", to.display()));
    to
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}
