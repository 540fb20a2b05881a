//! Verbs about log files: showing them, emptying them, opening them anew.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use oneport_wire::control::AppView;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::Manner;
use super::gather::{How, on_list};
use super::link::Link;
use super::marks::Marks;
use super::select::{Chosen, choose};
use super::start::view_of;
use crate::Done;
use crate::args::keep::LogsArgs;
use crate::args::manager::{MaybeArgs, PlainArgs};
use crate::control::segment;
use crate::error::{Failure, plain};
use crate::logs::{Look, Paint, Show, Stream, Wanted, WholeLines, empty_files, show};
use crate::render::manager::Tone;

/// The daemon's own log is asked for by these names.
const DAEMON: [&str; 3] = ["oneport", "PM2", "daemon"];

pub(super) async fn logs(args: &LogsArgs) -> Done {
    Manner::of(&args.common)?;
    let link = Link::open().await?;
    let apps = link.apps().await?;
    let (of_daemon, words): (Vec<OsString>, Vec<OsString>) = args.targets.iter().cloned().partition(|word| {
        DAEMON.iter().any(|name| word == name) && !apps.iter().any(|app| word == app.name.as_str())
    });
    let words = if words.is_empty() && of_daemon.is_empty() { vec!["all".into()] } else { words };
    let mut wanted = meant(&words, &apps);
    if !of_daemon.is_empty() {
        wanted.push(Wanted {
            app: "oneport".into(),
            id: 0,
            stream: Stream::Out,
            path: link.home.log(),
            from: None,
        });
    }
    if wanted.is_empty() {
        super::say(Tone::Warning, "there is nothing to show");
        return Ok(ExitCode::SUCCESS);
    }
    let how = Show {
        lines: args.lines,
        only: match (args.out, args.err) {
            (true, _) => Some(Stream::Out),
            (false, true) => Some(Stream::Err),
            (false, false) => None,
        },
        look: match (args.raw, args.json, args.format) {
            (true, _, _) => Look::Raw,
            (_, true, _) => Look::Json,
            (_, _, true) => Look::Pairs,
            (false, false, false) => Look::Labelled,
        },
        timestamp: args.timestamp.clone(),
        highlight: args.highlight.clone().flatten(),
        follow: !args.nostream,
        paint: Paint::for_stdout(),
    };
    if how.follow {
        return follow(&link, &words, wanted, how).await;
    }
    shown(show(&wanted, &how, &mut std::io::stdout(), &nobody_reads))
}

fn shown(result: std::io::Result<()>) -> Done {
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(cause) if cause.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(cause) => Err(Failure::new(format!("cannot show logs: {}", plain(&cause)))),
    }
}

/// The files of everything that these words mean now. As PM2: nothing is said of an unknown app, and the code is 0.
fn meant(words: &[OsString], apps: &[AppView]) -> Vec<Wanted> {
    let chosen = words.iter().flat_map(|word| choose(std::slice::from_ref(word), apps).unwrap_or_default());
    chosen.filter_map(|one| Some(files(&one, view_of(&one.app, apps).ok()?))).flatten().collect()
}

/// How often it is looked for files that have come.
const GLANCE: Duration = Duration::from_secs(2);

/// Goes on for ever, also with files of slots that come later: what was one worker's file has a number when there are two.
async fn follow(link: &Link, words: &[OsString], wanted: Vec<Wanted>, how: Show) -> Done {
    let mut known: HashSet<PathBuf> = wanted.iter().map(|one| one.path.clone()).collect();
    let marks = Marks::take(known.iter().filter_map(|path| path.parent().map(Path::to_owned)));
    let later = Show { lines: 0, ..how.clone() };
    let mut first = in_thread(wanted, how, nobody_reads)?;
    loop {
        let look = async {
            sleep(GLANCE).await;
            link.client().get::<Vec<AppView>>("/v1/apps").await
        };
        let apps = tokio::select! {
            result = &mut first => return shown(result.unwrap_or(Ok(()))),
            apps = look => apps,
        };
        // Without a daemon nothing comes.
        let Ok(apps) = apps else { continue };
        let mut more = meant(words, &apps);
        more.retain(|one| known.insert(one.path.clone()));
        if !more.is_empty() {
            marks.set(&mut more);
            // It ends with this command.
            drop(in_thread(more, later.clone(), nobody_reads)?);
        }
    }
}

/// Shows them until `stop` says so: reading files waits for disks and for whoever reads. How it went comes at its end.
pub(super) fn in_thread(
    wanted: Vec<Wanted>,
    how: Show,
    stop: impl Fn() -> bool + Send + 'static,
) -> Result<oneshot::Receiver<std::io::Result<()>>, Failure> {
    let (tell, told) = oneshot::channel();
    let work = move || {
        // Whoever waits for it may be gone.
        let _ = tell.send(show(&wanted, &how, &mut WholeLines::default(), &stop));
    };
    let thread = std::thread::Builder::new().name("logs".into()).spawn(work);
    thread.map_err(|cause| Failure::new(format!("cannot show logs: {}", plain(&cause))))?;
    Ok(told)
}

/// Whether the reader of standard output has gone: `oneport logs | head`.
pub(super) fn nobody_reads() -> bool {
    let stdout = std::io::stdout();
    let mut asked = [PollFd::new(&stdout, PollFlags::empty())];
    let told = poll(&mut asked, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }));
    told.is_ok_and(|n| n > 0) && asked[0].revents().intersects(PollFlags::ERR)
}

/// Each file of these apps.
pub(super) fn files_of(apps: &[AppView]) -> Vec<Wanted> {
    let whole = |app: &AppView| files(&Chosen { app: app.name.clone(), ids: Vec::new() }, app);
    apps.iter().flat_map(whole).collect()
}

/// Each file of what was chosen.
fn files(chosen: &Chosen, view: &AppView) -> Vec<Wanted> {
    let workers =
        view.workers.iter().filter(|worker| chosen.ids.is_empty() || chosen.ids.contains(&worker.id));
    let mut wanted = Vec::new();
    for worker in workers {
        let of = |stream: Stream, path: &Option<String>| {
            let path = path.as_ref().map(PathBuf::from)?;
            Some(Wanted { app: view.name.clone(), id: worker.id, stream, path, from: None })
        };
        wanted.extend(of(Stream::Err, &worker.logs.error));
        wanted.extend(of(Stream::Out, &worker.logs.out));
        // Both together are shown only where there is nothing else.
        if worker.logs.out.is_none() && worker.logs.error.is_none() {
            wanted.extend(of(Stream::Out, &worker.logs.both));
        }
    }
    wanted
}

pub(super) async fn flush(args: &MaybeArgs) -> Done {
    let manner = Manner::of(&args.common)?;
    let link = Link::open().await?;
    let apps = link.apps().await?;
    let chosen = match args.targets.is_empty() {
        true => choose(&["all".into()], &apps).unwrap_or_default(),
        false => on_list(&args.targets, &apps, &How::plain(&link.home))?,
    };
    for one in &chosen {
        let _: Value = link.post(&format!("/v1/apps/{}/flush", segment(&one.app)), &json!({})).await?;
    }
    if args.targets.is_empty() {
        // What the daemon itself has said. It appends, so it goes on at the beginning.
        empty_files(&[link.home.log()])?;
    }
    if !manner.silent {
        super::say(Tone::Normal, "log files are empty");
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn reload_logs(args: &PlainArgs) -> Done {
    let manner = Manner::of(&args.common)?;
    let link = Link::open().await?;
    for app in link.apps().await? {
        let _: Value = link.post(&format!("/v1/apps/{}/reopen", segment(&app.name)), &json!({})).await?;
    }
    if !manner.silent {
        super::say(Tone::Normal, "log files are opened anew");
    }
    Ok(ExitCode::SUCCESS)
}
