//! The command line of the manager: PM2's verbs.

use std::ffi::OsString;

use clap::Args as ClapArgs;
use oneport_wire::control::Span;

use super::spec::SpecArgs;

/// What every verb knows.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct CommonArgs {
    /// Say nothing that is not asked for
    #[arg(short, long, global = true)]
    pub(crate) silent: bool,
    /// Show the list in few words
    #[arg(short, long, global = true)]
    pub(crate) mini_list: bool,
    /// Show no colours
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Order of the list: FIELD[:asc|desc], of name, id, pid, memory, cpu, status, uptime, instances
    #[arg(long, value_name = "FIELD", global = true)]
    pub(crate) sort: Option<String>,
}

const AFTER_START: &str = "\
Examples:
  oneport start server.js -i max --name web
  oneport start app.py -i 4 -- --port 8000
  oneport start ecosystem.config.js --env production --only web
  oneport start                  the configuration in this directory
  oneport start web              an app that is on the list
  cat apps.json | oneport start -

A TIME is a number with ms, s, m or h; a bare number is milliseconds.";

#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = AFTER_START)]
pub(crate) struct StartArgs {
    /// Scripts, programs, configurations, apps on the list, or `-` for JSON on standard input
    #[arg(value_name = "SCRIPT|CONFIG|APP")]
    pub(crate) targets: Vec<OsString>,
    /// Arguments of the script
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) rest: Vec<OsString>,
    /// Start another one of the same name
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Only these apps of the configuration
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// In the foreground, without a daemon
    #[arg(long)]
    pub(crate) no_daemon: bool,
    #[command(flatten)]
    pub(crate) spec: SpecArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Some apps, and what is to be different about them.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct ChangeArgs {
    /// Apps: by id, name, namespace, /regex/, `all`, configuration file, or `-` for JSON on standard input
    #[arg(value_name = "APP", required = true)]
    pub(crate) targets: Vec<OsString>,
    /// Arguments of the script from now on
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) rest: Vec<OsString>,
    /// Only these apps of the configuration
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    #[command(flatten)]
    pub(crate) spec: SpecArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct ReloadArgs {
    /// Print what would happen, and do nothing
    #[arg(long)]
    pub(crate) plan: bool,
    /// Bring so many new workers first, and watch them beside those they are to replace
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) canary: Option<u32>,
    /// How long canaries are watched; with --canary, `--watch TIME` means the same [default: 30s]
    #[arg(long = "watch-canary", value_name = "TIME", requires = "canary")]
    pub(crate) watch_canary: Option<Span>,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// Some apps.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct SelectArgs {
    /// Apps: by id, name, namespace, /regex/, `all`, configuration file, or `-` for JSON on standard input
    #[arg(value_name = "APP", required = true)]
    pub(crate) targets: Vec<OsString>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Some apps, or all.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct MaybeArgs {
    /// Apps: by id, name, namespace or /regex/ [default: all]
    #[arg(value_name = "APP")]
    pub(crate) targets: Vec<OsString>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct ScaleArgs {
    /// The app
    #[arg(value_name = "APP")]
    pub(crate) target: String,
    /// N, +N, -N or max
    #[arg(value_name = "N", allow_hyphen_values = true)]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct ListArgs {
    /// Print our own JSON (docs/list-json.md)
    #[arg(long)]
    pub(crate) json: bool,
    /// Show it again and again
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct ShowArgs {
    /// The app or one of its slots
    #[arg(value_name = "APP")]
    pub(crate) target: String,
    /// Show values of variables that look like secrets
    #[arg(long)]
    pub(crate) show_secrets: bool,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct SignalArgs {
    /// The signal
    #[arg(value_name = "SIGNAL")]
    pub(crate) signal: String,
    #[command(flatten)]
    pub(crate) to: SelectArgs,
}

/// Nothing but what every verb knows.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct PlainArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct DaemonArgs {
    /// Stay in the foreground and tell a service manager when it is ready (NOTIFY_SOCKET)
    #[arg(long)]
    pub(crate) foreground: bool,
    /// Start the saved apps
    #[arg(long)]
    pub(crate) resurrect: bool,
}
