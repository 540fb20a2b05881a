//! Finding and building the programs, and the configuration of nginx.
//!
//! Compiled ones are built once per run below `target/bench/programs`.

use super::Sharing;
use crate::error::{Cannot, Failure, Result};
use crate::tools::version;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the programs are that have to be found or built, each with its version, or why it cannot run.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(super) c: Result<(PathBuf, String)>,
    pub(super) python: Result<(PathBuf, String)>,
    pub(super) nginx: Result<(PathBuf, String)>,
    pub(super) go: Result<(PathBuf, String)>,
    directory: PathBuf,
}

impl Programs {
    /// Builds the compiled ones from `servers` and finds the others.
    pub(crate) fn prepare(servers: &Path, bench: &Path) -> Self {
        let directory = bench.join("programs");
        let made = fs::create_dir_all(&directory).cannot(|| "make the directory of the programs".into());
        let built = |compile: fn(&Path, &Path) -> Result<(PathBuf, String)>| {
            made.clone().and_then(|()| compile(servers, &directory))
        };
        Self { c: built(c), python: python(), nginx: nginx(), go: built(go), directory }
    }

    /// None of them.
    pub(crate) fn not_asked_for(bench: &Path) -> Self {
        let none = |name: &str| Err(Failure::cannot(format!("run {name}"), "not asked for"));
        let (c, python, nginx, go) =
            (none("`server.c`"), none("python3"), none("nginx"), none("`server.go`"));
        Self { c, python, nginx, go, directory: bench.join("programs") }
    }

    /// What they are, for the report.
    pub(crate) fn versions(&self) -> String {
        let named = [("", &self.c), ("Python ", &self.python), ("nginx ", &self.nginx), ("", &self.go)];
        let words = named.map(|(name, found)| match found {
            Ok((_, version)) => format!("{name}{version}"),
            Err(reason) => reason.to_string(),
        });
        words.join(", ")
    }

    /// nginx as one process.
    pub(super) fn nginx_alone(&self, servers: &Path, port: &str, sharing: Sharing) -> Result<Vec<OsString>> {
        let listen = match sharing {
            Sharing::Alone => format!("0.0.0.0:{port}"),
            Sharing::ReusePort => format!("0.0.0.0:{port} reuseport"),
        };
        self.nginx(servers, &listen, "master_process off")
    }

    /// nginx with `workers` workers of its own, each with its own socket.
    pub(crate) fn nginx_with_workers(&self, servers: &Path, port: u16, workers: usize) -> Result<Command> {
        let processes = format!("worker_processes {workers}");
        let words = self.nginx(servers, &format!("0.0.0.0:{port} reuseport"), &processes)?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        Ok(command)
    }

    /// Its command line, with a configuration written for one start.
    fn nginx(&self, servers: &Path, listen: &str, processes: &str) -> Result<Vec<OsString>> {
        let (program, _) = self.nginx.clone()?;
        let what = || "write nginx's configuration".to_owned();
        let text = fs::read_to_string(servers.join("nginx.conf")).cannot(what)?;
        let text = text.replace("LISTEN", listen).replace("PROCESSES", processes);
        let text = text.replace("DIR", &self.directory.to_string_lossy());
        let file = self.directory.join("nginx.conf");
        fs::write(&file, text).cannot(what)?;
        let prefix = self.directory.clone().into_os_string();
        Ok(vec![program.into_os_string(), "-p".into(), prefix, "-c".into(), file.into()])
    }
}

fn c(servers: &Path, into: &Path) -> Result<(PathBuf, String)> {
    let program = into.join("server-c");
    let mut compile = Command::new("cc");
    compile.args(["-O2", "-o"]).arg(&program).arg(servers.join("server.c"));
    build(compile, "server.c")?;
    Ok((program, version(Command::new("cc").arg("--version"), "cc ")?))
}

fn go(servers: &Path, into: &Path) -> Result<(PathBuf, String)> {
    let program = into.join("server-go");
    let mut compile = Command::new("go");
    compile.args(["build", "-o"]).arg(&program).arg(servers.join("server.go"));
    compile.env("CGO_ENABLED", "0").env("GO111MODULE", "off").env("GOFLAGS", "").env("GOTOOLCHAIN", "local");
    build(compile, "server.go")?;
    Ok((program, version(Command::new("go").arg("version"), "go version")?))
}

/// Python itself: what is in `PATH` may be a script of a version manager, whose start would be measured.
fn python() -> Result<(PathBuf, String)> {
    let script = "import sys; print(sys.executable, sys.version.split()[0])";
    let said = version(Command::new("python3").args(["-c", script]), "python3")?;
    let words = said.rsplit_once(' ').map(|(path, version)| (PathBuf::from(path), version.to_owned()));
    words.ok_or_else(|| Failure::cannot("find python3", "it does not say where it is"))
}

fn nginx() -> Result<(PathBuf, String)> {
    let what = || "run `nginx`".to_owned();
    // It says its version on standard error.
    let output = Command::new("nginx").arg("-v").stdin(Stdio::null()).output().cannot(what)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let number = said.trim().rsplit('/').next().unwrap_or("of unknown version").to_owned();
    Ok((PathBuf::from("nginx"), number))
}

fn build(mut compile: Command, source: &str) -> Result<()> {
    let what = || format!("build `{source}`");
    let output = compile.stdin(Stdio::null()).output().cannot(what)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::cannot(what(), said.lines().next().unwrap_or("the compiler failed")))
}
