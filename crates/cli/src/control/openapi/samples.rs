//! Values of every type that crosses the control API: one with everything, one with the least. Without `..`, so that a new
//! field has to be thought of here.

use std::collections::BTreeMap;

use oneport_wire::control::{
    AppSpec, AppView, Create, ExecMode, Exit, Job, JobKind, JobState, Line, LogPaths, LogRotate, LogType,
    Problem, ProblemKind, Reload, Restart, SavedApp, Signal, Slots, Span, Start, Status, Step, StepState,
    StopWith, WatchOptions, Welcome, What, WorkerView,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::commands::run::managed::{Origin, Planned, Sent};
use crate::daemon::saving::{Resurrect, Resurrected, Save, SaveDone};
use crate::render::manager::full_app;

type Sample = (&'static str, Value, Value);

fn of<T: Serialize>(name: &'static str, full: &T, least: &T) -> Sample {
    (name, json!(full), json!(least))
}

/// Name of the schema, a full value, and one with nothing that may be missing.
pub(super) fn all() -> Vec<Sample> {
    let mut all = views();
    all.extend(requests());
    all.extend(answers());
    all
}

fn least_spec() -> AppSpec {
    AppSpec { name: "web".into(), script: "/srv/a.js".into(), ..AppSpec::default() }
}

fn least_job() -> Job {
    Job {
        id: 1,
        kind: JobKind::Start,
        state: JobState::Running,
        steps: Vec::new(),
        error: None,
        hint: None,
        last_lines: Vec::new(),
        took: 0,
    }
}

fn views() -> Vec<Sample> {
    let full = full_app();
    let worker = full.workers[0].clone();
    let mut job = full.job.clone().unwrap();
    let step = Step { pid: Some(1), note: Some("x".into()), ..job.steps[1].clone() };
    job.steps = vec![step.clone()];
    let least_worker = WorkerView {
        pid: None,
        worker: None,
        started_at: None,
        cpu: None,
        memory: None,
        connections: None,
        last_exit: None,
        says: None,
        logs: LogPaths::default(),
        pid_file: None,
        ..worker.clone()
    };
    let least = AppView {
        primary_pid: None,
        version: None,
        job: None,
        notes: Vec::new(),
        spec: least_spec(),
        workers: vec![least_worker.clone()],
        ..full.clone()
    };
    let (logs, rotate, watch) =
        (&worker.logs, full.spec.log_rotate.unwrap(), full.spec.watch_options.unwrap());
    vec![
        of("AppView", &full, &least),
        of("WorkerView", &worker, &least_worker),
        of("LogPaths", logs, &LogPaths::default()),
        of("Job", &job, &least_job()),
        of("Step", &step, &Step { pid: None, note: None, ..step.clone() }),
        of("AppSpec", &full.spec, &least_spec()),
        of("LogRotate", &rotate, &LogRotate::default()),
        of("WatchOptions", &watch, &WatchOptions::default()),
    ]
}

fn requests() -> Vec<Sample> {
    let spec = full_app().spec;
    let environment = BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]);
    let ids = vec![1, 2];
    let create = Create {
        spec: spec.clone(),
        environment: environment.clone(),
        force: true,
        ids: ids.clone(),
        stopped: true,
    };
    let least = Create {
        spec: least_spec(),
        environment: BTreeMap::new(),
        force: false,
        ids: Vec::new(),
        stopped: false,
    };
    let boxed = Some(Box::new(spec.clone()));
    let restart = Restart { ids: ids.clone(), spec: boxed.clone(), environment: Some(environment.clone()) };
    let reload = Reload {
        ids: ids.clone(),
        spec: boxed,
        environment: Some(environment.clone()),
        parallel: Some(1),
        canary: Some(1),
        watch: Some(Span(30_000)),
        plan: true,
    };
    let saved =
        SavedApp { spec: spec.clone(), environment, ids: ids.clone(), stopped: vec![2], instances: 2 };
    let least_saved = SavedApp { spec: least_spec(), instances: 1, ..SavedApp::default() };
    vec![
        of("Create", &create, &least),
        of("Slots", &Slots { ids: ids.clone() }, &Slots::default()),
        of("Start", &Start { ids: ids.clone() }, &Start::default()),
        of("Restart", &restart, &Restart::default()),
        of("Reload", &reload, &Reload::default()),
        of(
            "Signal",
            &Signal { signal: "SIGUSR1".into(), ids: ids.clone() },
            &Signal { signal: "SIGUSR1".into(), ids: Vec::new() },
        ),
        of("Line", &Line { line: "x".into(), ids }, &Line { line: "x".into(), ids: Vec::new() }),
        of("Save", &Save { force: true }, &Save::default()),
        of("SavedApp", &saved, &least_saved),
        of("Resurrect", &Resurrect { apps: Some(vec![saved.clone()]) }, &Resurrect { apps: None }),
    ]
}

fn answers() -> Vec<Sample> {
    let (text, texts) = (|| "x".to_owned(), || vec!["x".to_owned()]);
    let welcome = Welcome { version: text(), pid: 1, home: text(), started_at: 1 };
    let problem = Problem { kind: ProblemKind::Unknown, error: text(), hint: Some(text()) };
    let origin = Origin {
        spec: full_app().spec,
        environment: BTreeMap::from([(text(), text())]),
        ids: vec![1],
        created_at: 1,
        pid: 1,
        mark: text(),
    };
    let planned = Planned {
        app: text(),
        workers: 2,
        parallel: 1,
        restart_needed: false,
        before: least_spec(),
        after: full_app().spec,
    };
    let saved = SaveDone {
        file: text(),
        apps: 1,
        changed: true,
        warnings: texts(),
        left_out: BTreeMap::from([(text(), texts())]),
    };
    let back = Resurrected {
        started: texts(),
        there: texts(),
        failed: BTreeMap::from([(text(), text())]),
        warnings: texts(),
    };
    vec![
        of("Welcome", &welcome, &welcome),
        of("Problem", &problem, &Problem { hint: None, ..problem.clone() }),
        of("Origin", &origin, &origin),
        of("Planned", &planned, &planned),
        of("Sent", &Sent { sent: 1 }, &Sent { sent: 1 }),
        of("SaveDone", &saved, &saved),
        of("Resurrected", &back, &back),
    ]
}

/// Types whose values can be counted.
pub(super) trait Counted: Sized {
    /// The one that follows; none: it is the last. A new one has to be put into the row.
    fn next(&self) -> Option<Self>;
    fn first() -> Self;
}

/// Every value.
pub(super) fn all_of<T: Counted + Clone>() -> Vec<T> {
    std::iter::successors(Some(T::first()), Counted::next).collect()
}

/// Each leads to the one behind it.
macro_rules! row {
    ($type:ident: $first:ident $(, $before:ident => $after:ident)*; $last:ident) => {
        impl Counted for $type {
            fn first() -> $type {
                $type::$first
            }

            fn next(&self) -> Option<$type> {
                match self {
                    $($type::$before => Some($type::$after),)*
                    $type::$last => None,
                }
            }
        }
    };
}

row!(JobKind: Start, Start => Stop, Stop => Restart, Restart => Reload, Reload => Scale, Scale => Delete; Delete);
row!(JobState: Running, Running => Done, Done => Failed; Failed);
row!(StepState: Waiting, Waiting => Starting, Starting => Proving, Proving => Draining, Draining => Stopping,
     Stopping => Done, Done => Failed; Failed);
row!(ProblemKind: BadRequest, BadRequest => NotAllowed, NotAllowed => Unknown, Unknown => Conflict,
     Conflict => Failed, Failed => TimedOut; TimedOut);
row!(ExecMode: Cluster, Cluster => Fork; Fork);
row!(StopWith: Disconnect, Disconnect => Signal; Signal);
row!(LogType: Raw, Raw => Json; Json);

impl Counted for What {
    fn first() -> What {
        What::Worker { id: 1, slot: 0, status: Status::Stopped, pid: Some(1), exit: Some(Exit::Code(1)) }
    }

    fn next(&self) -> Option<What> {
        match self {
            What::Worker { .. } => Some(What::Listening { address: "0.0.0.0:80".into() }),
            What::Listening { .. } => Some(What::Job { job: least_job() }),
            What::Job { .. } => Some(What::Created),
            What::Created => Some(What::Deleted),
            What::Deleted => Some(What::Missed { events: 1 }),
            What::Missed { .. } => None,
        }
    }
}
