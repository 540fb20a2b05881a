//! Verbs that do something with apps that are on the list.

use std::process::ExitCode;

use oneport_wire::control::{
    AppSpec, AppView, Instances, Job, JobKind, Line, Reload, Restart, Scale, Signal, Slots, Span,
};
use serde_json::{Value, json};

use super::gather::{How, Targets, on_list, targets};
use super::link::Link;
use super::select::{Chosen, choose};
use super::watch::{Ended, watch};
use super::{Manner, apply, show_list, start};
use crate::Done;
use crate::args::keep::SendArgs;
use crate::args::manager::{ChangeArgs, ReloadArgs, ScaleArgs, SelectArgs, SignalArgs};
use crate::control::segment;
use crate::error::Failure;
use crate::render::manager::{Applied, Change, Secrets, Tone, applying, plan};
use crate::render::voice;

fn path(app: &str, verb: &str) -> String {
    format!("/v1/apps/{}/{verb}", segment(app))
}

fn ids_of(chosen: &Chosen, apps: &[AppView]) -> Vec<u32> {
    let of = apps.iter().find(|app| app.name == chosen.app);
    let all = of.map(|app| app.workers.iter().map(|worker| worker.id).collect()).unwrap_or_default();
    if chosen.ids.is_empty() { all } else { chosen.ids.clone() }
}

/// Says what is going to be done.
fn announce(verb: JobKind, chosen: &Chosen, apps: &[AppView], manner: Manner) {
    if !manner.silent {
        voice::out(format_args!("{}", applying(verb, &chosen.app, &ids_of(chosen, apps)).trim_end()));
    }
}

/// Begins a job for each, and watches them one after the other.
async fn each(
    link: &Link,
    chosen: &[Chosen],
    apps: &[AppView],
    manner: Manner,
    verb: JobKind,
    body: impl Fn(&Chosen) -> Result<Value, Failure>,
) -> Result<Ended, Failure> {
    let mut jobs = Vec::new();
    let mut ended = Ended::Done;
    for one in chosen {
        announce(verb, one, apps, manner);
        let begun: Result<Job, Failure> = link.post(&path(&one.app, verb.word()), &body(one)?).await;
        match begun {
            Ok(job) => jobs.push((one.app.clone(), job)),
            // The others do not wait for this one.
            Err(failure) if chosen.len() > 1 => {
                voice::err(format_args!("{}", failure.words()));
                ended = Ended::Failed;
            }
            Err(failure) => return Err(failure),
        }
    }
    for (app, job) in jobs {
        ended = ended.and(watch(link, &app, job, manner).await?);
        if ended == Ended::LeftAlone {
            break;
        }
    }
    Ok(ended)
}

async fn finish(link: &Link, ended: Ended, manner: Manner) -> Done {
    if ended != Ended::LeftAlone {
        show_list(link, manner).await?;
    }
    Ok(ended.code())
}

fn slots(chosen: &Chosen) -> Result<Value, Failure> {
    Ok(json!(Slots { ids: chosen.ids.clone() }))
}

pub(super) async fn stop(args: &SelectArgs) -> Done {
    let manner = Manner::of(&args.common)?;
    let link = Link::open().await?;
    let apps = link.apps().await?;
    let chosen = on_list(&args.targets, &apps, &How::plain(&link.home))?;
    let ended = each(&link, &chosen, &apps, manner, JobKind::Stop, slots).await?;
    finish(&link, ended, manner).await
}

pub(super) async fn delete(args: &SelectArgs) -> Done {
    let manner = Manner::of(&args.common)?;
    let link = Link::open().await?;
    let apps = link.apps().await?;
    let chosen = on_list(&args.targets, &apps, &How::plain(&link.home))?;
    let ended = each(&link, &chosen, &apps, manner, JobKind::Delete, slots).await?;
    let gone: Vec<&str> =
        chosen.iter().filter(|one| one.ids.is_empty()).map(|one| one.app.as_str()).collect();
    link.await_without(&gone).await?;
    finish(&link, ended, manner).await
}

/// The configuration of an app with what was said over it; none where nothing was said.
pub(super) fn changed(
    args: &ChangeArgs,
    view: &AppView,
    wanted: Option<&AppSpec>,
) -> Result<Option<AppSpec>, Failure> {
    if wanted.is_none() && !args.spec.changes() && args.rest.is_empty() {
        return Ok(None);
    }
    let mut spec = wanted.unwrap_or(&view.spec).clone();
    let name = spec.name.clone();
    args.spec.apply(&mut spec, &apply::here()?)?;
    // Names are changed by nobody: they are how an app is found.
    spec.name = name;
    if wanted.is_some() {
        start::take_aliases(&mut spec);
    }
    if !args.rest.is_empty() {
        spec.args = args.rest.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    }
    Ok(Some(spec))
}

pub(super) async fn restart(args: &ChangeArgs) -> Done {
    let manner = Manner::of(&args.common)?;
    let link = Link::open().await?;
    let apps = link.apps().await?;
    let targets = targets(&args.targets, &apps, &How::of(&args.spec, &args.only, &link.home))?;
    start::warn_of_foreign(&args.spec);
    let ended = change(&link, args, &targets, &apps, manner, JobKind::Restart).await?;
    finish(&link, ended, manner).await
}

/// Restarts or reloads apps that are on the list, and starts those of configurations that are not.
pub(super) async fn change(
    link: &Link,
    args: &ChangeArgs,
    targets: &Targets,
    apps: &[AppView],
    manner: Manner,
    verb: JobKind,
) -> Result<Ended, Failure> {
    let environment = args.spec.update_env.then(start::environment);
    let body = |chosen: &Chosen| {
        let view = start::view_of(&chosen.app, apps)?;
        let spec = changed(args, view, targets.spec_of(&chosen.app))?.map(Box::new);
        let (ids, environment) = (chosen.ids.clone(), environment.clone());
        Ok(match verb {
            JobKind::Reload => {
                json!(Reload { ids, spec, environment, parallel: args.spec.parallel, ..Reload::default() })
            }
            JobKind::Start | JobKind::Stop | JobKind::Restart | JobKind::Scale | JobKind::Delete => {
                json!(Restart { ids, spec, environment })
            }
        })
    };
    let mut ended = each(link, &targets.chosen, apps, manner, verb, body).await?;
    ended = ended.and(scale_all(link, args, targets, apps, manner, ended).await?);
    for spec in &targets.missing {
        let begun = start::create(link, spec.clone(), false, manner).await?;
        ended = ended.and(begun.watch(link, manner).await?);
    }
    Ok(ended)
}

/// A configuration may want another number of workers than before.
async fn scale_all(
    link: &Link,
    args: &ChangeArgs,
    targets: &Targets,
    apps: &[AppView],
    manner: Manner,
    so_far: Ended,
) -> Result<Ended, Failure> {
    let mut ended = so_far;
    for one in targets.chosen.iter().filter(|one| one.ids.is_empty()) {
        let view = start::view_of(&one.app, apps)?;
        let wanted = args.spec.instances.or(targets.spec_of(&one.app).map(|spec| spec.instances));
        if let Some(instances) = wanted.filter(|_| ended == Ended::Done) {
            ended = scale_as_configured(link, view, instances, manner).await?;
        }
    }
    Ok(ended)
}

/// Only a number that was changed counts: who scaled by hand is not put back by every deploy.
pub(super) async fn scale_as_configured(
    link: &Link,
    view: &AppView,
    instances: Instances,
    manner: Manner,
) -> Result<Ended, Failure> {
    let to = instances.count(oneport_sys::process::cpus());
    if instances == view.spec.instances || to as usize == view.workers.len() {
        return Ok(Ended::Done);
    }
    let job: Job = link.post(&path(&view.name, "scale"), &Scale::To(to)).await?;
    watch(link, &view.name, job, manner).await
}

pub(super) async fn reload(args: &ReloadArgs) -> Done {
    let manner = Manner::of(&args.change.common)?;
    let link = Link::open().await?;
    let apps = link.apps().await?;
    let how = How::of(&args.change.spec, &args.change.only, &link.home);
    let targets = targets(&args.change.targets, &apps, &how)?;
    start::warn_of_foreign(&args.change.spec);
    if args.canary.is_none() && !args.plan {
        let ended = change(&link, &args.change, &targets, &apps, manner, JobKind::Reload).await?;
        return finish(&link, ended, manner).await;
    }
    let environment = args.change.spec.update_env.then(start::environment);
    let body = |chosen: &Chosen| {
        let view = start::view_of(&chosen.app, &apps)?;
        let spec = changed(&args.change, view, targets.spec_of(&chosen.app))?.map(Box::new);
        Ok(json!(Reload {
            ids: chosen.ids.clone(),
            spec,
            environment: environment.clone(),
            parallel: args.change.spec.parallel,
            canary: args.canary,
            watch: args.canary.map(|_| args.watch_canary.unwrap_or(Span(30_000))),
            plan: args.plan,
        }))
    };
    if args.plan {
        for one in &targets.chosen {
            let answer: Value = link.post(&path(&one.app, "reload"), &body(one)?).await?;
            show_plan(&one.app, &answer);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let ended = each(&link, &targets.chosen, &apps, manner, JobKind::Reload, body).await?;
    finish(&link, ended, manner).await
}

fn show_plan(app: &str, answer: &Value) {
    let applied = match answer["restart_needed"].as_bool() {
        Some(true) => Applied::Restart,
        Some(false) | None => Applied::Reload,
    };
    let changes = differences("", &answer["before"], &answer["after"], applied);
    voice::out(format_args!("{}", plan(app, &changes, Secrets::Masked).trim_end()));
    let (workers, parallel) = (&answer["workers"], &answer["parallel"]);
    let text = format!(
        "{workers} workers would be replaced, {parallel} at a time, each once its successor is proven"
    );
    super::say(Tone::Normal, &text);
}

/// What differs between two configurations, by key.
fn differences(prefix: &str, before: &Value, after: &Value, applied: Applied) -> Vec<Change> {
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else { return Vec::new() };
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let text = |value: Option<&Value>| {
        value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let mut changes = Vec::new();
    for key in keys {
        let (a, b) = (old.get(key), new.get(key));
        if a == b {
            continue;
        }
        if key == "env" {
            let empty = json!({});
            changes.extend(differences("env.", a.unwrap_or(&empty), b.unwrap_or(&empty), Applied::Reload));
            continue;
        }
        // Only these decide how workers are attached and connections are shared.
        let of_shape =
            ["policy", "tier", "attach", "exec_mode", "interpreter", "script", "ports", "publish", "listen"];
        let applied = if of_shape.contains(&key.as_str()) { applied } else { Applied::Reload };
        changes.push(Change { what: format!("{prefix}{key}"), old: text(a), new: text(b), applied });
    }
    changes
}

pub(super) async fn scale(args: &ScaleArgs) -> Done {
    let manner = Manner::of(&args.common)?;
    let link = Link::open().await?;
    let apps = link.apps().await?;
    let chosen = choose(&[args.target.clone().into()], &apps)?;
    let wanted = read_scale(&args.to)?;
    let mut ended = Ended::Done;
    for one in &chosen {
        announce(JobKind::Scale, one, &apps, manner);
        let job: Job = link.post(&path(&one.app, "scale"), &wanted).await?;
        ended = ended.and(watch(&link, &one.app, job, manner).await?);
    }
    finish(&link, ended, manner).await
}

fn read_scale(text: &str) -> Result<Scale, Failure> {
    let bad = || {
        Failure::usage(format!("cannot scale to `{}`: that is no number", text.escape_debug()))
            .hint("N, +N, -N or max")
    };
    if let Some(more) = text.strip_prefix('+') {
        return more.parse::<u32>().map(|more| Scale::By(more.into())).map_err(|_| bad());
    }
    if let Some(less) = text.strip_prefix('-') {
        return less.parse::<u32>().map(|less| Scale::By(-i64::from(less))).map_err(|_| bad());
    }
    let instances: Instances = match text {
        // Nothing is a wish of its own here, and not one per CPU.
        "0" => return Ok(Scale::To(0)),
        text => text.parse().map_err(|_| bad())?,
    };
    Ok(Scale::To(instances.count(oneport_sys::process::cpus())))
}

pub(super) async fn signal(args: &SignalArgs) -> Done {
    let manner = Manner::of(&args.to.common)?;
    let link = Link::open().await?;
    let apps = link.apps().await?;
    for one in on_list(&args.to.targets, &apps, &How::plain(&link.home))? {
        let wanted = Signal { signal: args.signal.clone(), ids: one.ids.clone() };
        let answer: Value = link.post(&path(&one.app, "signal"), &wanted).await?;
        if !manner.silent {
            let text = format!("{} sent to {} workers of `{}`", args.signal, answer["sent"], one.app);
            super::say(Tone::Normal, &text);
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn send(args: &SendArgs) -> Done {
    let manner = Manner::of(&args.common)?;
    let link = Link::open().await?;
    let apps = link.apps().await?;
    for one in choose(&[args.target.clone().into()], &apps)? {
        let wanted = Line { line: args.line.clone(), ids: one.ids.clone() };
        let answer: Value = link.post(&path(&one.app, "send"), &wanted).await?;
        if !manner.silent {
            let text = format!("a line was sent to {} workers of `{}`", answer["sent"], one.app);
            super::say(Tone::Normal, &text);
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn reset(args: &SelectArgs) -> Done {
    let manner = Manner::of(&args.common)?;
    let link = Link::open().await?;
    let apps = link.apps().await?;
    for one in on_list(&args.targets, &apps, &How::plain(&link.home))? {
        let _: Value = link.post(&path(&one.app, "reset"), &Slots { ids: one.ids.clone() }).await?;
    }
    finish(&link, Ended::Done, manner).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_workers_is_read_in_every_form() {
        let read = |text: &str| read_scale(text).ok();
        assert_eq!(read("4"), Some(Scale::To(4)));
        assert_eq!(read("+2"), Some(Scale::By(2)));
        assert_eq!(read("-1"), Some(Scale::By(-1)));
        assert_eq!(read("0"), Some(Scale::To(0)));
        assert!(read("max").is_some());
        for bad in ["", "x", "+", "-", "+-1", "1.5", "99999999999"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_differs_between_two_configurations_is_told_by_key() {
        let before = json!({"script": "a.js", "policy": "rr", "env": {"A": "1", "B": "2"}, "name": "web"});
        let after = json!({"script": "a.js", "policy": "least", "env": {"A": "1", "C": "3"}, "name": "web"});
        let changes = differences("", &before, &after, Applied::Restart);
        let told: Vec<_> = changes.iter().map(|change| (change.what.as_str(), change.applied)).collect();
        assert_eq!(
            told,
            [("env.B", Applied::Reload), ("env.C", Applied::Reload), ("policy", Applied::Restart)]
        );
    }
}
