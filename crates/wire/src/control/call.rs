//! What is asked for, and what is said when it cannot be done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::quantity::Span;
use super::spec::{AppSpec, Instances};

/// `POST /v1/apps`: a new app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// What.
    pub spec: AppSpec,
    /// The environment of who starts it, which never leaves memory.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Whether an app of the same name may be there already: then it gets another name, with a number (PM2's `--force`).
    #[serde(default)]
    pub force: bool,
    /// Slots that are to have these numbers: those of a saved app.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<u32>,
    /// Whether it is only put on the list, with all its slots stopped.
    #[serde(default)]
    pub stopped: bool,
}

/// Which slots of an app are meant, by their numbers within the daemon. None: all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    /// Their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<u32>,
}

/// `POST /v1/apps/{app}/start`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Which slots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<u32>,
}

/// `POST /v1/apps/{app}/restart`: stop, then start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// Which slots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<u32>,
    /// The configuration from now on. None: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Box<AppSpec>>,
    /// The environment of who asks, in place of that of who started it. None: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<BTreeMap<String, String>>,
}

/// `POST /v1/apps/{app}/reload`: start, then stop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// Which slots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<u32>,
    /// The configuration from now on. None: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Box<AppSpec>>,
    /// The environment of who asks, in place of that of who started it. None: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<BTreeMap<String, String>>,
    /// How many at a time. None: as configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u32>,
    /// So many come first, and are watched beside those that they are to replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<u32>,
    /// For how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Span>,
    /// Nothing is done; the answer is what would be.
    #[serde(default)]
    pub plan: bool,
}

/// `POST /v1/apps/{app}/scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Scale {
    /// To so many.
    To(u32),
    /// By so many more, or fewer.
    By(i64),
    /// As its configuration says now, which is remembered: only another number there is a wish to be scaled again.
    Configured(Instances),
}

/// `POST /v1/apps/{app}/signal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// Its name: `SIGUSR1`.
    pub signal: String,
    /// To which slots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<u32>,
}

/// `POST /v1/apps/{app}/send`: a line for standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The line, without its end.
    pub line: String,
    /// To which slots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<u32>,
}

/// `GET /v1`: who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version of oneport.
    pub version: String,
    /// The process.
    pub pid: i32,
    /// The directory it belongs to.
    pub home: String,
    /// Since when it runs, in milliseconds since 1970.
    pub started_at: u64,
}

/// Why something was not done: the body of every answer whose status is 400 or above.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What kind.
    pub kind: ProblemKind,
    /// `cannot <verb> <object>: <cause>`.
    pub error: String,
    /// What might help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What kind of problem it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The request cannot be understood (400).
    BadRequest,
    /// Another user asks (403).
    NotAllowed,
    /// There is no such app, slot or job (404).
    Unknown,
    /// It cannot be done now: another job is under way, or the name is taken (409).
    Conflict,
    /// It failed (500).
    Failed,
    /// The primary does not answer in time (504).
    TimedOut,
}

impl ProblemKind {
    /// The status of HTTP.
    pub fn status(self) -> u16 {
        match self {
            ProblemKind::BadRequest => 400,
            ProblemKind::NotAllowed => 403,
            ProblemKind::Unknown => 404,
            ProblemKind::Conflict => 409,
            ProblemKind::Failed => 500,
            ProblemKind::TimedOut => 504,
        }
    }
}
