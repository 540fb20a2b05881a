use oneport_wire::control::Span;

use super::*;

fn boot(spec: &AppSpec, environment: &BTreeMap<String, String>) -> Boot {
    Boot {
        nofile_soft: None,
        home: "/home/x".into(),
        serial: 1,
        spec: spec.clone(),
        environment: environment.clone(),
        ids: vec![0],
        stopped: Vec::new(),
        created_at: 0,
        mark: "m".into(),
    }
}

fn spec() -> AppSpec {
    AppSpec { name: "web".into(), script: "/bin/sleep".into(), ..AppSpec::default() }
}

#[test]
fn a_configuration_becomes_the_command_line_of_run() {
    let spec = AppSpec {
        args: vec!["--x".into(), "a b".into()],
        node_args: vec!["--trace-gc".into()],
        policy: Some("rr".into()),
        kill_timeout: Some(Span(1600)),
        wait_ready: true,
        interpreter: Some("node".into()),
        ..spec()
    };
    let args = parse(&spec).unwrap();
    assert_eq!(args.kill_timeout, Some(Duration::from_millis(1600)));
    assert_eq!(args.what.rest, ["--x", "a b"]);
    assert_eq!(args.what.node_args, ["--trace-gc"]);
    assert!(args.wait_ready);
}

#[test]
fn what_run_would_refuse_is_refused_in_its_words() {
    let spec = AppSpec { policy: Some("random".into()), ..spec() };
    let words = parse(&spec).unwrap_err().words();
    assert!(words.contains("cannot use `random` for `--policy"), "{words}");
}

#[test]
fn each_slot_has_its_numbers_and_the_configuration_has_the_last_word() {
    let mut spec = spec();
    spec.env.insert("PORT".into(), "8000".into());
    spec.env.insert("name".into(), "mine".into());
    spec.increment_var = Some("PORT".into());
    let variables = slot_variables(&spec, &spec.env, 7, 2, 4, ExecMode::Cluster);
    let of = |name: &str| {
        let found = variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.to_str().unwrap())
    };
    assert_eq!((of("pm_id"), of("INSTANCE_ID"), of("instances")), (Some("7"), Some("2"), Some("4")));
    assert_eq!((of("PORT"), of("name")), (Some("8002"), None));
}

const FORKED: Manner = Manner {
    mode: ExecMode::Fork,
    input: oneport::Stdio::Pipe,
    channel: ChildChannel::Json,
    readiness: Some(Readiness::Message),
};

#[test]
fn a_forked_worker_has_its_channel_and_its_tree_is_treated_as_the_configuration_says() {
    for (treekill, rule) in
        [(None, TreeRule::EndsWithIt), (Some(true), TreeRule::EndsWithIt), (Some(false), TreeRule::LeftAlone)]
    {
        let spec = AppSpec { treekill, shutdown_with_message: true, ..spec() };
        let mut settings = Settings::new("x");
        adjust(&mut settings, &spec, &BTreeMap::new(), &[0], 1, FORKED, &boot(&spec, &BTreeMap::new()));
        assert_eq!((settings.tree, settings.child_channel), (rule, ChildChannel::Json));
        assert_eq!(settings.conduct.readiness, Readiness::Message);
        assert_eq!(settings.stop_message.as_deref(), Some("\"shutdown\""));
    }
}

#[test]
fn scripts_of_node_outside_a_cluster_have_a_channel_and_programs_have_none() {
    let dir = std::env::temp_dir().join(format!("oneport-plan-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (plain, forks) = (write("plain.js", ""), write("forks.js", "if (cluster.isPrimary) cluster.fork()"));
    let fork = Some(ExecMode::Fork);
    let cluster = Some(ExecMode::Cluster);
    let table = [
        (&plain, None, None, ExecMode::Cluster, ChildChannel::None),
        (&plain, fork, None, ExecMode::Fork, ChildChannel::Json),
        (&forks, None, None, ExecMode::Fork, ChildChannel::Json),
        (&forks, cluster, None, ExecMode::Cluster, ChildChannel::None),
        (&plain, None, Some("none"), ExecMode::Fork, ChildChannel::Json),
    ];
    for (script, exec_mode, attach, mode, channel) in table {
        for wait_ready in [false, true] {
            let spec = AppSpec {
                script: script.clone(),
                exec_mode,
                attach: attach.map(str::to_owned),
                wait_ready,
                shutdown_with_message: wait_ready,
                ..spec()
            };
            let plan = Plan::of(&spec).unwrap_or_else(|failure| panic!("{}", failure.words()));
            let manner = plan.manner();
            assert_eq!((manner.mode, manner.channel), (mode, channel), "{script} {exec_mode:?} {attach:?}");
            assert_eq!(plan.awaits_word(), wait_ready);
        }
    }
    let refused = Plan::of(&AppSpec { attach: Some("none".into()), wait_ready: true, ..spec() });
    assert!(refused.err().unwrap().words().contains("it has no channel"));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn the_starters_environment_is_filtered_and_the_configurations_is_not() {
    let mut spec = AppSpec { filter_env: oneport_wire::control::FilterEnv::Everything, ..spec() };
    spec.env.insert("A".into(), "1".into());
    let environment = BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]);
    let mut settings = Settings::new("x");
    let boot = boot(&spec, &environment);
    adjust(&mut settings, &spec, &environment, &[0], 1, FORKED, &boot);
    let names: Vec<_> = settings.env.iter().map(|(name, _)| name.to_str().unwrap()).collect();
    assert_eq!(names, ["A", "ONEPORT_HOME", MARK_VARIABLE]);
}
