//! The programs that know nothing of oneport, and how each is started: alone, in copies that share a port by
//! themselves, or as copies under somebody.
//!
//! Each answers with its pid, listens on every address, and handles no signal. Compiled ones are built once per run
//! below `target/bench/programs`; one that cannot be had costs its own column.

use crate::bench::Bench;
use crate::error::{Cannot, Failure, Result};
use crate::peer::Peer;
use crate::tools::version;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where copies of [`Program::Idle`] listen: an address of their own, so that they can be counted.
pub(crate) const IDLE_ADDRESS: [u8; 4] = [127, 77, 0, 1];

/// One unmodified program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// `server.c`: every connection in one epoll set.
    Epoll,
    /// `server.c`: one connection after the other.
    Block,
    /// `server.c`: listens and does nothing; on a port of the kernel's choice when it is started bare.
    Idle,
    /// `server.py`: Python's `http.server`.
    Python,
    /// The same with a thread per request.
    PythonThreads,
    /// nginx, one process.
    Nginx,
    /// `server.go`: `net/http`, linked statically.
    Go,
    /// `server.js`, without a channel.
    Node,
}

/// Whether a program shares its port with other copies by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    ReusePort,
}

/// Where the programs are that have to be found or built, each with its version, or why it cannot run.
#[derive(Debug)]
pub(crate) struct Programs {
    c: Result<(PathBuf, String)>,
    python: Result<(PathBuf, String)>,
    nginx: Result<(PathBuf, String)>,
    go: Result<(PathBuf, String)>,
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
}

impl Program {
    /// The command that starts `copies` of it on `port` under `peer`.
    pub(crate) fn under(self, peer: Peer, bench: &Bench, port: u16, copies: usize) -> Result<Command> {
        let tools = &bench.tools;
        let mut command = match peer {
            Peer::Own => {
                let mut command = Command::new(&tools.oneport);
                command.args(["run", "-i", &copies.to_string(), "--attach", "own", "--"]);
                command.args(self.words(bench, &port.to_string(), Sharing::Alone)?);
                command
            }
            Peer::Bare if self == Self::Idle => {
                // Each copy gets a port of its own.
                in_a_loop(self.words(bench, "0", Sharing::Alone)?, copies)
            }
            Peer::Bare => {
                let words = self.words(bench, &port.to_string(), Sharing::Alone)?;
                let (program, rest) =
                    words.split_first().ok_or_else(|| Failure::cannot("start", "no words"))?;
                let mut command = Command::new(program);
                command.args(rest);
                command
            }
            Peer::Copies => in_a_loop(self.words(bench, &port.to_string(), Sharing::ReusePort)?, copies),
            Peer::Pm2Fork => {
                let words = self.words(bench, &port.to_string(), Sharing::Alone)?;
                let [interpreter, script, rest @ ..] = words.as_slice() else {
                    return Err(Failure::cannot(format!("start {self:?} under pm2"), "it is not a script"));
                };
                let mut command = peer.pm2(tools);
                command.arg("start").arg(script).arg("--interpreter").arg(interpreter);
                command.args(["--name", "bench", "--"]).args(rest);
                command
            }
            Peer::Oneport
            | Peer::NodeRr
            | Peer::Pm2
            | Peer::Single
            | Peer::Library
            | Peer::Reuseport
            | Peer::Tokio
            | Peer::Alone => return peer.command(tools, &bench.servers, port, copies),
        };
        peer.settle(&mut command, tools, &bench.servers, port);
        Ok(command)
    }

    /// The program with its arguments.
    fn words(self, bench: &Bench, port: &str, sharing: Sharing) -> Result<Vec<OsString>> {
        let programs = &bench.tools.programs;
        let path = |found: &Result<(PathBuf, String)>| found.clone().map(|(path, _)| path.into_os_string());
        let script = |name: &str| bench.servers.join(name).into_os_string();
        let mut words = match self {
            Self::Epoll => vec![path(&programs.c)?, "epoll".into(), port.into()],
            Self::Block => vec![path(&programs.c)?, "block".into(), port.into()],
            Self::Idle => {
                let [a, b, c, d] = IDLE_ADDRESS;
                vec![path(&programs.c)?, "idle".into(), format!("{a}.{b}.{c}.{d}").into(), port.into()]
            }
            Self::Python => vec![path(&programs.python)?, script("server.py"), port.into()],
            Self::PythonThreads => {
                vec![path(&programs.python)?, script("server.py"), port.into(), "threads".into()]
            }
            Self::Nginx => {
                let file = programs.configure_nginx(&bench.servers, port, sharing)?;
                let prefix = programs.directory.clone().into_os_string();
                return Ok(vec![path(&programs.nginx)?, "-p".into(), prefix, "-c".into(), file.into()]);
            }
            Self::Go => vec![path(&programs.go)?, port.into()],
            Self::Node => vec![bench.tools.node.clone().into_os_string(), script("server.js")],
        };
        match (sharing, self) {
            (Sharing::Alone, _) => Ok(words),
            (Sharing::ReusePort, Self::Epoll | Self::Block | Self::Python | Self::Nginx | Self::Go) => {
                words.push("reuse".into());
                Ok(words)
            }
            // Node sets SO_REUSEPORT on request from 23.1 on.
            (Sharing::ReusePort, Self::Idle | Self::PythonThreads | Self::Node) => Err(Failure::cannot(
                format!("share a port between copies of {self:?}"),
                "it has no such option",
            )),
        }
    }
}

impl Programs {
    /// Writes the configuration for one start.
    fn configure_nginx(&self, servers: &Path, port: &str, sharing: Sharing) -> Result<PathBuf> {
        let what = || "write nginx's configuration".to_owned();
        let text = fs::read_to_string(servers.join("nginx.conf")).cannot(what)?;
        let listen = match sharing {
            Sharing::Alone => format!("0.0.0.0:{port}"),
            Sharing::ReusePort => format!("0.0.0.0:{port} reuseport"),
        };
        let text = text.replace("LISTEN", &listen).replace("DIR", &self.directory.to_string_lossy());
        let file = self.directory.join("nginx.conf");
        fs::write(&file, text).cannot(what)?;
        Ok(file)
    }
}

/// `copies` of a command, started as a person would by a loop in a shell, which waits for them.
fn in_a_loop(words: Vec<OsString>, copies: usize) -> Command {
    let mut command = Command::new("sh");
    let script = r#"n=$1; shift; while [ $n -gt 0 ]; do "$@" & n=$((n-1)); done; wait"#;
    command.args(["-c", script, "sh", &copies.to_string()]).args(words);
    command
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
