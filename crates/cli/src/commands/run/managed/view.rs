//! What is told of an app: everything that `list`, `describe` and scripts ask for.

use std::path::{Path, PathBuf};

use oneport_wire::control::{AppView, ExecMode, WorkerView};

use super::plan::Plan;
use super::slots::Slot;
use super::{Managed, place, tenant_of};
use crate::usage::Sample;

/// Addresses that are told of one app.
pub(super) const MOST_ADDRESSES: usize = 64;

/// What a plan came to, in words.
#[derive(Clone, Debug)]
pub(super) struct Words {
    policy: String,
    attach: String,
    interpreter: String,
    mode: ExecMode,
    version: Option<String>,
}

impl Default for Words {
    fn default() -> Words {
        let none = String::new;
        Words { policy: none(), attach: none(), interpreter: none(), mode: ExecMode::Cluster, version: None }
    }
}

impl Words {
    /// Whether its binds are its own affair.
    pub(super) fn binds_alone(&self) -> bool {
        self.attach == "none"
    }

    pub(super) fn of(plan: &Plan) -> Words {
        let script = plan.program.script.clone().unwrap_or_else(|| plan.program.file.clone());
        let script = plan.args.what.cwd.as_ref().map_or(script.clone(), |cwd| cwd.join(script));
        Words {
            policy: plan.policy_name(),
            attach: plan.attachment.name.to_owned(),
            interpreter: plan.interpreter(),
            mode: plan.manner().mode,
            version: version_of(&script),
        }
    }
}

/// What `package.json` beside the script, or in a directory above, says.
fn version_of(script: &Path) -> Option<String> {
    for dir in script.ancestors().skip(1).take(8) {
        let file = dir.join("package.json");
        let Ok(found) = std::fs::metadata(&file) else { continue };
        if found.len() > 1024 * 1024 {
            return None;
        }
        let text = std::fs::read_to_string(file).ok()?;
        let object: serde_json::Value = serde_json::from_str(&text).ok()?;
        return object.get("version")?.as_str().map(|version| version.chars().take(64).collect());
    }
    None
}

impl Managed {
    pub(super) fn view(&mut self) -> AppView {
        let listed: Vec<usize> = self.all().iter().map(|place| place.0 as usize).collect();
        let tenants: Vec<(u32, i32)> =
            self.slots.iter().filter_map(|slot| Some((slot.id, tenant_of(slot)?.1))).collect();
        let used = self.usage.take(&tenants, &ports_of(&self.addresses));
        let of = |at: usize| used.get(&self.slots[at].id).copied();
        let workers = listed.into_iter().map(|at| self.worker_view(at, of(at))).collect::<Vec<_>>();
        AppView {
            name: self.spec.name.clone(),
            namespace: namespace(&self.spec.namespace),
            mode: self.words.mode,
            primary_pid: Some(oneport_sys::process::own_pid().get()),
            primary_version: env!("CARGO_PKG_VERSION").to_owned(),
            version: self.words.version.clone(),
            policy: self.words.policy.clone(),
            attach: self.words.attach.clone(),
            addresses: self.addresses.clone(),
            instances: u32::try_from(workers.len()).unwrap_or(u32::MAX),
            interpreter: self.words.interpreter.clone(),
            created_at: self.boot.created_at,
            workers,
            job: self.course.as_ref().map(|(course, _)| course.job.clone()),
            notes: self.notes.list().into_iter().chain(self.shelf.store.trouble()).collect(),
            spec: self.spec.clone(),
            connections_lost: self.connections_lost,
            log_bytes_dropped: self.shelf.store.dropped(),
        }
    }

    fn pid_file_of(&self, slot: &Slot) -> PathBuf {
        let to_come = || self.boot.pid_file(&self.spec, slot.id, self.all().len() > 1);
        slot.pid_file.clone().unwrap_or_else(to_come)
    }

    fn worker_view(&self, at: usize, used: Option<Sample>) -> WorkerView {
        let slot = &self.slots[at];
        let pid = tenant_of(slot).map(|(_, pid)| pid);
        WorkerView {
            id: slot.id,
            slot: place(at).0,
            status: slot.status(self.awaits_word),
            pid,
            worker: slot.tenant.map(|tenant| tenant.worker.id.0),
            started_at: slot.tenant.map(|tenant| tenant.started_at),
            proven: slot.tenant.is_some_and(|tenant| tenant.proven),
            restarts: slot.restarts,
            unstable_restarts: slot.unstable,
            cpu: used.and_then(|used| used.cpu),
            memory: used.and_then(|used| used.memory),
            connections: used.and_then(|used| used.connections),
            last_exit: slot.last_exit,
            says: slot.says.clone(),
            logs: self.shelf.store.paths(slot.id, place(at).0),
            pid_file: Some(self.pid_file_of(slot).display().to_string()),
        }
    }
}

/// The TCP ports among these addresses.
fn ports_of(addresses: &[String]) -> Vec<u16> {
    let mut ports: Vec<u16> =
        addresses.iter().filter_map(|address| address.rsplit_once(':')?.1.parse().ok()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

pub(super) fn namespace(written: &str) -> String {
    if written.is_empty() { "default".to_owned() } else { written.to_owned() }
}
