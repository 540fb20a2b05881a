//! `cargo xtask bench`: builds the release binary and hands over to the benchmark crate.

use std::process::ExitCode;

use anyhow::Result;

use crate::shell;

pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    shell::run(&mut shell::cargo(&["build", "--release", "--package", "oneport-cli"]))?;
    let mut bench = shell::cargo(&["run", "--release", "--quiet", "--package", "oneport-bench", "--"]);
    Ok(if shell::succeeds(bench.args(words))? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
