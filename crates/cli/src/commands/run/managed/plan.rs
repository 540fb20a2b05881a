//! From an app's configuration to what `oneport run` would be told: the same command line, so that each value is read and
//! refused in the same words; and what only a managed app has.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use clap::Parser;
use oneport::{Attach, Policy, Restarts, Settings, TierChoice};
use oneport_sys::process;
use oneport_sys::tree::MARK_VARIABLE;
use oneport_wire::control::{AppSpec, ExecMode, StopWith};

use super::super::policy::{self, Placing};
use super::super::setup;
use super::boot::Boot;
use crate::args::{Args, RunArgs, Verb};
use crate::attach::{self, Attachment, Class};
use crate::error::{self, Failure};
use crate::program::{Kind, Program};

/// How long a leaving worker may finish by default, and how long after the signal it is killed. PM2's 1.6 s is shorter than
/// many requests.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// What an app is started with.
pub(super) struct Plan {
    pub(super) args: RunArgs,
    pub(super) program: Program,
    pub(super) placing: Placing,
    pub(super) attachment: Attachment,
    /// User and group of the workers.
    pub(super) account: (Option<u32>, Option<u32>),
}

/// What cannot change while a cluster runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    policy: Policy,
    tier: TierChoice,
    attach: Attach,
    way: &'static str,
    credits: Option<u32>,
    /// The line that makes ready is looked for by who reads the output.
    ready_on: String,
}

impl Plan {
    /// Decides everything that can be decided before it is started.
    pub(super) fn of(spec: &AppSpec) -> Result<Plan, Failure> {
        let mut args = parse(spec)?;
        if let Some(cwd) = args.what.cwd.as_deref().filter(|cwd| !cwd.is_dir()) {
            return Err(setup::no_directory(cwd));
        }
        let program = Program::resolve(&args.what)?;
        if binds_for_itself(spec, &program) {
            args.program.attach = crate::args::program::AttachArg::Own;
        }
        let placing = policy::choose(&args, &program, Class::of(&program, &args.program))?;
        let instances = spec.instances.count(process::cpus());
        let attachment = attach::settle(&args, &program, &placing, instances)?;
        let account = crate::account::ids(spec.uid.as_ref(), spec.gid.as_ref())?;
        Ok(Plan { args, program, placing, attachment, account })
    }

    /// What decides whether a running app can go on with another plan, or has to be started anew.
    pub(super) fn shape(&self) -> Shape {
        Shape {
            policy: self.placing.policy,
            tier: self.placing.choice,
            attach: self.attachment.attach,
            way: self.attachment.name,
            credits: self.args.credits,
            ready_on: format!("{:?}", self.args.program.ready_on),
        }
    }

    pub(super) fn mode(&self) -> ExecMode {
        match self.attachment.class {
            Class::Channel | Class::ListenFds => ExecMode::Cluster,
            Class::Program if self.args.program.attach == crate::args::program::AttachArg::Own => {
                ExecMode::Fork
            }
            Class::Program => ExecMode::Cluster,
            Class::Nothing => ExecMode::Fork,
        }
    }

    /// The policy in force: `least A`.
    pub(super) fn policy_name(&self) -> String {
        let name = self.placing.name(self.attachment.class);
        match self.placing.tier {
            Some(tier) => format!("{name} {tier:?}"),
            None => name.to_owned(),
        }
    }

    pub(super) fn interpreter(&self) -> String {
        self.program.exec_path.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string())
    }

    /// What a worker says has to come before it counts as ready.
    pub(super) fn awaits_word(&self) -> bool {
        self.args.wait_ready
    }
}

/// PM2's fork mode, for Node: a script that is no worker of a cluster. One that waits for its word needs the channel.
fn binds_for_itself(spec: &AppSpec, program: &Program) -> bool {
    let words = spec.wait_ready || spec.shutdown_with_message;
    let wished = spec.exec_mode == Some(ExecMode::Fork);
    let primary_itself = spec.exec_mode.is_none() && program.forks_itself();
    program.kind == Kind::Node && spec.attach.is_none() && !words && (wished || primary_itself)
}

fn parse(spec: &AppSpec) -> Result<RunArgs, Failure> {
    match Args::try_parse_from(command_line(spec)) {
        Ok(Args { verb: Verb::Run(args), .. }) => Ok(*args),
        Ok(_) => Err(Failure::new("cannot understand the configuration")),
        Err(error) => Err(error::of_clap(&error)),
    }
}

/// The configuration as arguments of `oneport run`.
fn command_line(spec: &AppSpec) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec!["oneport".into(), "run".into()];
    let mut option = |name: &str, value: String| line.push(format!("{name}={value}").into());
    option("--name", spec.name.clone());
    option("--instances", spec.instances.to_string());
    let texts = [
        ("--policy", &spec.policy),
        ("--tier", &spec.tier),
        ("--attach", &spec.attach),
        ("--ready-on", &spec.ready_on),
        ("--interpreter", &spec.interpreter),
        ("--cwd", &spec.cwd),
        ("--stop-signal", &spec.stop_signal),
    ];
    for (name, value) in texts {
        value.iter().for_each(|value| option(name, value.clone()));
    }
    let spans = [
        ("--listen-timeout", spec.listen_timeout),
        ("--drain-timeout", spec.drain_timeout),
        ("--kill-timeout", spec.kill_timeout),
        ("--min-uptime", spec.min_uptime),
        ("--hang-timeout", spec.hang_timeout),
        ("--watchdog", spec.watchdog),
        ("--restart-delay", spec.restart_delay),
    ];
    for (name, span) in spans {
        span.iter().for_each(|span| option(name, span.0.to_string()));
    }
    let lists = [("--port", &spec.ports.0), ("--exclude-port", &spec.exclude_ports.0)];
    for (name, list) in lists {
        if !list.is_empty() {
            option(name, list.join(","));
        }
    }
    let repeated = [
        ("--publish", &spec.publish.0),
        ("--unix", &spec.unix),
        ("--listen", &spec.listen),
        ("--node-args", &spec.node_args),
    ];
    for (name, values) in repeated {
        values.iter().for_each(|value| option(name, value.clone()));
    }
    spec.credits.iter().for_each(|credits| option("--credits", credits.to_string()));
    spec.max_restarts.iter().for_each(|most| option("--max-restarts", most.to_string()));
    // DESIGN: the manager stops by signal, because PM2's apps clean up in their SIGINT handler, which `disconnect` pre-empts.
    let stop_with = match spec.stop_with.unwrap_or(StopWith::Signal) {
        StopWith::Disconnect => "disconnect",
        StopWith::Signal => "signal",
    };
    option("--stop-with", stop_with.to_owned());
    for (name, wished) in [("--low-ports", spec.low_ports), ("--wait-ready", spec.wait_ready)] {
        if wished {
            line.push(name.into());
        }
    }
    line.push(spec.script.clone().into());
    if !spec.args.is_empty() {
        line.push("--".into());
        line.extend(spec.args.iter().map(OsString::from));
    }
    line
}

/// What a managed app's settings have beside those of `oneport run`.
pub(super) fn adjust(
    settings: &mut Settings,
    spec: &AppSpec,
    environment: &BTreeMap<String, String>,
    slots: &[u32],
    mode: ExecMode,
    boot: &Boot,
) {
    let let_through = environment.iter().filter(|(name, _)| spec.filter_env.lets_through(name));
    let mut env: BTreeMap<String, String> =
        let_through.map(|(name, value)| (name.clone(), value.clone())).collect();
    // A worker that calls `oneport` itself means the daemon it belongs to.
    env.insert(crate::state::VARIABLE.to_owned(), boot.home.display().to_string());
    // By which the daemon finds what this primary leaves behind when it is killed.
    env.insert(MARK_VARIABLE.to_owned(), boot.mark.clone());
    if let Some(port) = spec.port {
        env.insert("PORT".to_owned(), port.to_string());
    }
    env.extend(spec.env.clone());
    // What was set for the run itself (the watchdog's time) stays.
    let own = settings.env.iter().filter(|(name, _)| name == "WATCHDOG_USEC").cloned().collect::<Vec<_>>();
    settings.slot_env = slots
        .iter()
        .zip(0u32..)
        .map(|(&id, slot)| (slot, slot_variables(spec, &env, id, slot, slots.len(), mode)))
        .collect();
    settings.env = env.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    settings.env.extend(own);
    if mode == ExecMode::Fork {
        // `oneport send` writes there, as PM2 does in this mode.
        settings.stdin = oneport::Stdio::Pipe;
    }
    if let Some(name) = &spec.instance_var {
        settings.instance_var = name.into();
    }
    settings.stop_message = spec.shutdown_with_message.then(|| "\"shutdown\"".to_owned());
    let conduct = &mut settings.conduct;
    conduct.restarts = match spec.autorestart {
        Some(false) => Restarts::Never,
        Some(true) | None => Restarts::Always,
    };
    conduct.stop_exit_codes.clone_from(&spec.stop_exit_codes);
    if let Some(first) = spec.exp_backoff_restart_delay {
        conduct.first_pause = first.duration();
    }
    if let Some(parallel) = spec.parallel {
        conduct.parallel = parallel.max(1) as usize;
    }
    if spec.kill_timeout.is_none() {
        conduct.kill_timeout = KILL_TIMEOUT;
    }
}

/// What a worker sees of its place, in PM2's names.
fn slot_variables(
    spec: &AppSpec,
    env: &BTreeMap<String, String>,
    id: u32,
    slot: u32,
    slots: usize,
    mode: ExecMode,
) -> Vec<(OsString, OsString)> {
    let mode = match mode {
        ExecMode::Cluster => "cluster_mode",
        ExecMode::Fork => "fork_mode",
    };
    let mut variables: Vec<(OsString, OsString)> = [
        ("pm_id", id.to_string()),
        ("name", spec.name.clone()),
        ("namespace", spec.namespace.clone()),
        ("instances", slots.to_string()),
        ("exec_mode", mode.to_owned()),
        ("INSTANCE_ID", slot.to_string()),
    ]
    .into_iter()
    // What the configuration says itself stands.
    .filter(|(name, _)| !spec.env.contains_key(*name))
    .map(|(name, value)| (name.into(), value.into()))
    .collect();
    let counted = spec.increment_var.as_ref();
    let counted = counted.and_then(|name| Some((name, env.get(name)?.parse::<i64>().ok()?)));
    if let Some((name, first)) = counted {
        variables.push((name.into(), first.saturating_add(slot.into()).to_string().into()));
    }
    variables
}

#[cfg(test)]
mod tests {
    use oneport_wire::control::Span;

    use super::*;

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

    #[test]
    fn the_starters_environment_is_filtered_and_the_configurations_is_not() {
        let mut spec = AppSpec { filter_env: oneport_wire::control::FilterEnv::Everything, ..spec() };
        spec.env.insert("A".into(), "1".into());
        let environment = BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]);
        let mut settings = Settings::new("x");
        let boot = Boot {
            home: "/home/x".into(),
            serial: 1,
            spec: spec.clone(),
            environment: environment.clone(),
            ids: vec![0],
            stopped: Vec::new(),
            created_at: 0,
            mark: "m".into(),
        };
        adjust(&mut settings, &spec, &environment, &[0], ExecMode::Fork, &boot);
        let names: Vec<_> = settings.env.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        assert_eq!(names, ["A", "ONEPORT_HOME", MARK_VARIABLE]);
    }
}
