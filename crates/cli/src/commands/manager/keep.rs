//! Verbs about what outlives a daemon: saved apps, PM2's list, the start of the machine, sample configurations.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use oneport_wire::control::Job;

use super::link::Link;
use super::watch::{Ended, watch};
use super::{Manner, say, show_list, start};
use crate::Done;
use crate::args::keep::{CompletionArgs, ImportArgs, InitArgs, SaveArgs, StartupArgs};
use crate::args::manager::PlainArgs;
use crate::boot::{self, Least, Level, Network, Outcome, Place, Purpose, StartupOptions};
use crate::commands::run::managed::now_ms;
use crate::control::segment;
use crate::daemon::saving::{Resurrect, Resurrected, Save, SaveDone};
use crate::error::{Failure, plain};
use crate::render::manager::{Tone, clean};
use crate::render::voice;
use crate::state::environment::listed;
use crate::state::import::{ImportOptions, Secrets, dump_path, import_file};
use crate::state::{Home, Saves};

pub(super) async fn save(args: &SaveArgs) -> Done {
    let manner = Manner::of(&args.common)?;
    let link = Link::open().await?;
    let done: SaveDone = link.post_slow("/v1/save", &Save { force: args.force }).await?;
    done.warnings.iter().for_each(|warning| say(Tone::Warning, warning));
    if !manner.silent {
        for (app, names) in &done.left_out {
            let text = format!(
                "of the environment of {}, {} {} not saved: put into the configuration what it needs",
                clean(app),
                clean(&listed(names, super::NAMES)),
                if names.len() == 1 { "is" } else { "are" }
            );
            say(Tone::Info, &text);
        }
        let apps = if done.apps == 1 { "1 app".to_owned() } else { format!("{} apps", done.apps) };
        let text = if done.changed { "saved to" } else { "saved already in" };
        say(Tone::Normal, &format!("{apps} {text} {}", done.file));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn resurrect(args: &PlainArgs) -> Done {
    let manner = Manner::of(&args.common)?;
    let link = Link::open().await?;
    bring(&link, Resurrect::default(), manner).await
}

async fn bring(link: &Link, wanted: Resurrect, manner: Manner) -> Done {
    let done: Resurrected = link.post_slow("/v1/resurrect", &wanted).await?;
    done.warnings.iter().for_each(|warning| say(Tone::Warning, warning));
    let mut ended = Ended::Done;
    for (app, error) in &done.failed {
        say(Tone::Error, &format!("{}: {}", clean(app), clean(error)));
        ended = Ended::Failed;
    }
    if !manner.silent && !done.there.is_empty() {
        say(Tone::Info, &format!("there already: {}", clean(&done.there.join(", "))));
    }
    for app in &done.started {
        let job: Result<Job, Failure> = link.get(&format!("/v1/apps/{}/jobs/1", segment(app))).await;
        // One whose slots are all stopped has nothing to do.
        if let Ok(job) = job {
            ended = ended.and(watch(link, app, job, manner).await?);
        }
    }
    show_list(link, manner).await?;
    Ok(ended.code())
}

pub(super) fn cleardump(args: &PlainArgs) -> Done {
    let manner = Manner::of(&args.common)?;
    let (home, _) = Home::open()?;
    let written = Saves::new(&home).cleardump(now_ms(), env!("CARGO_PKG_VERSION"))?;
    if !manner.silent {
        say(Tone::Normal, &format!("no apps are saved in {} now", written.path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn import(args: &ImportArgs) -> Done {
    let manner = Manner::of(&args.common)?;
    let file = args.file.clone().or_else(|| dump_path(|name| std::env::var_os(name)));
    let file =
        file.ok_or_else(|| Failure::usage("cannot find PM2's list: HOME is not set").hint("name the file"))?;
    let secrets = if args.with_secrets { Secrets::Take } else { Secrets::LeaveOut };
    let (apps, warnings) = import_file(&file, &ImportOptions { environment: start::environment(), secrets })?;
    warnings.iter().for_each(|warning| say(Tone::Warning, warning));
    let link = Link::open().await?;
    bring(&link, Resurrect { apps: Some(apps) }, manner).await
}

fn options(args: &StartupArgs) -> StartupOptions {
    StartupOptions {
        platform: args.platform.clone(),
        level: if args.user_unit { Level::User } else { Level::System },
        user: args.user.clone(),
        hp: args.hp.clone(),
        service_name: args.service_name.clone(),
        network: if args.wait_ip { Network::Online } else { Network::Begun },
        least: if args.least { Least::TierA } else { Least::Plain },
        purpose: if args.print { Purpose::Print } else { Purpose::Do },
    }
}

pub(super) fn startup(args: &StartupArgs) -> Done {
    Manner::of(&args.common)?;
    outcome(boot::startup(&options(args), &Place::here()?)?)
}

pub(super) fn unstartup(args: &StartupArgs) -> Done {
    Manner::of(&args.common)?;
    outcome(boot::unstartup(&options(args), &Place::here()?)?)
}

fn outcome(outcome: Outcome) -> Done {
    match outcome {
        Outcome::Printed(text) => {
            voice::out(format_args!("{}", text.trim_end()));
            Ok(ExitCode::SUCCESS)
        }
        Outcome::NeedsRoot { command } => {
            say(Tone::Warning, "only root may do that; copy this line:");
            voice::out(format_args!("{command}"));
            Ok(ExitCode::from(1))
        }
        Outcome::Done(done) => {
            done.said.iter().for_each(|line| say(Tone::Normal, line));
            Ok(ExitCode::SUCCESS)
        }
    }
}

pub(super) fn init(args: &InitArgs) -> Done {
    let manner = Manner::of(&args.common)?;
    let (name, text) = match args.form.as_str() {
        "ecosystem" => ("ecosystem.config.js", crate::config::ECOSYSTEM),
        _ => ("oneport.toml", crate::config::TOML),
    };
    let failed = |cause: &std::io::Error| {
        let there = cause.kind() == std::io::ErrorKind::AlreadyExists;
        let hint =
            if there { "it is not overwritten; remove it first" } else { "the directory must be writable" };
        Failure::new(format!("cannot write `{name}`: {}", plain(cause))).hint(hint)
    };
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .open(Path::new(name))
        .map_err(|cause| failed(&cause))?;
    file.write_all(text.as_bytes()).map_err(|cause| failed(&cause))?;
    if !manner.silent {
        say(Tone::Normal, &format!("{name} is written; change it, then `oneport start`"));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn completion(args: &CompletionArgs) -> Done {
    use clap::CommandFactory;
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut crate::args::Args::command(), "oneport", &mut text);
    voice::show(format_args!("{}", String::from_utf8_lossy(&text)));
    Ok(ExitCode::SUCCESS)
}
