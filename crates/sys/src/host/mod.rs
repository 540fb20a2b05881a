//! What this machine is and where on it this process stands: the kernel's name and settings, limits, what keeps
//! rights from being gained; and trials that leave nothing behind.
//!
//! What does not live here: trapping (`seccomp::probe`), eBPF (`bpf::probe`), `caps`, `cgroup`, and what follows from any of it. Invariant: nothing here
//! changes anything, and each answer is about this moment.

mod setting;
mod standing;
mod trial;

pub use setting::Setting;
pub use standing::{Executable, Limit, Privileges, Standing, UserNamespace, executable, nofile, standing};
pub use trial::{io_uring, reuse_port};

/// The kernel, as it names itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its version, such as `6.1.0-28-amd64`. What it can do is not to be concluded from that.
    pub release: String,
    /// Its architecture, such as `x86_64`.
    pub machine: String,
}

/// What uname(2) says.
pub fn kernel() -> Kernel {
    let name = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    Kernel { release: text(name.release()), machine: text(name.machine()) }
}

/// The user this process acts as.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}
