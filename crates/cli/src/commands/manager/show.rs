//! Verbs that show something.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use oneport_wire::control::{AppView, SavedApp, WorkerView};

use super::link::Link;
use super::select::choose;
use super::start::{environment, view_of};
use super::{Manner, say, unsaved, width};
use crate::Done;
use crate::args::manager::{ListArgs, MaybeArgs, PlainArgs, ShowArgs};
use crate::commands::run::managed::{Origin, now_ms};
use crate::control::segment;
use crate::error::Failure;
use crate::render::manager as shown;
use crate::render::manager::{Description, Look, Secrets, Tone, clean};
use crate::render::voice;
use crate::state::environment::listed;

/// How often a list that is watched is shown.
const REFRESH: Duration = Duration::from_millis(900);

/// How JSON is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Dense,
    Indented,
}

fn drawn(draw: fn(&[AppView], &Look<'_>) -> String, apps: &[AppView], manner: Manner) -> String {
    let user = crate::account::own_name();
    draw(apps, &Look { now_ms: now_ms(), width: width(), user: user.as_deref(), sort: manner.sort })
}

pub(super) fn print_list(apps: &[AppView], manner: Manner) {
    let text = drawn(if manner.mini { shown::mini } else { shown::table }, apps, manner);
    voice::out(format_args!("{}", text.trim_end()));
}

pub(super) async fn list(args: &ListArgs) -> Done {
    let manner = Manner::of(&args.common)?;
    let link = Link::open().await?;
    loop {
        let apps = link.apps().await?;
        if args.json {
            voice::out(format_args!("{}", shown::list_json(&apps, Secrets::Masked)));
        } else if args.watch && width().is_some() {
            voice::show(format_args!("{}", shown::in_place(&drawn(shown::table, &apps, manner))));
        } else {
            print_list(&apps, manner);
            if !args.watch && !manner.silent {
                tell_unsaved(&link, &apps).await;
            }
        }
        if !args.watch || super::logs::nobody_reads() {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(REFRESH).await;
    }
}

/// As PM2's list: what `resurrect` would not bring back as it is.
async fn tell_unsaved(link: &Link, apps: &[AppView]) {
    // A daemon of before an update may not know it.
    let Ok(Some(saved)) = link.get::<Option<Vec<SavedApp>>>("/v1/saved").await else { return };
    let names = unsaved::names(apps, &saved);
    if !names.is_empty() {
        let text = format!(
            "not as saved: {}; `oneport save` saves {}",
            clean(&listed(&names, super::NAMES)),
            if names.len() == 1 { "it" } else { "them" }
        );
        say(Tone::Warning, &text);
    }
}

pub(super) async fn jlist(args: &PlainArgs, layout: Layout) -> Done {
    Manner::of(&args.common)?;
    let apps = Link::open().await?.apps().await?;
    match layout {
        Layout::Dense => voice::out(format_args!("{}", shown::jlist(&apps, Secrets::Masked))),
        Layout::Indented => {
            voice::out(format_args!("{}", shown::prettylist(&apps, Secrets::Masked).trim_end()))
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn secrets(args: &ShowArgs) -> Secrets {
    if args.show_secrets { Secrets::Shown } else { Secrets::Masked }
}

/// The workers that one word means, each with its app.
fn meant<'a>(word: &str, apps: &'a [AppView]) -> Result<Vec<(&'a AppView, &'a WorkerView)>, Failure> {
    let mut found = Vec::new();
    for one in choose(&[OsString::from(word)], apps)? {
        let app = view_of(&one.app, apps)?;
        let wanted = |worker: &&WorkerView| one.ids.is_empty() || one.ids.contains(&worker.id);
        found.extend(app.workers.iter().filter(wanted).map(|worker| (app, worker)));
    }
    Ok(found)
}

async fn origin(link: &Link, app: &str) -> Result<Origin, Failure> {
    link.get(&format!("/v1/apps/{}/origin", segment(app))).await
}

pub(super) async fn describe(args: &ShowArgs) -> Done {
    Manner::of(&args.common)?;
    let link = Link::open().await?;
    let apps = link.apps().await?;
    for (app, worker) in meant(&args.target, &apps)? {
        let origin = origin(&link, &app.name).await?;
        let here = environment();
        let differences = shown::differences(&origin.environment, &here);
        let description = Description {
            now_ms: now_ms(),
            width: width(),
            secrets: secrets(args),
            differences: Some(&differences),
            ..Description::default()
        };
        voice::out(format_args!("{}", shown::describe(app, worker, &description).trim_end()));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn env(args: &ShowArgs) -> Done {
    Manner::of(&args.common)?;
    let link = Link::open().await?;
    let apps = link.apps().await?;
    for (app, worker) in meant(&args.target, &apps)?.into_iter().take(1) {
        let mut variables = origin(&link, &app.name).await?.environment;
        variables.retain(|name, _| app.spec.filter_env.lets_through(name));
        variables.extend(shown::configured(app, worker));
        voice::out(format_args!("{}", shown::env(&variables, secrets(args)).trim_end()));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn id(args: &ShowArgs) -> Done {
    Manner::of(&args.common)?;
    let apps = Link::open().await?.apps().await?;
    let ids = meant(&args.target, &apps).unwrap_or_default();
    let ids: Vec<String> = ids.iter().map(|(_, worker)| worker.id.to_string()).collect();
    voice::out(format_args!("[ {} ]", ids.join(", ")));
    Ok(ExitCode::SUCCESS)
}

/// As PM2: the processes, one a line; an empty line for what is unknown, and 0 all the same.
pub(super) async fn pid(args: &MaybeArgs) -> Done {
    Manner::of(&args.common)?;
    let apps = Link::open().await?.apps().await?;
    let words = if args.targets.is_empty() { vec!["all".into()] } else { args.targets.clone() };
    let mut pids = Vec::new();
    for word in words {
        let workers = meant(&word.to_string_lossy(), &apps).unwrap_or_default();
        pids.extend(workers.iter().map(|(_, worker)| worker.pid.unwrap_or(0).to_string()));
    }
    voice::out(format_args!("{}", pids.join("\n")));
    Ok(ExitCode::SUCCESS)
}

/// How often the monitor is shown.
const MONITOR: Duration = Duration::from_secs(1);

pub(super) async fn monit(args: &PlainArgs) -> Done {
    Manner::of(&args.common)?;
    let link = Link::open().await?;
    loop {
        let apps = link.apps().await?;
        let host = host();
        let screen = super::screen().map(|(width, height)| shown::Screen { width, height });
        let frame = shown::monit(&apps, host.as_ref(), screen, now_ms());
        if screen.is_none() {
            voice::out(format_args!("{}", frame.trim_end()));
            return Ok(ExitCode::SUCCESS);
        }
        voice::show(format_args!("{}", shown::in_place(&frame)));
        tokio::time::sleep(MONITOR).await;
    }
}

/// How this machine is.
fn host() -> Option<shown::Host> {
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    let mut load = load.split(' ').filter_map(|word| word.parse::<f32>().ok());
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |name: &str| {
        let line = memory.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let total = kib("MemTotal:")? * 1024;
    Some(shown::Host {
        load: [load.next()?, load.next()?, load.next()?],
        cpus: oneport_sys::process::cpus(),
        memory_used: total.saturating_sub(kib("MemAvailable:")? * 1024),
        memory_total: total,
    })
}
