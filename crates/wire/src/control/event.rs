//! What happens, as a stream: one JSON object a line.

use serde::{Deserialize, Serialize};

use super::job::Job;
use super::view::{Exit, Status};

/// `GET /v1/events`: one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Happening {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// In which app.
    pub app: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A slot is in another state.
    Worker {
        /// Its number within the daemon.
        id: u32,
        /// Within its app.
        slot: u32,
        /// How it is now.
        status: Status,
        /// Its process.
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<i32>,
        /// How it ended, if it did.
        #[serde(skip_serializing_if = "Option::is_none")]
        exit: Option<Exit>,
    },
    /// A worker listens somewhere where nobody did.
    Listening {
        /// Where, as text.
        address: String,
    },
    /// A job has come on.
    Job {
        /// All of it.
        job: Job,
    },
    /// The app is on the list.
    Created,
    /// The app is off the list.
    Deleted,
    /// Some events were left out: who listens is too slow.
    Missed {
        /// How many.
        events: u64,
    },
}
