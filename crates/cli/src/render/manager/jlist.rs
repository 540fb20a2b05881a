//! PM2's JSON (`jlist`, `prettylist`): its shape and names, for scripts that read them. `docs/list-json.md`
//! lists every key; a test holds both together. Never anything of the environment of who started the app.

use oneport_wire::control::{AppView, ExecMode, Exit, WorkerView};
use serde_json::{Map, Value, json};

use super::environment::configured;
use super::rows::{cpu, memory};
use super::secrets::Secrets;
use super::units::tenths;

/// An array with one element for each slot, by number.
pub(crate) fn jlist(apps: &[AppView], secrets: Secrets) -> Value {
    let mut slots: Vec<(&AppView, &WorkerView)> =
        apps.iter().flat_map(|app| app.workers.iter().map(move |worker| (app, worker))).collect();
    slots.sort_by_key(|(_, worker)| worker.id);
    slots.into_iter().map(|(app, worker)| element(app, worker, secrets)).collect()
}

/// The same over many lines.
pub(crate) fn prettylist(apps: &[AppView], secrets: Secrets) -> String {
    format!("{:#}", jlist(apps, secrets))
}

fn element(app: &AppView, worker: &WorkerView, secrets: Secrets) -> Value {
    json!({
        "pid": worker.pid.unwrap_or(0),
        "name": app.name,
        "pm_id": worker.id,
        "monit": { "memory": memory(worker), "cpu": percent(cpu(worker)) },
        "pm2_env": pm2_env(app, worker, secrets),
    })
}

/// With one decimal, and without it where it is zero, as JavaScript writes numbers.
fn percent(cpu: f32) -> Value {
    let tenths = tenths(cpu);
    #[allow(clippy::cast_precision_loss, reason = "percent")]
    if tenths.is_multiple_of(10) { (tenths / 10).into() } else { (tenths as f64 / 10.0).into() }
}

fn pm2_env(app: &AppView, worker: &WorkerView, secrets: Secrets) -> Value {
    let spec = &app.spec;
    let instance_var = spec.instance_var.as_deref().unwrap_or("NODE_APP_INSTANCE");
    let mut map = Map::new();
    // First, so that no name that somebody chose hides a key.
    map.insert(instance_var.to_owned(), worker.slot.into());
    map.insert("NODE_APP_INSTANCE".to_owned(), worker.slot.into());
    let always = json!({
        "instance_var": instance_var,
        "name": app.name,
        "namespace": app.namespace,
        "pm_id": worker.id,
        "status": worker.status.word(),
        "restart_time": worker.restarts,
        "unstable_restarts": worker.unstable_restarts,
        "pm_uptime": worker.started_at.unwrap_or(app.created_at),
        "created_at": app.created_at,
        "exec_mode": match app.mode {
            ExecMode::Cluster => "cluster_mode",
            ExecMode::Fork => "fork_mode",
        },
        "exec_interpreter": app.interpreter,
        "pm_exec_path": spec.script,
        "args": spec.args,
        "node_args": spec.node_args,
        "instances": app.instances,
        "autorestart": spec.autorestart.unwrap_or(true),
        "autostart": spec.autostart.unwrap_or(true),
        "watch": spec.watch,
        "merge_logs": spec.merge_logs.unwrap_or(app.instances == 1),
        "treekill": spec.treekill.unwrap_or(true),
        "wait_ready": spec.wait_ready,
        "shutdown_with_message": spec.shutdown_with_message,
        "env": secrets.values(&configured(app, worker)),
        "axm_actions": [],
        "axm_monitor": {},
        "axm_options": {},
        "axm_dynamic": {},
        "version": app.version.as_deref().unwrap_or("N/A"),
        "oneport_version": app.primary_version,
    });
    let known = json!({
        "pm_cwd": spec.cwd,
        "pm_out_log_path": worker.logs.out,
        "pm_err_log_path": worker.logs.error,
        "pm_log_path": worker.logs.both,
        "pm_pid_path": worker.pid_file,
        "exit_code": worker.last_exit.map(exit_code),
        "kill_timeout": spec.kill_timeout,
        "listen_timeout": spec.listen_timeout,
        "min_uptime": spec.min_uptime,
        "max_restarts": spec.max_restarts,
        "restart_delay": spec.restart_delay,
        "exp_backoff_restart_delay": spec.exp_backoff_restart_delay,
        "max_memory_restart": spec.max_memory_restart,
        "cron_restart": spec.cron_restart,
        "uid": spec.uid,
        "gid": spec.gid,
    });
    for part in [always, known] {
        if let Value::Object(part) = part {
            map.extend(part.into_iter().filter(|(_, value)| !value.is_null()));
        }
    }
    Value::Object(map)
}

/// As a shell has it in `$?`: a signal counts from 128, and what could not be started is 127.
fn exit_code(exit: Exit) -> i32 {
    match exit {
        Exit::Code(code) => code,
        Exit::Signal(number) => number.saturating_add(128),
        Exit::NotStarted => 127,
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::sample;
    use super::*;

    #[test]
    fn scripts_find_the_names_and_types_of_pm2() {
        assert_snapshot!("jlist_full", prettylist(&[sample::full()], Secrets::Masked));
    }

    #[test]
    fn a_slot_without_a_worker_has_the_zeros_of_pm2() {
        let list = jlist(&sample::several(), Secrets::Masked);
        let ids: Vec<u64> = list.as_array().unwrap().iter().filter_map(|one| one["pm_id"].as_u64()).collect();
        assert_eq!(ids, [0, 1, 2, 3, 4, 5, 6]);
        let gone = &list[3];
        assert_eq!((&gone["pid"], &gone["monit"]), (&json!(0), &json!({"memory": 0, "cpu": 0})));
        assert_eq!(gone["pm2_env"]["status"], "waiting restart");
        assert_eq!(
            (&gone["pm2_env"]["exit_code"], &list[6]["pm2_env"]["exit_code"]),
            (&json!(1), &json!(137))
        );
        assert_eq!((&list[0]["monit"]["cpu"], &list[1]["monit"]["cpu"]), (&json!(0.3), &json!(3)));
        assert_eq!(list[4]["pm2_env"]["exec_mode"], "fork_mode");
        assert_eq!(jlist(&[], Secrets::Masked), json!([]));
    }

    #[test]
    fn the_name_of_a_variable_hides_no_key() {
        let mut app = sample::app("api", 1);
        app.spec.instance_var = Some("status".to_owned());
        let list = jlist(&[app], Secrets::Masked);
        assert_eq!(list[0]["pm2_env"]["status"], "online");
        assert_eq!(list[0]["pm2_env"]["NODE_APP_INSTANCE"], 0);
    }

    #[test]
    fn secrets_are_in_it_only_when_asked_for() {
        let env = |secrets| jlist(&[sample::full()], secrets)[0]["pm2_env"]["env"]["DB_PASSWORD"].clone();
        assert_eq!((env(Secrets::Masked), env(Secrets::Shown)), (json!("********"), json!("hunter2")));
    }
}
