//! PM2's files as they are.

use oneport_wire::control::{ByteSize, ExecMode, Instances, Span, WordOrNumber};

use super::*;

/// What people have in their repositories, in all three formats.
#[test]
fn the_same_file_in_three_formats_is_the_same_app() {
    let json = r#"{ // comment
        "apps": [{ name: 'web', "script": "./dist/main.js", instances: "max", exec_mode: "cluster_mode",
          env: { PORT: 3000, DEEP: { a: [1] }, YES: true }, env_production: { NODE_ENV: "production" },
          max_memory_restart: "300M", time: true, }],
        "deploy": { "production": {} },
    }"#;
    let yaml = "apps:\n  - name: web\n    script: ./dist/main.js\n    instances: max\n    exec_mode: cluster_mode\n    env: {PORT: 3000, DEEP: {a: [1]}, YES: true}\n    env_production:\n      NODE_ENV: production\n    max_memory_restart: 300M\n    time: true\ndeploy: {}\n";
    let js = format!("const config = {json};\nmodule.exports = config;\n");
    let dir = Dir::new();
    let how = Reading { env: Some("production".to_owned()), ..Reading::default() };
    let mut seen = Vec::new();
    for (name, text) in [("process.json", json), ("apps.yml", yaml), ("ecosystem.config.js", &js)] {
        let loaded = dir.read(name, text, &how).unwrap();
        let told = if name.ends_with("js") { 1 } else { 0 };
        assert_eq!(loaded.warnings.len(), told, "{:?}", loaded.warnings);
        seen.push(loaded.apps);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    let app = &seen[0][0];
    assert_eq!(app.script, dir.path().join("dist/main.js").to_str().unwrap());
    assert_eq!((app.instances, app.exec_mode), (Instances::PerCpu, Some(ExecMode::Cluster)));
    let env: Vec<_> = app.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, [r#"DEEP={"a":[1]}"#, "NODE_ENV=production", "PORT=3000", "YES=true"]);
}

#[test]
fn every_place_for_apps_is_found() {
    let names = |text: &str| -> Vec<String> {
        let loaded = Dir::new().read("x.json", text, &Reading::default()).unwrap();
        loaded.apps.into_iter().map(|app| app.name).collect()
    };
    assert_eq!(names("{apps: [{script: 'a'}, {script: 'b.js'}]}"), ["a", "b"]);
    assert_eq!(names("{apps: {script: 'a'}}"), ["a"]);
    assert_eq!(names("[{script: 'a'}]"), ["a"]);
    assert_eq!(names("{script: 'a'}"), ["a"]);
    assert_eq!(names("{name: 'shop', version: '1', pm2: [{script: 'a'}]}"), ["a"]);
    assert_eq!(names("{name: 'shop', pm2: {apps: [{script: 'a'}]}}"), ["a"]);
}

#[test]
fn other_names_and_forms_mean_the_same() {
    let (app, warnings) = one(
        "x.json",
        r#"{cmd: "run.py", name: 8080, execInterpreter: "python3", interpreterArgs: "-u -X dev", output: "out.log",
            err: "NULL", pid: "run/x.pid", combine_logs: "true", user: "www", cron: "0 4 * * *", maxRestarts: "10",
            minUptime: "10s", expBackoffRestartDelay: 100, stop_exit_codes: ["0", 1], ignoreWatch: ["a", 1], port: "80",
            kill_timeout: "2500", autorestart: 0, listen_timeout: null, interpreter: '', log_date_format: '', max_memory_restart: 1024}"#,
    );
    assert_eq!(warnings, Vec::<String>::new());
    let cwd = app.cwd.unwrap();
    assert_eq!((app.name.as_str(), app.script.as_str()), ("8080", "run.py"));
    assert_eq!(app.interpreter.as_deref(), Some("python3"));
    assert_eq!(app.node_args, ["-u", "-X", "dev"]);
    assert_eq!(app.out_file, Some(format!("{cwd}/out.log")));
    assert_eq!(app.error_file.as_deref(), Some("/dev/null"));
    assert_eq!(app.pid_file, Some(format!("{cwd}/run/x.pid")));
    assert_eq!((app.merge_logs, app.autorestart), (Some(true), Some(false)));
    assert_eq!(app.uid, Some(WordOrNumber("www".into())));
    assert_eq!(app.cron_restart, Some(WordOrNumber("0 4 * * *".into())));
    assert_eq!((app.max_restarts, app.port), (Some(10), Some(80)));
    assert_eq!((app.min_uptime, app.kill_timeout), (Some(Span(10_000)), Some(Span(2500))));
    assert_eq!((app.stop_exit_codes, app.ignore_watch), (vec![0, 1], vec!["a".to_owned(), "1".to_owned()]));
    assert_eq!((app.listen_timeout, app.max_memory_restart), (None, Some(ByteSize(1024))));
}

#[test]
fn a_line_of_shell_is_run_by_bash() {
    let (app, _) = one("x.json", "{script: 'npm run start -- --x'}");
    assert_eq!((app.script.as_str(), app.name.as_str()), ("bash", "npm-run-start-x"));
    assert_eq!(app.args, ["-c", "npm run start -- --x"]);
    let (app, _) = one("x.json", "{script: 'echo', args: 'a b', interpreter: 'none'}");
    assert_eq!((app.script.as_str(), app.args.len()), ("echo", 2));
    let (app, _) = one("x.json", "{name: 'x', script: 'npm start', args: ['a b'], interpreter: 'none'}");
    assert_eq!(app.args, ["-c", "npm start \"$@\"", "bash", "a b"]);
    assert_eq!((app.name.as_str(), app.interpreter), ("x", None));
    // A file may have a blank in its name.
    let dir = Dir::new();
    dir.file("my app.js", "");
    let loaded = dir.read("x.json", "{script: 'my app.js'}", &Reading::default()).unwrap();
    assert_eq!(loaded.apps[0].script, dir.path().join("my app.js").to_str().unwrap());
}

#[test]
fn paths_are_meant_from_the_working_directory_and_that_from_the_file() {
    let dir = Dir::new();
    dir.file("api/index.js", "");
    let text = "{script: 'index.js', cwd: 'api', out_file: '../logs/o.log', log_file: true, interpreter: './bin/n', name: 'a/b'}";
    let how = Reading { logs: "/home/u/.oneport/logs".into(), ..Reading::default() };
    let app = dir.read("x.json", text, &how).unwrap().apps.remove(0);
    let at = |path: &str| dir.path().join(path).to_str().unwrap().to_owned();
    assert_eq!((app.cwd, app.script), (Some(at("api")), at("api/index.js")));
    assert_eq!((app.out_file, app.interpreter), (Some(at("logs/o.log")), Some(at("api/bin/n"))));
    assert_eq!(app.log_file.as_deref(), Some("/home/u/.oneport/logs/a-b.log"));
}

#[test]
fn the_environment_is_added_to_the_name_where_that_is_asked_for() {
    let dir = Dir::new();
    let text = "{name: 'web', script: 'x', append_env_to_name: true, env_staging: {A: 1}}";
    let how = |only: &str| Reading {
        env: Some("staging".into()),
        only: vec![only.to_owned()],
        ..Reading::default()
    };
    for only in ["web", "web-staging"] {
        let loaded = dir.read("x.json", text, &how(only)).unwrap();
        assert_eq!(loaded.apps[0].name, "web-staging");
    }
    assert_eq!(dir.read("x.json", text, &Reading::default()).unwrap().apps[0].name, "web");
}

#[test]
fn what_does_nothing_is_named_once_and_what_nobody_misses_not_at_all() {
    let (_, warnings) = one(
        "x.json",
        "{script: 'x', vizion: false, pmx: true, automation: false, windowsHide: true, force: true, write: true, namePrefix: 'p',
          kill_retry_time: 5, watch_options: {ignored: 'x', usePolling: true}}",
    );
    assert_eq!(
        warnings,
        ["x.json: without effect here: `kill_retry_time`, `namePrefix`, `watch_options.ignored`, `write`"]
    );
}

#[test]
fn strange_keys_are_told_of_with_their_place() {
    let text = "{\n  apps: [{\n    script: 'x', instnaces: 2,\n    script: 'y', cmd: 'z', env: 'A=1', increment_var: 'PORT'\n  }],\n  static: {}, aps: 1\n}";
    let (app, warnings) = one("x.json", text);
    assert_eq!(app.script, "y");
    assert_eq!(
        warnings,
        [
            "x.json:6:3: `static` is ignored: there is no file server here",
            "x.json:6:15: `aps` beside `apps` is ignored: did you mean `apps`?",
            "x.json:3:18: unknown key `instnaces`: did you mean `instances`?",
            "x.json:4:5: `script`: it is there twice; \"y\" counts",
            "x.json:4:18: `cmd`: it is the same as `script`; \"y\" counts",
            "x.json:4:28: `env` is ignored: expected an object of variables, found \"A=1\"",
            "x.json:4:55: `increment_var`: no number `PORT` in `env`, so nothing is counted",
        ]
    );
}

#[test]
fn node_gets_the_option_for_source_maps() {
    let args = |text: &str| one("x.json", text).0.node_args;
    assert_eq!(args("{script: 'a.js', source_map_support: true}"), ["--enable-source-maps"]);
    assert_eq!(
        args("{script: 'a', interpreter: 'node@18', node_args: '-x', sourceMapSupport: true}"),
        ["-x", "--enable-source-maps"]
    );
    assert_eq!(args("{script: 'a.py', source_map_support: true}"), Vec::<String>::new());
}
