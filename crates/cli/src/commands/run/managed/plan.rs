//! From an app's configuration to what `oneport run` would be told: the same command line, so that each value is read and
//! refused in the same words; and what only a managed app has.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use clap::Parser;
use oneport::{Attach, ChildChannel, Policy, Readiness, Restarts, Settings, TierChoice, TreeRule};
use oneport_sys::process;
use oneport_sys::tree::MARK_VARIABLE;
use oneport_wire::control::{AppSpec, ExecMode, StopWith};

use super::super::policy::{self, Placing};
use super::super::setup;
use super::boot::Boot;
use crate::args::program::{AttachArg, ReadyOnArg};
use crate::args::{Args, RunArgs, Verb};
use crate::attach::{self, Attachment, Class, Survey};
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
    manner: Manner,
}

/// What an app's settings have beside what `oneport run` could be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) mode: ExecMode,
    /// As under PM2, whose fork mode every program has: it can be written to, and does not end at the end of it.
    input: oneport::Stdio,
    /// Of workers that are none of a cluster.
    channel: ChildChannel,
    readiness: Option<Readiness>,
}

/// What cannot change while a cluster runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    policy: Policy,
    tier: TierChoice,
    attach: Attach,
    way: &'static str,
    credits: Option<u32>,
    wait_ready: bool,
    /// The line that makes ready is looked for by who reads the output.
    ready_on: String,
}

impl Plan {
    /// Decides everything that can be decided before it is started.
    pub(super) fn of(spec: &AppSpec) -> Result<Plan, Failure> {
        let mut args = parse(spec)?;
        if let Some(cwd) = args.what.cwd.as_deref().filter(|cwd| !cwd.is_dir()) {
            return Err(setup::no_directory(cwd).in_the_world());
        }
        let program = Program::resolve(&args.what).map_err(Failure::in_the_world)?;
        // A safeguard that cannot be had is refused, and not found out about when it is needed.
        crate::guards::Plan::of(spec, args.what.cwd.as_deref().unwrap_or("/".as_ref()), &[])?;
        if binds_for_itself(spec, &program) {
            args.program.attach = own_or_none(&program)?;
        }
        let class = Class::of(&program, &args.program);
        let channel = channel_of(&program, class);
        let mut readiness = None;
        let plain = matches!(args.program.ready_on, ReadyOnArg::Listen);
        if channel != ChildChannel::None && plain && std::mem::take(&mut args.wait_ready) {
            // On another channel than the one `run` knows of.
            readiness = Some(Readiness::Message);
        }
        let placing = policy::choose(&args, &program, class)?;
        let instances = spec.instances.count(process::cpus());
        let attachment = attach::settle(&args, &program, &placing, instances)?;
        let account = crate::account::ids(spec.uid.as_ref(), spec.gid.as_ref())?;
        let wished = spec.exec_mode == Some(ExecMode::Fork);
        let mode = mode_of(attachment.class, args.program.attach, wished);
        let input = match attachment.class {
            Class::Channel | Class::ListenFds => oneport::Stdio::Null,
            Class::Program | Class::Nothing => oneport::Stdio::Pipe,
        };
        let manner = Manner { mode, input, channel, readiness };
        Ok(Plan { args, program, placing, attachment, account, manner })
    }

    /// What decides whether a running app can go on with another plan, or has to be started anew.
    pub(super) fn shape(&self) -> Shape {
        Shape {
            policy: self.placing.policy,
            tier: self.placing.choice,
            attach: self.attachment.attach,
            way: self.attachment.name,
            credits: self.args.credits,
            wait_ready: self.args.wait_ready || self.manner.readiness.is_some(),
            ready_on: format!("{:?}", self.args.program.ready_on),
        }
    }

    pub(super) fn manner(&self) -> Manner {
        self.manner
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
        self.args.wait_ready || self.manner.readiness == Some(Readiness::Message)
    }
}

/// PM2's fork mode, for Node: a script that is no worker of a cluster, and may be the primary of one itself.
fn binds_for_itself(spec: &AppSpec, program: &Program) -> bool {
    let wished = spec.exec_mode == Some(ExecMode::Fork);
    // The channel keeps a worker of a cluster running (seen with Node 20): a script that is to end would not.
    let ends = spec.autorestart == Some(false);
    let primary_itself = spec.exec_mode.is_none() && (program.forks_itself() || ends);
    program.kind == Kind::Node && spec.attach.is_none() && (wished || primary_itself)
}

/// Its binds are had where this system allows it. Where not, it binds as under PM2.
fn own_or_none(program: &Program) -> Result<AttachArg, Failure> {
    match Survey::of(program)?.way(AttachArg::Own) {
        Ok(_) => Ok(AttachArg::Own),
        Err(_) => Ok(AttachArg::None),
    }
}

/// Under PM2 every script of Node is a forked child with a channel, in fork mode too.
fn channel_of(program: &Program, class: Class) -> ChildChannel {
    match (program.kind, class) {
        (Kind::Node, Class::Program | Class::Nothing) => ChildChannel::Json,
        // The cluster's own, or sockets in its place.
        (Kind::Node, Class::Channel | Class::ListenFds)
        | (Kind::Deno | Kind::Library | Kind::Wrapper | Kind::Other, _) => ChildChannel::None,
    }
}

fn mode_of(class: Class, attach: AttachArg, wished: bool) -> ExecMode {
    match class {
        Class::Channel | Class::ListenFds => ExecMode::Cluster,
        Class::Program if wished || attach == AttachArg::Own => ExecMode::Fork,
        Class::Program => ExecMode::Cluster,
        Class::Nothing => ExecMode::Fork,
    }
}

fn parse(spec: &AppSpec) -> Result<RunArgs, Failure> {
    match Args::try_parse_from(command_line(spec)) {
        Ok(Args { verb: Verb::Run(args), .. }) => Ok(*args),
        Ok(_) => Err(Failure::new("cannot understand the configuration")),
        Err(error) => Err(error::of_clap(&error)),
    }
}

/// Whether all values are such as can be used at all, before anything is begun.
pub(crate) fn check_values(spec: &AppSpec) -> Result<(), Failure> {
    parse(spec)?;
    crate::account::ids(spec.uid.as_ref(), spec.gid.as_ref()).map(drop)
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

/// What a managed app's settings have beside those of `oneport run`. `slots`: their numbers, also of those that are off the
/// list; `listed`: how many are not.
pub(super) fn adjust(
    settings: &mut Settings,
    spec: &AppSpec,
    environment: &BTreeMap<String, String>,
    slots: &[u32],
    listed: usize,
    manner: Manner,
    boot: &Boot,
) {
    let Manner { mode, input, channel, readiness } = manner;
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
        .map(|(&id, slot)| (slot, slot_variables(spec, &env, id, slot, listed, mode)))
        .collect();
    settings.env = env.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    settings.env.extend(own);
    settings.stdin = input;
    if let Some(name) = &spec.instance_var {
        settings.instance_var = name.into();
    }
    settings.stop_message = spec.shutdown_with_message.then(|| "\"shutdown\"".to_owned());
    settings.child_channel = channel;
    settings.tree = match spec.treekill {
        Some(false) => TreeRule::LeftAlone,
        Some(true) | None => TreeRule::EndsWithIt,
    };
    let conduct = &mut settings.conduct;
    if let Some(readiness) = readiness {
        conduct.readiness = readiness;
    }
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
        ("namespace", super::view::namespace(&spec.namespace)),
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
mod tests;
