//! What is asked of this system, all at once. Nothing is concluded here.

use std::io;
use std::path::PathBuf;

use oneport_sys::bpf::{self, Probe};
use oneport_sys::caps::{self, Held};
use oneport_sys::cgroup;
use oneport_sys::host::{self, Executable, Kernel, Limit, Setting, Standing};

use crate::attach::{self, Bpf, Explored};
use crate::error::Failure;

/// What Node's cluster takes for its policy.
const NODE_POLICY: &str = "NODE_CLUSTER_SCHED_POLICY";

#[derive(Debug)]
pub(super) struct Facts {
    pub(super) kernel: Kernel,
    pub(super) user: u32,
    pub(super) executable: io::Result<Executable>,
    /// Traps, descriptors of a child, the library for `preload`.
    pub(super) explored: Explored,
    /// None: not tried, because it would hang.
    pub(super) reuse_port: Option<io::Result<()>>,
    pub(super) io_uring: io::Result<()>,
    /// The directory of its cgroup, of the second version.
    pub(super) cgroup: io::Result<PathBuf>,
    pub(super) held: io::Result<Held>,
    pub(super) standing: io::Result<Standing>,
    pub(super) nofile: Limit,
    pub(super) settings: Vec<(Setting, io::Result<u64>)>,
    /// None: not tried, because it would hang.
    pub(super) tiers: Option<Probe>,
    /// What the environment says to Node's cluster, where that means something.
    pub(super) node_policy: Option<oneport::Policy>,
}

impl Facts {
    pub(super) fn gather() -> Result<Facts, Failure> {
        let explored = attach::explore()?;
        let answers = explored.bpf;
        let node_policy = std::env::var(NODE_POLICY).ok();
        Ok(Facts {
            kernel: host::kernel(),
            user: host::user(),
            executable: host::executable(),
            explored,
            reuse_port: unless_it_hangs(answers, host::reuse_port),
            io_uring: host::io_uring(),
            cgroup: cgroup::own(),
            held: caps::held(),
            standing: host::standing(),
            nofile: host::nofile(),
            settings: Setting::ALL.into_iter().map(|setting| (setting, setting.read())).collect(),
            tiers: unless_it_hangs(answers, bpf::probe),
            node_policy: node_policy.as_deref().and_then(oneport::scheduling_policy_of),
        })
    }

    /// The value of a setting, where it has one.
    pub(super) fn setting(&self, wanted: Setting) -> Option<u64> {
        let (_, value) = self.settings.iter().find(|(setting, _)| *setting == wanted)?;
        value.as_ref().ok().copied()
    }
}

/// A process that hangs in the kernel over a BPF program can be killed by nobody.
fn unless_it_hangs<T>(bpf: Bpf, trial: impl FnOnce() -> T) -> Option<T> {
    match bpf {
        Bpf::Answers => Some(trial()),
        Bpf::Hangs => None,
    }
}
