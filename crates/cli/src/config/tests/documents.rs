//! The documents have every key of an app, and no other.

use std::collections::{BTreeMap, BTreeSet};

use oneport_wire::control::{
    ByteSize, Commas, ExecMode, FilterEnv, Instances, LogRotate, LogType, Span, StopWith, Watch,
    WatchOptions, WordOrNumber,
};
use serde_json::Value;

use super::*;

/// Every key has a value that is not its default; a new one is missed by the compiler.
fn full() -> AppSpec {
    let text = || "x".to_owned();
    let texts = || vec![text()];
    let (yes, time, size) = (true, Some(Span(1)), Some(ByteSize(1)));
    AppSpec {
        name: text(),
        namespace: text(),
        script: text(),
        args: texts(),
        cwd: Some(text()),
        interpreter: Some(text()),
        node_args: texts(),
        instances: Instances::Exactly(2),
        exec_mode: Some(ExecMode::Fork),
        env: BTreeMap::from([(text(), text())]),
        filter_env: FilterEnv::Everything,
        port: Some(1),
        instance_var: Some(text()),
        increment_var: Some(text()),
        uid: Some(WordOrNumber(text())),
        gid: Some(WordOrNumber(text())),
        policy: Some(text()),
        tier: Some(text()),
        attach: Some(text()),
        ports: Commas(texts()),
        exclude_ports: Commas(texts()),
        publish: Commas(texts()),
        unix: texts(),
        low_ports: yes,
        listen: texts(),
        ready_on: Some(text()),
        credits: Some(1),
        wait_ready: yes,
        listen_timeout: time,
        drain_timeout: time,
        kill_timeout: time,
        min_uptime: time,
        hang_timeout: time,
        watchdog: time,
        stop_with: Some(StopWith::Signal),
        stop_signal: Some(text()),
        shutdown_with_message: yes,
        treekill: Some(yes),
        autorestart: Some(yes),
        autostart: Some(yes),
        max_restarts: Some(1),
        restart_delay: time,
        exp_backoff_restart_delay: time,
        stop_exit_codes: vec![1],
        parallel: Some(1),
        max_unavailable: Some(1),
        max_memory_restart: size,
        cron_restart: Some(WordOrNumber(text())),
        watch: Watch::Everything,
        ignore_watch: texts(),
        watch_delay: time,
        watch_options: Some(WatchOptions {
            follow_symlinks: Some(yes),
            use_polling: Some(yes),
            interval: time,
        }),
        out_file: Some(text()),
        error_file: Some(text()),
        log_file: Some(text()),
        merge_logs: Some(yes),
        log_type: Some(LogType::Json),
        log_date_format: Some(text()),
        time: yes,
        disable_logs: yes,
        log_rotate: Some(LogRotate {
            max_size: size,
            max_age: time,
            keep: Some(1),
            max_total: size,
            compress: Some(yes),
        }),
        pid_file: Some(text()),
    }
}

/// The keys of an app, those of its tables as `table.key`.
fn keys_of_the_type() -> BTreeSet<String> {
    let json = serde_json::to_value(full()).unwrap();
    let mut keys = BTreeSet::new();
    for (key, value) in json.as_object().unwrap() {
        keys.insert(key.clone());
        if let Some(table) = value.as_object().filter(|_| key != "env") {
            keys.extend(table.keys().map(|inner| format!("{key}.{inner}")));
        }
    }
    keys
}

#[test]
fn the_reader_knows_every_key_and_no_other() {
    let mut known = BTreeSet::new();
    for key in keys::KEYS {
        known.insert(key.name.to_owned());
        if let keys::Kind::Table(inner) = key.kind {
            known.extend(inner.iter().map(|inner| format!("{}.{}", key.name, inner.name)));
        }
    }
    assert_eq!(known, keys_of_the_type());
}

#[test]
fn the_page_has_every_key_with_all_its_names_and_no_other() {
    let page = include_str!("../../../../../docs/configuration.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').skip(1).map(str::trim).collect())
        .collect();
    let told: BTreeSet<String> = rows.iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    assert_eq!(told.len(), rows.len(), "a key is there twice");
    assert_eq!(told, keys_of_the_type());
    for known in keys::KEYS {
        let row = rows.iter().find(|row| row[0] == format!("`{}`", known.name)).unwrap();
        for also in known.also {
            assert!(row[3].contains(&format!("`{also}`")), "{}: {also}", known.name);
        }
    }
}

#[test]
fn the_schema_has_every_key_and_no_other() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../../../docs/oneport.schema.json")).unwrap();
    let mut told = BTreeSet::new();
    for (key, value) in schema["definitions"]["app"]["properties"].as_object().unwrap() {
        told.insert(key.clone());
        assert!(value["description"].as_str().is_some_and(|text| !text.is_empty()), "{key}");
        if let Some(table) = value["properties"].as_object() {
            told.extend(table.keys().map(|inner| format!("{key}.{inner}")));
        }
    }
    assert_eq!(told, keys_of_the_type());
    let words = |key: &str| schema["definitions"]["app"]["properties"][key]["enum"].clone();
    for known in keys::KEYS {
        if let keys::Kind::OneOf(choices) = known.kind {
            assert_eq!(words(known.name), serde_json::json!(choices), "{}", known.name);
        }
    }
}

#[test]
fn the_example_of_the_page_is_read() {
    let page = include_str!("../../../../../docs/configuration.md");
    let example = page.split("```").nth(1).and_then(|text| text.strip_prefix("toml\n")).unwrap();
    let how = Reading { env: Some("production".to_owned()), ..Reading::default() };
    let loaded = Dir::new().read("oneport.toml", example, &how).unwrap();
    assert_eq!((loaded.apps.len(), loaded.warnings.len()), (1, 0));
}

/// What is saved is read again as the same, in every format that says it.
#[test]
fn a_full_app_is_read_as_it_was_written() {
    let mut spec = full();
    spec.script = "/x/y".to_owned();
    spec.cwd = Some("/x".to_owned());
    for file in [&mut spec.out_file, &mut spec.error_file, &mut spec.log_file, &mut spec.pid_file] {
        *file = Some("/x/z".to_owned());
    }
    spec.policy = Some("least".to_owned());
    spec.tier = Some("auto".to_owned());
    spec.attach = Some("listen-fds".to_owned());
    (spec.ports, spec.exclude_ports) = (Commas(vec!["80".to_owned()]), Commas(vec!["81".to_owned()]));
    (spec.publish, spec.listen) = (Commas(vec!["80:81".to_owned()]), vec!["8000=x".to_owned()]);
    spec.ready_on = Some("http:/x".to_owned());
    spec.stop_signal = Some("SIGTERM".to_owned());
    spec.cron_restart = Some(WordOrNumber("0 4 * * *".to_owned()));
    spec.increment_var = Some("x".to_owned());
    spec.env = BTreeMap::from([("x".to_owned(), "1".to_owned())]);
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(one("x.json", &json), (spec.clone(), Vec::new()));
    // JSON is YAML.
    assert_eq!(one("x.yml", &json), (spec, Vec::new()));
}

/// What the command line takes for the same.
#[test]
fn words_to_choose_from_are_those_of_the_command_line() {
    use clap::ValueEnum;

    use crate::args::program::AttachArg;
    use crate::args::{PolicyArg, StopWithArg, TierArg};

    fn words<T: ValueEnum>() -> Vec<String> {
        let names = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        names.map(|value| value.get_name().to_owned()).collect()
    }
    for (name, there) in [
        ("policy", words::<PolicyArg>()),
        ("tier", words::<TierArg>()),
        ("attach", words::<AttachArg>()),
        ("stop_with", words::<StopWithArg>()),
    ] {
        let known = keys::KEYS.iter().find(|known| known.name == name).unwrap();
        let keys::Kind::OneOf(here) = known.kind else { panic!("{name}") };
        assert_eq!(here, there, "{name}");
    }
}
