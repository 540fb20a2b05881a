//! What may be said about an app on the command line of `start`, `restart` and `reload`: PM2's flags, and those of `run`.
//! What is said here stands over the configuration.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args as ClapArgs};
use oneport_wire::control::{ByteSize, Instances, LogType, Span, StopWith};

use super::values::parse_signal_name;

const LOGS: &str = "Logs";
const LIFE: &str = "Life of workers";
const PORTS: &str = "Ports and connections";
const GUARDS: &str = "Safeguards";

#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct SpecArgs {
    /// Name of the app [default: the script's name without extension]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// A word for several apps together
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// How many workers: a number; `max` or 0: one per CPU; -N: one per CPU less N
    #[arg(short, long, value_name = "N|max|0|-N", allow_hyphen_values = true)]
    pub(crate) instances: Option<Instances>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// What runs the script; `none`: it is executed itself
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) interpreter: Option<String>,
    /// Arguments of what runs the script; may be repeated
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true, visible_alias = "interpreter-args")]
    pub(crate) node_args: Vec<String>,
    /// A block `env_NAME` of the configuration, or a variable K=V; may be repeated
    #[arg(long, value_name = "NAME|K=V")]
    pub(crate) env: Vec<String>,
    /// Take the environment of this command, in place of that in which the app was started
    #[arg(short = 'a', long)]
    pub(crate) update_env: bool,
    /// Variables that the app does not get: beginnings of names
    #[arg(long, value_name = "NAMES", value_delimiter = ',', num_args = 0..=1)]
    pub(crate) filter_env: Option<Vec<String>>,
    /// One process that binds for itself (PM2's fork mode)
    #[arg(short = 'x', long)]
    pub(crate) execute_command: bool,
    /// User to run as; only for root
    #[arg(long, value_name = "USER")]
    pub(crate) uid: Option<String>,
    /// Group to run as; only for root
    #[arg(long, value_name = "GROUP")]
    pub(crate) gid: Option<String>,

    /// File for standard output
    #[arg(short, long, value_name = "FILE", help_heading = LOGS)]
    pub(crate) output: Option<String>,
    /// File for standard error
    #[arg(short, long, value_name = "FILE", help_heading = LOGS)]
    pub(crate) error: Option<String>,
    /// File for both
    #[arg(short, long, value_name = "FILE", help_heading = LOGS)]
    pub(crate) log: Option<String>,
    /// All workers write to the same files
    #[arg(long, visible_alias = "combine-logs", help_heading = LOGS)]
    pub(crate) merge_logs: bool,
    /// Put a time before each line, in this form: YYYY-MM-DD HH:mm:ss
    #[arg(long, value_name = "FORMAT", help_heading = LOGS)]
    pub(crate) log_date_format: Option<String>,
    /// Put a time before each line
    #[arg(long, help_heading = LOGS)]
    pub(crate) time: bool,
    /// Store lines as they are, or as JSON
    #[arg(long, value_name = "raw|json", value_parser = parse_log_type, help_heading = LOGS)]
    pub(crate) log_type: Option<LogType>,
    /// Store nothing
    #[arg(long, help_heading = LOGS)]
    pub(crate) disable_logs: bool,
    /// File for the number of the process
    #[arg(short, long, value_name = "FILE", help_heading = LOGS)]
    pub(crate) pid: Option<String>,

    /// SIGKILL follows the stop signal after this time
    #[arg(short, long, value_name = "TIME", help_heading = LIFE)]
    pub(crate) kill_timeout: Option<Span>,
    /// How long a new worker may take to be ready; more is a failure
    #[arg(long, value_name = "TIME", help_heading = LIFE)]
    pub(crate) listen_timeout: Option<Span>,
    /// How long a leaving worker may finish its connections before it gets the stop signal
    #[arg(long, value_name = "TIME", help_heading = LIFE)]
    pub(crate) drain_timeout: Option<Span>,
    /// How long a worker must stay up to count as good
    #[arg(long, value_name = "TIME", help_heading = LIFE)]
    pub(crate) min_uptime: Option<Span>,
    /// A worker is ready when it says process.send('ready')
    #[arg(long, help_heading = LIFE)]
    pub(crate) wait_ready: bool,
    /// Send the message `shutdown` in place of the stop signal
    #[arg(long, help_heading = LIFE)]
    pub(crate) shutdown_with_message: bool,
    /// The signal that asks a worker to stop
    #[arg(long, value_name = "SIGNAL", value_parser = parse_signal_name, help_heading = LIFE)]
    pub(crate) stop_signal: Option<String>,
    /// How a worker is asked to leave
    #[arg(long, value_name = "disconnect|signal", value_parser = parse_stop_with, help_heading = LIFE)]
    pub(crate) stop_with: Option<StopWith>,
    /// How many workers are replaced at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = LIFE)]
    pub(crate) parallel: Option<u32>,
    /// How many workers may be missing while others are replaced
    #[arg(long, value_name = "N", help_heading = LIFE)]
    pub(crate) max_unavailable: Option<u32>,
    /// Give a slot up after so many short lives in a row
    #[arg(long, value_name = "N", help_heading = LIFE)]
    pub(crate) max_restarts: Option<u32>,
    /// The same pause before every restart
    #[arg(long, value_name = "TIME", help_heading = LIFE)]
    pub(crate) restart_delay: Option<Span>,
    /// The first of the pauses that grow
    #[arg(long, value_name = "TIME", help_heading = LIFE)]
    pub(crate) exp_backoff_restart_delay: Option<Span>,
    /// Exit codes after which a worker is not started again
    #[arg(long, value_name = "CODES", value_delimiter = ',', num_args = 1.., help_heading = LIFE)]
    pub(crate) stop_exit_codes: Vec<i32>,
    /// Do not start a worker again that has ended
    #[arg(long, help_heading = LIFE)]
    pub(crate) no_autorestart: bool,
    /// Put the app on the list and start nobody
    #[arg(long, help_heading = LIFE)]
    pub(crate) no_autostart: bool,
    /// Leave what a worker has started alone when it ends
    #[arg(long, help_heading = LIFE)]
    pub(crate) no_treekill: bool,
    /// End a worker that takes no connection handed to it for this long
    #[arg(long, value_name = "TIME", help_heading = LIFE)]
    pub(crate) hang_timeout: Option<Span>,
    /// End a copy that does not say WATCHDOG=1 this often
    #[arg(long, value_name = "TIME", help_heading = LIFE)]
    pub(crate) watchdog: Option<Span>,

    /// Replace a worker that takes more memory: 200M, 1G
    #[arg(long, value_name = "SIZE", help_heading = GUARDS)]
    pub(crate) max_memory_restart: Option<ByteSize>,
    /// Replace all workers by this clock; `0`: never
    #[arg(short, long, value_name = "PATTERN", visible_alias = "cron-restart", allow_hyphen_values = true, help_heading = GUARDS)]
    pub(crate) cron: Option<String>,
    /// Replace all workers when files change
    #[arg(long, value_name = "PATHS", num_args = 0..=1, value_delimiter = ',', help_heading = GUARDS)]
    pub(crate) watch: Option<Vec<String>>,
    /// Watch no files any more
    #[arg(long, conflicts_with = "watch", help_heading = GUARDS)]
    pub(crate) no_watch: bool,
    /// Files whose changes are of no interest
    #[arg(long, value_name = "PATHS", value_delimiter = ',', help_heading = GUARDS)]
    pub(crate) ignore_watch: Vec<String>,
    /// How long after a change that comes
    #[arg(long, value_name = "TIME", help_heading = GUARDS)]
    pub(crate) watch_delay: Option<Span>,

    /// Who gets the next connection: auto, rr, shared, hash, least, sticky
    #[arg(long, value_name = "POLICY", help_heading = PORTS)]
    pub(crate) policy: Option<String>,
    /// How `least` counts: auto, a, b, c
    #[arg(long, value_name = "TIER", help_heading = PORTS)]
    pub(crate) tier: Option<String>,
    /// How a program becomes a worker: auto, channel, own, slot, preload, listen-fds, none. Without a value, as in PM2: show
    /// its logs once it is started
    #[arg(long, value_name = "WAY", num_args = 0..=1, require_equals = true, help_heading = PORTS)]
    pub(crate) attach: Option<Option<String>>,
    /// The ports of the app: 8000, 8000-8010, 53/udp
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = PORTS)]
    pub(crate) port: Vec<String>,
    /// Ports that each copy has for itself
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = PORTS)]
    pub(crate) exclude_port: Vec<String>,
    /// Serve the program's port IN on port OUT; may be repeated
    #[arg(long, value_name = "OUT:IN", help_heading = PORTS)]
    pub(crate) publish: Vec<String>,
    /// Share the program's Unix socket of this path; may be repeated
    #[arg(long, value_name = "PATH", help_heading = PORTS)]
    pub(crate) unix: Vec<String>,
    /// Give the program ports below 1024 that it could not bind alone
    #[arg(long, help_heading = PORTS)]
    pub(crate) low_ports: bool,
    /// Start the program with a socket that listens on [HOST:]PORT; may be repeated
    #[arg(long, value_name = "ADDR[=NAME]", help_heading = PORTS)]
    pub(crate) listen: Vec<String>,
    /// What makes a copy ready: listen, notify, http:/PATH or line:REGEX
    #[arg(long, value_name = "WHAT", help_heading = PORTS)]
    pub(crate) ready_on: Option<String>,
    /// Connections a worker may be handed before it has taken the first of them
    #[arg(long, value_name = "N", help_heading = PORTS)]
    pub(crate) credits: Option<u32>,

    #[command(flatten)]
    pub(crate) foreign: ForeignArgs,
}

impl SpecArgs {
    /// `--attach` without a value, as in PM2.
    pub(crate) fn wants_logs(&self) -> bool {
        self.attach == Some(None)
    }
}

/// PM2's flags that mean nothing here: scripts that say them go on to work.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct ForeignArgs {
    #[arg(long, hide = true)]
    no_vizion: bool,
    #[arg(long, hide = true)]
    no_pmx: bool,
    #[arg(long, hide = true)]
    no_automation: bool,
    #[arg(long, hide = true)]
    trace: bool,
    #[arg(long, hide = true)]
    disable_trace: bool,
    #[arg(long, hide = true)]
    v8: bool,
    #[arg(long, hide = true)]
    event_loop_inspector: bool,
    #[arg(long, hide = true)]
    deep_monitoring: bool,
    #[arg(long, hide = true)]
    source_map_support: bool,
    #[arg(long, hide = true)]
    disable_source_map_support: bool,
    #[arg(short, long, hide = true)]
    write: bool,
    #[arg(long, hide = true)]
    daemon: bool,
    #[arg(long, hide = true)]
    fresh: bool,
    #[arg(long, hide = true)]
    container: bool,
    #[arg(long, hide = true)]
    dist: bool,
    #[arg(long, hide = true)]
    dockerdaemon: bool,
    #[arg(long, hide = true, action = ArgAction::Append)]
    image_name: Vec<OsString>,
    #[arg(long, hide = true, action = ArgAction::Append)]
    node_version: Vec<OsString>,
    #[arg(long, hide = true)]
    kill_retry_time: Option<u64>,
    #[arg(long, hide = true)]
    ext: Option<OsString>,
    #[arg(short, long, hide = true)]
    user: Option<OsString>,
    #[arg(long, hide = true)]
    hp: Option<OsString>,
    #[arg(long, hide = true)]
    service_name: Option<OsString>,
    #[arg(long, hide = true)]
    wait_ip: bool,
    // Of `pm2-runtime`.
    #[arg(long, hide = true)]
    raw: bool,
    #[arg(long, hide = true)]
    formatted: bool,
    #[arg(long, hide = true)]
    json: bool,
    #[arg(long, hide = true)]
    format: bool,
    #[arg(long, hide = true)]
    delay: Option<OsString>,
    #[arg(long, hide = true, num_args = 0..=1)]
    web: Option<Option<OsString>>,
    #[arg(long, hide = true)]
    no_auto_exit: bool,
    #[arg(long, hide = true)]
    secret: Option<OsString>,
    #[arg(long, hide = true)]
    public: Option<OsString>,
    #[arg(long, hide = true)]
    machine_name: Option<OsString>,
}

impl ForeignArgs {
    /// Those that were given and would have had an effect in PM2.
    pub(crate) fn given(&self) -> Vec<&'static str> {
        [
            ("--no-vizion", self.no_vizion),
            ("--no-pmx", self.no_pmx),
            ("--no-automation", self.no_automation),
            ("--trace", self.trace),
            ("--disable-trace", self.disable_trace),
            ("--v8", self.v8),
            ("--event-loop-inspector", self.event_loop_inspector),
            ("--deep-monitoring", self.deep_monitoring),
            ("--source-map-support", self.source_map_support),
            ("--disable-source-map-support", self.disable_source_map_support),
            ("--write", self.write),
            ("--daemon", self.daemon),
            ("--fresh", self.fresh),
            ("--container", self.container),
            ("--dist", self.dist),
            ("--dockerdaemon", self.dockerdaemon),
            ("--image-name", !self.image_name.is_empty()),
            ("--node-version", !self.node_version.is_empty()),
            ("--kill-retry-time", self.kill_retry_time.is_some()),
            ("--ext", self.ext.is_some()),
            ("--user", self.user.is_some()),
            ("--hp", self.hp.is_some()),
            ("--service-name", self.service_name.is_some()),
            ("--wait-ip", self.wait_ip),
            ("--raw", self.raw),
            ("--formatted", self.formatted),
            ("--json", self.json),
            ("--format", self.format),
            ("--delay", self.delay.is_some()),
            ("--web", self.web.is_some()),
            ("--no-auto-exit", self.no_auto_exit),
            ("--secret", self.secret.is_some()),
            ("--public", self.public.is_some()),
            ("--machine-name", self.machine_name.is_some()),
        ]
        .into_iter()
        .filter(|(_, given)| *given)
        .map(|(name, _)| name)
        .collect()
    }
}

fn parse_log_type(text: &str) -> Result<LogType, String> {
    match text {
        "raw" => Ok(LogType::Raw),
        "json" => Ok(LogType::Json),
        _ => Err("expected raw or json".to_owned()),
    }
}

fn parse_stop_with(text: &str) -> Result<StopWith, String> {
    match text {
        "disconnect" => Ok(StopWith::Disconnect),
        "signal" => Ok(StopWith::Signal),
        _ => Err("expected disconnect or signal".to_owned()),
    }
}
