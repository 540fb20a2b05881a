//! The test runners: `cargo nextest` where it is installed, else `cargo test`.
//!
//! What does not live here: how long a test may take and what may run beside it (`.config/nextest.toml`, which nextest finds
//! by itself).

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::tally::{self, Tally};
use crate::{kernel, shell};

/// How one run of tests ended.
pub(crate) struct Outcome {
    /// Did everything pass?
    pub(crate) success: bool,
    pub(crate) tally: Tally,
    /// Names of failed tests.
    pub(crate) failures: Vec<String>,
}

fn nextest() -> bool {
    shell::found("cargo-nextest")
}

/// End-to-end tests mostly wait; a few more than there are processors run at a time.
fn threads() -> String {
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
    (processors * 2).clamp(2, 8).to_string()
}

/// Runs them. Tests that could not run here are shown and counted as skipped.
fn finish(mut command: Command) -> Result<Outcome> {
    let skips = shell::root().join("target/skipped-tests.txt");
    fs::write(&skips, "").with_context(|| format!("cannot write `{}`", skips.display()))?;
    let told = shell::tee(command.env("ONEPORT_SKIP_FILE", &skips))?;
    let tally = tally::read(&told.text).unwrap_or_default();
    let mut outcome = Outcome { success: told.success, tally, failures: tally::failures(&told.text) };
    for line in fs::read_to_string(&skips).unwrap_or_default().lines() {
        println!("skipped: {line}");
        outcome.tally.one_was_skipped();
    }
    Ok(outcome)
}

/// As many as may run at one time where nothing tells the tests of programs from others.
const MOST_AT_A_TIME: &str = "4";

/// Every test of the workspace but the end-to-end ones.
pub(crate) fn unit() -> Result<Outcome> {
    let scope = ["--workspace", "--exclude", "oneport-e2e"];
    if !nextest() {
        let mut command = shell::cargo(&[&["test", "--no-fail-fast"], &scope[..]].concat());
        command.env("RUST_TEST_THREADS", MOST_AT_A_TIME);
        return finish(command);
    }
    let mut words = [&["nextest", "run", "--no-fail-fast"], &scope[..]].concat();
    let filter = kernel::without_programs();
    words.extend(filter.iter().flat_map(|filter| ["-E", filter]));
    let mut outcome = finish(shell::cargo(&words))?;
    let docs = finish(shell::cargo(&[&["test", "--doc", "--no-fail-fast"], &scope[..]].concat()))?;
    outcome.success &= docs.success;
    outcome.tally += docs.tally;
    outcome.failures.extend(docs.failures);
    Ok(outcome)
}

/// End-to-end tests: those of `files`, or all.
pub(crate) fn e2e(files: &[&str], features: &[&str], env: &[(&str, &Path)]) -> Result<Outcome> {
    let mut words = if nextest() { vec!["nextest", "run"] } else { vec!["test"] };
    words.extend(["--no-fail-fast", "--package", "oneport-e2e"]);
    for feature in features {
        words.extend(["--features", feature]);
    }
    for file in files {
        words.extend(["--test", file]);
    }
    let threads = if nextest() { threads() } else { MOST_AT_A_TIME.to_owned() };
    let filter = kernel::without_programs();
    if nextest() {
        words.extend(filter.iter().flat_map(|filter| ["-E", filter]));
    } else {
        words.push("--");
    }
    words.extend(["--test-threads", &threads]);
    let mut command = shell::cargo(&words);
    command.envs(env.iter().copied());
    finish(command)
}
