//! What one app is: the program, its surroundings, and how its workers are treated.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use oneport_core::Policy;
use oneport_sys::process::Signal;
use oneport_wire::node::env;

use crate::inspect::InspectPort;
use crate::program::ProgramSettings;

/// Where a standard stream of a worker leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdio {
    /// Where the primary's goes (Node's default).
    #[default]
    Inherit,
    /// To `/dev/null`.
    Null,
    /// Into a pipe whose other end comes with [`crate::Event::Fork`] (Node's `silent`).
    Pipe,
}

/// How the worker with the fewest open connections is found ([`Policy::Least`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TierChoice {
    /// The best that this process is allowed: A, B, else C.
    #[default]
    Best,
    /// The kernel counts and chooses (eBPF). CAP_BPF, and CAP_NET_ADMIN where there is the second version of cgroups, or
    /// CAP_PERFMON. Where that cannot be had: C.
    A,
    /// The kernel chooses by counts that the primary feeds. CAP_BPF. Where that cannot be had: C.
    B,
    /// The kernel chooses by chance, weighted by what the primary sees. Needs nothing.
    C,
}

/// Whether a worker that is none of a cluster ([`Attach::Program`](crate::Attach::Program),
/// [`Attach::Nothing`](crate::Attach::Nothing)) has a channel for messages all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChildChannel {
    /// No: [`Worker::send`](crate::Worker::send) is refused.
    #[default]
    None,
    /// The one that Node gives a child of `child_process.fork` (`serialization: 'json'`), on descriptor 3: Node, Deno, Bun
    /// and programs with [`channel()`](crate::channel) exchange messages and handles on it. Its `cluster` is that of a
    /// primary, and it binds as its [`Attach`](crate::Attach) says. What it says as `ready` counts as for every worker; when
    /// it closes the channel [`Event::Disconnect`](crate::Event::Disconnect) is told and it lives on. Not with
    /// [`ProgramWay::ListenFds`](crate::ProgramWay::ListenFds), whose first socket has the same number.
    Json,
}

/// What becomes of the processes that a worker has started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TreeRule {
    /// They are asked to stop together with it, and none outlives it.
    #[default]
    EndsWithIt,
    /// Nobody but the worker's own process is signalled or ended, and nobody looks for the others (PM2's `treekill: false`).
    /// A socket of the app that one of them has inherited stays open in it, and it can go on taking connections there. The
    /// calls of trapped ones ([`ProgramWay::Own`](crate::ProgramWay::Own), [`Slot`](crate::ProgramWay::Slot)) pass as long
    /// as the primary lives; after its end their `bind` and `listen` fail (ENOSYS).
    LeftAlone,
}

/// One app (Node's `cluster.settings`, and what a supervised app needs besides).
///
/// What is executed is `exec_path exec_args... exec args...`, or `exec exec_args... args...` without an
/// `exec_path`. The channel always speaks JSON (Node's `serialization: 'json'`).
#[derive(Clone)]
pub struct Settings {
    /// The script or program (Node's `exec`). A program is looked up in `PATH` when it has no slash.
    pub exec: OsString,
    /// What runs the script, `node` for instance (Node's `process.execPath`); `None`: `exec` is executed itself.
    pub exec_path: Option<OsString>,
    /// Arguments of what runs the script (Node's `execArgv`).
    pub exec_args: Vec<OsString>,
    /// Arguments of the program (Node's `args`). None from [`new`](Self::new); from
    /// [`this_program`](Self::this_program) those of the program that runs now.
    pub args: Vec<OsString>,
    /// Its whole environment; what a channel needs is added. What a channel of this process' own parent would leave in it
    /// is not passed on, nor what a service manager says to this process alone (`NOTIFY_SOCKET`, `WATCHDOG_*`, `LISTEN_*`).
    /// Default: this process's own.
    pub env: Vec<(OsString, OsString)>,
    /// Variables of single slots, over `env`. A worker outside the slots gets none of them.
    pub slot_env: BTreeMap<u32, Vec<(OsString, OsString)>>,
    /// The variable that holds the number of a worker's slot. Default: `NODE_APP_INSTANCE` (PM2's `instance_var`).
    pub instance_var: OsString,
    /// Its working directory. Default: this process's own.
    pub cwd: Option<PathBuf>,
    /// Its standard input. Default: `/dev/null`; Node's workers inherit it, and take each other's input.
    pub stdin: Stdio,
    /// Its standard output.
    pub stdout: Stdio,
    /// Its standard error.
    pub stderr: Stdio,
    /// Unix stream sockets to give it as descriptors 4, 5, ... (Node's further `'pipe'` entries of `stdio`).
    pub extra_pipes: u8,
    /// User to run as. Needs the privilege to change it.
    pub uid: Option<u32>,
    /// Group to run as.
    pub gid: Option<u32>,
    /// Debugger ports, where `exec_args` asks for an inspector.
    pub inspect_port: InspectPort,
    /// The signal that asks a worker to stop. Default: SIGINT for scripts, which JavaScript programs clean up on,
    /// SIGTERM for programs.
    pub stop_signal: Signal,
    /// A message, as JSON text, that a worker with a channel of any kind is sent in place of that signal (PM2's
    /// `shutdown_with_message` sends `"shutdown"`). What is no JSON is not sent, and the signal is. Default: none.
    pub stop_message: Option<String>,
    /// The soft limit of open files that workers get back when the primary raised its own.
    pub worker_nofile: Option<u64>,
    /// What becomes of the processes that a worker has started.
    pub tree: TreeRule,
    /// Whether workers without the channel of a cluster have one for messages.
    pub child_channel: ChildChannel,
    /// How workers are attached that have no channel ([`crate::Attach::Program`]).
    pub program: ProgramSettings,
    /// How the worker with the fewest open connections is found, under [`Policy::Least`].
    pub tier: TierChoice,
    /// Everything the decisions depend on: policy, credits, time limits, restarts. Fixed when the cluster starts.
    pub conduct: oneport_core::Settings,
}

impl Settings {
    /// This script or program without arguments, in this process's surroundings. A file that ends in `.js`, `.mjs`
    /// or `.cjs` is run by `node`.
    ///
    /// `NODE_CLUSTER_SCHED_POLICY` decides about the policy (`rr` or `none`), as in Node.
    pub fn new(exec: impl Into<OsString>) -> Settings {
        let exec = exec.into();
        let script = Path::new(&exec)
            .extension()
            .is_some_and(|ending| ["js", "mjs", "cjs"].iter().any(|script| OsStr::new(script) == ending));
        let mut conduct = oneport_core::Settings::default();
        if let Some(policy) = std::env::var(env::SCHED_POLICY).ok().as_deref().and_then(scheduling_policy_of)
        {
            conduct.policy = policy;
        }
        Settings {
            exec,
            exec_path: script.then(|| "node".into()),
            exec_args: Vec::new(),
            args: Vec::new(),
            env: std::env::vars_os().collect(),
            slot_env: BTreeMap::new(),
            instance_var: env::APP_INSTANCE.into(),
            cwd: None,
            stdin: Stdio::Null,
            stdout: Stdio::Inherit,
            stderr: Stdio::Inherit,
            extra_pipes: 0,
            uid: None,
            gid: None,
            inspect_port: InspectPort::default(),
            stop_signal: if script { Signal::INT } else { Signal::TERM },
            stop_message: None,
            worker_nofile: None,
            tree: TreeRule::default(),
            child_channel: ChildChannel::default(),
            program: ProgramSettings::default(),
            tier: TierChoice::default(),
            conduct,
        }
    }

    /// The program that runs now, with its own arguments, as its own worker: what Node's cluster does by default.
    ///
    /// # Errors
    /// When the program's file cannot be found (`/proc` is missing).
    pub fn this_program() -> std::io::Result<Settings> {
        let mut settings = Settings::new(std::env::current_exe()?);
        (settings.exec_path, settings.stop_signal) = (None, Signal::TERM);
        settings.args = std::env::args_os().skip(1).collect();
        Ok(settings)
    }

    /// With pipes for standard output and error (Node's `silent: true`).
    #[must_use]
    pub fn silent(mut self) -> Settings {
        (self.stdout, self.stderr) = (Stdio::Pipe, Stdio::Pipe);
        self
    }

    /// The program to execute and its arguments, for the worker that is the `nth` with an inspector.
    pub(crate) fn command_line(&self, nth_inspected: u32) -> (OsString, Vec<OsString>) {
        let inspect = crate::inspect::argument(&self.exec_args, self.inspect_port, nth_inspected);
        let before = self.exec_args.iter().cloned().chain(inspect);
        let args = self.args.iter().cloned();
        match &self.exec_path {
            Some(path) => (path.clone(), before.chain([self.exec.clone()]).chain(args).collect()),
            None => (self.exec.clone(), before.chain(args).collect()),
        }
    }

    /// Whether its workers are started with an inspector.
    pub(crate) fn inspects(&self) -> bool {
        crate::inspect::argument(&self.exec_args, self.inspect_port, 0).is_some()
    }
}

/// The variables' names without their values: logs are no place for secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&OsString> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("Settings")
            .field("exec", &self.exec)
            .field("exec_path", &self.exec_path)
            .field("exec_args", &self.exec_args)
            .field("args", &self.args)
            .field("env", &names)
            .field("cwd", &self.cwd)
            .field("stdio", &[self.stdin, self.stdout, self.stderr])
            .field("extra_pipes", &self.extra_pipes)
            .field("user", &(self.uid, self.gid))
            .field("inspect_port", &self.inspect_port)
            .field("stop_signal", &self.stop_signal)
            .field("worker_nofile", &self.worker_nofile)
            .field("tree", &self.tree)
            .field("child_channel", &self.child_channel)
            .field("program", &self.program)
            .field("conduct", &self.conduct)
            .finish()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_run_by_node_with_its_arguments_behind_it() {
        let mut settings = Settings::new("server.js");
        settings.exec_args = vec!["--inspect".into()];
        settings.args = vec!["--port".into()];
        let (program, args) = settings.command_line(1);
        assert_eq!(program, "node");
        assert_eq!(args, ["--inspect", "--inspect-port=9230", "server.js", "--port"]);
        assert!(settings.inspects());
    }

    #[test]
    fn values_of_variables_are_not_shown() {
        let mut settings = Settings::new("server");
        settings.env = vec![("TOKEN".into(), "hunter2".into())];
        let shown = format!("{settings:?}");
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_program_is_executed_itself() {
        let mut settings = Settings::new("./server");
        settings.args = vec!["x".into()];
        assert_eq!(settings.command_line(0), ("./server".into(), vec!["x".into()]));
        assert_eq!(settings.stop_signal, Signal::TERM);
        assert!(!settings.inspects());
    }
}
