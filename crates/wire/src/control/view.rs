//! What is told of an app and its workers.

use serde::{Deserialize, Serialize};

use super::job::Job;
use super::spec::{AppSpec, ExecMode};

/// One app and all its workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppView {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// How its workers are started, in PM2's words.
    pub mode: ExecMode,
    /// The process of its primary. None while that is being started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_pid: Option<i32>,
    /// The version of oneport that its primary runs.
    pub primary_version: String,
    /// The version of the app itself: what `package.json` beside or above its script says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The policy that is in force, and its tier: `least A`, `rr`.
    pub policy: String,
    /// How its workers are attached: `channel`, `own`, ...
    pub attach: String,
    /// Where it listens, as text.
    pub addresses: Vec<String>,
    /// Workers that it is to have.
    pub instances: u32,
    /// What executes it: the interpreter's path, or `none`.
    pub interpreter: String,
    /// When it was created, in milliseconds since 1970.
    pub created_at: u64,
    /// Its workers, in the order of their slots.
    pub workers: Vec<WorkerView>,
    /// What is being done with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// What is unusual about it: notes of its start, and what went wrong since. The newest last, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Its configuration, without anything of the environment of who started it.
    pub spec: AppSpec,
    /// Connections that the kernel or the primary lost for it, and bytes of output that were dropped.
    pub connections_lost: u64,
    /// Bytes of output that were not stored: the disk was full or too slow.
    pub log_bytes_dropped: u64,
}

/// PM2's words for how a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It is there, and ready as far as it can be.
    #[serde(rename = "online")]
    Online,
    /// It is being started.
    #[serde(rename = "launching")]
    Launching,
    /// It is leaving.
    #[serde(rename = "stopping")]
    Stopping,
    /// It is not there, and is not to be.
    #[serde(rename = "stopped")]
    Stopped,
    /// It ended too often and is given up.
    #[serde(rename = "errored")]
    Errored,
    /// It ended, and is started again after a pause.
    #[serde(rename = "waiting restart")]
    WaitingRestart,
    /// It runs once, and is not started again when it ends.
    #[serde(rename = "one-launch-status")]
    OneLaunch,
}

impl Status {
    /// Every one.
    pub const ALL: [Status; 7] = [
        Status::Online,
        Status::Launching,
        Status::Stopping,
        Status::Stopped,
        Status::Errored,
        Status::WaitingRestart,
        Status::OneLaunch,
    ];

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Status::Online => "online",
            Status::Launching => "launching",
            Status::Stopping => "stopping",
            Status::Stopped => "stopped",
            Status::Errored => "errored",
            Status::WaitingRestart => "waiting restart",
            Status::OneLaunch => "one-launch-status",
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It left with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It could not be started.
    NotStarted,
}

/// Where a worker's output goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPaths {
    /// Its standard output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
    /// Its standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Both together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub both: Option<String>,
}

/// One slot of an app, and the worker in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Its number among all slots of the daemon (PM2's `pm_id`). It stays with the slot.
    pub id: u32,
    /// The slot: 0, 1, 2 ... within its app.
    pub slot: u32,
    /// How it is.
    pub status: Status,
    /// Its process, while there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The worker's number within its primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<u32>,
    /// When the worker was started, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// Whether it is trusted: ready, and up for `min_uptime`.
    pub proven: bool,
    /// How often a worker of this slot was started again.
    pub restarts: u32,
    /// How often it ended before `min_uptime`.
    pub unstable_restarts: u32,
    /// Percent of one CPU, since it was asked for last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f32>,
    /// Resident memory, in bytes, with what it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Open connections of its listeners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// How the last worker of this slot ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<Exit>,
    /// What it says of itself (`STATUS=` of `sd_notify`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// Its log files.
    pub logs: LogPaths,
    /// The file that holds its process number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid_file: Option<String>,
}
