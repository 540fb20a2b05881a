//! The command that starts each peer.
//!
//! Each is told its port and number of workers in the way its own users tell it. No peer gets an option that its
//! documentation does not suggest.

use crate::bench::Bench;
use crate::error::{Failure, Result};
use crate::node::{Major, Node};
use crate::peer::Peer;
use crate::tools::Tools;
use std::process::Command;

impl Peer {
    /// The command that starts it with `workers` workers on `port`, on this Node where it runs Node; for those that
    /// serve always the same.
    pub(crate) fn command(self, bench: &Bench, major: Major, port: u16, workers: usize) -> Result<Command> {
        let tools = &bench.tools;
        let node = tools.node(major)?;
        let script = bench.servers.join("server.js");
        let respond = |words: &[&str]| {
            let mut command = Command::new(&tools.respond);
            command.args(words);
            command
        };
        let cluster = |name: &str, value: &str| {
            let mut command = Command::new(&node.binary);
            command.arg(bench.servers.join("cluster.js"));
            command.env("WORKERS", workers.to_string()).env(name, value);
            command
        };
        let addr = format!("0.0.0.0:{port}");
        let mut command = match self {
            Self::Oneport | Self::By(_) => {
                let mut command = self.oneport(tools, workers);
                command.arg(script);
                command
            }
            Self::NodeRr => cluster("POLICY", "rr"),
            Self::NodeNone => cluster("POLICY", "none"),
            Self::NodeReusePort => cluster("REUSE_PORT", "1"),
            Self::Pm2 => {
                let mut command = self.pm2(tools, node);
                command.arg("start").arg(script);
                command.args(["-i", &workers.to_string(), "--name", "bench"]);
                command
            }
            Self::Single => {
                let mut command = Command::new(&node.binary);
                command.arg(script);
                command
            }
            Self::Library => {
                let mut command = self.oneport(tools, workers);
                command.arg(&tools.respond).args(["--", "worker", &addr]);
                command
            }
            Self::Reuseport => respond(&["reuseport", &addr, &workers.to_string()]),
            Self::Tokio => respond(&["tokio", &addr]),
            Self::Alone => respond(&["oneport", &addr]),
            Self::Nginx => tools.programs.nginx_with_workers(&bench.servers, port, workers)?,
            Self::Own | Self::Bare | Self::Copies | Self::Pm2Fork => {
                return Err(Failure::cannot(format!("start `{self}`"), "no program is named"));
            }
            Self::Manager => return Err(Failure::cannot(format!("start `{self}`"), "see `manager.rs`")),
        };
        self.settle(&mut command, bench, node, port);
        Ok(command)
    }

    /// `oneport run` with `workers` workers under its policy; what they are has to follow.
    pub(crate) fn oneport(self, tools: &Tools, workers: usize) -> Command {
        let mut command = Command::new(&tools.oneport);
        command.args(["run", "-i", &workers.to_string()]).args(self.policy_words());
        if let Self::By(_) = self {
            // It tells then what was given to others (`Server::rescued`).
            command.arg("-v");
        }
        // Under the other policies nothing is handed off.
        if let (Self::Oneport | Self::Library, Some(credits)) = (self, tools.credits_given) {
            command.args(["--credits", &credits.to_string()]);
        }
        command
    }

    /// A Rust program that is the primary of `workers` workers under its policy and takes orders (`bin/owner.rs`).
    pub(crate) fn owner(self, bench: &Bench, port: u16, workers: usize) -> Result<Command> {
        let mut command = Command::new(&bench.tools.owner);
        command.args(["-i", &workers.to_string()]).args(self.policy_words());
        command.arg(bench.servers.join("server.js"));
        self.settle(&mut command, bench, &bench.tools.node, port);
        Ok(command)
    }

    /// What asks for its policy, if it has one of oneport's.
    fn policy_words(self) -> &'static [&'static str] {
        match self {
            Self::By(policy) => policy.words(),
            Self::Oneport | Self::Library => &["--policy", "rr"],
            // A program accepts for itself: how it shares is the way it is attached.
            Self::Own => &[],
            Self::NodeRr | Self::NodeNone | Self::NodeReusePort | Self::Pm2 | Self::Single => &[],
            Self::Reuseport | Self::Tokio | Self::Alone => &[],
            Self::Bare | Self::Copies | Self::Pm2Fork | Self::Nginx | Self::Manager => &[],
        }
    }

    /// PM2's command line, with the surroundings that keep it to itself.
    pub(crate) fn pm2(self, tools: &Tools, node: &Node) -> Command {
        let mut command = Command::new(&node.binary);
        command
            .arg(&tools.pm2)
            .env("PM2_HOME", &tools.pm2_home)
            .env("PM2_DISABLE_VERSION_CHECK", "true")
            .env("PM2_NO_INTERACTION", "true");
        command
    }

    /// The surroundings of every peer.
    pub(crate) fn settle(self, command: &mut Command, bench: &Bench, node: &Node, port: u16) {
        command.env("PORT", port.to_string()).env("PATH", &node.path).current_dir(&bench.servers);
        // Left over from a runner that is itself a worker, these would change what the servers do.
        for name in ["NODE_OPTIONS", "NODE_UNIQUE_ID", "NODE_CHANNEL_FD", "NODE_CLUSTER_SCHED_POLICY"] {
            command.env_remove(name);
        }
    }
}
