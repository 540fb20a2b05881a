//! `start`, and what is idempotent: scripts, configurations, and apps that are on the list already.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use oneport_wire::control::{AppSpec, AppView, Create, Job, JobKind, Restart, Span, Start};

use super::apply::here;
use super::gather::{How, Meant, gather, of_this_directory};
use super::link::Link;
use super::marks::Marks;
use super::select::Chosen;
use super::stay::{self, Stay};
use super::watch::{Ended, watch};
use super::{Manner, alias, change, script, show_list};
use crate::Done;
use crate::args::manager::{ChangeArgs, StartArgs};
use crate::args::spec::SpecArgs;
use crate::commands::run::Spans;
use crate::commands::run::managed::check_values;
use crate::control::segment;
use crate::error::Failure;
use crate::logs::is_somebodys_own;
use crate::render::manager::{Tone, applying};
use crate::render::voice;
use crate::state::environment::{left_out, listed};

/// The environment of this command. What is no UTF-8 is left out.
pub(super) fn environment() -> BTreeMap<String, String> {
    let variables = std::env::vars_os();
    variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

pub(super) fn warn_of_foreign(args: &SpecArgs) {
    let given = args.foreign.given();
    if !given.is_empty() {
        let means = if given.len() == 1 { "means" } else { "mean" };
        let text = format!("{} {means} nothing here", given.join(", "));
        super::say(Tone::Warning, &text);
    }
}

/// What PM2's variables say of an app that is configured by this command.
pub(super) fn take_aliases(spec: &mut AppSpec) {
    for note in alias::fill(spec, |name| std::env::var(name).ok()) {
        super::say(Tone::Warning, &note);
    }
}

/// `/dev/stdout` in images made for `pm2-runtime`: it would be that of the primary, which has none.
pub(super) fn tell_streams(spec: &mut AppSpec) {
    for file in [&mut spec.out_file, &mut spec.error_file, &mut spec.log_file] {
        if let Some(path) = file.take_if(|path| is_somebodys_own(path)) {
            let text = format!(
                "`{path}` as a log file means nothing here: `logs` and --no-daemon show what is written"
            );
            super::say(Tone::Warning, &text);
        }
    }
}

pub(super) fn view_of<'a>(name: &str, apps: &'a [AppView]) -> Result<&'a AppView, Failure> {
    apps.iter().find(|app| app.name == name).ok_or_else(|| super::select::unknown(name, apps))
}

pub(super) async fn start(args: &StartArgs) -> Done {
    let args = &script::give_back(args, &here()?);
    let manner = Manner::of(&args.common)?;
    warn_of_foreign(&args.spec);
    let link = Link::open().await?;
    let apps = link.apps().await?;
    let how = How::of(&args.spec, &args.only, &link.home);
    let meant = match (args.targets.is_empty(), args.rest.split_first()) {
        (false, _) => gather(&args.targets, &apps, &how)?,
        (true, Some((program, rest))) => vec![Meant::Command(program.clone(), rest.to_vec())],
        (true, None) => of_this_directory(&how)?.ok_or_else(|| {
            Failure::usage("cannot start: nothing is named, and there is no configuration here")
                .hint("oneport start SCRIPT, or oneport init")
        })?,
    };
    let shows = args.no_daemon || args.spec.wants_logs();
    let marks = if shows { marks(&link, &args.spec, &meant, &apps) } else { Marks::default() };
    if !args.no_daemon {
        let (ended, begun) = begin(&link, args, meant, &apps, manner).await?;
        if ended == Ended::LeftAlone {
            return Ok(ended.code());
        }
        show_list(&link, manner).await?;
        return match args.spec.wants_logs() && ended == Ended::Done {
            true => stay::attach(&link, &begun, &marks).await,
            false => Ok(ended.code()),
        };
    }
    let mut stays = Stay::begin()?;
    let begun = tokio::select! {
        biased;
        () = stays.told() => None,
        begun = begin(&link, args, meant, &apps, manner) => Some(begun?),
    };
    match begun {
        None | Some((Ended::LeftAlone, _)) => Ok(stays.end(&link).await?.code()),
        Some((Ended::Done | Ended::Failed, _)) => {
            show_list(&link, manner).await?;
            stays.stay(&link, &marks).await
        }
    }
}

/// Starts them all, and then waits for each: how it went, and what they are called.
async fn begin(
    link: &Link,
    args: &StartArgs,
    meant: Vec<Meant>,
    apps: &[AppView],
    manner: Manner,
) -> Result<(Ended, Vec<String>), Failure> {
    let (mut ended, alone) = (Ended::Done, meant.len() <= 1);
    let mut all = Vec::new();
    for one in meant {
        let begun = match one {
            Meant::Known(chosen) => start_known(link, args, &chosen, None, apps, manner).await,
            Meant::Configured(spec) => start_configured(link, args, *spec, args.force, apps, manner).await,
            Meant::Another(spec) => start_configured(link, args, *spec, true, apps, manner).await,
            Meant::Script(word) => start_script(link, args, &word, apps, manner).await,
            Meant::Command(program, rest) => start_command(link, args, &program, &rest, manner).await,
        };
        match begun {
            Ok(begun) => all.push(begun),
            Err(failure) if alone => return Err(failure),
            // The others do not wait for this one.
            Err(failure) => {
                voice::err(format_args!("{}", failure.words()));
                ended = Ended::Failed;
            }
        }
    }
    let names: Vec<String> = all.iter().map(|begun| begun.app.clone()).collect();
    for begun in all {
        ended = ended.and(begun.watch(link, manner).await?);
        if ended == Ended::LeftAlone {
            break;
        }
    }
    Ok((ended, names))
}

/// Where log files are now, of everything that may be about to write to them.
pub(super) fn marks(link: &Link, args: &SpecArgs, meant: &[Meant], apps: &[AppView]) -> Marks {
    let mut files: Vec<&str> = Vec::new();
    files.extend([&args.output, &args.error, &args.log].into_iter().flatten().map(String::as_str));
    for one in meant {
        let (Meant::Configured(spec) | Meant::Another(spec)) = one else { continue };
        let of_spec = [&spec.out_file, &spec.error_file, &spec.log_file];
        files.extend(of_spec.into_iter().flatten().map(String::as_str));
    }
    for worker in apps.iter().flat_map(|app| &app.workers) {
        let of_worker = [&worker.logs.out, &worker.logs.error, &worker.logs.both];
        files.extend(of_worker.into_iter().flatten().map(String::as_str));
    }
    let here = here().unwrap_or_default();
    let mut folders: Vec<PathBuf> =
        files.into_iter().filter_map(|file| here.join(file).parent().map(Path::to_owned)).collect();
    folders.push(link.home.logs());
    folders.sort();
    folders.dedup();
    Marks::take(folders)
}

/// A job that was begun: its end is watched when all others are begun as well.
pub(super) struct Begun {
    app: String,
    /// None where there is nothing to do.
    job: Option<Job>,
    /// Another number of workers is wanted afterwards.
    scale: Option<(change::Wish, Box<AppView>)>,
}

impl Begun {
    pub(super) async fn watch(self, link: &Link, manner: Manner) -> Result<Ended, Failure> {
        let Some(job) = self.job else { return Ok(Ended::Done) };
        let ended = watch(link, &self.app, job, manner).await?;
        match self.scale {
            Some((wish, view)) if ended == Ended::Done => {
                change::scale_as_wished(link, &view, wish, manner).await
            }
            Some(_) | None => Ok(ended),
        }
    }
}

async fn start_command(
    link: &Link,
    args: &StartArgs,
    program: &OsStr,
    rest: &[OsString],
    manner: Manner,
) -> Result<Begun, Failure> {
    let mut spec = script::spec_of(args, program, rest)?;
    hurry(args, &mut spec);
    create(link, spec, args.force, manner).await
}

/// As process 1 of a container, which is killed 10 s after it was told to end: as `oneport run` there.
fn hurry(args: &StartArgs, spec: &mut AppSpec) {
    let own = oneport_sys::process::own_pid();
    if args.no_daemon && own.get() == 1 {
        let spans = Spans::of(own);
        let ms = |span: Duration| Span(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        spec.drain_timeout.get_or_insert(ms(spans.drain));
        spec.kill_timeout.get_or_insert(ms(spans.kill));
    }
}

async fn start_script(
    link: &Link,
    args: &StartArgs,
    target: &OsStr,
    apps: &[AppView],
    manner: Manner,
) -> Result<Begun, Failure> {
    let mut spec = script::spec_of(args, target, &args.rest)?;
    hurry(args, &mut spec);
    // PM2: the same script once more is the app that is there, if it does not run.
    if let Some(view) = apps.iter().find(|app| app.name == spec.name).filter(|_| !args.force) {
        let same = view.spec.script == spec.script;
        let runs = view.workers.iter().any(|worker| worker.pid.is_some());
        if same && !runs {
            let chosen = Chosen { app: view.name.clone(), ids: Vec::new() };
            return start_known(link, args, &chosen, None, apps, manner).await;
        }
    }
    create(link, spec, args.force, manner).await
}

async fn start_configured(
    link: &Link,
    args: &StartArgs,
    mut spec: AppSpec,
    force: bool,
    apps: &[AppView],
    manner: Manner,
) -> Result<Begun, Failure> {
    let is_known = apps.iter().any(|app| app.name == spec.name) && !force;
    if is_known {
        let chosen = Chosen { app: spec.name.clone(), ids: Vec::new() };
        return start_known(link, args, &chosen, Some(&spec), apps, manner).await;
    }
    let name = spec.name.clone();
    args.spec.apply(&mut spec, &here()?)?;
    if args.spec.name.is_none() || args.targets.len() > 1 {
        spec.name = name;
    }
    hurry(args, &mut spec);
    create(link, spec, force, manner).await
}

/// Starts what is on the list: stopped ones come, and those that run are restarted, as PM2 does.
async fn start_known(
    link: &Link,
    args: &StartArgs,
    one: &Chosen,
    wanted: Option<&AppSpec>,
    apps: &[AppView],
    manner: Manner,
) -> Result<Begun, Failure> {
    let view = view_of(&one.app, apps)?;
    let change = ChangeArgs {
        targets: Vec::new(),
        rest: args.rest.clone(),
        only: Vec::new(),
        spec: args.spec.clone(),
        common: args.common.clone(),
    };
    let spec = change::changed(&change, view, wanted)?;
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
    let wish = change::Wish::of(&args.spec, wanted);
    let scale = wish.map(|wish| (wish, Box::new(view.clone())));
    Ok(Begun { app: one.app.clone(), job: Some(job), scale })
}

/// What of the environment is not saved with an app: once for all that a command starts.
fn tell_left_out(environment: &BTreeMap<String, String>, configured: &BTreeMap<String, String>) {
    static TOLD: Once = Once::new();
    let left = left_out(environment, configured);
    if !left.is_empty() {
        let text = format!("not kept for after a boot, unless configured: {}", listed(&left, super::NAMES));
        TOLD.call_once(|| super::say(Tone::Info, &text));
    }
}

/// A new app, and its start.
pub(super) async fn create(
    link: &Link,
    mut spec: AppSpec,
    force: bool,
    manner: Manner,
) -> Result<Begun, Failure> {
    take_aliases(&mut spec);
    tell_streams(&mut spec);
    check_values(&spec)?;
    let stopped = spec.autostart == Some(false);
    let environment = environment();
    if !manner.silent {
        tell_left_out(&environment, &spec.env);
    }
    let wanted = Create { spec, environment, force, ids: Vec::new(), stopped };
    let view: AppView = link.post_slow("/v1/apps", &wanted).await?;
    let ids: Vec<u32> = view.workers.iter().map(|worker| worker.id).collect();
    if !manner.silent {
        voice::out(format_args!("{}", applying(JobKind::Start, &view.name, &ids).trim_end()));
    }
    if stopped {
        return Ok(Begun { app: view.name, job: None, scale: None });
    }
    // Its first.
    let job: Job = link.get(&format!("/v1/apps/{}/jobs/1", segment(&view.name))).await?;
    Ok(Begun { app: view.name, job: Some(job), scale: None })
}
