//! The columns of the report: what is compared with what, and the command that starts each.
//!
//! The Node peers run the same `server.js` with the same Node binary, the Rust peers the same `respond`, the others
//! whichever program a measurement names (`program`); each is told its port and number of workers in the way its own
//! users tell it. No peer gets an option that its documentation
//! does not suggest.

use crate::error::{Failure, Result};
use crate::tools::Tools;
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

/// One way to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// `oneport run -i N --policy rr server.js`.
    Oneport,
    /// Node's own `cluster` module, round robin: what the ratios are taken against.
    NodeRr,
    /// `pm2 start server.js -i N`, whose daemon is the primary.
    Pm2,
    /// `node server.js`: one process, no distribution at all.
    Single,
    /// `oneport run -i N respond`: workers that use the crate `oneport`.
    Library,
    /// `respond reuseport`: N processes, each with its own SO_REUSEPORT socket, nobody between them.
    Reuseport,
    /// `respond tokio`: one process, tokio's listener.
    Tokio,
    /// `respond oneport`: one process, oneport's listener without a primary.
    Alone,
    /// `oneport run -i N --attach own PROGRAM`: a program that knows nothing of it.
    Own,
    /// The same program alone.
    Bare,
    /// Copies of the same program that share the port by SO_REUSEPORT, started by a shell.
    Copies,
    /// `pm2 start PROGRAM`: one process, restarted by PM2's daemon.
    Pm2Fork,
}

impl Peer {
    /// All of them, in the order of the report.
    pub(crate) const ALL: [Self; 12] = [
        Self::Oneport,
        Self::NodeRr,
        Self::Pm2,
        Self::Single,
        Self::Library,
        Self::Reuseport,
        Self::Tokio,
        Self::Alone,
        Self::Own,
        Self::Bare,
        Self::Copies,
        Self::Pm2Fork,
    ];
    /// Those that serve `server.js`.
    pub(crate) const NODE: [Self; 4] = [Self::Oneport, Self::NodeRr, Self::Pm2, Self::Single];
    /// The two whose policies can be compared connection by connection.
    pub(crate) const PAIR: [Self; 2] = [Self::Oneport, Self::NodeRr];
    /// The three that have a primary.
    pub(crate) const CLUSTERS: [Self; 3] = [Self::Oneport, Self::NodeRr, Self::Pm2];
    /// Library workers, what they are measured against, and Node's primary.
    pub(crate) const NATIVE: [Self; 4] = [Self::Library, Self::Reuseport, Self::Tokio, Self::NodeRr];

    /// Its heading in tables and charts.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Oneport => "oneport rr",
            Self::NodeRr => "node cluster",
            Self::Pm2 => "pm2",
            Self::Single => "node single",
            Self::Library => "oneport library",
            Self::Reuseport => "reuseport",
            Self::Tokio => "tokio single",
            Self::Alone => "oneport alone",
            Self::Own => "oneport own",
            Self::Bare => "bare",
            Self::Copies => "bare reuseport",
            Self::Pm2Fork => "pm2 fork",
        }
    }

    /// Its name on the command line and in `raw.json`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Oneport => "oneport",
            Self::NodeRr => "node",
            Self::Pm2 => "pm2",
            Self::Single => "single",
            Self::Library => "library",
            Self::Reuseport => "reuseport",
            Self::Tokio => "tokio",
            Self::Alone => "alone",
            Self::Own => "own",
            Self::Bare => "bare",
            Self::Copies => "copies",
            Self::Pm2Fork => "pm2-fork",
        }
    }

    /// Whether it has processes below the one that was started.
    pub(crate) fn has_workers(self) -> bool {
        match self {
            Self::Oneport | Self::NodeRr | Self::Pm2 | Self::Library | Self::Reuseport => true,
            Self::Own | Self::Copies | Self::Pm2Fork => true,
            Self::Single | Self::Tokio | Self::Alone | Self::Bare => false,
        }
    }

    /// Whether its workers are always compiled while they serve.
    pub(crate) fn runs_node(self) -> bool {
        match self {
            Self::Oneport | Self::NodeRr | Self::Pm2 | Self::Single => true,
            Self::Library | Self::Reuseport | Self::Tokio | Self::Alone => false,
            Self::Own | Self::Bare | Self::Copies | Self::Pm2Fork => false,
        }
    }

    /// Whether it serves whichever program a measurement names.
    pub(crate) fn serves_a_program(self) -> bool {
        match self {
            Self::Own | Self::Bare | Self::Copies | Self::Pm2Fork => true,
            Self::Oneport | Self::NodeRr | Self::Pm2 | Self::Single | Self::Library => false,
            Self::Reuseport | Self::Tokio | Self::Alone => false,
        }
    }

    /// Whether PM2's daemon is its primary.
    pub(crate) fn is_pm2(self) -> bool {
        match self {
            Self::Pm2 | Self::Pm2Fork => true,
            Self::Oneport | Self::NodeRr | Self::Single | Self::Library | Self::Reuseport => false,
            Self::Tokio | Self::Alone | Self::Own | Self::Bare | Self::Copies => false,
        }
    }

    /// The command that starts it with `workers` workers on `port`, for those that serve always the same.
    pub(crate) fn command(self, tools: &Tools, servers: &Path, port: u16, workers: usize) -> Result<Command> {
        let script = servers.join("server.js");
        let respond = |words: &[&str]| {
            let mut command = Command::new(&tools.respond);
            command.args(words);
            command
        };
        let oneport = || {
            let mut command = Command::new(&tools.oneport);
            command.args(["run", "-i", &workers.to_string(), "--policy", "rr"]);
            if let Some(credits) = tools.credits_given {
                command.args(["--credits", &credits.to_string()]);
            }
            command
        };
        let addr = format!("0.0.0.0:{port}");
        let mut command = match self {
            Self::Oneport => {
                let mut command = oneport();
                command.arg(script);
                command
            }
            Self::NodeRr => {
                let mut command = Command::new(&tools.node);
                command.arg(servers.join("cluster.js")).env("WORKERS", workers.to_string());
                command
            }
            Self::Pm2 => {
                let mut command = self.pm2(tools);
                command.arg("start").arg(script);
                command.args(["-i", &workers.to_string(), "--name", "bench"]);
                command
            }
            Self::Single => {
                let mut command = Command::new(&tools.node);
                command.arg(script);
                command
            }
            Self::Library => {
                let mut command = oneport();
                command.arg(&tools.respond).args(["--", "worker", &addr]);
                command
            }
            Self::Reuseport => respond(&["reuseport", &addr, &workers.to_string()]),
            Self::Tokio => respond(&["tokio", &addr]),
            Self::Alone => respond(&["oneport", &addr]),
            Self::Own | Self::Bare | Self::Copies | Self::Pm2Fork => {
                return Err(Failure::cannot(format!("start `{self}`"), "no program is named"));
            }
        };
        self.settle(&mut command, tools, servers, port);
        Ok(command)
    }

    /// PM2's command line, with the surroundings that keep it to itself.
    pub(crate) fn pm2(self, tools: &Tools) -> Command {
        let mut command = Command::new(&tools.node);
        command
            .arg(&tools.pm2)
            .env("PM2_HOME", &tools.pm2_home)
            .env("PM2_DISABLE_VERSION_CHECK", "true")
            .env("PM2_NO_INTERACTION", "true");
        command
    }

    /// The surroundings of every peer.
    pub(crate) fn settle(self, command: &mut Command, tools: &Tools, servers: &Path, port: u16) {
        command.env("PORT", port.to_string()).env("PATH", &tools.path).current_dir(servers);
        // Left over from a runner that is itself a worker, these would change what the servers do.
        for name in ["NODE_OPTIONS", "NODE_UNIQUE_ID", "NODE_CHANNEL_FD", "NODE_CLUSTER_SCHED_POLICY"] {
            command.env_remove(name);
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|peer| peer.key() == text)
            .ok_or_else(|| format!("no peer `{text}`: one of {}", Self::ALL.map(Self::key).join(", ")))
    }
}
