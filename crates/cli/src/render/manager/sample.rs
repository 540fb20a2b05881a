//! Apps for the tests of this room: some as they are in life, and one that has every field.

use std::collections::BTreeMap;

use oneport_wire::control::{
    AppSpec, AppView, ByteSize, Commas, ExecMode, Exit, FilterEnv, Instances, Job, JobKind, JobState,
    LogPaths, LogRotate, LogType, Span, Status, Step, StepState, StopWith, Watch, WatchOptions, WordOrNumber,
    WorkerView,
};

/// 2026-11-30T02:21:39Z.
pub(super) const NOW: u64 = 1_796_005_299_000;

const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;
const MEGABYTE: u64 = 1 << 20;

fn text(text: &str) -> String {
    text.to_owned()
}

/// An app with so many workers, all online since five seconds.
pub(super) fn app(name: &str, instances: u32) -> AppView {
    AppView {
        name: text(name),
        namespace: text("default"),
        mode: ExecMode::Cluster,
        primary_pid: Some(900),
        primary_version: text("0.1.0"),
        version: Some(text("1.2.0")),
        policy: text("least A"),
        attach: text("channel"),
        addresses: vec![text("0.0.0.0:8000")],
        instances,
        interpreter: text("/usr/bin/node"),
        created_at: NOW - 100 * HOUR,
        workers: (0..instances).map(|slot| worker(slot, slot)).collect(),
        job: None,
        notes: Vec::new(),
        spec: AppSpec {
            name: text(name),
            script: format!("/srv/{name}/server.js"),
            instances: Instances::Exactly(instances),
            ..AppSpec::default()
        },
        connections_lost: 0,
        log_bytes_dropped: 0,
    }
}

pub(super) fn worker(id: u32, slot: u32) -> WorkerView {
    WorkerView {
        id,
        slot,
        status: Status::Online,
        pid: Some(1000 + i32::try_from(id).unwrap()),
        worker: Some(id + 1),
        started_at: Some(NOW - 5 * SECOND),
        proven: true,
        restarts: 0,
        unstable_restarts: 0,
        cpu: Some(0.3),
        memory: Some(45 * MEGABYTE + MEGABYTE / 5),
        connections: Some(7),
        last_exit: None,
        says: None,
        logs: LogPaths::default(),
        pid_file: None,
    }
}

/// A worker that is not there.
fn gone(id: u32, slot: u32, status: Status, exit: Exit) -> WorkerView {
    WorkerView {
        status,
        pid: None,
        worker: None,
        started_at: None,
        proven: false,
        cpu: None,
        memory: None,
        connections: None,
        last_exit: Some(exit),
        ..worker(id, slot)
    }
}

/// Three apps with seven slots in several states.
pub(super) fn several() -> Vec<AppView> {
    let mut api = app("api", 4);
    api.addresses = vec![text("0.0.0.0:8000"), text(":::8000"), text("0.0.0.0:8443")];
    api.spec.watch = Watch::Everything;
    api.workers[0].started_at = Some(NOW - 97 * HOUR);
    let second = &mut api.workers[1];
    (second.started_at, second.cpu, second.memory) = (Some(NOW - 2 * HOUR), Some(3.0), Some(60 * MEGABYTE));
    (second.restarts, second.connections) = (12, Some(1204));
    let third = &mut api.workers[2];
    (third.status, third.proven, third.cpu) = (Status::Launching, false, Some(12.0));
    (third.memory, third.connections) = (Some(90 * MEGABYTE), Some(0));
    api.workers[3] = gone(3, 3, Status::WaitingRestart, Exit::Code(1));

    let mut jobs = app("worker", 1);
    (jobs.mode, jobs.version, jobs.namespace) = (ExecMode::Fork, None, text("batch"));
    jobs.addresses.clear();
    jobs.policy = text("none");
    jobs.workers = vec![WorkerView {
        pid: Some(300),
        cpu: Some(0.1),
        memory: Some(12 * MEGABYTE),
        connections: None,
        started_at: Some(NOW - 50 * SECOND),
        ..worker(4, 0)
    }];

    let mut feed = app("feed", 2);
    feed.addresses = vec![text("/run/feed/app.sock")];
    feed.spec.uid = Some(WordOrNumber(text("www-data")));
    let online = WorkerView {
        pid: Some(2000),
        cpu: Some(50.0),
        memory: Some(30 * MEGABYTE),
        started_at: Some(NOW - 200 * SECOND),
        ..worker(5, 0)
    };
    feed.workers = vec![online, gone(6, 1, Status::Errored, Exit::Signal(9))];
    vec![jobs, api, feed]
}

pub(super) fn step(id: u32, state: StepState) -> Step {
    let pid = match state {
        StepState::Waiting => None,
        StepState::Starting
        | StepState::Proving
        | StepState::Draining
        | StepState::Stopping
        | StepState::Done
        | StepState::Failed => Some(4000 + i32::try_from(id).unwrap()),
    };
    Step { id, slot: id, state, pid, note: None }
}

pub(super) fn job(kind: JobKind, steps: &[StepState]) -> Job {
    Job {
        id: 1,
        kind,
        state: JobState::Running,
        steps: (0..).zip(steps).map(|(id, state)| step(id, *state)).collect(),
        error: None,
        hint: None,
        last_lines: Vec::new(),
        took: 1_200,
    }
}

/// A reload that failed at its second step.
pub(super) fn failed_job() -> Job {
    let mut job =
        job(JobKind::Reload, &[StepState::Done, StepState::Failed, StepState::Waiting, StepState::Waiting]);
    job.state = JobState::Failed;
    job.steps[1].note = Some(text("the new worker ended before it was proven (code 1)"));
    job.error =
        Some(text("cannot reload `api`: the new worker of slot 1 ended before it was proven (code 1)"));
    job.hint = Some(text("the old workers serve on; mend the program and reload again"));
    job.last_lines =
        ["/srv/api/server.js:1", "throw new Error(\"\x1b[31mbroken\x1b[0m build\")", "^"].map(text).into();
    job
}

/// Every field of everything is there. Without `..`, so that a new field has to be thought of here.
pub(crate) fn full() -> AppView {
    AppView {
        name: text("api"),
        namespace: text("shop"),
        mode: ExecMode::Cluster,
        primary_pid: Some(900),
        primary_version: text("0.1.0"),
        version: Some(text("1.2.0")),
        policy: text("least A"),
        attach: text("channel"),
        addresses: vec![text("0.0.0.0:8000"), text("0.0.0.0:8443")],
        instances: 2,
        interpreter: text("/usr/bin/node"),
        created_at: NOW - 100 * HOUR,
        workers: vec![full_worker()],
        job: Some(failed_job()),
        notes: vec![text("variables left out: AWS_PROFILE"), text("tier A is not to be had: no CAP_BPF")],
        spec: full_spec(),
        connections_lost: 3,
        log_bytes_dropped: 4096,
    }
}

fn full_worker() -> WorkerView {
    WorkerView {
        id: 7,
        slot: 1,
        status: Status::Online,
        pid: Some(4711),
        worker: Some(9),
        started_at: Some(NOW - 2 * HOUR),
        proven: true,
        restarts: 3,
        unstable_restarts: 1,
        cpu: Some(1.25),
        memory: Some(50 * MEGABYTE),
        connections: Some(11),
        last_exit: Some(Exit::Signal(9)),
        says: Some(text("warming\x1b[2J up")),
        logs: LogPaths {
            out: Some(text("/home/u/.oneport/logs/api-out-7.log")),
            error: Some(text("/home/u/.oneport/logs/api-error-7.log")),
            both: Some(text("/home/u/.oneport/logs/api.log")),
        },
        pid_file: Some(text("/home/u/.oneport/pids/api-7.pid")),
    }
}

fn full_spec() -> AppSpec {
    let env = [("NODE_ENV", "production"), ("DB_PASSWORD", "hunter2"), ("METRICS_PORT", "9100")];
    AppSpec {
        name: text("api"),
        namespace: text("shop"),
        script: text("/srv/api/server.js"),
        args: vec![text("--color"), text("two words")],
        cwd: Some(text("/srv/api")),
        interpreter: Some(text("node")),
        node_args: vec![text("--max-old-space-size=512")],
        instances: Instances::Exactly(2),
        exec_mode: Some(ExecMode::Cluster),
        env: env.into_iter().map(|(name, value)| (text(name), text(value))).collect::<BTreeMap<_, _>>(),
        filter_env: FilterEnv::Beginning(vec![text("AWS_")]),
        port: Some(8000),
        instance_var: Some(text("INSTANCE")),
        increment_var: Some(text("METRICS_PORT")),
        uid: Some(WordOrNumber(text("www-data"))),
        gid: Some(WordOrNumber(text("33"))),
        policy: Some(text("least")),
        tier: Some(text("A")),
        attach: Some(text("channel")),
        ports: Commas(vec![text("8000")]),
        exclude_ports: Commas(vec![text("9229")]),
        publish: Commas(vec![text("80:8000")]),
        unix: vec![text("/run/api.sock")],
        low_ports: true,
        listen: vec![text("8000")],
        ready_on: Some(text("listen")),
        credits: Some(4),
        wait_ready: true,
        listen_timeout: Some(Span(30_000)),
        drain_timeout: Some(Span(10_000)),
        kill_timeout: Some(Span(1_600)),
        min_uptime: Some(Span(1_000)),
        hang_timeout: Some(Span(5_000)),
        watchdog: Some(Span(9_000)),
        stop_with: Some(StopWith::Signal),
        stop_signal: Some(text("SIGINT")),
        shutdown_with_message: true,
        treekill: Some(true),
        autorestart: Some(true),
        autostart: Some(true),
        max_restarts: Some(16),
        restart_delay: Some(Span(0)),
        exp_backoff_restart_delay: Some(Span(100)),
        stop_exit_codes: vec![0],
        parallel: Some(2),
        max_unavailable: Some(1),
        max_memory_restart: Some(ByteSize(200 * MEGABYTE)),
        cron_restart: Some(WordOrNumber(text("0 4 * * *"))),
        watch: Watch::Paths(vec![text("/srv/api/lib")]),
        ignore_watch: vec![text("node_modules")],
        watch_delay: Some(Span(200)),
        watch_options: Some(WatchOptions {
            follow_symlinks: Some(true),
            use_polling: Some(true),
            interval: Some(Span(1_000)),
        }),
        out_file: Some(text("/var/log/api-out.log")),
        error_file: Some(text("/var/log/api-error.log")),
        log_file: Some(text("/var/log/api.log")),
        merge_logs: Some(false),
        log_type: Some(LogType::Json),
        log_date_format: Some(text("YYYY-MM-DD")),
        time: true,
        disable_logs: true,
        log_rotate: Some(LogRotate {
            max_size: Some(ByteSize(10 * MEGABYTE)),
            max_age: Some(Span(24 * HOUR)),
            keep: Some(10),
            max_total: Some(ByteSize(200 * MEGABYTE)),
            compress: Some(true),
        }),
        pid_file: Some(text("/run/api.pid")),
    }
}

/// Apps by name, namespace and the ids of their slots.
pub(crate) fn apps(wanted: &[(&str, &str, &[u32])]) -> Vec<AppView> {
    let one = |(name, namespace, ids): &(&str, &str, &[u32])| AppView {
        namespace: (*namespace).to_owned(),
        workers: ids.iter().zip(0..).map(|(id, slot)| worker(*id, slot)).collect(),
        ..app(name, 0)
    };
    wanted.iter().map(one).collect()
}
