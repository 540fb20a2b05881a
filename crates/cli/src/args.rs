//! The command line, as types. What a value may be is checked here; what it means is the commands' business.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use oneport_sys::process::Signal;

/// Many processes behind one port.
#[derive(Debug, Parser)]
#[command(name = "oneport", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run copies of a server behind one port, in the foreground
    Run(Box<RunArgs>),
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
  oneport run -i 2 -- ./server --port 8000

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
    /// Script or program to run, of which every worker is a copy
    #[arg(value_name = "SCRIPT-OR-PROGRAM")]
    pub(crate) target: Option<OsString>,
    /// What was put behind the script without `--`: asked for only to be explained
    #[arg(hide = true)]
    pub(crate) stray: Vec<OsString>,
    /// Arguments of the script or program; without one, a whole command with its arguments
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) rest: Vec<OsString>,

    /// How many workers: a number; `max` or 0: one per CPU; -N: one per CPU less N
    #[arg(short, long, default_value = "1", value_name = "N|max|0|-N", allow_hyphen_values = true)]
    pub(crate) instances: Instances,
    /// How connections are shared out among the workers
    #[arg(long, value_enum, default_value_t = PolicyArg::Auto)]
    pub(crate) policy: PolicyArg,
    /// Name of the app, shown with its output [default: the script's name without extension]
    #[arg(short, long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: Option<String>,
    /// Working directory of the workers; a relative script is looked up there
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// Set an environment variable for the workers; may be repeated
    #[arg(long, value_name = "K=V", value_parser = parse_variable)]
    pub(crate) env: Vec<(String, String)>,
    /// Program that runs the script [default: by its extension or `#!` line]; `none`: execute the script itself
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) interpreter: Option<OsString>,
    /// Arguments for the interpreter, split at blanks, as in --node-args "--no-warnings --trace-gc"; may be repeated
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true, visible_alias = "interpreter-args")]
    pub(crate) node_args: Vec<String>,
    /// Connections a worker may be handed before it has taken the first of them, 1 to 64: so many wait with one that
    /// is busy
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) credits: u32,

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
    /// How a worker is asked to leave
    #[arg(long, value_enum, value_name = "HOW", default_value_t = StopWithArg::Disconnect)]
    pub(crate) stop_with: StopWithArg,
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyArg {
    /// What NODE_CLUSTER_SCHED_POLICY says, else rr; the first line told says which and why
    Auto,
    /// The primary accepts and hands off in rotation (Node's SCHED_RR)
    Rr,
    /// One shared socket; the workers accept (Node's SCHED_NONE)
    Shared,
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

/// How many workers, as PM2 counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instances {
    Exactly(u32),
    PerCpu,
    PerCpuLess(u32),
}

/// Far above any machine, below what descriptors allow.
const MOST_INSTANCES: u32 = 4096;

impl std::str::FromStr for Instances {
    type Err = String;

    fn from_str(text: &str) -> Result<Instances, String> {
        let expected = || "expected a number, `max`, 0 or a negative number".to_owned();
        match text {
            "max" => Ok(Instances::PerCpu),
            _ => match text.strip_prefix('-') {
                Some(less) => less.parse().map(Instances::PerCpuLess).map_err(|_| expected()),
                None => match text.parse() {
                    Ok(0) => Ok(Instances::PerCpu),
                    Ok(n) if n <= MOST_INSTANCES => Ok(Instances::Exactly(n)),
                    Ok(_) => Err(format!("at most {MOST_INSTANCES} workers")),
                    Err(_) => Err(expected()),
                },
            },
        }
    }
}

impl Instances {
    pub(crate) fn count(self, cpus: usize) -> u32 {
        let cpus = u32::try_from(cpus).unwrap_or(MOST_INSTANCES).clamp(1, MOST_INSTANCES);
        match self {
            Instances::Exactly(n) => n,
            Instances::PerCpu => cpus,
            Instances::PerCpuLess(less) => cpus.saturating_sub(less).max(1),
        }
    }
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => {
            Ok((name.to_owned(), value.to_owned()))
        }
        Some(_) | None => Err("expected NAME=VALUE".to_owned()),
    }
}

/// `500`, `500ms`, `2s`, `1m`, `1h`; a bare number is milliseconds, as in PM2.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let expected = || "expected a time such as 500ms, 2s or 1m".to_owned();
    let number: u64 = number.parse().map_err(|_| expected())?;
    let ms = match unit {
        "" | "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(expected()),
    };
    number.checked_mul(ms).map(Duration::from_millis).ok_or_else(expected)
}

fn parse_signal(text: &str) -> Result<Signal, String> {
    Signal::from_name(text).ok_or_else(|| "expected a signal such as SIGTERM".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn times_are_read_in_every_unit() {
        for (text, ms) in [("500", 500), ("500ms", 500), ("2s", 2000), ("1m", 60_000), ("1h", 3_600_000)] {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "1d", "-1", "1.5s", "99999999999999999999"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn instances_are_counted_as_pm2_does() {
        let count = |text: &str| text.parse::<Instances>().map(|n| n.count(8));
        assert_eq!(count("4"), Ok(4));
        assert_eq!(count("max"), Ok(8));
        assert_eq!(count("0"), Ok(8));
        assert_eq!(count("00"), Ok(8));
        assert_eq!(count("-2"), Ok(6));
        assert_eq!(count("-100"), Ok(1));
        for text in ["", "x", "1.5", "--", "4097", "-x"] {
            assert!(count(text).is_err(), "{text}");
        }
    }
}
