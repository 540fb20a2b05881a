//! How programs without a channel become workers: by which way they are attached, which of their listeners are the
//! app's, and what makes them ready. Decisions about single calls are the core's (`Claims`); carrying them out is
//! `primary::program`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use oneport_core::{Claims, Policy, Readiness};
use oneport_wire::health::is_path;

use crate::settings::ChildChannel;

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
    /// The program is started with sockets that listen already (systemd's `LISTEN_FDS` and `LISTEN_FDNAMES`), one of its
    /// own for each address; nothing that it binds besides is the app's, and `claims` mean nothing. What can listen counts as
    /// listening from its start on, so what makes it ready had better be something else. Under [`Policy::Shared`] the
    /// sockets are the same for all copies. Not with extra pipes or a [`ChildChannel`], which have the same numbers.
    ListenFds {
        /// Where they listen, in the order of their descriptors, from 3 on; at least one, and no address twice. Port 0 is one
        /// port of the kernel's choice for all copies.
        sockets: Vec<ListenFd>,
    },
}

/// One socket that a program is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenFd {
    /// Where it listens (TCP). `[::]` means IPv4 as well.
    pub address: SocketAddr,
    /// Its name in `LISTEN_FDNAMES`: no colon and no control character, at most 255 bytes (sd_listen_fds_with_names(3)).
    pub name: String,
}

/// What makes a copy of a program ready. For all but `Listening` the conduct's readiness has to be
/// [`crate::Readiness::Message`]. With that a copy that has a [`ChildChannel`] is ready as soon as it says `ready` there, too,
/// and with `Listening` by nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ReadyOn {
    /// It listens.
    #[default]
    Listening,
    /// It says so on `NOTIFY_SOCKET`, as services of systemd do (`READY=1`). `STATUS=`, `STOPPING=1`, `WATCHDOG=1` and
    /// `EXTEND_TIMEOUT_USEC=` are understood, too. Words of other users' processes do not count, unless the copy started them.
    /// The conduct's watchdog needs this.
    Notify,
    /// This copy, asked alone, answers `GET` with a status from 200 to 399. It is asked where it began to listen first, every
    /// quarter of a second, and every second after the time to begin listening is over, until it is well. Not under
    /// [`Policy::Shared`], where nobody can be asked alone; a copy that listens on no TCP port is never ready.
    Http {
        /// The path, with its leading `/`, as it is to be sent: printable ASCII without blanks.
        path: String,
        /// How long one answer may take, connecting included; more than zero.
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

/// What cannot be, found before a primary is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("cannot wait for a program to be ready: the conduct's readiness has to be `Message`")]
    Readiness,
    #[error("cannot watch over a program: only with `ReadyOn::Notify` it can say that it is alive")]
    Watchdog,
    #[error("cannot ask a program whether it is well: under the policy `Shared` none can be asked alone")]
    AskedAlone,
    #[error("cannot ask a program whether it is well: a path begins with `/` and has only printable ASCII")]
    Path,
    #[error("cannot ask a program whether it is well: no time for the answer")]
    Patience,
    #[error("cannot start a program with sockets: none is named")]
    NoSocket,
    #[error("cannot start a program with sockets: one address is there twice")]
    Twice,
    #[error(
        "cannot start a program with sockets: a name is longer than 255 bytes or has a colon or a control character"
    )]
    Name,
    #[error("cannot start a program with sockets: its extra pipes have the same numbers")]
    Pipes,
    #[error("cannot start a program with sockets: its channel has the number of the first")]
    Channel,
    #[error("cannot run more than {MOST_TRAPPED} copies of a program whose calls are trapped")]
    TooMany,
}

/// Copies of a program that are trapped at the same time, at most. Each ends with a BPF program of its own, and Linux 6.18 hangs
/// for good when 1024 of them wait to be freed on one processor (`bpf_prog_pack_free`).
pub const MOST_TRAPPED: u32 = 512;

/// Longest name that `sd_listen_fds_with_names` takes (`FDNAME_MAX`).
const LONGEST_NAME: usize = 255;

impl ProgramSettings {
    /// Whether so many can be run so.
    pub(crate) fn check_copies(&self, copies: u32) -> Result<(), Unfit> {
        match self.way {
            ProgramWay::Own | ProgramWay::Slot if copies > MOST_TRAPPED => Err(Unfit::TooMany),
            ProgramWay::Own
            | ProgramWay::Slot
            | ProgramWay::Preload { .. }
            | ProgramWay::ListenFds { .. } => Ok(()),
        }
    }

    /// Whether programs can be run so.
    pub(crate) fn check(
        &self,
        conduct: &oneport_core::Settings,
        extra_pipes: u8,
        channel: ChildChannel,
    ) -> Result<(), Unfit> {
        let shared = conduct.policy == Policy::Shared;
        match &self.ready_on {
            ReadyOn::Listening => {}
            ReadyOn::Notify | ReadyOn::Http { .. } | ReadyOn::Owner
                if conduct.readiness != Readiness::Message =>
            {
                return Err(Unfit::Readiness);
            }
            ReadyOn::Http { .. } if shared => return Err(Unfit::AskedAlone),
            ReadyOn::Http { path, .. } if !is_path(path) => return Err(Unfit::Path),
            ReadyOn::Http { patience, .. } if patience.is_zero() => return Err(Unfit::Patience),
            ReadyOn::Http { .. } | ReadyOn::Notify | ReadyOn::Owner => {}
        }
        if conduct.watchdog.is_some() && self.ready_on != ReadyOn::Notify {
            return Err(Unfit::Watchdog);
        }
        match &self.way {
            ProgramWay::Own | ProgramWay::Slot | ProgramWay::Preload { .. } => Ok(()),
            ProgramWay::ListenFds { .. } if extra_pipes > 0 => Err(Unfit::Pipes),
            ProgramWay::ListenFds { .. } if channel != ChildChannel::None => Err(Unfit::Channel),
            ProgramWay::ListenFds { sockets } => check_sockets(sockets),
        }
    }
}

fn check_sockets(sockets: &[ListenFd]) -> Result<(), Unfit> {
    if sockets.is_empty() {
        return Err(Unfit::NoSocket);
    }
    for (at, ListenFd { address, name }) in sockets.iter().enumerate() {
        let before = sockets.iter().take(at);
        if address.port() != 0 && before.clone().any(|other| other.address == *address) {
            return Err(Unfit::Twice);
        }
        if name.len() > LONGEST_NAME || name.contains(|c: char| c == ':' || c.is_control()) {
            return Err(Unfit::Name);
        }
    }
    Ok(())
}
