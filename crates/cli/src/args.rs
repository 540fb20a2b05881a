//! The command line, as types. What a value may be is checked here; what it means is the commands' business.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use oneport_sys::process::Signal;

/// Many processes behind one port.
#[derive(Debug, Parser)]
#[command(name = "oneport", version, about, max_term_width = 100, arg_required_else_help = true)]
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
    #[arg(long, default_value_t = 8000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub(crate) requests: u32,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "\
SIGTERM and SIGINT stop in order: what was accepted is served, workers leave, exit code 0. A second one stops \
at once. SIGHUP reloads: every worker is replaced, the new one first; one that does not prove itself is ended, the \
old ones stay.\n\nExit codes: 0 stopped as asked, 1 failed (every slot given up), 2 usage, 130 or 143 when a second\nSIGINT or SIGTERM cut the stop short.")]
pub(crate) struct RunArgs {
    /// Script or program to run
    #[arg(value_name = "SCRIPT-OR-PROGRAM")]
    pub(crate) target: Option<OsString>,
    /// What was put behind the script without `--`: asked for only to be explained
    #[arg(hide = true)]
    pub(crate) stray: Vec<OsString>,
    /// Its arguments; or, without a script, the whole command
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) rest: Vec<OsString>,

    /// Workers: a number, `max` or 0 for one per CPU, -N for that less N
    #[arg(short, long, default_value = "1", value_name = "N|max|0|-N", allow_hyphen_values = true)]
    pub(crate) instances: Instances,
    /// Who gets the next connection
    #[arg(long, value_enum, default_value_t = PolicyArg::Auto)]
    pub(crate) policy: PolicyArg,
    /// Name of the app; default: the script's
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: Option<String>,
    /// Working directory of the workers
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// A variable for the workers; may be given several times
    #[arg(long, value_name = "K=V", value_parser = parse_variable)]
    pub(crate) env: Vec<(String, String)>,
    /// Program that runs the script; `none`: the script is a program itself
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) interpreter: Option<OsString>,
    /// Arguments for the interpreter, before the script
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true, visible_alias = "interpreter-args")]
    pub(crate) node_args: Vec<String>,
    /// Connections a worker may be handed before it has answered for the first of them (1 to 64)
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) credits: u32,

    /// After the stop signal, SIGKILL follows this much later [default: 5s, as process 1 of a container: 1500ms]
    #[arg(short, long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) kill_timeout: Option<Duration>,
    /// A replacement must be ready within this time
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = parse_time)]
    pub(crate) listen_timeout: Duration,
    /// A leaving worker may finish its connections for this long [default: 30s, as PID 1: 8s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) drain_timeout: Option<Duration>,
    /// How a worker is asked to leave: by Node's disconnect message, or by the signal once its connections are idle
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) stop_with: Option<StopWithArg>,
    /// End a worker that leaves a handed connection unanswered for this long [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) hang_timeout: Option<Duration>,
    /// A worker is ready when it says so (process.send('ready')), not when it listens
    #[arg(long)]
    pub(crate) wait_ready: bool,
    /// The signal that asks a worker to stop [default: SIGINT for JavaScript, else SIGTERM]
    #[arg(long, value_name = "SIGNAL", value_parser = parse_signal)]
    pub(crate) stop_signal: Option<Signal>,
    /// Give a slot up after this many lives in a row shorter than --min-uptime
    #[arg(long, default_value_t = 16, value_name = "N")]
    pub(crate) max_restarts: u32,
    /// A worker that is ready must stay up this long to be trusted
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = parse_time)]
    pub(crate) min_uptime: Duration,
    /// Fixed pause before a restart [default: 100ms, doubling up to 15s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) restart_delay: Option<Duration>,

    /// How the life of the app is told on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Tell only what went wrong
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Tell every transition; twice: every message of the protocol
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyArg {
    /// The best that fits the program; says which and why
    Auto,
    /// The primary accepts and hands off in rotation (Node's SCHED_RR)
    Rr,
    /// One shared socket; the workers accept (Node's SCHED_NONE)
    Shared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StopWithArg {
    Disconnect,
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
