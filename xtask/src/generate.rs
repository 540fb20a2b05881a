//! `cargo xtask gen`: documents that come from code. The same tests check them when they are not told to write.

use std::process::ExitCode;

use anyhow::Result;

use crate::shell;

pub(crate) fn run() -> Result<ExitCode> {
    let mut core = shell::cargo(&["test", "--quiet", "--package", "oneport-core"]);
    Ok(if shell::succeeds(core.env("UPDATE_DOCS", "1"))? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
