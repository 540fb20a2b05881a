//! The command `oneport`. This file only chooses the command and turns what came of it into an exit code:
//! 0 done, 1 failed, 2 usage, 70 a bug of ours, 130 interrupted a second time.

mod args;
mod attach;
mod commands;
mod error;
#[allow(dead_code, unused_imports, reason = "joined by the next commits")]
mod guards;
mod output;
mod program;
mod render;
mod signals;
mod strangers;
#[allow(dead_code, unused_imports, reason = "joined by the next commits")]
mod usage;

use std::process::ExitCode;

use clap::Parser;

use oneport_sys::caps::{self, Capability};

use args::{Args, Verb};
use error::Failure;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return error::explain_usage(&error),
    };
    match args.verb {
        // It shows what it was given.
        Verb::Doctor(_) => {}
        Verb::Run(_) | Verb::Check(_) | Verb::Grant(_) | Verb::Demo(_) | Verb::Hello => put_rights_down(),
    }
    let done = match args.verb {
        Verb::Run(run) => commands::run::run(&run),
        Verb::Check(check) => commands::check::run(&check),
        Verb::Doctor(doctor) => commands::doctor::run(doctor),
        Verb::Grant(grant) => commands::grant::run(&grant),
        Verb::Demo(demo) => commands::demo::run(&demo),
        Verb::Hello => commands::hello::run(),
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
