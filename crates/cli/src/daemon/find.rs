//! Finding again what earlier daemons have started: each primary has left a trace in `run`.

use std::time::Duration;

use oneport_sys::proc::start_ticks;
use oneport_sys::process::Pid;
use oneport_wire::control::ProblemKind;
use tokio::task::JoinSet;

use super::Daemon;
use super::apps::{App, Primary};
use super::launch::{end_leftovers, forget, open_pidfd, read_trace};
use crate::commands::run::managed::{Origin, boot_id, socket_of, trace_of};
use crate::control::client::{CallError, Client};
use crate::control::segment;
use crate::state::{Home, environment};

/// How long a primary may take to say what it was made of.
const PATIENCE: Duration = Duration::from_secs(1);
/// More files there are not ours.
const MOST: usize = 10_000;

/// The numbers of primaries that have left a trace.
fn serials(home: &Home) -> Vec<u32> {
    let Ok(files) = std::fs::read_dir(home.run()) else { return Vec::new() };
    let serial_of = |name: &str| name.strip_suffix(".json")?.parse::<u32>().ok();
    let names = files.flatten().take(MOST).filter_map(|file| file.file_name().into_string().ok());
    let mut serials: Vec<u32> = names.filter_map(|name| serial_of(&name)).collect();
    serials.sort_unstable();
    serials
}

/// Whether there is anything to be found.
pub(crate) fn has_traces(home: &Home) -> bool {
    !serials(home).is_empty()
}

pub(super) async fn find_all(daemon: &Daemon) {
    let serials = serials(&daemon.0.home);
    // One that hangs holds nobody up.
    let mut finding = JoinSet::new();
    for serial in serials {
        daemon.table().took(serial, &[]);
        let daemon = daemon.clone();
        finding.spawn(async move { find(&daemon, serial).await });
    }
    while finding.join_next().await.is_some() {}
}

async fn find(daemon: &Daemon, serial: u32) {
    let path = trace_of(daemon.0.home.path(), serial);
    let Some(trace) = read_trace(daemon.0.home.path(), serial) else {
        daemon.say(&format!("cannot understand `{}`: it is put aside", path.display()));
        let _ = std::fs::rename(&path, path.with_extension("broken"));
        return;
    };
    if trace.boot_id != boot_id() {
        // Of before the machine was started: `oneport resurrect` brings saved apps back.
        forget(daemon.0.home.path(), serial);
        return;
    }
    daemon.table().took(serial, &trace.ids);
    let mut app = App {
        spec: trace.spec.clone(),
        created_at: trace.created_at,
        mark: trace.mark.clone(),
        // Until its primary tells that of who started it: with nothing at all no program would be found.
        environment: environment::allowed(&std::env::vars().collect()),
        ..App::nobody(&trace.name, serial, trace.ids.clone())
    };
    let pid = Pid::new(trace.pid);
    let same = |pid: Pid| start_ticks(pid).is_ok_and(|ticks| ticks == trace.start_ticks);
    // In this order: the number cannot become another process's once there is a descriptor.
    let pidfd = pid.and_then(|pid| open_pidfd(pid).ok().filter(|_| same(pid)));
    let Some((pid, pidfd)) = pid.zip(pidfd) else {
        // It was killed while no daemon was there.
        daemon.say(&format!(
            "the primary of `{}` (pid {}) is gone; it is started again",
            trace.name, trace.pid
        ));
        end_leftovers(&trace.mark).await;
        daemon.table().apps.insert(trace.name.clone(), app);
        daemon.bring_back(trace.name, serial, trace.stopped, Duration::ZERO);
        return;
    };
    app.primary = Primary::Up { pid: pid.get() };
    // What may be kept has to do until it answers.
    app.environment = environment::allowed(&std::env::vars().collect());
    let asked = tokio::time::timeout(PATIENCE, origin(daemon, serial, &trace.name)).await;
    match asked.unwrap_or(Err(CallError::TimedOut)) {
        Ok(origin) => {
            (app.spec, app.environment, app.ids) = (origin.spec, origin.environment, origin.ids);
            daemon.table().took(serial, &app.ids);
        }
        // It is alive: what the trace says has to do.
        Err(error) => {
            daemon.say(&format!("the primary of `{}` (pid {pid}) does not answer: {error}", trace.name))
        }
    }
    daemon.table().apps.insert(trace.name.clone(), app);
    daemon.watch(&trace.name, serial, pid, pidfd);
    daemon.say(&format!("found `{}`, pid {pid}", trace.name));
}

async fn origin(daemon: &Daemon, serial: u32, name: &str) -> Result<Origin, CallError> {
    let client = Client::new(socket_of(daemon.0.home.path(), serial));
    let asked = client.get(&format!("/v1/apps/{}/origin", segment(name))).await;
    match asked {
        Err(CallError::Refused(problem)) if problem.kind == ProblemKind::TimedOut => Err(CallError::TimedOut),
        other => other,
    }
}
