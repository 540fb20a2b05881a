//! One row of the list: a slot of an app, or an app that has none.

use oneport_wire::control::{AppView, Status, WorkerView};

/// A slot and its app.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) app: &'a AppView,
    /// None: the app has no slot, or its primary is away. It is on the list all the same.
    pub(super) worker: Option<&'a WorkerView>,
}

impl Row<'_> {
    pub(super) fn pid(&self) -> i32 {
        self.worker.and_then(|worker| worker.pid).unwrap_or(0)
    }

    /// How long the worker is there, in milliseconds.
    pub(super) fn uptime(&self, now_ms: u64) -> Option<u64> {
        self.worker.and_then(|worker| uptime(worker, now_ms))
    }

    pub(super) fn cpu(&self) -> f32 {
        self.worker.map_or(0.0, cpu)
    }

    pub(super) fn memory(&self) -> u64 {
        self.worker.map_or(0, memory)
    }

    pub(super) fn status(&self) -> Option<Status> {
        self.worker.map(|worker| worker.status)
    }
}

/// How long a worker is there, in milliseconds. Clocks may have been set back.
pub(super) fn uptime(worker: &WorkerView, now_ms: u64) -> Option<u64> {
    worker.pid.and(worker.started_at).map(|started_at| now_ms.saturating_sub(started_at))
}

/// Percent of one CPU. Who is not there takes nothing, whatever was measured before.
pub(super) fn cpu(worker: &WorkerView) -> f32 {
    worker.pid.and(worker.cpu).filter(|cpu| cpu.is_finite()).unwrap_or(0.0)
}

/// In bytes, likewise.
pub(super) fn memory(worker: &WorkerView) -> u64 {
    worker.pid.and(worker.memory).unwrap_or(0)
}

/// All rows of these apps, in their order.
pub(super) fn rows(apps: &[AppView]) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for app in apps {
        if app.workers.is_empty() {
            rows.push(Row { app, worker: None });
        }
        rows.extend(app.workers.iter().map(|worker| Row { app, worker: Some(worker) }));
    }
    rows
}

/// Where an app listens, short: the ports and the names of Unix sockets, each once. None: nowhere.
pub(super) fn ports(app: &AppView) -> Option<String> {
    let mut ports: Vec<&str> = Vec::new();
    for address in &app.addresses {
        let port = match address.rsplit_once(':') {
            Some((_, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => port,
            Some(_) | None => address.rsplit('/').next().unwrap_or(address),
        };
        if !port.is_empty() && !ports.contains(&port) {
            ports.push(port);
        }
    }
    (!ports.is_empty()).then(|| ports.join(","))
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_port_is_told_once_and_a_socket_by_its_name() {
        let mut app = sample::app("api", 1);
        app.addresses = ["0.0.0.0:8000", ":::8000", "::1:8443", "/run/api/app.sock", "fd 3", ""]
            .map(str::to_owned)
            .into();
        assert_eq!(ports(&app).as_deref(), Some("8000,8443,app.sock,fd 3"));
        app.addresses.clear();
        assert_eq!(ports(&app), None);
    }
}
