//! The command line of the manager's verbs about logs, saved apps and the start of the machine.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::manager::CommonArgs;

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct LogsArgs {
    /// Apps: by id, name, namespace or /regex/; `oneport`: what the daemon itself says [default: all]
    #[arg(value_name = "APP")]
    pub(crate) targets: Vec<OsString>,
    /// How many lines of each file are shown first
    #[arg(long, value_name = "N", default_value_t = 15)]
    pub(crate) lines: usize,
    /// Only standard error
    #[arg(long, conflicts_with = "out")]
    pub(crate) err: bool,
    /// Only standard output
    #[arg(long)]
    pub(crate) out: bool,
    /// Lines as they are
    #[arg(long, conflicts_with_all = ["json", "format"])]
    pub(crate) raw: bool,
    /// One JSON object a line
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// key=value pairs
    #[arg(long)]
    pub(crate) format: bool,
    /// Put a time before each line that comes
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, default_missing_value = "")]
    pub(crate) timestamp: Option<String>,
    /// Show what there is, and end
    #[arg(long)]
    pub(crate) nostream: bool,
    /// Make this word stand out
    #[arg(long, value_name = "WORD", num_args = 0..=1)]
    pub(crate) highlight: Option<Option<String>>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct SaveArgs {
    /// Also save an empty list over one with apps
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct ImportArgs {
    /// PM2's list of apps [default: dump.pm2 in PM2_HOME, or in ~/.pm2]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Take variables that look like secrets into the configuration
    #[arg(long)]
    pub(crate) with_secrets: bool,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct StartupArgs {
    /// The init system; only systemd is known
    #[arg(value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Whose apps
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// That user's home directory
    #[arg(long, value_name = "DIR")]
    pub(crate) hp: Option<PathBuf>,
    /// The name of the unit
    #[arg(long, value_name = "NAME")]
    pub(crate) service_name: Option<String>,
    /// Wait until the network has an address
    #[arg(long)]
    pub(crate) wait_ip: bool,
    /// A unit of the user's own service manager; needs no root
    #[arg(long = "user-unit")]
    pub(crate) user_unit: bool,
    /// Give it the capabilities that --policy least needs for its best tier
    #[arg(long)]
    pub(crate) least: bool,
    /// Print the unit, and change nothing
    #[arg(long)]
    pub(crate) print: bool,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct InitArgs {
    /// `simple`: oneport.toml; `ecosystem`: PM2's form, ecosystem.config.js
    #[arg(value_name = "FORM", default_value = "simple", value_parser = ["simple", "ecosystem"])]
    pub(crate) form: String,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct SendArgs {
    /// The app, or one of its slots
    #[arg(value_name = "APP")]
    pub(crate) target: String,
    /// The line
    #[arg(value_name = "LINE")]
    pub(crate) line: String,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: clap_complete::Shell,
}
