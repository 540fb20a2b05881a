//! Restarts and reloads: with what was said on the command line, and what a configuration says now.

use std::collections::BTreeMap;
use std::process::ExitCode;

use oneport_wire::control::{AppSpec, AppView, Instances, Job, JobKind, Reload, Restart, Scale, Span};
use serde_json::{Value, json};

use super::act::{each, finish, path};
use super::gather::{How, Targets, targets};
use super::link::Link;
use super::select::Chosen;
use super::watch::{Ended, watch};
use super::{Manner, apply, start, stay};
use crate::Done;
use crate::args::manager::{ChangeArgs, ReloadArgs};
use crate::args::spec::SpecArgs;
use crate::commands::run::managed::{Origin, check_values};
use crate::error::Failure;
use crate::render::manager::{Applied, Change, Secrets, Tone, plan};
use crate::render::voice;

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
    start::tell_streams(&mut spec);
    check_values(&spec)?;
    Ok(Some(spec))
}

/// `restart`, `startOrRestart` and the like: what a deploy script says.
pub(super) async fn carry_out(args: &ChangeArgs, way: Way) -> Done {
    let manner = Manner::of(&args.common)?;
    start::warn_of_foreign(&args.spec);
    let link = Link::open().await?;
    let apps = link.apps().await?;
    let targets = targets(&args.targets, &apps, &How::of(&args.spec, &args.only, &link.home))?;
    warn_of_block(args, &targets);
    let marks = args.spec.wants_logs().then(|| start::marks(&link, &args.spec, &[], &apps));
    let ended = change(&link, args, &targets, &apps, manner, way).await?;
    match marks {
        Some(marks) if ended == Ended::Done => {
            super::show_list(&link, manner).await?;
            let known = targets.chosen.iter().map(|one| one.app.clone());
            let names: Vec<String> =
                known.chain(targets.missing.iter().map(|spec| spec.name.clone())).collect();
            stay::attach(&link, &names, &marks).await
        }
        Some(_) | None => finish(&link, ended, manner).await,
    }
}

/// Blocks of variables are in configurations; an app on the list has none.
fn warn_of_block(args: &ChangeArgs, targets: &Targets) {
    if let Some(block) = args.spec.env_block()
        && targets.are_all_named()
    {
        let text = format!(
            "`--env {block}` means a block of a configuration, and none is named: it changes nothing"
        );
        super::say(Tone::Warning, &text);
    }
}

/// In what manner apps are made others.
#[derive(Clone, Debug)]
pub(super) enum Way {
    Restart,
    Reload(Reload),
}

/// As every reload is, but for its terms.
fn plain_reload(args: &ChangeArgs) -> Reload {
    Reload {
        environment: args.spec.update_env.then(start::environment),
        parallel: args.spec.parallel,
        ..Reload::default()
    }
}

impl Way {
    pub(super) fn reload(args: &ChangeArgs) -> Way {
        Way::Reload(plain_reload(args))
    }

    fn verb(&self) -> JobKind {
        match self {
            Way::Restart => JobKind::Restart,
            Way::Reload(_) => JobKind::Reload,
        }
    }

    /// What is asked for of one app.
    fn body(
        &self,
        args: &ChangeArgs,
        chosen: &Chosen,
        targets: &Targets,
        apps: &[AppView],
    ) -> Result<Value, Failure> {
        let view = start::view_of(&chosen.app, apps)?;
        let spec = changed(args, view, targets.spec_of(&chosen.app))?.map(Box::new);
        let ids = chosen.ids.clone();
        Ok(match self {
            Way::Reload(wanted) => json!(Reload { ids, spec, ..wanted.clone() }),
            Way::Restart => {
                let environment = args.spec.update_env.then(start::environment);
                json!(Restart { ids, spec, environment })
            }
        })
    }
}

/// Restarts or reloads apps that are on the list, and starts those of configurations that are not.
pub(super) async fn change(
    link: &Link,
    args: &ChangeArgs,
    targets: &Targets,
    apps: &[AppView],
    manner: Manner,
    way: Way,
) -> Result<Ended, Failure> {
    let body = |chosen: &Chosen| way.body(args, chosen, targets, apps);
    let mut ended = each(link, &targets.chosen, apps, manner, way.verb(), body).await?;
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
        let wish = Wish::of(&args.spec, targets.spec_of(&one.app));
        if let Some(wish) = wish.filter(|_| ended == Ended::Done) {
            ended = scale_as_wished(link, view, wish, manner).await?;
        }
    }
    Ok(ended)
}

/// How many workers are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wish {
    /// On the command line.
    Said(Instances),
    /// In a configuration. Only a number that was changed counts: who scaled by hand is not put back by every deploy.
    Configured(Instances),
}

impl Wish {
    pub(super) fn of(said: &SpecArgs, configured: Option<&AppSpec>) -> Option<Wish> {
        let said = said.instances.map(Wish::Said);
        said.or_else(|| configured.map(|spec| Wish::Configured(spec.instances)))
    }

    /// What is to be asked for, if anything is.
    fn of_app(self, view: &AppView) -> Option<Instances> {
        let (Wish::Said(wanted) | Wish::Configured(wanted)) = self;
        let is_known = wanted == view.spec.instances;
        let is_so = wanted.count(oneport_sys::process::cpus()) as usize == view.workers.len();
        let asks = match self {
            Wish::Said(_) => !(is_known && is_so),
            Wish::Configured(_) => !is_known,
        };
        asks.then_some(wanted)
    }
}

pub(super) async fn scale_as_wished(
    link: &Link,
    view: &AppView,
    wish: Wish,
    manner: Manner,
) -> Result<Ended, Failure> {
    let Some(instances) = wish.of_app(view) else { return Ok(Ended::Done) };
    let job: Job = link.post(&path(&view.name, "scale"), &Scale::Configured(instances)).await?;
    watch(link, &view.name, job, manner).await
}

/// `--canary 1 --watch 30s`: beside a canary a time is how long that is watched, and no path.
fn time_of_canary(watch: &mut Option<Vec<String>>) -> Option<Span> {
    let [word] = watch.as_deref()? else { return None };
    let time = word.parse().ok()?;
    *watch = None;
    Some(time)
}

pub(super) async fn reload(args: &ReloadArgs) -> Done {
    let ReloadArgs { plan, canary, watch_canary, mut change } = args.clone();
    let time = canary.and_then(|_| time_of_canary(&mut change.spec.watch));
    let wanted = Reload {
        canary,
        watch: canary.map(|_| watch_canary.or(time).unwrap_or(Span(30_000))),
        plan,
        ..plain_reload(&change)
    };
    match plan {
        true => tell_plan(&change, wanted).await,
        false => carry_out(&change, Way::Reload(wanted)).await,
    }
}

async fn tell_plan(args: &ChangeArgs, wanted: Reload) -> Done {
    Manner::of(&args.common)?;
    start::warn_of_foreign(&args.spec);
    let link = Link::open().await?;
    let apps = link.apps().await?;
    let targets = targets(&args.targets, &apps, &How::of(&args.spec, &args.only, &link.home))?;
    warn_of_block(args, &targets);
    let environment = wanted.environment.clone();
    let way = Way::Reload(wanted);
    for one in &targets.chosen {
        let answer: Value =
            link.post(&path(&one.app, "reload"), &way.body(args, one, &targets, &apps)?).await?;
        let mut changes = Vec::new();
        if let Some(new) = &environment {
            let old: Origin = link.get(&path(&one.app, "origin")).await?;
            changes = differences_of_environment(&old.environment, new);
        }
        show_plan(&one.app, &answer, changes);
        let view = start::view_of(&one.app, &apps)?;
        let wish = Wish::of(&args.spec, targets.spec_of(&one.app)).and_then(|wish| wish.of_app(view));
        if let Some(instances) = wish.filter(|_| one.ids.is_empty()) {
            super::say(Tone::Normal, &format!("after that it would be scaled to {instances}"));
        }
    }
    for spec in &targets.missing {
        super::say(Tone::Normal, &format!("`{}` would be started", spec.name));
    }
    Ok(ExitCode::SUCCESS)
}

fn differences_of_environment(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<Change> {
    let differences = crate::render::manager::differences(old, new).into_iter();
    differences
        .map(|one| Change {
            what: format!("env.{}", one.name),
            old: one.app,
            new: one.here,
            applied: Applied::Reload,
        })
        .collect()
}

fn show_plan(app: &str, answer: &Value, mut changes: Vec<Change>) {
    let applied = match answer["restart_needed"].as_bool() {
        Some(true) => Applied::Restart,
        Some(false) | None => Applied::Reload,
    };
    changes.extend(differences("", &answer["before"], &answer["after"], applied));
    voice::out(format_args!("{}", plan(app, &changes, Secrets::Masked).trim_end()));
    let (workers, parallel) = (&answer["workers"], &answer["parallel"]);
    let text = match workers.as_u64() {
        Some(1) => "1 worker would be replaced, once its successor is proven".to_owned(),
        Some(_) | None => format!(
            "{workers} workers would be replaced, {parallel} at a time, each once its successor is proven"
        ),
    };
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

#[cfg(test)]
mod tests {
    use super::*;

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
