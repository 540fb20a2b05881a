//! Settings of the kernel that an administrator chooses (sysctl(8)).

use std::fs;
use std::io;

/// One that holds a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The longest accept queue a socket may ask for; of this network namespace.
    Somaxconn,
    /// Whether the kernel gives what waits in a socket that closes to others of its port, by its hash, where no eBPF program
    /// chooses. It came with that choice (Linux 5.14): where there is no such setting, there is no migration. Of this
    /// network namespace.
    TcpMigrateReq,
    /// Whether eBPF is for the privileged alone: 0 no, 1 yes until the next boot, 2 yes. It is about socket filters; a program
    /// that chooses among sockets needs CAP_BPF in any case.
    UnprivilegedBpfDisabled,
    /// The first port that may be bound without CAP_NET_BIND_SERVICE; of this network namespace.
    UnprivilegedPortStart,
}

impl Setting {
    /// All of them.
    pub const ALL: [Setting; 4] = [
        Setting::Somaxconn,
        Setting::TcpMigrateReq,
        Setting::UnprivilegedBpfDisabled,
        Setting::UnprivilegedPortStart,
    ];

    /// As sysctl(8) spells it.
    pub fn name(self) -> &'static str {
        match self {
            Setting::Somaxconn => "net.core.somaxconn",
            Setting::TcpMigrateReq => "net.ipv4.tcp_migrate_req",
            Setting::UnprivilegedBpfDisabled => "kernel.unprivileged_bpf_disabled",
            Setting::UnprivilegedPortStart => "net.ipv4.ip_unprivileged_port_start",
        }
    }

    /// Its value. `NotFound`: this kernel does not have it, or `/proc/sys` is not shown here.
    pub fn read(self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/sys/{}", self.name().replace('.', "/")))?;
        text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    }
}

#[cfg(test)]
mod tests {
    use super::Setting;

    #[test]
    fn a_setting_is_read_or_not_there() {
        assert!(Setting::Somaxconn.read().unwrap() > 0);
        for setting in Setting::ALL {
            if let Err(error) = setting.read() {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", setting.name());
            }
        }
    }
}
