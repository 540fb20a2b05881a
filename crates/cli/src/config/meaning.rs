//! What a key in an app means: one of ours by any of its names, or one that only PM2 has.

use super::keys::{KEYS, Known};

/// Keys of PM2's that say how something else is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    AppendEnvToName,
    SourceMaps,
    Force,
}

/// What a key of PM2's watcher is, beside those above.
pub(super) const OTHER_WATCH_OPTIONS: &[&str] = &[
    "persistent",
    "ignored",
    "ignore_initial",
    "cwd",
    "disable_globbing",
    "binary_interval",
    "always_stat",
    "depth",
    "await_write_finish",
    "ignore_permission_errors",
    "atomic",
];

/// Parts of PM2 that there are none of here, and that nobody misses.
const SILENT: &[&str] = &[
    "vizion",
    "pmx",
    "automation",
    "trace",
    "disable_trace",
    "v8",
    "event_loop_inspector",
    "deep_monitoring",
    "io",
    "post_update",
    "install_url",
    "windows_hide",
    "disable_source_map_support",
];

/// What PM2 does with them is not done here; who wrote them should know.
const WITHOUT_EFFECT: &[&str] = &["name_prefix", "write", "kill_retry_time"];

/// What a key in an app means.
#[derive(Debug)]
pub(super) enum Meaning<'a> {
    /// The key of that name, written so or in camel case.
    Key(&'static Known),
    /// The same by another name of PM2's.
    Alias(&'static Known),
    /// `env_NAME`.
    Block(&'a str),
    Special(Special),
    Silent,
    WithoutEffect,
    Unknown,
}

pub(super) fn meaning(name: &str) -> Meaning<'_> {
    let plain = snake(name);
    let is = |known: &&str| *known == plain;
    if let Some(known) = KEYS.iter().find(|known| known.name == plain) {
        return Meaning::Key(known);
    }
    if let Some(known) = KEYS.iter().find(|known| known.also.iter().any(|also| *also == plain)) {
        return Meaning::Alias(known);
    }
    match plain.as_str() {
        "append_env_to_name" => return Meaning::Special(Special::AppendEnvToName),
        "force" => return Meaning::Special(Special::Force),
        "source_map_support" => return Meaning::Special(Special::SourceMaps),
        _ => {}
    }
    match name.strip_prefix("env_") {
        Some(block) if !block.is_empty() => Meaning::Block(block),
        Some(_) | None if SILENT.iter().any(is) => Meaning::Silent,
        Some(_) | None if WITHOUT_EFFECT.iter().any(is) => Meaning::WithoutEffect,
        Some(_) | None => Meaning::Unknown,
    }
}

/// Names that a person may have meant.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|known| known.name).chain(["append_env_to_name"])
}

/// `maxMemoryRestart` as `max_memory_restart`.
pub(super) fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (at, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && at > 0 {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(key: &str) -> String {
        match meaning(key) {
            Meaning::Key(known) | Meaning::Alias(known) => known.name.to_owned(),
            Meaning::Block(block) => format!("block {block}"),
            other @ (Meaning::Special(_) | Meaning::Silent | Meaning::WithoutEffect | Meaning::Unknown) => {
                format!("{other:?}")
            }
        }
    }

    #[test]
    fn every_name_of_pm2_is_known_in_both_cases() {
        for (key, means) in [
            ("exec", "script"),
            ("cmd", "script"),
            ("command", "script"),
            ("output", "out_file"),
            ("out", "out_file"),
            ("outLog", "out_file"),
            ("errFile", "error_file"),
            ("err_log", "error_file"),
            ("error", "error_file"),
            ("log", "log_file"),
            ("pid", "pid_file"),
            ("combineLogs", "merge_logs"),
            ("cron", "cron_restart"),
            ("exec_interpreter", "interpreter"),
            ("execInterpreter", "interpreter"),
            ("interpreterArgs", "node_args"),
            ("user", "uid"),
            ("username", "uid"),
            ("maxMemoryRestart", "max_memory_restart"),
            ("expBackoffRestartDelay", "exp_backoff_restart_delay"),
            ("env_production", "block production"),
            ("env_Prod-EU", "block Prod-EU"),
            ("windowsHide", "Silent"),
            ("namePrefix", "WithoutEffect"),
            ("appendEnvToName", "Special(AppendEnvToName)"),
            ("env_", "Unknown"),
            ("instnaces", "Unknown"),
        ] {
            assert_eq!(name(key), means, "{key}");
        }
    }
}
