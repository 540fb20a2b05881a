//! The programs that know nothing of oneport, and how each is started: alone, in copies that share a port by
//! themselves, or as copies under somebody.
//!
//! Each answers with its pid, listens on every address, and handles no signal. One that cannot be had (`found`) costs its
//! own column.

mod found;

pub(crate) use found::Programs;

use crate::bench::Bench;
use crate::error::{Failure, Result};
use crate::node::Major;
use crate::peer::Peer;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

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
    /// `respond.rs` as a worker that uses the crate `oneport`: the one that has a channel.
    Respond,
}

/// Whether a program shares its port with other copies by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    ReusePort,
}

impl Program {
    /// The command that starts `copies` of it on `port` under `peer`.
    pub(crate) fn under(self, peer: Peer, bench: &Bench, port: u16, copies: usize) -> Result<Command> {
        let tools = &bench.tools;
        let mut command = match peer {
            Peer::Own | Peer::By(_) => {
                let mut command = peer.oneport(tools, copies);
                command.args(self.attach());
                command.arg("--").args(self.words(bench, &port.to_string(), Sharing::Alone)?);
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
                let mut command = peer.pm2(tools, &tools.node);
                command.arg("start").arg(script).arg("--interpreter").arg(interpreter);
                command.args(["--name", "bench", "--"]).args(rest);
                command
            }
            Peer::Oneport
            | Peer::NodeRr
            | Peer::NodeNone
            | Peer::NodeReusePort
            | Peer::Pm2
            | Peer::Single
            | Peer::Library
            | Peer::Reuseport
            | Peer::Tokio
            | Peer::Alone
            | Peer::Nginx
            | Peer::Manager => return peer.command(bench, Major::Twenty, port, copies),
        };
        peer.settle(&mut command, bench, &tools.node, port);
        Ok(command)
    }

    /// What `oneport run` is told about it.
    fn attach(self) -> &'static [&'static str] {
        match self {
            Self::Epoll | Self::Block | Self::Idle | Self::Python | Self::PythonThreads => {
                &["--attach", "own"]
            }
            Self::Nginx | Self::Go | Self::Node => &["--attach", "own"],
            Self::Respond => &[],
        }
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
            Self::Nginx => return programs.nginx_alone(&bench.servers, port, sharing),
            Self::Go => vec![path(&programs.go)?, port.into()],
            Self::Node => vec![bench.tools.node.binary.clone().into_os_string(), script("server.js")],
            Self::Respond => {
                let respond = bench.tools.respond.clone().into_os_string();
                vec![respond, "worker".into(), format!("0.0.0.0:{port}").into()]
            }
        };
        match (sharing, self) {
            (Sharing::Alone, _) => Ok(words),
            (Sharing::ReusePort, Self::Epoll | Self::Block | Self::Python | Self::Nginx | Self::Go) => {
                words.push("reuse".into());
                Ok(words)
            }
            // Node sets SO_REUSEPORT on request from 23.1 on.
            (Sharing::ReusePort, Self::Idle | Self::PythonThreads | Self::Node | Self::Respond) => Err(
                Failure::cannot(format!("share a port between copies of {self:?}"), "it has no such option"),
            ),
        }
    }
}

/// `copies` of a command, started as a person would by a loop in a shell, which waits for them.
fn in_a_loop(words: Vec<OsString>, copies: usize) -> Command {
    let mut command = Command::new("sh");
    let script = r#"n=$1; shift; while [ $n -gt 0 ]; do "$@" & n=$((n-1)); done; wait"#;
    command.args(["-c", script, "sh", &copies.to_string()]).args(words);
    command
}
