//! One app as the daemon knows it: what it was made of, and who runs it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use oneport_sys::process::Pid;
use oneport_wire::control::{AppSpec, AppView, ExecMode};

use crate::commands::run::managed::Boot;

/// One app.
#[derive(Clone, Debug)]
pub(super) struct App {
    pub(super) name: String,
    /// Names its files in `run`.
    pub(super) serial: u32,
    pub(super) ids: Vec<u32>,
    pub(super) spec: AppSpec,
    /// Of who started it; only ever in memory.
    pub(super) environment: BTreeMap<String, String>,
    /// Whether that is what its primary said, or the best that can be had.
    pub(super) is_guessed: bool,
    pub(super) created_at: u64,
    pub(super) mark: String,
    pub(super) primary: Primary,
    /// Ends of its primary that nobody asked for, in a row.
    pub(super) crashes: u32,
    pub(super) up_since: Option<Instant>,
}

/// The process that runs an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Primary {
    /// It is being started, again or for the first time.
    Coming,
    Up {
        pid: i32,
    },
    /// The system does not let us see how it is: it is looked at again.
    Unseen,
}

impl App {
    /// With nobody who runs it.
    pub(super) fn nobody(name: &str, serial: u32, ids: Vec<u32>) -> App {
        App {
            name: name.to_owned(),
            serial,
            ids,
            spec: AppSpec { name: name.to_owned(), ..AppSpec::default() },
            environment: BTreeMap::new(),
            is_guessed: false,
            created_at: 0,
            mark: String::new(),
            primary: Primary::Coming,
            crashes: 0,
            up_since: None,
        }
    }

    /// Whether that process is its primary.
    pub(super) fn is_run_by(&self, serial: u32, pid: Pid) -> bool {
        self.serial == serial && self.primary == (Primary::Up { pid: pid.get() })
    }

    /// What a primary is told of it.
    pub(super) fn boot(&self, home: &Path, nofile_soft: Option<u64>, stopped: Vec<u32>) -> Boot {
        Boot {
            home: home.to_owned(),
            serial: self.serial,
            spec: self.spec.clone(),
            environment: self.environment.clone(),
            ids: self.ids.clone(),
            stopped,
            created_at: self.created_at,
            mark: self.mark.clone(),
            nofile_soft,
        }
    }

    /// What can be told without its primary.
    pub(super) fn view(&self, note: &str) -> AppView {
        AppView {
            name: self.name.clone(),
            namespace: match self.spec.namespace.as_str() {
                "" => "default".to_owned(),
                name => name.to_owned(),
            },
            mode: self.spec.exec_mode.unwrap_or(ExecMode::Cluster),
            primary_pid: match self.primary {
                Primary::Coming | Primary::Unseen => None,
                Primary::Up { pid } => Some(pid),
            },
            primary_version: String::new(),
            version: None,
            policy: String::new(),
            attach: String::new(),
            addresses: Vec::new(),
            instances: u32::try_from(self.ids.len()).unwrap_or(u32::MAX),
            interpreter: String::new(),
            created_at: self.created_at,
            workers: Vec::new(),
            job: None,
            notes: vec![note.to_owned()],
            spec: self.spec.clone(),
            connections_lost: 0,
            log_bytes_dropped: 0,
        }
    }
}
