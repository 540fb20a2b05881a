//! How programs without a channel become workers: by which way they are attached, which of their listeners are the
//! app's, and what makes them ready. Decisions about single calls are the core's (`Claims`); carrying them out is
//! `primary::program`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use oneport_core::Claims;

/// What [`crate::Settings`] says about workers whose [`crate::Attach`] is `Program`. Node has no counterpart: its
/// cluster runs Node only.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ProgramSettings {
    /// How a copy's listeners become the app's.
    pub way: ProgramWay,
    /// Which of its listeners are.
    pub claims: Claims,
    /// What makes a copy ready.
    pub ready_on: ReadyOn,
    /// Whether copies get the ports that they ask for.
    pub ports: Ports,
}

/// How the listeners of a program become the app's.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ProgramWay {
    /// The primary performs the program's `bind` and `listen` on the program's own socket, and keeps a duplicate. Nothing
    /// in the program is replaced. Needs seccomp notification and `pidfd_getfd`.
    #[default]
    Own,
    /// A socket of the primary's is put in place of the program's at its `bind` (port 0: at its `listen`). Options that
    /// the program set before are lost, and so is what it registered in an epoll set before. Needs seccomp notification
    /// alone.
    Slot,
    /// The same by a library that is loaded into the program (`LD_PRELOAD`). Does nothing for programs that are linked
    /// statically or make their system calls themselves, as Go's do.
    Preload {
        /// Where the library lies.
        library: PathBuf,
    },
    /// The program is started with sockets that listen already (systemd's `LISTEN_FDS` and `LISTEN_FDNAMES`).
    ListenFds {
        /// Where they listen, in the order of their descriptors, from 3 on.
        sockets: Vec<ListenFd>,
    },
}

/// One socket that a program is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenFd {
    /// Where it listens (TCP).
    pub address: SocketAddr,
    /// Its name in `LISTEN_FDNAMES`.
    pub name: String,
}

/// What makes a copy of a program ready. For all but `Listening` the conduct's readiness has to be
/// [`crate::Readiness::Message`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ReadyOn {
    /// It listens.
    #[default]
    Listening,
    /// It says so on `NOTIFY_SOCKET`, as services of systemd do (`READY=1`). `STATUS=`, `STOPPING=1`, `WATCHDOG=1` and
    /// `EXTEND_TIMEOUT_USEC=` are understood, too.
    Notify,
    /// This copy, asked alone, answers `GET` with a status from 200 to 399.
    Http {
        /// The path, with its leading `/`.
        path: String,
        /// How long one answer may take.
        patience: Duration,
    },
    /// The owner says so ([`crate::Worker::mark_ready`]).
    Owner,
}

/// Which ports claimed listeners get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ports {
    /// Those that the program asks for.
    #[default]
    Wished,
    /// Any that is free, on the loopback interface: to try a program out beside one that serves.
    Scratch,
}
