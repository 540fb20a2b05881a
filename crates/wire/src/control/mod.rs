//! The words between people's commands, the daemon and the primaries: JSON over HTTP over a Unix socket, version 1. The
//! same types are the configuration (`oneport.toml`), the saved state and the answers of the control API.

mod call;
mod event;
mod job;
mod quantity;
mod saved;
mod spec;
mod view;

pub use call::{Create, Line, Problem, ProblemKind, Reload, Restart, Scale, Signal, Slots, Start, Welcome};
pub use event::{Happening, What};
pub use job::{Job, JobKind, JobState, Step, StepState};
pub use quantity::{ByteSize, Span};
pub use saved::{NotSaved, Saved, SavedApp};
pub use spec::{
    AppSpec, Commas, ExecMode, FilterEnv, Instances, LogRotate, LogType, StopWith, Watch, WatchOptions,
    WordOrNumber,
};
pub use view::{AppView, Exit, LogPaths, Status, WorkerView};

/// The version of the control API: the first part of every path.
pub const VERSION: &str = "v1";
