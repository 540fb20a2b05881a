//! From the command line to what the cluster is told: policy, time limits, the log. Nothing here runs anything.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use oneport::{Conduct, Readiness, Settings, Stdio, StopWith};
use oneport_sys::process::{self, Pid, Signal};
use tracing::warn;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::policy::Placing;
use crate::args::{LogFormat, RunArgs, StopWithArg};
use crate::attach::{Attachment, Class, conduct_readiness};
use crate::error::Failure;
use crate::program::Program;
use crate::render::scribe::Scribe;

/// The defaults of how long a stop may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spans {
    pub(crate) drain: Duration,
    pub(crate) kill: Duration,
}

impl Spans {
    /// Docker kills a container 10 s after it asked process 1 to stop: both together stay below that.
    pub(crate) fn of(primary: Pid) -> Spans {
        match primary.get() {
            1 => Spans { drain: Duration::from_secs(8), kill: Duration::from_millis(1500) },
            _ => Spans { drain: Duration::from_secs(30), kill: Duration::from_secs(5) },
        }
    }
}

pub(super) fn settings(
    args: &RunArgs,
    program: &Program,
    placing: &Placing,
    attachment: &Attachment,
) -> Settings {
    let instances = args.instances.count(process::cpus());
    let spans = Spans::of(process::own_pid());
    let mut settings = Settings::new(&program.exec);
    settings.exec_path = program.exec_path.clone();
    settings.exec_args = program.exec_args.clone();
    settings.args = program.args.clone();
    settings.cwd = args.what.cwd.clone();
    settings.program = attachment.settings.clone();
    settings.tier = placing.choice;
    (settings.stdout, settings.stderr) = (Stdio::Pipe, Stdio::Pipe);
    settings.env.extend(args.what.env.iter().map(|(name, value)| (name.into(), value.into())));
    if let Some(span) = args.watchdog {
        // Our own supervisor's, if it has one, is not the worker's (sd_watchdog_enabled(3)).
        settings.env.retain(|(name, _)| name != "WATCHDOG_PID" && name != "WATCHDOG_USEC");
        settings.env.push(("WATCHDOG_USEC".into(), span.as_micros().to_string().into()));
    }
    settings.stop_signal = match args.stop_signal {
        Some(signal) => signal,
        None if program.kind.is_javascript() => Signal::INT,
        None => Signal::TERM,
    };
    // The first answer is what this process was started with; later ones are what it has raised that to.
    static BEFORE: OnceLock<u64> = OnceLock::new();
    settings.worker_nofile = match process::set_nofile_to_hard() {
        Ok(before) => Some(*BEFORE.get_or_init(|| before)),
        Err(cause) => {
            warn!(%cause, "cannot raise the limit of open files");
            None
        }
    };
    let defaults = Conduct::default();
    settings.conduct = Conduct {
        policy: placing.policy,
        attach: attachment.attach,
        credits: args.credits.unwrap_or(defaults.credits),
        readiness: if args.wait_ready { Readiness::Message } else { conduct_readiness(&args.program) },
        watchdog: args.watchdog,
        min_uptime: args.min_uptime,
        listen_timeout: args.listen_timeout,
        drain_timeout: args.drain_timeout.unwrap_or(spans.drain),
        kill_timeout: args.kill_timeout.unwrap_or(spans.kill),
        hang_timeout: args.hang_timeout.filter(|span| !span.is_zero()),
        stop_with: match (args.stop_with, attachment.class) {
            (Some(StopWithArg::Disconnect), _) | (None, Class::Channel) => StopWith::Disconnect,
            (Some(StopWithArg::Signal), _) | (None, Class::Program | Class::ListenFds | Class::Nothing) => {
                StopWith::Signal
            }
        },
        max_restarts: args.max_restarts,
        restart_delay: args.restart_delay,
        // As PM2: two at a time, one where there are at most two.
        parallel: if instances > 2 { 2 } else { 1 },
        ..defaults
    };
    settings
}

pub(crate) fn no_directory(cwd: &Path) -> Failure {
    Failure::usage(format!("cannot use directory `{}`: there is no such directory", cwd.display()))
        .hint("`cwd` and --cwd are relative to the directory of the configuration, or of this command")
}

/// The log for who looks closely: what went wrong inside, and at `-vv` every message of the protocol. Transitions
/// are told by the teller.
pub(super) fn log(args: &RunArgs, scribe: &Scribe) {
    if args.log_format == LogFormat::Json || args.quiet {
        return;
    }
    log_to(scribe, args.verbose > 1);
}

/// The same for a primary without a terminal; `trace`: also every message of the protocol.
pub(super) fn log_to(scribe: &Scribe, trace: bool) {
    let wire = if trace { LevelFilter::TRACE } else { LevelFilter::WARN };
    let shown = Targets::new().with_default(LevelFilter::WARN).with_target("oneport::wire", wire);
    // Its complaints about a full disk would be a panic on the same full disk.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(scribe.clone())
        .without_time()
        .with_target(false)
        .with_ansi(rustix::termios::isatty(rustix::stdio::stderr()))
        .log_internal_errors(false);
    tracing_subscriber::registry().with(lines).with(shown).init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_1_of_a_container_is_done_before_it_is_killed() {
        let spans = Spans::of(Pid::new(1).unwrap());
        assert!(spans.drain + spans.kill < Duration::from_secs(10), "{spans:?}");
        assert_eq!(Spans::of(Pid::new(2).unwrap()).kill, Duration::from_secs(5));
    }
}
