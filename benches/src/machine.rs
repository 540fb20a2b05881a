//! What the figures were taken on, for the reader of a report.
//!
//! Kind and number of processors, kernel, load by others. No names, users or addresses.

use std::fs;
use std::thread::available_parallelism;

/// The machine, as far as it matters to a figure.
#[derive(Debug)]
pub(crate) struct Machine {
    /// CPUs this process may use.
    pub(crate) cpus: usize,
    /// What they call themselves.
    pub(crate) cpu_model: String,
    /// Kernel release.
    pub(crate) kernel: String,
}

impl Machine {
    /// Reads `/proc`; call before pinning.
    pub(crate) fn describe() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(':')).map_or("cpu", |(_, model)| model.trim());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpus: available_parallelism().map_or(1, usize::from),
            cpu_model: model.to_owned(),
            kernel: kernel.trim().to_owned(),
        }
    }
}

/// Whether the kernel moves what waits at a socket that is closed to another one (`net.ipv4.tcp_migrate_req`); 0 where it
/// does not know how. Only read.
pub(crate) fn tcp_migrate_req() -> f64 {
    let setting = fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req").unwrap_or_default();
    setting.trim().parse().unwrap_or(0.0)
}

/// Runnable processes, averaged over the last minute.
pub(crate) fn load_average() -> f64 {
    let line = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    line.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}
