//! The command `oneport`. This file only chooses the command and turns what came of it into an exit code:
//! 0 done, 1 failed, 2 usage, 70 a bug of ours, 130 interrupted a second time.

mod account;
mod args;
mod attach;
mod boot;
mod commands;
mod config;
mod control;
mod daemon;
mod detach;
mod error;
mod guards;
mod logs;
mod output;
mod program;
mod render;
mod signals;
mod state;
mod strangers;
mod time;
mod usage;

use std::process::ExitCode;

use oneport_sys::caps::{self, Capability};

use args::Verb;
use error::Failure;

fn main() -> ExitCode {
    let args = match args::parse(std::env::args_os().collect()) {
        Ok(args) => args,
        Err(error) => return error::explain_usage(&error),
    };
    if !matches!(args.verb, Verb::Doctor(_)) {
        // Doctor shows what it was given.
        put_rights_down();
    }
    let done = match args.verb {
        Verb::Run(run) => commands::run::run(&run),
        Verb::Check(check) => commands::check::run(&check),
        Verb::Doctor(doctor) => commands::doctor::run(doctor),
        Verb::Grant(grant) => commands::grant::run(&grant),
        Verb::Demo(demo) => commands::demo::run(&demo),
        Verb::Hello => commands::hello::run(),
        Verb::Primary => commands::run::managed::run(),
        Verb::Daemon(args) => {
            let place = if args.foreground { daemon::Place::Foreground } else { daemon::Place::Background };
            let saved = if args.resurrect { daemon::SavedApps::Start } else { daemon::SavedApps::Leave };
            daemon::run(place, saved)
        }
        verb @ (Verb::Start(_)
        | Verb::Stop(_)
        | Verb::Restart(_)
        | Verb::Reload(_)
        | Verb::Delete(_)
        | Verb::Scale(_)
        | Verb::List(_)
        | Verb::Jlist(_)
        | Verb::Prettylist(_)
        | Verb::Describe(_)
        | Verb::Env(_)
        | Verb::Id(_)
        | Verb::Pid(_)
        | Verb::SendSignal(_)
        | Verb::Reset(_)
        | Verb::StartOrRestart(_)
        | Verb::StartOrReload(_)
        | Verb::Logs(_)
        | Verb::Flush(_)
        | Verb::ReloadLogs(_)
        | Verb::Monit(_)
        | Verb::Send(_)
        | Verb::Save(_)
        | Verb::Resurrect(_)
        | Verb::Cleardump(_)
        | Verb::Import(_)
        | Verb::Startup(_)
        | Verb::Unstartup(_)
        | Verb::Init(_)
        | Verb::Completion(_)
        | Verb::Examples(_)
        | Verb::Ping(_)
        | Verb::Kill(_)
        | Verb::Update(_)) => commands::manager::run(verb),
    };
    match done {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

/// Of all threads to come; they are raised again around the calls that need them.
fn put_rights_down() {
    // Where that is refused a cluster says so when it does the same again for its own thread.
    let _ = caps::lower(&[Capability::Bpf, Capability::Perfmon, Capability::NetAdmin]);
}

/// What a command comes to.
type Done = Result<ExitCode, Failure>;
