//! The project's own tasks. `cargo xtask test` is what CI runs and what a developer runs.
//!
//! One file per task; `shell` runs commands, `runner` the test runners, `tally` adds up what they counted.

mod bench;
mod compat;
mod fuzz;
mod generate;
mod kernel;
mod needs;
mod npm;
mod programs;
mod runner;
mod shell;
mod tally;
mod test;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask test [--all]                            everything a submission must pass; --all: with servers of every language,
                                                    installed from Debian and PyPI where they are missing
cargo xtask compat [--majors 18,20,22,24,26] [--deno]
                                                    the end-to-end tests with other runtimes
cargo xtask bench [ARGS]                            the benchmark, side by side with its peers
cargo xtask fuzz [TARGET ...] [--seconds N]         fuzz targets, 20 s each unless told otherwise
cargo xtask gen                                     regenerates documents that come from code
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<ExitCode> {
    let Some((task, rest)) = words.split_first() else {
        print!("{HELP}");
        return Ok(ExitCode::from(2));
    };
    match task.as_str() {
        "test" => test::run(rest),
        "compat" => compat::run(rest),
        "fuzz" => fuzz::run(rest),
        "bench" => bench::run(rest),
        "gen" if rest.is_empty() => generate::run(),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("cannot run task `{other}` with {} arguments: see `cargo xtask help`", rest.len()),
    }
}
