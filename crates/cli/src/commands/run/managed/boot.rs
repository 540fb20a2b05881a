//! How a primary comes to be under a daemon: what it is told on standard input, what it says when it is ready, and the files
//! it leaves for the next daemon.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

use oneport_sys::proc::start_ticks;
use oneport_sys::process;
use oneport_wire::control::{AppSpec, Happening as Told};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::super::Happening;
use super::request::Desk;
use crate::error::{Failure, plain};
use crate::logs::{Plan, file_name};
use crate::state::{atomic, socket_address};

/// The longest text that is read.
const LARGEST: u64 = 16 * 1024 * 1024;

/// What a primary is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Boot {
    pub(crate) home: PathBuf,
    /// Names its files in `run`.
    pub(crate) serial: u32,
    pub(crate) spec: AppSpec,
    /// Of who started the app.
    pub(crate) environment: BTreeMap<String, String>,
    /// The numbers of its slots.
    pub(crate) ids: Vec<u32>,
    /// Those of them that are not started.
    pub(crate) stopped: Vec<u32>,
    /// Milliseconds since 1970.
    pub(crate) created_at: u64,
    /// By which everything that it starts is known.
    pub(crate) mark: String,
    /// How many descriptors programs may have open by default: a daemon needs more.
    #[serde(default)]
    pub(crate) nofile_soft: Option<u64>,
}

/// What a daemon that has lost an app is told of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) spec: AppSpec,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) ids: Vec<u32>,
    pub(crate) created_at: u64,
    /// Its primary. 0: of a version that did not tell.
    #[serde(default)]
    pub(crate) pid: i32,
    #[serde(default)]
    pub(crate) mark: String,
}

/// What is written to `run` for the next daemon. Nothing of the environment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Trace {
    /// 0: it is yet to say so itself.
    pub(crate) pid: i32,
    /// With the number, this names a process for ever.
    pub(crate) start_ticks: u64,
    /// Of this boot of the machine.
    pub(crate) boot_id: String,
    pub(crate) mark: String,
    pub(crate) name: String,
    pub(crate) ids: Vec<u32>,
    /// Those of them in which nobody is to be.
    #[serde(default)]
    pub(crate) stopped: Vec<u32>,
    pub(crate) spec: AppSpec,
    pub(crate) created_at: u64,
}

impl Boot {
    pub(super) fn read() -> Result<Boot, Failure> {
        let mut text = String::new();
        io::stdin().take(LARGEST).read_to_string(&mut text).map_err(|cause| {
            Failure::new(format!("cannot read what this primary is to be: {}", plain(&cause)))
        })?;
        serde_json::from_str(&text).map_err(|cause| {
            Failure::usage(format!("cannot understand what this primary is to be: {cause}"))
                .hint("`oneport start` starts apps; this command is for the daemon")
        })
    }

    /// Where it answers.
    pub(crate) fn socket(&self) -> PathBuf {
        socket_of(&self.home, self.serial)
    }

    pub(super) fn answer_at(
        &self,
        happenings: SyncSender<Happening>,
        events: broadcast::Sender<Told>,
    ) -> Result<Desk, Failure> {
        let path = self.socket();
        let failed = |cause: io::Error| {
            Failure::new(format!("cannot answer at `{}`: {}", path.display(), plain(&cause)))
        };
        // The serial is ours: whatever is there was left by one that crashed.
        let _ = std::fs::remove_file(&path);
        let address = socket_address(&path).map_err(failed)?;
        let listener = UnixListener::bind(address.path()).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        if let Err(failure) = self.leave_trace(&self.spec, &self.ids, &self.stopped) {
            // A full disk: the app runs all the same, and the trace is written at the next change. Until then the next daemon
            // finds its socket.
            failure.report();
        }
        Desk::open(listener, happenings, events)
    }

    /// Writes down who this is, as often as that changes.
    pub(super) fn leave_trace(&self, spec: &AppSpec, ids: &[u32], stopped: &[u32]) -> Result<(), Failure> {
        let pid = process::own_pid();
        let trace = Trace {
            pid: pid.get(),
            start_ticks: start_ticks(pid).unwrap_or(0),
            ids: ids.to_vec(),
            stopped: stopped.to_vec(),
            spec: spec.clone(),
            ..self.announcement()
        };
        self.write_trace(&trace)
    }

    /// What a daemon writes down before there is a process: what it starts is found, however soon it is killed.
    pub(crate) fn announce(&self) -> Result<(), Failure> {
        self.write_trace(&self.announcement())
    }

    fn announcement(&self) -> Trace {
        Trace {
            pid: 0,
            start_ticks: 0,
            boot_id: boot_id(),
            mark: self.mark.clone(),
            name: self.spec.name.clone(),
            ids: self.ids.clone(),
            stopped: self.stopped.clone(),
            spec: self.spec.clone(),
            created_at: self.created_at,
        }
    }

    fn write_trace(&self, trace: &Trace) -> Result<(), Failure> {
        let path = trace_of(&self.home, self.serial);
        let text = serde_json::to_vec(trace).unwrap_or_default();
        atomic::write_fleeting(&path, &text)
            .map_err(|cause| Failure::new(format!("cannot write `{}`: {}", path.display(), plain(&cause))))
    }

    pub(super) fn log_plan(&self, spec: &AppSpec, instances: usize) -> Plan {
        let instances = u32::try_from(instances).unwrap_or(u32::MAX);
        Plan::of(spec, &self.home.join("logs"), instances)
    }

    pub(super) fn pid_file(&self, spec: &AppSpec, id: u32, several: bool) -> PathBuf {
        let Some(wished) = &spec.pid_file else {
            return self.home.join("pids").join(format!("{}-{id}.pid", file_name(&spec.name)));
        };
        let path = PathBuf::from(wished);
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        match (several, stem) {
            (true, Some(stem)) => {
                let extension =
                    path.extension().map_or(String::new(), |end| format!(".{}", end.to_string_lossy()));
                path.with_file_name(format!("{stem}-{id}{extension}"))
            }
            (true, None) | (false, _) => path,
        }
    }

    /// Of use to scripts only: a full disk does not stop the app. A link is not followed: whoever may write to that directory
    /// could have root write anywhere.
    pub(super) fn write_pid(path: &Path, pid: i32) {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path);
        let _ = opened.and_then(|mut file| writeln!(file, "{pid}"));
    }

    pub(super) fn remove_trace(&self) {
        for path in [trace_of(&self.home, self.serial), self.socket()] {
            let _ = std::fs::remove_file(path);
        }
    }
}

pub(crate) fn socket_of(home: &Path, serial: u32) -> PathBuf {
    home.join("run").join(format!("{serial}.sock"))
}

pub(crate) fn trace_of(home: &Path, serial: u32) -> PathBuf {
    home.join("run").join(format!("{serial}.json"))
}

/// Of this boot of the machine: numbers of processes mean nothing after the next.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// What stands before each line of the daemon's log.
pub(super) fn stamp(app: &str) -> impl Fn() -> String + Send + Sync + 'static {
    let app = app.to_owned();
    move || format!("{} {app}: ", crate::time::stamp())
}
