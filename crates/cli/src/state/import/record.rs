//! One record of a dump: one process of PM2's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use oneport_wire::control::{AppSpec, Watch};
use serde_json::{Map, Value};

use super::paths::{Paths, id_of};

/// What a record turned out to be.
pub(super) enum Read {
    App(Box<Record>),
    /// Part of PM2 itself.
    Module(String),
    /// Not to be used, and why.
    Nothing(String),
}

/// What makes records the instances of one app.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) name: String,
    script: String,
    args: Vec<String>,
}

pub(super) struct Record {
    pub(super) key: Key,
    /// Its number in PM2.
    pub(super) id: Option<u32>,
    pub(super) stopped: bool,
    /// Without environment and paths of files.
    pub(super) spec: AppSpec,
    pub(super) environment: BTreeMap<String, String>,
    /// Variables that were configured for certain.
    pub(super) configured: BTreeSet<String>,
    pub(super) paths: Paths,
}

/// Keys of PM2's that are keys of ours, and the value that is its default: that one is not written down.
fn keys() -> [(&'static str, &'static str, Value); 29] {
    let (on, off, none) = (Value::Bool(true), Value::Bool(false), Value::Null);
    let zero = || Value::from(0);
    [
        ("pm_cwd", "cwd", none.clone()),
        ("args", "args", none.clone()),
        ("node_args", "node_args", none.clone()),
        ("exec_interpreter", "interpreter", none.clone()),
        ("exec_mode", "exec_mode", none.clone()),
        ("namespace", "namespace", "default".into()),
        ("watch", "watch", off.clone()),
        ("ignore_watch", "ignore_watch", none.clone()),
        ("watch_delay", "watch_delay", none.clone()),
        ("watch_options", "watch_options", none.clone()),
        ("max_memory_restart", "max_memory_restart", zero()),
        ("cron_restart", "cron_restart", zero()),
        ("kill_timeout", "kill_timeout", none.clone()),
        ("listen_timeout", "listen_timeout", none.clone()),
        ("wait_ready", "wait_ready", off.clone()),
        ("shutdown_with_message", "shutdown_with_message", off.clone()),
        ("treekill", "treekill", on.clone()),
        ("autorestart", "autorestart", on.clone()),
        ("autostart", "autostart", on),
        ("max_restarts", "max_restarts", none.clone()),
        ("min_uptime", "min_uptime", none.clone()),
        ("restart_delay", "restart_delay", zero()),
        ("exp_backoff_restart_delay", "exp_backoff_restart_delay", zero()),
        ("stop_exit_codes", "stop_exit_codes", none.clone()),
        ("instance_var", "instance_var", "NODE_APP_INSTANCE".into()),
        ("increment_var", "increment_var", none.clone()),
        ("filter_env", "filter_env", off),
        ("log_date_format", "log_date_format", none.clone()),
        ("log_type", "log_type", none),
    ]
}

/// The same, of those that depend on others here.
const SWITCHES: [&str; 5] = ["merge_logs", "disable_logs", "time", "uid", "gid"];

impl Record {
    pub(super) fn read(value: &Value, warnings: &mut Vec<String>) -> Read {
        let Value::Object(fields) = value else { return Read::Nothing("it is no object".to_owned()) };
        let text = |key: &str| fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let Some(script) = text("pm_exec_path") else {
            return Read::Nothing("it has no `pm_exec_path`".to_owned());
        };
        let stem = || Path::new(script).file_stem().and_then(|stem| stem.to_str()).unwrap_or("app");
        let named = fields.get("name").and_then(word).filter(|name| !name.is_empty());
        let name = named.unwrap_or_else(|| stem().to_owned());
        if fields.get("pmx_module").and_then(Value::as_bool).unwrap_or(false) {
            return Read::Module(name);
        }
        let mut spec = spec_of(&name, script, fields, warnings);
        finish(&mut spec);
        let id = fields.get("pm_id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        let variables = fields.get("env").and_then(Value::as_object);
        let environment = variables.map(environment).unwrap_or_default();
        let mut configured: BTreeSet<String> = fields
            .iter()
            .filter(|(key, _)| key.starts_with("env_"))
            .filter_map(|(_, block)| block.as_object())
            .flat_map(|block| block.keys().cloned())
            .collect();
        configured.extend(spec.increment_var.clone());
        Read::App(Box::new(Record {
            key: Key { name, script: script.to_owned(), args: spec.args.clone() },
            id: id.or_else(|| text("pm_pid_path").and_then(id_of)),
            stopped: matches!(text("status"), Some("stopped" | "stopping")),
            paths: Paths {
                out: text("pm_out_log_path").map(str::to_owned),
                error: text("pm_err_log_path").map(str::to_owned),
                both: text("pm_log_path").map(str::to_owned),
                pid: text("pm_pid_path").map(str::to_owned),
            },
            spec,
            environment,
            configured,
        }))
    }
}

/// Key by key, so that one that cannot be understood costs only itself.
fn spec_of(name: &str, script: &str, fields: &Map<String, Value>, warnings: &mut Vec<String>) -> AppSpec {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    let mut chosen = Map::new();
    let switches = SWITCHES.map(|key| (key, key, Value::Bool(false)));
    for (theirs, ours, default) in keys().into_iter().chain(switches) {
        let Some(value) = fields.get(theirs).filter(|value| !empty(value) && **value != default) else {
            continue;
        };
        let alone = Value::Object(Map::from_iter([(ours.to_owned(), value.clone())]));
        match serde_json::from_value::<AppSpec>(alone) {
            Ok(_) => {
                chosen.insert(ours.to_owned(), value.clone());
            }
            Err(error) => warnings.push(format!("`{name}`: `{theirs}` is not imported: {error}")),
        }
    }
    let spec: AppSpec = serde_json::from_value(Value::Object(chosen)).unwrap_or_default();
    AppSpec { name: name.to_owned(), script: script.to_owned(), ..spec }
}

/// What PM2 filled in, and what it means from elsewhere.
fn finish(spec: &mut AppSpec) {
    let extension = Path::new(&spec.script).extension().and_then(|extension| extension.to_str());
    let by_extension = matches!(
        (extension, spec.interpreter.as_deref()),
        (Some("js" | "mjs" | "cjs"), Some("node"))
            | (Some("py"), Some("python3"))
            | (Some("rb"), Some("ruby"))
            | (Some("php"), Some("php"))
            | (Some("pl"), Some("perl"))
            | (Some("sh"), Some("bash"))
    );
    if by_extension {
        spec.interpreter = None;
    }
    if let (Watch::Paths(paths), Some(cwd)) = (&mut spec.watch, &spec.cwd) {
        for path in paths {
            *path = Path::new(cwd).join(&*path).display().to_string();
        }
    }
}

/// Texts, numbers and truths; what cannot be in an environment is not.
fn environment(variables: &Map<String, Value>) -> BTreeMap<String, String> {
    let good = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
    variables
        .iter()
        .filter(|(name, _)| good(name))
        .filter_map(|(name, value)| Some((name.clone(), word(value).filter(|text| !text.contains('\0'))?)))
        .collect()
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
