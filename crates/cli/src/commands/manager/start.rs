//! `start`, and what is idempotent: scripts, configurations, and apps that are on the list already.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use oneport_wire::control::{AppSpec, AppView, Create, Job, JobKind, Reload, Restart, Start};

use super::apply::{absolute, here};
use super::link::Link;
use super::select::{Chosen, choose};
use super::watch::{Ended, watch};
use super::{Manner, act, show_list};
use crate::Done;
use crate::args::manager::{ChangeArgs, StartArgs};
use crate::args::spec::SpecArgs;
use crate::args::target::TargetArgs;
use crate::control::segment;
use crate::error::Failure;
use crate::program::Program;
use crate::render::manager::{Tone, applying, says};
use crate::render::voice;

/// What is done with an app that is on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Restart,
    Reload,
}

/// The environment of this command. What is no UTF-8 is left out.
pub(super) fn environment() -> BTreeMap<String, String> {
    let variables = std::env::vars_os();
    variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

pub(super) fn warn_of_foreign(args: &SpecArgs) {
    let given = args.foreign.given();
    if !given.is_empty() {
        let text = format!("{} mean nothing here", given.join(", "));
        voice::err(format_args!("{}", says(Tone::Warning, &text)));
    }
}

pub(super) fn view_of<'a>(name: &str, apps: &'a [AppView]) -> Result<&'a AppView, Failure> {
    apps.iter().find(|app| app.name == name).ok_or_else(|| super::select::unknown(name, apps))
}

/// Apps on the list that these words mean, also by configurations that name them.
pub(super) fn select(words: &[OsString], apps: &[AppView]) -> Result<Vec<Chosen>, Failure> {
    choose(words, apps)
}

/// Apps on the list, and the configurations that were named for them.
pub(super) struct Targets {
    pub(super) chosen: Vec<Chosen>,
    specs: Vec<AppSpec>,
}

impl Targets {
    pub(super) fn spec_of(&self, app: &str) -> Option<&AppSpec> {
        self.specs.iter().find(|spec| spec.name == app)
    }
}

pub(super) fn targets(args: &ChangeArgs, apps: &[AppView]) -> Result<Targets, Failure> {
    Ok(Targets { chosen: select(&args.targets, apps)?, specs: Vec::new() })
}

pub(super) async fn start(args: &StartArgs) -> Done {
    let manner = Manner::of(&args.common)?;
    warn_of_foreign(&args.spec);
    let link = Link::open().await?;
    let apps = link.apps().await?;
    let mut ended = Ended::Done;
    for target in &args.targets {
        ended = ended.and(one(&link, args, target, &apps, manner).await?);
        if ended == Ended::LeftAlone {
            return Ok(ended.code());
        }
    }
    if args.targets.is_empty() {
        let Some((program, rest)) = args.rest.split_first() else {
            return Err(Failure::usage("cannot start: nothing is named, and there is no configuration here")
                .hint("oneport start SCRIPT, or oneport init"));
        };
        let spec = spec_of_script(args, program, rest)?;
        ended = ended.and(create(&link, spec, args.force, manner).await?);
    }
    show_list(&link, manner).await?;
    Ok(ended.code())
}

async fn one(
    link: &Link,
    args: &StartArgs,
    target: &OsStr,
    apps: &[AppView],
    manner: Manner,
) -> Result<Ended, Failure> {
    if let Ok(chosen) = choose(&[target.to_owned()], apps) {
        return start_known(link, args, chosen, apps, manner).await;
    }
    let spec = spec_of_script(args, target, &args.rest)?;
    // PM2: the same script once more is the app that is there, if it does not run.
    if let Some(view) = apps.iter().find(|app| app.name == spec.name).filter(|_| !args.force) {
        let same = view.spec.script == spec.script;
        let runs = view.workers.iter().any(|worker| worker.pid.is_some());
        if same && !runs {
            let chosen = vec![Chosen { app: view.name.clone(), ids: Vec::new() }];
            return start_known(link, args, chosen, apps, manner).await;
        }
    }
    create(link, spec, args.force, manner).await
}

/// Starts what is on the list: stopped ones come, and those that run are restarted, as PM2 does.
async fn start_known(
    link: &Link,
    args: &StartArgs,
    chosen: Vec<Chosen>,
    apps: &[AppView],
    manner: Manner,
) -> Result<Ended, Failure> {
    let mut ended = Ended::Done;
    for one in chosen {
        let view = view_of(&one.app, apps)?;
        let change = ChangeArgs {
            targets: Vec::new(),
            rest: args.rest.clone(),
            only: Vec::new(),
            spec: args.spec.clone(),
            common: args.common.clone(),
        };
        let spec = act::changed(&change, view, None)?;
        let meant = |id: u32| one.ids.is_empty() || one.ids.contains(&id);
        let runs = view.workers.iter().any(|worker| meant(worker.id) && worker.pid.is_some());
        let ids: Vec<u32> = view.workers.iter().map(|worker| worker.id).filter(|id| meant(*id)).collect();
        let (verb, body) = match (runs, &spec, args.spec.update_env) {
            (false, None, false) => (JobKind::Start, serde_json::json!(Start { ids: one.ids.clone() })),
            _ => {
                let environment = args.spec.update_env.then(environment);
                let restart = Restart { ids: one.ids.clone(), spec: spec.map(Box::new), environment };
                (JobKind::Restart, serde_json::json!(restart))
            }
        };
        if !manner.silent {
            voice::out(format_args!("{}", applying(verb, &one.app, &ids).trim_end()));
        }
        let job: Job = link.post(&format!("/v1/apps/{}/{}", segment(&one.app), verb.word()), &body).await?;
        ended = ended.and(watch(link, &one.app, job, manner).await?);
    }
    Ok(ended)
}

/// A new app, and its start.
async fn create(link: &Link, spec: AppSpec, force: bool, manner: Manner) -> Result<Ended, Failure> {
    let stopped = spec.autostart == Some(false);
    let wanted = Create { spec, environment: environment(), force, ids: Vec::new(), stopped };
    let view: AppView = link.post_slow("/v1/apps", &wanted).await?;
    let ids: Vec<u32> = view.workers.iter().map(|worker| worker.id).collect();
    if !manner.silent {
        voice::out(format_args!("{}", applying(JobKind::Start, &view.name, &ids).trim_end()));
    }
    if stopped {
        return Ok(Ended::Done);
    }
    // Its first.
    let job: Job = link.get(&format!("/v1/apps/{}/jobs/1", segment(&view.name))).await?;
    watch(link, &view.name, job, manner).await
}

fn spec_of_script(args: &StartArgs, target: &OsStr, rest: &[OsString]) -> Result<AppSpec, Failure> {
    let here = here()?;
    let cwd = args.spec.cwd.as_ref().map_or(here.clone(), |cwd| here.join(cwd));
    let wanted = TargetArgs {
        target: Some(target.to_owned()),
        stray: Vec::new(),
        rest: rest.to_vec(),
        cwd: Some(cwd.clone()),
        env: Vec::new(),
        interpreter: args.spec.interpreter.clone().map(Into::into),
        node_args: args.spec.node_args.clone(),
    };
    if !cwd.is_dir() {
        return Err(crate::commands::run::no_directory(&cwd));
    }
    let program = Program::resolve(&wanted)?;
    let text = target.to_string_lossy().into_owned();
    let path = cwd.join(&text);
    let script = if path.is_file() { absolute(&cwd, &text) } else { text };
    let stem = Path::new(&program.title).file_stem();
    let mut spec = AppSpec {
        name: stem.map_or(program.title.clone(), |stem| stem.to_string_lossy().into_owned()),
        script,
        args: rest.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        cwd: Some(cwd.to_string_lossy().into_owned()),
        ..AppSpec::default()
    };
    args.spec.apply(&mut spec, &here)?;
    spec.cwd = Some(cwd.to_string_lossy().into_owned());
    Ok(spec)
}

/// `startOrRestart` and `startOrReload`: what a deploy script says.
pub(super) async fn start_or(args: &ChangeArgs, known: Known) -> Done {
    let manner = Manner::of(&args.common)?;
    warn_of_foreign(&args.spec);
    let link = Link::open().await?;
    let apps = link.apps().await?;
    let targets = targets(args, &apps)?;
    let environment_now = args.spec.update_env.then(environment);
    let mut ended = Ended::Done;
    for one in &targets.chosen {
        let view = view_of(&one.app, &apps)?;
        let spec = act::changed(args, view, targets.spec_of(&one.app))?.map(Box::new);
        let environment = environment_now.clone();
        let (verb, body) = match known {
            Known::Restart => {
                (JobKind::Restart, serde_json::json!(Restart { ids: one.ids.clone(), spec, environment }))
            }
            Known::Reload => {
                let reload = Reload { ids: one.ids.clone(), spec, environment, ..Reload::default() };
                (JobKind::Reload, serde_json::json!(reload))
            }
        };
        let job: Job = link.post(&format!("/v1/apps/{}/{}", segment(&one.app), verb.word()), &body).await?;
        ended = ended.and(watch(&link, &one.app, job, manner).await?);
    }
    show_list(&link, manner).await?;
    Ok(match ended {
        Ended::Done => ExitCode::SUCCESS,
        ended @ (Ended::Failed | Ended::LeftAlone) => ended.code(),
    })
}
