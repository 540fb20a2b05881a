use std::fs;

use oneport_wire::control::{AppSpec, ByteSize, ExecMode, Instances, Span, Watch};
use serde_json::json;

use super::*;
use crate::state::scratch::Scratch;

/// Of PM2 7.0.4, with the shell's environment shortened and a module added.
const DUMP: &str = include_str!("fixtures/dump.json");

fn options(secrets: Secrets) -> ImportOptions {
    let environment = [("PATH", "/usr/bin:/bin"), ("HOME", "/home/ann"), ("EDITION", "winter")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    ImportOptions { environment: environment.into(), secrets }
}

fn imported(text: &str) -> (BTreeMap<String, SavedApp>, Vec<String>) {
    let (apps, warnings) = import_dump(text, &options(Secrets::LeaveOut)).unwrap();
    (apps.into_iter().map(|app| (app.spec.name.clone(), app)).collect(), warnings)
}

fn records(records: serde_json::Value) -> (BTreeMap<String, SavedApp>, Vec<String>) {
    imported(&records.to_string())
}

fn variables(app: &BTreeMap<String, String>) -> Vec<String> {
    app.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[test]
fn a_real_dump_becomes_apps() {
    let (apps, _) = imported(DUMP);
    let names: Vec<_> = apps.keys().map(String::as_str).collect();
    assert_eq!(names, ["api", "bin", "cmd", "job", "multi", "worker"]);

    let api = &apps["api"];
    assert_eq!((&*api.ids, &*api.stopped, api.instances), (&[0, 5][..], &[][..], 2));
    let wanted = AppSpec {
        name: "api".into(),
        namespace: "shop".into(),
        script: "/srv/shop/api.js".into(),
        args: vec!["--verbose".into(), "two words".into()],
        cwd: Some("/srv/shop".into()),
        node_args: vec!["--max-old-space-size=200".into()],
        instances: Instances::Exactly(2),
        exec_mode: Some(ExecMode::Cluster),
        env: api.spec.env.clone(),
        filter_env: oneport_wire::control::FilterEnv::Beginning(vec!["AWS_".into()]),
        instance_var: Some("INSTANCE".into()),
        increment_var: Some("METRICS_PORT".into()),
        kill_timeout: Some(Span(5000)),
        min_uptime: Some(Span(5000)),
        max_restarts: Some(5),
        exp_backoff_restart_delay: Some(Span(200)),
        stop_exit_codes: vec![0, 3],
        max_memory_restart: Some(ByteSize(200 << 20)),
        cron_restart: Some(oneport_wire::control::WordOrNumber("0 4 * * *".into())),
        out_file: Some("/var/log/shop/api.log".into()),
        merge_logs: Some(true),
        log_date_format: Some("YYYY-MM-DD".into()),
        ..AppSpec::default()
    };
    assert_eq!(api.spec, wanted);
    assert_eq!(variables(&api.spec.env), ["METRICS_PORT=0", "NODE_ENV=production", "PORT=3801"]);
    let shell = [
        "HOME=/home/ann",
        "LANG=en_US.UTF-8",
        "LOGNAME=ann",
        "PATH=/home/ann/.nvm/versions/node/v20.20.2/bin:/usr/local/bin:/usr/bin:/bin",
        "SHELL=/bin/bash",
        "USER=ann",
    ];
    assert_eq!(variables(&api.environment), shell);
}

#[test]
fn every_kind_of_app_in_it_keeps_how_it_is_run() {
    let (apps, _) = imported(DUMP);
    let how = |name: &str| {
        let app = &apps[name];
        (app.spec.script.as_str(), app.spec.interpreter.as_deref(), app.spec.exec_mode)
    };
    assert_eq!(how("job"), ("/srv/shop/job.js", None, Some(ExecMode::Fork)));
    assert_eq!(how("worker"), ("/srv/shop/worker.py", None, Some(ExecMode::Fork)));
    assert_eq!(how("bin"), ("/bin/sleep", Some("none"), Some(ExecMode::Fork)));
    assert_eq!(how("cmd"), ("/usr/bin/bash", Some("none"), Some(ExecMode::Fork)));
    assert_eq!(apps["cmd"].spec.args, ["-c", "sleep 1000"]);
    assert_eq!((&*apps["multi"].ids, apps["multi"].spec.merge_logs), (&[6, 7][..], None));
    assert_eq!(apps["job"].stopped, apps["job"].ids);
    let worker = &apps["worker"].spec;
    assert_eq!(worker.watch, Watch::Paths(vec!["/srv/shop/lib".into()]));
    assert_eq!(worker.ignore_watch, ["node_modules", "*.log"]);
    assert_eq!(worker.autorestart, Some(false));
    let files = |spec: &AppSpec| (spec.out_file.clone(), spec.error_file.clone(), spec.pid_file.clone());
    assert_eq!(files(worker), (None, None, None));
}

#[test]
fn what_is_left_out_of_it_is_said() {
    let (apps, warnings) = imported(DUMP);
    assert_eq!(variables(&apps["worker"].spec.env), ["QUEUE=mail"]);
    for expected in [
        "`pm2-logrotate` is a module of PM2 and is not imported",
        "`worker`: left out, because it looks like a secret: DATABASE_PASSWORD, GITHUB_TOKEN",
        "left out, because your shell has the same: EDITION",
    ] {
        assert!(warnings.iter().any(|warning| warning == expected), "{expected}\n{warnings:#?}");
    }
    let text = serde_json::to_string(&apps).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("not-a-real-one"));

    let (apps, _) = import_dump(DUMP, &options(Secrets::Take)).unwrap();
    let worker = apps.iter().find(|app| app.spec.name == "worker").unwrap();
    assert_eq!(worker.spec.env["DATABASE_PASSWORD"], "hunter2");
}

#[test]
fn what_is_imported_can_be_saved_and_read_again() {
    let (apps, _) = import_dump(DUMP, &options(Secrets::Take)).unwrap();
    let saved = Saved { version: 1, saved_at: 0, oneport: "0.1.0".into(), apps };
    assert_eq!(Saved::parse(saved.write().unwrap().as_bytes()).unwrap(), saved);
}

#[test]
fn a_key_that_cannot_be_understood_costs_only_itself() {
    let (apps, warnings) = records(json!([
        {"name": "web", "pm_exec_path": "/a.js", "kill_timeout": [1], "max_restarts": -4, "wait_ready": true,
         "exec_mode": "thread_mode", "env": {"A": {"x": 1}, "B": null, "C=D": "x", "E": "a\u{0}b", "F": 1.5}},
    ]));
    assert!(apps["web"].spec.wait_ready);
    assert_eq!(variables(&apps["web"].spec.env), ["F=1.5"]);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.starts_with("`web`: `kill_timeout` is not imported: ")));
}

#[test]
fn a_record_that_is_none_costs_only_itself() {
    let (apps, warnings) = records(json!([
        1, {}, {"name": "x"}, {"name": "", "pm_exec_path": "/srv/web.js"}, {"name": 7, "pm_exec_path": "/srv/web.js"}
    ]));
    let names: Vec<_> = apps.keys().map(String::as_str).collect();
    assert_eq!(names, ["7", "web"]);
    assert_eq!(warnings[0], "record 1 is not imported: it is no object");
    assert_eq!(warnings.len(), 3);
}

#[test]
fn two_apps_of_one_name_get_two() {
    let (apps, warnings) = records(json!([
        {"name": "web", "pm_exec_path": "/a.js", "pm_id": 0},
        {"name": "web", "pm_exec_path": "/b.js", "pm_id": 0},
        {"name": "web", "pm_exec_path": "/b.js", "args": ["x"]},
    ]));
    let found: Vec<_> = apps.iter().map(|(name, app)| (name.as_str(), app.ids.as_slice())).collect();
    assert_eq!(found, [("web", &[0][..]), ("web-1", &[1][..]), ("web-2", &[2][..])]);
    assert_eq!(warnings.len(), 2);
}

#[test]
fn instances_that_differ_are_told_and_the_lowest_counts() {
    let (apps, warnings) = records(json!([
        {"name": "web", "pm_exec_path": "/a.js", "pm_pid_path": "/p/web-4.pid", "kill_timeout": 9, "env": {"COLOUR": "red"}},
        {"name": "web", "pm_exec_path": "/a.js", "pm_pid_path": "/p/web-3.pid", "status": "stopped", "env": {"COLOUR": "blue"}},
    ]));
    let web = &apps["web"];
    assert_eq!((&*web.ids, &*web.stopped, web.instances), (&[3, 4][..], &[3][..], 2));
    assert_eq!((web.spec.kill_timeout, web.spec.env["COLOUR"].as_str()), (None, "blue"));
    assert_eq!(web.spec.pid_file.as_deref(), Some("/p/web.pid"));
    assert!(warnings.iter().any(|warning| warning.contains("`COLOUR` differs")), "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("configured differently")), "{warnings:?}");
}

#[test]
fn texts_that_are_no_list_are_refused() {
    for (text, cause) in
        [("", "it is empty"), ("{}", "no JSON list"), ("[{", "no JSON list"), ("\0", "no JSON")]
    {
        let words = import_dump(text, &options(Secrets::LeaveOut)).unwrap_err().words();
        assert!(words.contains("cannot import the list of PM2") && words.contains(cause), "{words}");
    }
    let deep = "[".repeat(100_000);
    assert!(import_dump(&deep, &options(Secrets::LeaveOut)).is_err());
}

#[test]
fn records_instances_and_warnings_are_bounded() {
    let many = |count: usize, record: &str| format!("[{}]", vec![record; count].join(","));
    let words = import_dump(&many(10_001, "1"), &options(Secrets::LeaveOut)).unwrap_err().words();
    assert!(words.contains("it has 10001 records"), "{words}");
    assert_eq!(imported(&many(10_000, "1")).1.len(), MOST_WARNINGS + 1);
    let (apps, warnings) = imported(&many(5000, r#"{"name": "w", "pm_exec_path": "/a"}"#));
    assert_eq!(apps["w"].spec.instances, Instances::Exactly(4096));
    assert_eq!(warnings, ["`w` has 5000 instances; 4096 are imported"]);
}

#[test]
fn ten_thousand_apps_of_one_name_are_read() {
    let record = |number| json!({"name": "w", "pm_exec_path": "/a", "args": [number], "pm_id": 1});
    let (apps, _) = records((0..10_000).map(record).collect());
    assert_eq!(apps.len(), 10_000);
}

#[test]
fn the_backup_of_pm2_is_read_where_the_list_is_broken_or_missing() {
    let scratch = Scratch::new();
    let path = scratch.join("dump.pm2");
    let words = import_file(&path, &options(Secrets::LeaveOut)).unwrap_err().words();
    assert!(words.contains("dump.pm2`: no such file or directory"), "{words}");
    fs::write(scratch.join("dump.pm2.bak"), DUMP).unwrap();
    for text in [None, Some(""), Some("[{")] {
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        let (apps, warnings) = import_file(&path, &options(Secrets::LeaveOut)).unwrap();
        assert_eq!(apps.len(), 6);
        assert!(warnings[0].contains("its backup is read"), "{warnings:?}");
    }
    assert!(
        import_file(scratch.path(), &options(Secrets::LeaveOut)).unwrap_err().words().contains("no file")
    );
}

#[test]
fn the_list_of_pm2_is_where_its_variables_say() {
    let found = |pairs: &[(&str, &str)]| {
        dump_path(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)))
            .map(|path| path.display().to_string())
    };
    assert_eq!(found(&[("HOME", "/home/a")]).unwrap(), "/home/a/.pm2/dump.pm2");
    assert_eq!(found(&[("HOME", "/home/a"), ("PM2_HOME", "/p")]).unwrap(), "/p/dump.pm2");
    assert_eq!(found(&[("PM2_HOME", "/p"), ("PM2_DUMP_FILE_PATH", "/q")]).unwrap(), "/q");
    assert_eq!(found(&[("HOME", "")]), None);
}
