//! The keys of an app: their names, PM2's other names for them, and what kind of value each takes.

/// A key of [`oneport_wire::control::AppSpec`].
#[derive(Debug)]
pub(super) struct Known {
    pub(super) name: &'static str,
    /// PM2's other names for it. Each may also be written in camel case.
    pub(super) also: &'static [&'static str],
    pub(super) kind: Kind,
}

/// What kind of value a key takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    /// A path, relative to the working directory.
    Path,
    Truth,
    Count,
    Port,
    Time,
    Size,
    Instances,
    /// A text that is split at blanks, or a list.
    Words,
    /// A text with commas, or a list.
    Commas,
    /// A text, or a list of texts.
    Texts,
    /// Numbers.
    Codes,
    WordOrNumber,
    /// A truth, a text or a list of texts.
    Which,
    Variables,
    OneOf(&'static [&'static str]),
    Table(&'static [Known]),
}

impl Kind {
    /// What was expected, in words.
    pub(super) fn expected(self) -> String {
        match self {
            Kind::Text => "a text".to_owned(),
            Kind::Path => "a path".to_owned(),
            Kind::Truth => "true or false".to_owned(),
            Kind::Count => "a whole number".to_owned(),
            Kind::Port => "a port, 0 to 65535".to_owned(),
            Kind::Time => "a time such as 500, \"500ms\", \"2s\" or \"1m\"".to_owned(),
            Kind::Size => "a size such as 1048576, \"200M\" or \"2G\"".to_owned(),
            Kind::Instances => "a number, \"max\", 0 or a negative number".to_owned(),
            Kind::Words | Kind::Texts => "a text or a list of texts".to_owned(),
            Kind::Commas => "a text with commas, or a list".to_owned(),
            Kind::Codes => "a number or a list of numbers".to_owned(),
            Kind::WordOrNumber => "a word or a number".to_owned(),
            Kind::Which => "true, false, a text or a list of texts".to_owned(),
            Kind::Variables => "a table of variables".to_owned(),
            Kind::OneOf(words) => format!("one of {}", words.join(", ")),
            Kind::Table(keys) => {
                let names: Vec<_> = keys.iter().map(|key| key.name).collect();
                format!("a table with {}", names.join(", "))
            }
        }
    }
}

const fn key(name: &'static str, kind: Kind) -> Known {
    Known { name, also: &[], kind }
}

const fn called(name: &'static str, also: &'static [&'static str], kind: Kind) -> Known {
    Known { name, also, kind }
}

/// In the order of `AppSpec`.
pub(super) const KEYS: &[Known] = &[
    key("name", Kind::Text),
    key("namespace", Kind::Text),
    called("script", &["exec", "cmd", "command"], Kind::Text),
    key("args", Kind::Words),
    key("cwd", Kind::Path),
    called("interpreter", &["exec_interpreter"], Kind::Text),
    called("node_args", &["interpreter_args"], Kind::Words),
    key("instances", Kind::Instances),
    key("exec_mode", Kind::OneOf(&["cluster", "fork"])),
    key("env", Kind::Variables),
    key("filter_env", Kind::Which),
    key("port", Kind::Port),
    key("instance_var", Kind::Text),
    key("increment_var", Kind::Text),
    called("uid", &["user", "username"], Kind::WordOrNumber),
    key("gid", Kind::WordOrNumber),
    key("policy", Kind::OneOf(&["auto", "rr", "shared", "hash", "least", "sticky"])),
    key("tier", Kind::OneOf(&["auto", "a", "b", "c"])),
    key("attach", Kind::OneOf(&["auto", "channel", "own", "slot", "preload", "listen-fds", "none"])),
    key("ports", Kind::Commas),
    key("exclude_ports", Kind::Commas),
    key("publish", Kind::Commas),
    key("unix", Kind::Texts),
    key("low_ports", Kind::Truth),
    key("listen", Kind::Texts),
    key("ready_on", Kind::Text),
    key("credits", Kind::Count),
    key("wait_ready", Kind::Truth),
    key("listen_timeout", Kind::Time),
    key("drain_timeout", Kind::Time),
    key("kill_timeout", Kind::Time),
    key("min_uptime", Kind::Time),
    key("hang_timeout", Kind::Time),
    key("watchdog", Kind::Time),
    key("stop_with", Kind::OneOf(&["disconnect", "signal"])),
    key("stop_signal", Kind::Text),
    key("shutdown_with_message", Kind::Truth),
    key("treekill", Kind::Truth),
    key("autorestart", Kind::Truth),
    key("autostart", Kind::Truth),
    key("max_restarts", Kind::Count),
    key("restart_delay", Kind::Time),
    key("exp_backoff_restart_delay", Kind::Time),
    key("stop_exit_codes", Kind::Codes),
    key("parallel", Kind::Count),
    key("max_unavailable", Kind::Count),
    key("max_memory_restart", Kind::Size),
    called("cron_restart", &["cron"], Kind::WordOrNumber),
    key("watch", Kind::Which),
    key("ignore_watch", Kind::Texts),
    key("watch_delay", Kind::Time),
    key("watch_options", Kind::Table(WATCH_OPTIONS)),
    called("out_file", &["out", "output", "out_log"], Kind::Path),
    called("error_file", &["error", "err", "err_file", "err_log"], Kind::Path),
    called("log_file", &["log"], Kind::Path),
    called("merge_logs", &["combine_logs"], Kind::Truth),
    key("log_type", Kind::OneOf(&["raw", "json"])),
    key("log_date_format", Kind::Text),
    key("time", Kind::Truth),
    key("disable_logs", Kind::Truth),
    key("log_rotate", Kind::Table(LOG_ROTATE)),
    called("pid_file", &["pid"], Kind::Path),
];

/// Named as PM2 hands them to its watcher.
const WATCH_OPTIONS: &[Known] =
    &[key("followSymlinks", Kind::Truth), key("usePolling", Kind::Truth), key("interval", Kind::Time)];

const LOG_ROTATE: &[Known] = &[
    key("max_size", Kind::Size),
    key("max_age", Kind::Time),
    key("keep", Kind::Count),
    key("max_total", Kind::Size),
    key("compress", Kind::Truth),
];
