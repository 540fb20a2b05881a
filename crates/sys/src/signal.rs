//! A signal as a value: number, name, constants.
//!
//! What does not live here: sending (`process`) and receiving (`signals`). Invariant: 1 to 31, the standard signals;
//! real-time signals have no fixed numbers (the C library keeps some for itself) and are not offered.

use std::fmt;

/// A standard signal, 1 to 31.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signal(rustix::process::Signal);

/// Names as `kill -l` spells them; the same numbers on every architecture Rust's Linux targets share with x86, which
/// excludes MIPS and SPARC only.
const NAMES: [(rustix::process::Signal, &str); 31] = {
    use rustix::process::Signal as S;
    [
        (S::HUP, "SIGHUP"),
        (S::INT, "SIGINT"),
        (S::QUIT, "SIGQUIT"),
        (S::ILL, "SIGILL"),
        (S::TRAP, "SIGTRAP"),
        (S::ABORT, "SIGABRT"),
        (S::BUS, "SIGBUS"),
        (S::FPE, "SIGFPE"),
        (S::KILL, "SIGKILL"),
        (S::USR1, "SIGUSR1"),
        (S::SEGV, "SIGSEGV"),
        (S::USR2, "SIGUSR2"),
        (S::PIPE, "SIGPIPE"),
        (S::ALARM, "SIGALRM"),
        (S::TERM, "SIGTERM"),
        (S::STKFLT, "SIGSTKFLT"),
        (S::CHILD, "SIGCHLD"),
        (S::CONT, "SIGCONT"),
        (S::STOP, "SIGSTOP"),
        (S::TSTP, "SIGTSTP"),
        (S::TTIN, "SIGTTIN"),
        (S::TTOU, "SIGTTOU"),
        (S::URG, "SIGURG"),
        (S::XCPU, "SIGXCPU"),
        (S::XFSZ, "SIGXFSZ"),
        (S::VTALARM, "SIGVTALRM"),
        (S::PROF, "SIGPROF"),
        (S::WINCH, "SIGWINCH"),
        (S::IO, "SIGIO"),
        (S::POWER, "SIGPWR"),
        (S::SYS, "SIGSYS"),
    ]
};

impl Signal {
    /// The terminal hung up; servers take it as the order to reload.
    pub const HUP: Self = Self(rustix::process::Signal::HUP);
    /// Ctrl-C.
    pub const INT: Self = Self(rustix::process::Signal::INT);
    /// Ctrl-\.
    pub const QUIT: Self = Self(rustix::process::Signal::QUIT);
    /// Ends a process at once; cannot be caught.
    pub const KILL: Self = Self(rustix::process::Signal::KILL);
    /// Free for users; Node starts its inspector on it.
    pub const USR1: Self = Self(rustix::process::Signal::USR1);
    /// Free for users.
    pub const USR2: Self = Self(rustix::process::Signal::USR2);
    /// Write to a closed pipe.
    pub const PIPE: Self = Self(rustix::process::Signal::PIPE);
    /// Asks a process to end.
    pub const TERM: Self = Self(rustix::process::Signal::TERM);
    /// A child changed its state.
    pub const CHILD: Self = Self(rustix::process::Signal::CHILD);
    /// Continues a stopped process.
    pub const CONT: Self = Self(rustix::process::Signal::CONT);
    /// Stops a process; cannot be caught.
    pub const STOP: Self = Self(rustix::process::Signal::STOP);
    /// The terminal's size changed.
    pub const WINCH: Self = Self(rustix::process::Signal::WINCH);

    /// Reads `SIGTERM`, `TERM` or `15`, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.trim();
        if let Ok(number) = name.parse() {
            return Self::from_number(number);
        }
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        let bare = match bare {
            "CLD" => "CHLD",
            "IOT" => "ABRT",
            "POLL" => "IO",
            other => other,
        };
        NAMES
            .iter()
            .find(|(_, known)| known.strip_prefix("SIG") == Some(bare))
            .map(|(signal, _)| Self(*signal))
    }

    /// The signal with that number, 1 to 31.
    pub fn from_number(number: i32) -> Option<Self> {
        NAMES.iter().find(|(signal, _)| signal.as_raw() == number).map(|(signal, _)| Self(*signal))
    }

    /// Its name, `SIGTERM`.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(signal, _)| *signal == self.0).map_or("signal", |(_, name)| name)
    }

    /// Its number.
    pub fn number(self) -> i32 {
        self.0.as_raw()
    }

    pub(crate) fn as_rustix(self) -> rustix::process::Signal {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
