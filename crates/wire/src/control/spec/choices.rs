//! Keys that are one of a few words, and how log files are rotated.

use serde::{Deserialize, Serialize};

use super::super::quantity::{ByteSize, Span};

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
