//! Work that takes its time: it is done in the primary, and whoever asked for it may watch or leave.

use serde::{Deserialize, Serialize};

/// Something that is being done with an app, or was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its number within the primary: 1, 2, 3 ...
    pub id: u64,
    /// What.
    pub kind: JobKind,
    /// How far.
    pub state: JobState,
    /// One for each slot that it concerns.
    pub steps: Vec<Step>,
    /// Why it failed, as `cannot <verb> <object>: <cause>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What might help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The last lines of who failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
    /// How long it took so far, in milliseconds.
    pub took: u64,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Workers come.
    Start,
    /// Workers leave, and may come again.
    Stop,
    /// Workers leave, and others come.
    Restart,
    /// Others come, and workers leave.
    Reload,
    /// There are to be more or fewer.
    Scale,
    /// Workers leave for good.
    Delete,
}

impl JobKind {
    /// The verb.
    pub fn word(self) -> &'static str {
        match self {
            JobKind::Start => "start",
            JobKind::Stop => "stop",
            JobKind::Restart => "restart",
            JobKind::Reload => "reload",
            JobKind::Scale => "scale",
            JobKind::Delete => "delete",
        }
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It is under way.
    Running,
    /// It is done, in every slot.
    Done,
    /// It is given up. What is already done stays.
    Failed,
}

/// A job in one slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The number of the slot among all of the daemon.
    pub id: u32,
    /// The slot within the app.
    pub slot: u32,
    /// How far.
    pub state: StepState,
    /// The process it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// What is to be said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How far a job is in one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Its turn has not come.
    Waiting,
    /// A worker was started.
    Starting,
    /// It is ready, and has to stay up for a while.
    Proving,
    /// A worker gets nothing new, and finishes what it has.
    Draining,
    /// It was told to end.
    Stopping,
    /// Done.
    Done,
    /// It went wrong here.
    Failed,
}
