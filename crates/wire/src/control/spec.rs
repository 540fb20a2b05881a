//! One app as it is wanted: the keys of `oneport.toml`, with PM2's names where PM2 has the thing. What is `None` or empty is
//! left to the defaults of `oneport run`, except where a key says otherwise.

mod choices;
mod instances;
mod which;
mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::quantity::{ByteSize, Span};

pub use choices::{ExecMode, LogRotate, LogType, StopWith};
pub use instances::Instances;
pub use which::{FilterEnv, Watch, WatchOptions};
pub use words::{Commas, WordOrNumber};
use words::{one_or_more, variables, words};

/// One app. Relative paths are meant from the directory of the file they were written in, and are absolute by the time a
/// primary sees them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AppSpec {
    /// Its name. Unique within a daemon. Default: the script's name without extension.
    pub name: String,
    /// A word for several apps together. Default: `default`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The script or program: a path, or a command that is looked up in `PATH`.
    pub script: String,
    /// Its arguments. A text is split at blanks, as a shell would without any expansion.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "words")]
    pub args: Vec<String>,
    /// Its working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// What runs the script; `none`: the script is executed itself. Default: by extension or `#!` line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    /// Arguments of what runs the script.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "words")]
    pub node_args: Vec<String>,
    /// How many workers.
    pub instances: Instances,
    /// `cluster` (default) or `fork`: PM2's word for one process that binds for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_mode: Option<ExecMode>,

    /// Variables of its environment, over those of whoever starts it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "variables")]
    pub env: BTreeMap<String, String>,
    /// Variables of whoever starts it that it does not get.
    #[serde(skip_serializing_if = "FilterEnv::is_nothing")]
    pub filter_env: FilterEnv,
    /// Short for `PORT` in `env`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The variable that holds the number of the slot. Default: `NODE_APP_INSTANCE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_var: Option<String>,
    /// A variable of `env` that is a number, and one more in each further slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub increment_var: Option<String>,
    /// User to run as: a name or a number. Only for root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<WordOrNumber>,
    /// Group to run as: a name or a number. Only for root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<WordOrNumber>,

    /// Who gets the next connection, as `oneport run --policy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// As `oneport run --tier`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// How a program becomes a worker, as `oneport run --attach`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attach: Option<String>,
    /// The ports of the app, as `oneport run --port`.
    #[serde(skip_serializing_if = "Commas::is_empty")]
    pub ports: Commas,
    /// Ports that each copy has for itself, as `--exclude-port`.
    #[serde(skip_serializing_if = "Commas::is_empty")]
    pub exclude_ports: Commas,
    /// `OUT:IN`: the program's port IN is served on OUT, as `--publish`.
    #[serde(skip_serializing_if = "Commas::is_empty")]
    pub publish: Commas,
    /// Unix sockets that are shared, as `--unix`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unix: Vec<String>,
    /// As `--low-ports`.
    #[serde(skip_serializing_if = "is_false")]
    pub low_ports: bool,
    /// Sockets that the program is started with, as `--listen`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<String>,
    /// What makes a copy ready, as `--ready-on`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_on: Option<String>,
    /// As `--credits`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credits: Option<u32>,

    /// A worker is ready when it sends `ready`.
    #[serde(skip_serializing_if = "is_false")]
    pub wait_ready: bool,
    /// How long a new worker may take to be ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_timeout: Option<Span>,
    /// How long a leaving worker may finish its connections before it gets the stop signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_timeout: Option<Span>,
    /// SIGKILL follows the stop signal after this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kill_timeout: Option<Span>,
    /// How long a worker must stay up to count as good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_uptime: Option<Span>,
    /// As `--hang-timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hang_timeout: Option<Span>,
    /// As `--watchdog`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<Span>,
    /// How a worker is asked to leave. Default: `signal`, because PM2's apps clean up in a signal handler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_with: Option<StopWith>,
    /// The signal that asks a worker to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// A worker with a channel is sent the message `shutdown` in place of the signal.
    #[serde(skip_serializing_if = "is_false")]
    pub shutdown_with_message: bool,
    /// Whether what a worker started is ended with it. Default: yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub treekill: Option<bool>,

    /// Whether a worker that ends is started again. Default: yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autorestart: Option<bool>,
    /// Whether it is started at all when its configuration is. Default: yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
    /// Ends before `min_uptime` in a row after which a slot is given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_restarts: Option<u32>,
    /// The same pause before every restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_delay: Option<Span>,
    /// The first pause of those that grow. Default: 100 ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp_backoff_restart_delay: Option<Span>,
    /// Exit codes after which a worker is not started again.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_more")]
    pub stop_exit_codes: Vec<i32>,
    /// Workers that are replaced at a time in a reload. Default: 2; 1 where there are at most two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u32>,
    /// Workers that may be missing while others are replaced. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<u32>,

    /// A worker that takes more memory is replaced, the new one first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory_restart: Option<ByteSize>,
    /// When all are replaced, in the words of cron. `0`: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron_restart: Option<WordOrNumber>,
    /// Whether it is restarted when files change: yes, no, or which files.
    #[serde(skip_serializing_if = "Watch::is_off")]
    pub watch: Watch,
    /// Paths whose changes are of no interest.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_more")]
    pub ignore_watch: Vec<String>,
    /// How long after a change the restart comes; further changes meanwhile are part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch_delay: Option<Span>,
    /// How files are watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch_options: Option<WatchOptions>,

    /// File for standard output. Default: `logs/<name>-out.log` in the home directory; `/dev/null`: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_file: Option<String>,
    /// File for standard error. Default: `logs/<name>-error.log` in the home directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_file: Option<String>,
    /// File for both, besides the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_file: Option<String>,
    /// Whether all workers write to the same files. Default: yes where there is one worker; else `-<id>` is added to the
    /// names, as PM2 does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge_logs: Option<bool>,
    /// Whether lines are stored as they are, or as JSON objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_type: Option<LogType>,
    /// A time in this form stands before each line, in the words of Moment.js as PM2 reads them (`YYYY-MM-DD HH:mm:ss Z`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_date_format: Option<String>,
    /// Short for the format `YYYY-MM-DDTHH:mm:ss`.
    #[serde(skip_serializing_if = "is_false")]
    pub time: bool,
    /// Nothing is stored.
    #[serde(skip_serializing_if = "is_false")]
    pub disable_logs: bool,
    /// When a file is put aside, and for how long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_rotate: Option<LogRotate>,
    /// File for the number of the process; `-<id>` is added to its name where there are several workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid_file: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(yes: &bool) -> bool {
    !yes
}

#[cfg(test)]
mod tests;
