//! The command line, as types. What a value may be is checked here; what it means is the commands' business. What `run`
//! and `check` have in common is in `target` and `program`, and how values are read in `values`.

mod check;
mod doctor;
#[cfg(test)]
mod documented;
mod grant;
pub(crate) mod keep;
mod line;
pub(crate) mod manager;
pub(crate) mod program;
pub(crate) mod spec;
pub(crate) mod target;
mod values;

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use oneport_sys::process::Signal;

pub(crate) use check::CheckArgs;
pub(crate) use doctor::DoctorArgs;
pub(crate) use grant::GrantArgs;
pub(crate) use line::parse;
pub(crate) use oneport_wire::control::Instances;
use program::{HEADING, ProgramArgs};
use target::TargetArgs;
use values::{parse_signal, parse_time};

/// Many processes behind one port.
#[derive(Debug, Parser)]
#[command(
    name = "oneport",
    version,
    disable_version_flag = true,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub(crate) struct Args {
    /// Print the version
    #[arg(short = 'V', short_alias = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start apps, by a daemon that looks after them
    Start(Box<manager::StartArgs>),
    /// Stop apps; they stay on the list
    Stop(manager::SelectArgs),
    /// Stop workers and start others in their place
    Restart(Box<manager::ChangeArgs>),
    /// Start other workers and then stop those in their place: no connection is lost
    Reload(Box<manager::ReloadArgs>),
    /// Stop apps and take them off the list
    #[command(visible_alias = "del")]
    Delete(manager::SelectArgs),
    /// More workers, or fewer
    Scale(manager::ScaleArgs),
    /// Show all apps
    #[command(visible_aliases = ["ls", "l", "ps", "status"])]
    List(manager::ListArgs),
    /// All apps as JSON, in PM2's form
    Jlist(manager::PlainArgs),
    /// The same, to be read
    Prettylist(manager::PlainArgs),
    /// Everything about one app
    #[command(visible_aliases = ["show", "info", "desc"])]
    Describe(manager::ShowArgs),
    /// The environment of a worker
    Env(manager::ShowArgs),
    /// The ids of an app
    Id(manager::ShowArgs),
    /// The processes of an app
    Pid(manager::MaybeArgs),
    /// Send a signal to workers
    #[command(name = "sendSignal", alias = "send-signal")]
    SendSignal(manager::SignalArgs),
    /// Count restarts from 0 again
    Reset(manager::SelectArgs),
    /// Restart what runs, start what does not
    #[command(name = "startOrRestart", alias = "start-or-restart")]
    StartOrRestart(Box<manager::ChangeArgs>),
    /// Reload what runs, start what does not
    #[command(name = "startOrReload", aliases = ["startOrGracefulReload", "start-or-reload"])]
    StartOrReload(Box<manager::ChangeArgs>),
    /// Show what apps write, and follow it
    #[command(visible_alias = "log")]
    Logs(keep::LogsArgs),
    /// Empty log files
    Flush(manager::MaybeArgs),
    /// Open log files anew, after they were moved
    #[command(name = "reloadLogs", alias = "reload-logs")]
    ReloadLogs(manager::PlainArgs),
    /// Show how everything is, again and again
    #[command(visible_aliases = ["dashboard", "dash"], alias = "imonit")]
    Monit(manager::PlainArgs),
    /// Write a line to standard input of workers in fork mode
    Send(keep::SendArgs),
    /// Save the list of apps
    #[command(visible_alias = "dump")]
    Save(keep::SaveArgs),
    /// Start the saved apps
    Resurrect(manager::PlainArgs),
    /// Forget the saved apps
    Cleardump(manager::PlainArgs),
    /// Start the apps that PM2 has saved
    Import(keep::ImportArgs),
    /// Start the saved apps with the machine
    Startup(keep::StartupArgs),
    /// Do that no more
    Unstartup(keep::StartupArgs),
    /// Write a sample configuration
    #[command(visible_alias = "ecosystem")]
    Init(keep::InitArgs),
    /// Print what a shell needs to complete commands
    Completion(keep::CompletionArgs),
    /// Lines to begin with
    Examples(manager::PlainArgs),
    /// Whether a daemon answers; starts one
    Ping(manager::PlainArgs),
    /// Stop all apps, and the daemon
    Kill(manager::PlainArgs),
    /// Let the daemon become the installed version; apps do not notice
    #[command(visible_alias = "updatePM2")]
    Update(manager::PlainArgs),
    /// The daemon itself
    #[command(hide = true)]
    Daemon(manager::DaemonArgs),
    /// What runs one app for the daemon
    #[command(hide = true)]
    Primary,
    /// Run copies of a server behind one port, in the foreground
    Run(Box<RunArgs>),
    /// Try one copy of a program out: which way it can be attached, where it listens, what is unusual about it
    Check(Box<CheckArgs>),
    /// Say what this system allows, what `auto` makes of it, and what would make it better
    Doctor(DoctorArgs),
    /// Load what --policy least needs of the kernel, and execute a command that need not have the right to
    Grant(GrantArgs),
    /// See it work: four workers, some thousand requests, a reload and a kill; needs nothing installed
    Demo(DemoArgs),
    /// The demo's server
    #[command(hide = true)]
    Hello,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct DemoArgs {
    /// Requests to send
    #[arg(long, value_name = "N", default_value_t = 8000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub(crate) requests: u32,
}

const AFTER_RUN: &str = "\
Examples:
  oneport run -i max server.js
  oneport run -i 4 server.js -- --port 8000
  oneport run -i 2 --interpreter deno server.ts
  oneport run -i 4 -- uvicorn app:app --port 8000
  oneport run -i 4 --publish 80:3000 -- npm start

A TIME is a number with ms, s, m or h; a bare number is milliseconds.

SIGTERM and SIGINT stop in order: what was accepted is served, then the workers leave. A second one stops at once. \
SIGHUP reloads: every worker is replaced, the new one first; if a new one does not stay up, it is ended and the old \
ones serve on.

Exit codes: 0 stopped as asked; 1 failed, or every worker kept crashing; 2 the command line is wrong; 70 a bug of \
oneport; 130 or 143 a second SIGINT or SIGTERM cut the stop short.";

#[derive(Clone, Debug, ClapArgs)]
#[command(
    after_help = AFTER_RUN,
    override_usage = "oneport run [OPTIONS] SCRIPT-OR-PROGRAM [-- ARGS...]\n       oneport run [OPTIONS] -- COMMAND [ARGS...]"
)]
pub(crate) struct RunArgs {
    /// How many workers: a number; `max` or 0: one per CPU; -N: one per CPU less N. At most 4096, and at most 512 of a
    /// program that is attached by own or slot
    #[arg(short, long, default_value = "1", value_name = "N|max|0|-N", allow_hyphen_values = true)]
    pub(crate) instances: Instances,
    /// How connections are shared out among the workers
    #[arg(long, value_enum, default_value_t = PolicyArg::Auto)]
    pub(crate) policy: PolicyArg,
    /// How --policy least finds the worker with the fewest open connections. What cannot be had here is told, and c is used
    #[arg(long, value_enum, default_value_t = TierArg::Auto)]
    pub(crate) tier: TierArg,
    /// Name of the app, shown with its output [default: the script's name without extension]
    #[arg(short, long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) what: TargetArgs,
    /// Connections a worker may be handed before it has taken the first of them, 1 to 64: so many wait with one that
    /// is busy [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) credits: Option<u32>,

    /// SIGKILL follows the stop signal after this time [default: 5s, as process 1 of a container: 1500ms]
    #[arg(short, long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) kill_timeout: Option<Duration>,
    /// How long a new worker may take to be ready; one that takes longer in a reload is ended
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = parse_time)]
    pub(crate) listen_timeout: Duration,
    /// How long a leaving worker may finish its connections before it gets the stop signal [default: 30s, as
    /// process 1 of a container: 8s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) drain_timeout: Option<Duration>,
    /// How a worker is asked to leave [default: disconnect, where it has a channel; else signal]
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) stop_with: Option<StopWithArg>,
    /// End a worker that does not take a connection handed to it for this long, so that others get it [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) hang_timeout: Option<Duration>,
    /// A worker is ready when it says process.send('ready'), not when it listens
    #[arg(long)]
    pub(crate) wait_ready: bool,
    /// The signal that asks a worker to stop [default: SIGINT for Node and Deno, else SIGTERM]
    #[arg(long, value_name = "SIGNAL", value_parser = parse_signal)]
    pub(crate) stop_signal: Option<Signal>,
    /// Give a worker's slot up after this many ends in a row before --min-uptime; the others serve on
    #[arg(long, default_value_t = 16, value_name = "N")]
    pub(crate) max_restarts: u32,
    /// How long a ready worker must stay up to count as good: a reload waits for that
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = parse_time)]
    pub(crate) min_uptime: Duration,
    /// The same pause before every restart [default: 100ms, doubling up to 15s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) restart_delay: Option<Duration>,

    /// Format of what oneport itself tells on standard error
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Tell only what went wrong
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Tell every step of a worker's life; -vv: every message between primary and workers, too
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(flatten)]
    pub(crate) program: ProgramArgs,
    /// End a copy that does not say WATCHDOG=1 at least this often (with --ready-on notify) [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_time, help_heading = HEADING)]
    pub(crate) watchdog: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyArg {
    /// What NODE_CLUSTER_SCHED_POLICY says, else least; rr for Deno and for Unix sockets. The first line told says which and
    /// why
    Auto,
    /// The primary accepts and hands off in rotation (Node's SCHED_RR)
    Rr,
    /// One shared socket; the workers accept (Node's SCHED_NONE)
    Shared,
    /// A socket for each worker, of which the kernel chooses one at random
    Hash,
    /// The same, and it chooses the one with the fewest open connections
    Least,
    /// The same, and it chooses by the client's address
    Sticky,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TierArg {
    /// The best that can be had
    Auto,
    /// The kernel counts and chooses: CAP_BPF and CAP_NET_ADMIN
    A,
    /// The kernel chooses by counts that oneport feeds: CAP_BPF
    B,
    /// The kernel chooses at random, weighted by what oneport sees: no privilege
    C,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StopWithArg {
    /// Node's disconnect message: it closes its servers and finishes what is open
    Disconnect,
    /// The stop signal, once its connections are idle: for apps that clean up in a signal handler
    Signal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
