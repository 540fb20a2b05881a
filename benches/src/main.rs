//! The benchmark runner: oneport beside Node's own cluster, PM2, plain SO_REUSEPORT and one plain process, interleaved
//! in one run.
//!
//! `measure/` says what is measured, `load/` generates the load, `server` starts and ends peers, `section` judges,
//! `report/` writes. A missed goal is a result, not an error: the exit code is 1 only when something could not
//! run. See README.md beside this crate for the method.

mod args;
mod bench;
mod command;
mod control;
mod end;
mod error;
mod goal;
mod interrupt;
mod load;
mod machine;
mod manager;
mod measure;
mod node;
mod peer;
mod pin;
mod policy;
mod procfs;
mod program;
mod report;
mod section;
mod server;
mod stats;
mod tools;

use args::Args;
use bench::Bench;
use clap::Parser;
use error::{Cannot, Result};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and reports; whether everything asked for could run.
fn run(args: &Args) -> Result<bool> {
    interrupt::guard()?;
    if let Some(nice) = args.nice {
        rustix::process::setpriority_process(None, nice).cannot(|| format!("run at niceness {nice}"))?;
    }
    let bench = Bench::prepare(args)?;
    let mut sections = Vec::new();
    let mut text = String::new();
    for measurement in args.measurements() {
        sections.push(bench.run(measurement));
        // After each one, so that an interrupted run leaves what it has.
        text = report::write(&bench, &sections)?;
    }
    println!("{text}\nwritten to {}", bench.out.display());
    Ok(sections.iter().all(|section| section.reasons().is_empty()))
}
