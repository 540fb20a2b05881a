//! One app as it is wanted: the keys of `oneport.toml`, with PM2's names where PM2 has the thing. What is `None` or empty is
//! left to the defaults of `oneport run`, except where a key says otherwise.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::quantity::{ByteSize, Span};

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

/// How many workers, as PM2 counts: a number, `max` or 0 for one per CPU, `-N` for one per CPU less N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    /// So many.
    Exactly(u32),
    /// One per CPU.
    PerCpu,
    /// One per CPU less so many, at least 1.
    PerCpuLess(u32),
}

impl Default for Instances {
    fn default() -> Instances {
        Instances::Exactly(1)
    }
}

/// Far above any machine, below what descriptors allow.
const MOST_INSTANCES: u32 = 4096;

impl FromStr for Instances {
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

impl fmt::Display for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Instances::Exactly(n) => write!(f, "{n}"),
            Instances::PerCpu => f.write_str("max"),
            Instances::PerCpuLess(less) => write!(f, "-{less}"),
        }
    }
}

impl Instances {
    /// How many that is on a machine of so many CPUs.
    pub fn count(self, cpus: usize) -> u32 {
        let cpus = u32::try_from(cpus).unwrap_or(MOST_INSTANCES).clamp(1, MOST_INSTANCES);
        match self {
            Instances::Exactly(n) => n,
            Instances::PerCpu => cpus,
            Instances::PerCpuLess(less) => cpus.saturating_sub(less).max(1),
        }
    }
}

impl Serialize for Instances {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Instances::Exactly(n) => serializer.serialize_u32(*n),
            Instances::PerCpu => serializer.serialize_str("max"),
            Instances::PerCpuLess(less) => serializer.serialize_i64(-i64::from(*less)),
        }
    }
}

impl<'de> Deserialize<'de> for Instances {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Instances, D::Error> {
        let text = deserializer.deserialize_any(Text("a number of workers or \"max\""))?;
        text.parse().map_err(de::Error::custom)
    }
}

/// PM2's word for how a worker is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecMode {
    /// Its listeners are the app's.
    #[serde(alias = "cluster_mode")]
    Cluster,
    /// It binds for itself.
    #[serde(alias = "fork_mode")]
    Fork,
}

/// How a worker is asked to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopWith {
    /// Node's `disconnect`.
    Disconnect,
    /// The stop signal, once its connections are idle.
    Signal,
}

/// How lines are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogType {
    /// As they are.
    #[default]
    Raw,
    /// As JSON objects, one a line: `message`, `timestamp`, `type`, `process_id`, `app_name`.
    Json,
}

/// When a log file is put aside, and for how long. `None` is the default of that key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogRotate {
    /// Put aside when it is larger than this. Default: 10M; 0: never for its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<ByteSize>,
    /// Put aside when it is older than this. Default: never for its age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// Files that are kept beside the current one. Default: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
    /// What the files of the app may take together; the oldest go first. Default: 200M; 0: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_total: Option<ByteSize>,
    /// Whether what is put aside is compressed (gzip). Default: yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compress: Option<bool>,
}

/// What of the starter's environment an app does not get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FilterEnv {
    /// It gets everything.
    #[default]
    Nothing,
    /// It gets nothing.
    Everything,
    /// Variables whose names begin with one of these.
    Beginning(Vec<String>),
}

impl FilterEnv {
    /// Whether it gets everything.
    pub fn is_nothing(&self) -> bool {
        *self == FilterEnv::Nothing
    }

    /// Whether an app gets the variable of this name.
    pub fn lets_through(&self, name: &str) -> bool {
        match self {
            FilterEnv::Nothing => true,
            FilterEnv::Everything => false,
            FilterEnv::Beginning(prefixes) => {
                !prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
            }
        }
    }
}

/// Whether an app is restarted when files change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// No.
    #[default]
    Off,
    /// When any file below its working directory does.
    Everything,
    /// When one of these, or a file below, does.
    Paths(Vec<String>),
}

impl Watch {
    /// Whether nothing is watched.
    pub fn is_off(&self) -> bool {
        *self == Watch::Off
    }
}

/// How files are watched: those of PM2's `watch_options` that mean something here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchOptions {
    /// Whether symbolic links are followed.
    #[serde(rename = "followSymlinks", alias = "follow_symlinks", skip_serializing_if = "Option::is_none")]
    pub follow_symlinks: Option<bool>,
    /// Whether files are looked at again and again, for file systems that do not tell of changes.
    #[serde(rename = "usePolling", alias = "use_polling", skip_serializing_if = "Option::is_none")]
    pub use_polling: Option<bool>,
    /// How often, then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
}

/// A word or a number, kept as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WordOrNumber(pub String);

/// Several words: a list, or one text with commas between them. Numbers count as words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commas(pub Vec<String>);

impl Commas {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A text or a number, as text.
struct Text(&'static str);

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for WordOrNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WordOrNumber, D::Error> {
        deserializer.deserialize_any(Text("a word or a number")).map(WordOrNumber)
    }
}

impl Serialize for WordOrNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// One value, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

fn one_or_more<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    })
}

impl<'de> Deserialize<'de> for Commas {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Commas, D::Error> {
        let parts: Vec<WordOrNumber> = one_or_more(deserializer)?;
        let parts = parts.iter().flat_map(|part| part.0.split(','));
        Ok(Commas(parts.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()))
    }
}

impl Serialize for Commas {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Arguments: a list, whose numbers and truths count as words, or one text that is split at blanks; quotes keep blanks.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Text(String),
        List(Vec<Scalar>),
    }
    Ok(match Words::deserialize(deserializer)? {
        Words::Text(text) => split_words(&text),
        Words::List(list) => list.into_iter().map(Scalar::into_text).collect(),
    })
}

/// Splits at blanks; what stands in single or double quotes stays together, and a backslash takes the next letter as it is,
/// except in single quotes.
pub(super) fn split_words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut begun) = (Vec::new(), String::new(), false);
    let (mut quote, mut letters) = (None, text.chars());
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None | Some('"')) => {
                word.extend(letters.next());
                begun = true;
            }
            (letter, Some(open)) if letter == open => quote = None,
            ('\'' | '"', None) => (quote, begun) = (Some(letter), true),
            (blank, None) if blank.is_whitespace() => {
                if std::mem::take(&mut begun) {
                    words.push(std::mem::take(&mut word));
                }
            }
            (letter, _) => {
                word.push(letter);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Truth(bool),
    Whole(i64),
    Number(f64),
    Text(String),
    Nothing(()),
}

impl Scalar {
    fn into_text(self) -> String {
        match self {
            Scalar::Truth(yes) => yes.to_string(),
            Scalar::Whole(number) => number.to_string(),
            Scalar::Number(number) => number.to_string(),
            Scalar::Text(text) => text,
            Scalar::Nothing(()) => String::new(),
        }
    }
}

/// Values of variables: texts, and numbers and truths as text.
fn variables<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let values: BTreeMap<String, Scalar> = BTreeMap::deserialize(deserializer)?;
    Ok(values.into_iter().map(|(name, value)| (name, value.into_text())).collect())
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TruthOrWords {
    Truth(bool),
    Words(OneOrMore<String>),
}

impl<'de> Deserialize<'de> for Watch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Watch, D::Error> {
        Ok(match TruthOrWords::deserialize(deserializer)? {
            TruthOrWords::Truth(false) => Watch::Off,
            TruthOrWords::Truth(true) => Watch::Everything,
            TruthOrWords::Words(OneOrMore::One(path)) => Watch::Paths(vec![path]),
            TruthOrWords::Words(OneOrMore::More(paths)) => Watch::Paths(paths),
        })
    }
}

impl Serialize for Watch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Watch::Off => serializer.serialize_bool(false),
            Watch::Everything => serializer.serialize_bool(true),
            Watch::Paths(paths) => paths.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for FilterEnv {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FilterEnv, D::Error> {
        Ok(match TruthOrWords::deserialize(deserializer)? {
            TruthOrWords::Truth(false) => FilterEnv::Nothing,
            TruthOrWords::Truth(true) => FilterEnv::Everything,
            TruthOrWords::Words(OneOrMore::One(prefix)) => FilterEnv::Beginning(vec![prefix]),
            TruthOrWords::Words(OneOrMore::More(prefixes)) => FilterEnv::Beginning(prefixes),
        })
    }
}

impl Serialize for FilterEnv {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            FilterEnv::Nothing => serializer.serialize_bool(false),
            FilterEnv::Everything => serializer.serialize_bool(true),
            FilterEnv::Beginning(prefixes) => prefixes.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests;
