//! What was said on the command line, put over an app's configuration.

use std::path::{Path, PathBuf};

use oneport_wire::control::{AppSpec, Commas, ExecMode, FilterEnv, Watch, WordOrNumber};

use crate::args::spec::SpecArgs;
use crate::error::Failure;

impl SpecArgs {
    /// The block of the configuration that was asked for: `--env production`.
    pub(super) fn env_block(&self) -> Option<&str> {
        self.env.iter().rev().map(String::as_str).find(|text| !text.contains('='))
    }

    /// Whether anything was said that changes an app.
    pub(super) fn changes(&self) -> bool {
        let mut before = AppSpec::default();
        let says = self.apply(&mut before, Path::new("/")).is_ok() && before != AppSpec::default();
        // This may say what is the default.
        says || self.watch.is_some() || self.no_watch
    }

    /// Puts what was said over `spec`. Relative paths are meant from `dir`.
    pub(super) fn apply(&self, spec: &mut AppSpec, dir: &Path) -> Result<(), Failure> {
        fn put<T: Clone>(to: &mut Option<T>, from: Option<&T>) {
            if let Some(value) = from {
                *to = Some(value.clone());
            }
        }
        fn set<T: Clone>(to: &mut T, from: Option<&T>) {
            if let Some(value) = from {
                to.clone_from(value);
            }
        }
        fn list(to: &mut Vec<String>, from: &[String]) {
            if !from.is_empty() {
                *to = from.to_vec();
            }
        }
        let path = |text: &String| absolute(dir, text);
        set(&mut spec.name, self.name.as_ref());
        set(&mut spec.namespace, self.namespace.as_ref());
        set(&mut spec.instances, self.instances.as_ref());
        if let Some(cwd) = &self.cwd {
            spec.cwd = Some(absolute(dir, &cwd.to_string_lossy()));
        }
        put(&mut spec.interpreter, self.interpreter.as_ref());
        list(&mut spec.node_args, &self.node_args);
        for text in &self.env {
            if let Some((name, value)) = text.split_once('=') {
                if name.is_empty() || text.contains('\0') {
                    return Err(Failure::usage(format!(
                        "cannot use `{text}` for `--env`: expected NAME=VALUE"
                    )));
                }
                spec.env.insert(name.to_owned(), value.to_owned());
            }
        }
        if let Some(names) = &self.filter_env {
            let names: Vec<String> = names.iter().filter(|name| !name.is_empty()).cloned().collect();
            spec.filter_env =
                if names.is_empty() { FilterEnv::Everything } else { FilterEnv::Beginning(names) };
        }
        if self.execute_command {
            spec.exec_mode = Some(ExecMode::Fork);
        }
        put(&mut spec.uid, self.uid.clone().map(WordOrNumber).as_ref());
        put(&mut spec.gid, self.gid.clone().map(WordOrNumber).as_ref());

        put(&mut spec.out_file, self.output.as_ref().map(path).as_ref());
        put(&mut spec.error_file, self.error.as_ref().map(path).as_ref());
        put(&mut spec.log_file, self.log.as_ref().map(path).as_ref());
        put(&mut spec.pid_file, self.pid.as_ref().map(path).as_ref());
        put(&mut spec.merge_logs, self.merge_logs.then_some(&true));
        put(&mut spec.log_date_format, self.log_date_format.as_ref());
        spec.time |= self.time;
        put(&mut spec.log_type, self.log_type.as_ref());
        spec.disable_logs |= self.disable_logs;

        put(&mut spec.kill_timeout, self.kill_timeout.as_ref());
        put(&mut spec.listen_timeout, self.listen_timeout.as_ref());
        put(&mut spec.drain_timeout, self.drain_timeout.as_ref());
        put(&mut spec.min_uptime, self.min_uptime.as_ref());
        put(&mut spec.hang_timeout, self.hang_timeout.as_ref());
        put(&mut spec.watchdog, self.watchdog.as_ref());
        spec.wait_ready |= self.wait_ready;
        spec.shutdown_with_message |= self.shutdown_with_message;
        put(&mut spec.stop_signal, self.stop_signal.as_ref());
        put(&mut spec.stop_with, self.stop_with.as_ref());
        put(&mut spec.parallel, self.parallel.as_ref());
        put(&mut spec.max_unavailable, self.max_unavailable.as_ref());
        put(&mut spec.max_restarts, self.max_restarts.as_ref());
        put(&mut spec.restart_delay, self.restart_delay.as_ref());
        put(&mut spec.exp_backoff_restart_delay, self.exp_backoff_restart_delay.as_ref());
        if !self.stop_exit_codes.is_empty() {
            spec.stop_exit_codes.clone_from(&self.stop_exit_codes);
        }
        put(&mut spec.autorestart, self.no_autorestart.then_some(&false));
        put(&mut spec.autostart, self.no_autostart.then_some(&false));
        put(&mut spec.treekill, self.no_treekill.then_some(&false));

        put(&mut spec.max_memory_restart, self.max_memory_restart.as_ref());
        put(&mut spec.cron_restart, self.cron.clone().map(WordOrNumber).as_ref());
        if let Some(paths) = &self.watch {
            spec.watch = match paths.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                [] | ["true"] => Watch::Everything,
                ["false"] => Watch::Off,
                [..] => Watch::Paths(paths.clone()),
            };
        }
        if self.no_watch {
            spec.watch = Watch::Off;
        }
        list(&mut spec.ignore_watch, &self.ignore_watch);
        put(&mut spec.watch_delay, self.watch_delay.as_ref());

        put(&mut spec.policy, self.policy.as_ref());
        put(&mut spec.tier, self.tier.as_ref());
        put(&mut spec.attach, self.attach.as_ref().and_then(Option::as_ref));
        for (to, from) in [
            (&mut spec.ports, &self.port),
            (&mut spec.exclude_ports, &self.exclude_port),
            (&mut spec.publish, &self.publish),
        ] {
            if !from.is_empty() {
                *to = Commas(from.clone());
            }
        }
        list(&mut spec.unix, &self.unix);
        spec.low_ports |= self.low_ports;
        list(&mut spec.listen, &self.listen);
        put(&mut spec.ready_on, self.ready_on.as_ref());
        put(&mut spec.credits, self.credits.as_ref());
        Ok(())
    }
}

/// A path as it is meant in `dir`.
pub(super) fn absolute(dir: &Path, text: &str) -> String {
    let path = Path::new(text);
    let path = if path.is_absolute() { path.to_owned() } else { dir.join(path) };
    std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned()
}

/// The directory this command was started in, as the shell names it: a link to the current release stays a link.
pub(super) fn here() -> Result<PathBuf, Failure> {
    let here = std::env::current_dir().map_err(|cause| {
        Failure::new(format!("cannot use this directory: {}", crate::error::plain(&cause)))
    })?;
    let named = std::env::var_os("PWD").map(PathBuf::from).filter(|named| named.is_absolute());
    let same = |named: &PathBuf| std::fs::canonicalize(named).is_ok_and(|real| real == here);
    Ok(named.filter(same).unwrap_or(here))
}
