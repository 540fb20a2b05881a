//! Verbs that do something with apps that are on the list.

use std::process::ExitCode;

use oneport_wire::control::{AppView, Instances, Job, JobKind, Line, Scale, Signal, Slots};
use serde_json::{Value, json};

use super::gather::{How, on_list};
use super::link::Link;
use super::select::{Chosen, choose};
use super::watch::{Ended, watch};
use super::{Manner, show_list};
use crate::Done;
use crate::args::keep::SendArgs;
use crate::args::manager::{ScaleArgs, SelectArgs, SignalArgs};
use crate::control::segment;
use crate::error::Failure;
use crate::render::manager::{Tone, applying};
use crate::render::voice;

pub(super) fn path(app: &str, verb: &str) -> String {
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
pub(super) async fn each(
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

pub(super) async fn finish(link: &Link, ended: Ended, manner: Manner) -> Done {
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
        text => {
            text.parse().map_err(|cause: String| match text.bytes().all(|byte| byte.is_ascii_digit()) {
                true => Failure::usage(format!("cannot scale to {text}: {cause}")),
                false => bad(),
            })?
        }
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
            let workers = if answer["sent"] == 1 { "worker" } else { "workers" };
            let text = format!("{} sent to {} {workers} of `{}`", args.signal, answer["sent"], one.app);
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
}
