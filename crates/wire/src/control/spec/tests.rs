use super::words::split_words;
use super::*;

fn read(json: &str) -> Result<AppSpec, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

#[test]
fn keys_are_read_in_every_form_that_pm2_knows() {
    let spec = read(
        r#"{"name": "web", "script": "app.js", "args": "a 'b c' --d=\"e f\"", "node_args": ["--max-old-space-size", 200],
            "instances": "max", "exec_mode": "cluster_mode", "env": {"A": 1, "B": true, "C": "x", "D": null},
            "filter_env": ["AWS_"], "watch": ["lib"], "ignore_watch": "node_modules", "stop_exit_codes": 0,
            "cron_restart": 0, "max_memory_restart": "200M", "min_uptime": "10s", "uid": 1000, "ports": "80, 443"}"#,
    )
    .unwrap();
    assert_eq!(spec.args, ["a", "b c", "--d=e f"]);
    assert_eq!(spec.node_args, ["--max-old-space-size", "200"]);
    assert_eq!(spec.instances, Instances::PerCpu);
    assert_eq!(spec.exec_mode, Some(ExecMode::Cluster));
    let env: Vec<_> = spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["A=1", "B=true", "C=x", "D="]);
    assert!(spec.filter_env.lets_through("PATH") && !spec.filter_env.lets_through("AWS_KEY"));
    assert_eq!(spec.watch, Watch::Paths(vec!["lib".into()]));
    assert_eq!(spec.ignore_watch, ["node_modules"]);
    assert_eq!(spec.stop_exit_codes, [0]);
    assert_eq!(spec.cron_restart, Some(WordOrNumber("0".into())));
    assert_eq!((spec.max_memory_restart, spec.min_uptime), (Some(ByteSize(200 << 20)), Some(Span(10_000))));
    assert_eq!(spec.uid, Some(WordOrNumber("1000".into())));
    assert_eq!(spec.ports.0, ["80", "443"]);
}

#[test]
fn what_is_written_is_read_again_as_the_same() {
    for json in [
        r#"{"name": "a", "script": "x", "instances": -1, "watch": true, "filter_env": true}"#,
        r#"{"name": "a", "script": "x", "instances": 0, "watch": ["a", "b"], "args": ["1 2", ""], "time": true}"#,
        r#"{"name": "a", "script": "x", "log_rotate": {"max_size": "1M", "compress": false}, "watch_options": {"usePolling": true}}"#,
    ] {
        let spec = read(json).unwrap();
        assert_eq!(read(&serde_json::to_string(&spec).unwrap()).unwrap(), spec, "{json}");
    }
}

#[test]
fn what_is_unknown_or_of_another_kind_is_refused_by_its_name() {
    assert!(read(r#"{"scirpt": "x"}"#).unwrap_err().contains("scirpt"));
    for bad in [
        r#"{"instances": "many"}"#,
        r#"{"instances": 1.5}"#,
        r#"{"exec_mode": "x"}"#,
        r#"{"min_uptime": "1d"}"#,
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn instances_are_counted_as_pm2_does() {
    let count = |text: &str| text.parse::<Instances>().map(|n| n.count(8));
    assert_eq!(count("4"), Ok(4));
    assert_eq!(count("max"), Ok(8));
    assert_eq!(count("0"), Ok(8));
    assert_eq!(count("00"), Ok(8));
    assert_eq!(count("-2"), Ok(6));
    assert_eq!(count("-100"), Ok(1));
    for text in ["", "x", "1.5", "--", "4097", "-x"] {
        assert!(count(text).is_err(), "{text}");
    }
}

#[test]
fn words_are_split_at_blanks_and_kept_together_by_quotes() {
    assert_eq!(split_words("  a  b\tc "), ["a", "b", "c"]);
    assert_eq!(split_words(r#"'a b' "c \" d" e\ f '' g"h"i"#), ["a b", "c \" d", "e f", "", "ghi"]);
    assert_eq!(split_words(""), Vec::<String>::new());
    assert_eq!(split_words("'not closed"), ["not closed"]);
}
