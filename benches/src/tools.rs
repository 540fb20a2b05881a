//! The programs under comparison: where they are, which versions, and how to get the missing ones.
//!
//! PM2 always comes from npm, below `target/bench/node` and nowhere else; for Node see `node`. What cannot be had costs
//! its column and is said.

use crate::args::Args;
use crate::error::{Cannot, Failure, Result};
use crate::node::{Major, Node, install};
use crate::peer::Peer;
use crate::program::Programs;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The PM2 compared with, as npm names it.
const PM2: &str = "pm2@7";
/// Credits per worker when neither the command line nor `oneport run --help` names a number.
const CREDITS: u32 = 2;

/// Where every program of the comparison is, and its version.
#[derive(Debug)]
pub(crate) struct Tools {
    /// The Node that runs every worker where nothing else is said.
    pub(crate) node: Node,
    /// The one of measurements on a newer Node, or why there is none.
    pub(crate) newer_node: Result<Node>,
    /// PM2's command-line script.
    pub(crate) pm2: PathBuf,
    /// Its version, or why it cannot run.
    pub(crate) pm2_version: Result<String>,
    /// PM2's home: sockets, logs and pid file of the daemon this run starts.
    pub(crate) pm2_home: PathBuf,
    /// The Rust server under test.
    pub(crate) respond: PathBuf,
    /// The Rust primary that takes orders.
    pub(crate) owner: PathBuf,
    /// The oneport binary.
    pub(crate) oneport: PathBuf,
    /// Its version, or why it cannot run.
    pub(crate) oneport_version: Result<String>,
    /// `--credits`, when it was given.
    pub(crate) credits_given: Option<u32>,
    /// Credits a worker has in this run.
    pub(crate) credits: u32,
    /// Programs of other languages.
    pub(crate) programs: Programs,
}

impl Tools {
    /// Finds everything, installing what is missing below `bench`.
    pub(crate) fn find(args: &Args, servers: &Path, target: &Path, bench: &Path) -> Result<Self> {
        let modules = bench.join("node");
        let node = Node::find(Major::Twenty, bench)?;
        let newer_node = match args.measurements().iter().any(|measurement| measurement.is_on_newer_node()) {
            true => Node::find(Major::TwentyFour, bench),
            false => Node::not_asked_for(Major::TwentyFour),
        };
        let peers = args.wanted_peers();
        let wanted = peers.iter().any(|peer| peer.is_pm2());
        let pm2_version =
            if wanted { find_pm2(&modules) } else { Err(Failure::cannot("run `pm2`", "not asked for")) };
        let oneport = args.oneport.clone().unwrap_or_else(|| target.join("release/oneport"));
        let oneport_version = version(Command::new(&oneport).arg("--version"), "oneport");
        let credits = args.credits.or_else(|| credits_in_help(&oneport)).unwrap_or(CREDITS);
        let programs = if peers.iter().any(|peer| peer.serves_a_program()) {
            Programs::prepare(servers, bench)
        } else {
            Programs::not_asked_for(bench)
        };
        Ok(Self {
            node,
            newer_node,
            pm2: modules.join("node_modules/pm2/bin/pm2"),
            pm2_version,
            pm2_home: bench.join("pm2"),
            respond: target.join("release/respond"),
            owner: target.join("release/owner"),
            oneport,
            oneport_version,
            credits_given: args.credits,
            credits,
            programs,
        })
    }

    /// The Node of this major, or why there is none.
    pub(crate) fn node(&self, major: Major) -> Result<&Node> {
        match major {
            Major::Twenty => Ok(&self.node),
            Major::TwentyFour => self.newer_node.as_ref().map_err(Clone::clone),
        }
    }

    /// Whether `peer` can run at all, or why not.
    pub(crate) fn check(&self, peer: Peer) -> Result<()> {
        match peer {
            Peer::Oneport | Peer::Own | Peer::By(_) | Peer::Manager => self.oneport_version.clone().map(drop),
            Peer::Pm2 | Peer::Pm2Fork => self.pm2_version.clone().map(drop),
            Peer::NodeRr | Peer::NodeNone | Peer::NodeReusePort | Peer::Single => Ok(()),
            Peer::Bare | Peer::Copies | Peer::Nginx => Ok(()),
            Peer::Library => self.oneport_version.clone().and_then(|_| self.check_respond()),
            Peer::Reuseport | Peer::Tokio | Peer::Alone => self.check_respond(),
        }
    }

    fn check_respond(&self) -> Result<()> {
        if self.respond.is_file() {
            return Ok(());
        }
        Err(Failure::cannot("run `respond`", "`cargo build --release -p oneport-bench` has not built it"))
    }
}

/// PM2's version, after installing it when it is missing.
fn find_pm2(modules: &Path) -> Result<String> {
    let package = modules.join("node_modules/pm2/package.json");
    if !package.exists() {
        install(modules, PM2)?;
    }
    let text = fs::read_to_string(&package).cannot(|| "read pm2's package.json".into())?;
    let json: serde_json::Value = serde_json::from_str(&text).cannot(|| "read pm2's package.json".into())?;
    Ok(json["version"].as_str().unwrap_or("unknown").to_owned())
}

/// The first line a command prints, its own name left out.
pub(crate) fn version(command: &mut Command, name: &str) -> Result<String> {
    let what = || format!("run `{}`", command_name(command));
    let what = what();
    let output = command.stdin(Stdio::null()).output().cannot(|| what.clone())?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().next().filter(|_| output.status.success()) {
        Some(line) => Ok(line.trim_start_matches(name).trim().to_owned()),
        None => Err(Failure::cannot(what, "it prints no version")),
    }
}

/// How a command is named in errors.
fn command_name(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The default `oneport run --help` states for `--credits`.
fn credits_in_help(oneport: &Path) -> Option<u32> {
    let output = Command::new(oneport).args(["run", "--help"]).stdin(Stdio::null()).output().ok()?;
    parse_credits(&String::from_utf8_lossy(&output.stdout))
}

/// `[default: N]` between `--credits` and the next option.
fn parse_credits(help: &str) -> Option<u32> {
    let after = help.split_once("--credits")?.1;
    let own = after.split("\n  -").next()?;
    let own = own.split("\n      --").next()?;
    own.split_once("[default: ")?.1.split_once(']')?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_of_credits_is_read_from_its_own_help_only() {
        let help =
            "      --credits <N>\n          In flight [default: 3]\n      --kill-timeout <D>  [default: 9]\n";
        assert_eq!(parse_credits(help), Some(3));
        let silent = "      --credits <N>  In flight\n      --kill-timeout <D>  [default: 9]\n";
        assert_eq!(parse_credits(silent), None);
    }
}
