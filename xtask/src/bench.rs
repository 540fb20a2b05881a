//! `cargo xtask bench`: builds what is measured in release and hands over to the benchmark crate.

use std::process::ExitCode;

use anyhow::Result;

use crate::shell;

pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    // One build each: built together, the binary would have the features that the other one asks of its dependencies.
    shell::run(&mut shell::cargo(&["build", "--release", "--package", "oneport-cli"]))?;
    shell::run(&mut shell::cargo(&["build", "--release", "--package", "oneport-bench"]))?;
    let mut bench = shell::cargo(&["run", "--release", "--quiet", "--package", "oneport-bench", "--"]);
    Ok(if shell::succeeds(bench.args(words))? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
