//! Programs that know nothing of oneport (`programs/`): what starts one, what it needs, how to ask a copy who it is.
//!
//! `build` compiles the sources, `catalogue` lists the servers of the matrix. Not here: what a test does with them.
//!
//! Invariant: a program that cannot run here is told as skipped, and is a failure where everything must run
//! (`ONEPORT_TEST_ALL=1`).

pub mod build;
pub mod catalogue;
pub mod matrix;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::run::{App, Run};
use crate::wait::eventually;
use crate::{http, place, procfs, tcp};

/// What is not installed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(pub String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a copy is asked who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// `GET /`; the body ends with the pid.
    Http,
    /// Redis' own protocol; `INFO` names the pid.
    Redis,
}

impl Speech {
    /// Asks once, over a connection of its own.
    ///
    /// # Errors
    /// Whatever the kernel says, or `InvalidData` for an answer that is none.
    pub fn ask(self, address: SocketAddr) -> io::Result<u32> {
        match self {
            Self::Http => http::try_get(address, "/")?.answered_by(),
            Self::Redis => redis(address),
        }
    }
}

fn redis(address: SocketAddr) -> io::Result<u32> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let mut stream = tcp::connect(address)?;
    stream.write_all(b"INFO server\r\n")?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    reader.read_line(&mut head)?;
    if head.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let length = head.trim_end().strip_prefix('$').and_then(|n| n.parse().ok()).ok_or_else(invalid)?;
    let mut text = vec![0; length];
    reader.read_exact(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let pid = text.lines().find_map(|line| line.strip_prefix("process_id:"));
    pid.and_then(|pid| pid.trim().parse().ok()).ok_or_else(invalid)
}

/// How many requests a copy may have in its hands when it is killed: those are lost with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hands {
    /// It answers one connection before it accepts the next.
    One,
    /// It accepts as they come.
    Many,
}

/// A server, ready to be started on one port.
#[derive(Debug)]
pub struct Program {
    /// The command and its arguments, the port among them.
    pub words: Vec<OsString>,
    /// How it is asked.
    pub speech: Speech,
    /// What a kill takes with it.
    pub hands: Hands,
}

impl Program {
    /// A program that speaks HTTP and accepts as connections come.
    pub fn new<T: Into<OsString>>(words: impl IntoIterator<Item = T>) -> Self {
        let words = words.into_iter().map(Into::into).collect();
        Self { words, speech: Speech::Http, hands: Hands::Many }
    }

    /// It answers one connection before it accepts the next.
    #[must_use]
    pub fn sequential(self) -> Self {
        Self { hands: Hands::One, ..self }
    }

    /// It speaks something else than HTTP.
    #[must_use]
    pub fn speaking(self, speech: Speech) -> Self {
        Self { speech, ..self }
    }

    /// `oneport run -- ` this.
    pub fn run(&self) -> Run {
        run(&self.words)
    }
}

/// `oneport run -- WORDS`.
pub fn run<T: Into<OsString>>(words: impl IntoIterator<Item = T>) -> Run {
    let run = Run::target([OsString::from("--")].into_iter().chain(words.into_iter().map(Into::into)));
    // The sources are in the repository, which stays clean.
    run.env("PYTHONDONTWRITEBYTECODE", "1")
}

/// A file of `tests/e2e/programs`.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name)
}

/// The program, or none, after saying so, if something is missing.
///
/// # Panics
/// If something is missing where everything must run.
#[track_caller]
pub fn or_skip<T>(test: &str, found: Result<T, Missing>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(missing) => {
            let all = std::env::var("ONEPORT_TEST_ALL").is_ok_and(|value| value == "1");
            assert!(!all, "{test}: {missing} is missing, and ONEPORT_TEST_ALL asks for every test");
            place::skipped(test, &format!("{missing} is missing"));
            None
        }
    }
}

/// A command that is in `PATH`.
///
/// # Errors
/// That it is not.
pub fn installed(name: &str) -> Result<PathBuf, Missing> {
    let dirs: Vec<PathBuf> = std::env::split_paths(&place::path()).chain(["/usr/sbin".into()]).collect();
    let found = dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| Missing(format!("`{name}`")))
}

/// Does this command succeed? (Whether a module, a library or a compiler is there.)
///
/// # Errors
/// `what` is missing.
pub fn works(command: &mut Command, what: &str) -> Result<(), Missing> {
    let done = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if done.is_ok_and(|status| status.success()) { Ok(()) } else { Err(Missing(what.to_owned())) }
}

/// Python itself: `python3` of a version manager is a shell script that costs more to start than Python.
///
/// # Panics
/// If there is none: the tests of programs need it as they need a C compiler.
pub fn python() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    let ask = || {
        let out = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
        let out = out.expect("cannot run `python3`: is it installed?");
        PathBuf::from(String::from_utf8_lossy(&out.stdout).trim_end())
    };
    FOUND.get_or_init(ask).clone()
}

/// A Python program of `programs/`, with its arguments.
pub fn python_words<T: Into<OsString>>(name: &str, words: impl IntoIterator<Item = T>) -> Vec<OsString> {
    let head = [python().into_os_string(), "-uB".into(), source(name).into_os_string()];
    head.into_iter().chain(words.into_iter().map(Into::into)).collect()
}

/// A program of `programs/odd`: `oneport run --attach own -- ` it.
pub fn odd<T: Into<OsString>>(name: &str, words: impl IntoIterator<Item = T>) -> Run {
    run(python_words(&format!("odd/{name}.py"), words)).args(["--attach", "own"])
}

/// Python's http.server on a port, and on a host if it is not 127.0.0.1.
pub fn http_server<T: Into<OsString>>(words: impl IntoIterator<Item = T>) -> Run {
    run(python_words("python/http_server.py", words)).args(["--attach", "own"])
}

/// The C server `programs/c/NAME.c`.
///
/// # Panics
/// If there is no C compiler: these tests need one.
pub fn c(name: &str) -> PathBuf {
    let built = build::c(&source("c").join(format!("{name}.c")), build::Link::Dynamic);
    built.unwrap_or_else(|missing| panic!("{missing} is missing: a C compiler is needed"))
}

/// The worker this process belongs to: itself or one of its ancestors.
pub fn copy_of(app: &App, pid: u32) -> Option<u32> {
    let workers: BTreeSet<u32> = app.workers().into_values().collect();
    std::iter::successors(Some(pid), |pid| procfs::parent(*pid)).find(|pid| workers.contains(pid))
}

/// Asks until every running copy has answered. Each failure to answer is one of the test's.
///
/// # Panics
/// If a copy does not answer in time, or a request fails.
#[track_caller]
pub fn all_answer(app: &App, mut ask: impl FnMut() -> io::Result<u32>) {
    let mut answered = BTreeSet::new();
    eventually("an answer of every copy", || {
        let pid = ask().unwrap_or_else(|e| panic!("a request failed: {e}; answered so far: {answered:?}"));
        answered.extend(copy_of(app, pid));
        app.workers().into_values().all(|copy| answered.contains(&copy)).then_some(())
    });
}

/// [`all_answer`] over HTTP.
///
/// # Panics
/// As there.
#[track_caller]
pub fn all_answer_http(app: &App, address: SocketAddr) {
    all_answer(app, || Speech::Http.ask(address));
}
