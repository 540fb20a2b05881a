//! What one app is: the program, its surroundings, and how its workers are treated.

use std::ffi::OsString;
use std::path::PathBuf;

use oneport_core::Policy;
use oneport_sys::process::Signal;
use oneport_wire::node::env;

/// Where a worker's output goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdio {
    /// Where the primary's goes (Node's default).
    #[default]
    Inherit,
    /// Into a pipe whose reading end comes with [`crate::Event::Spawned`] (Node's `silent`).
    Pipe,
}

/// One app (Node's `cluster.settings`, and what `oneport run` adds).
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program to execute, looked up in `PATH` when it has no slash.
    pub program: OsString,
    /// Its arguments, without the program itself.
    pub args: Vec<OsString>,
    /// Its whole environment; what a channel needs is added. Default: this process's own.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory. Default: this process's own.
    pub cwd: Option<PathBuf>,
    /// Where its output goes.
    pub stdio: Stdio,
    /// User to run as. Needs the privilege to change it.
    pub uid: Option<u32>,
    /// Group to run as.
    pub gid: Option<u32>,
    /// The signal that asks a worker to stop. Default: SIGINT, which JavaScript programs clean up on.
    pub stop_signal: Signal,
    /// The soft limit of open files that workers get back when the primary raised its own.
    pub worker_nofile: Option<u64>,
    /// Everything the decisions depend on: policy, credits, time limits, restarts.
    pub conduct: oneport_core::Settings,
}

impl Settings {
    /// `program` without arguments, in this process's surroundings.
    pub fn new(program: impl Into<OsString>) -> Settings {
        Settings {
            program: program.into(),
            args: Vec::new(),
            env: std::env::vars_os().collect(),
            cwd: None,
            stdio: Stdio::default(),
            uid: None,
            gid: None,
            stop_signal: Signal::INT,
            worker_nofile: None,
            conduct: oneport_core::Settings::default(),
        }
    }
}

/// What Node's `NODE_CLUSTER_SCHED_POLICY` asks for: `none` is one shared socket, `rr` round robin, anything
/// else nothing.
pub fn scheduling_policy_of(value: &str) -> Option<Policy> {
    match value {
        env::SCHED_NONE => Some(Policy::Shared),
        env::SCHED_RR => Some(Policy::RoundRobin),
        _ => None,
    }
}
