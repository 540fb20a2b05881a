//! `cargo xtask test`: format, lints, documentation, every test. All steps run, even after one failed.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::runner::{self, Outcome};
use crate::tally::Tally;
use crate::{fuzz, kernel, needs, npm, programs, shell};

/// What happens to a test that misses something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// It is skipped, and that is said.
    WhatIsInstalled,
    /// It fails; what is missing is installed first.
    All,
}

fn parse(words: &[String]) -> Result<Scope> {
    match words {
        [] => Ok(Scope::WhatIsInstalled),
        [word] if word == "--all" => Ok(Scope::All),
        [word, ..] => bail!("cannot understand `{word}`: known is --all"),
    }
}

struct Report {
    tally: Tally,
    failed: Vec<String>,
}

impl Report {
    fn step(&mut self, name: &str, outcome: Result<bool>) -> bool {
        let passed = match outcome {
            Ok(passed) => passed,
            Err(e) => {
                println!("{name}: {e:#}");
                false
            }
        };
        if !passed {
            self.failed.push(name.to_owned());
        }
        passed
    }

    fn tests(&mut self, name: &str, outcome: Result<Outcome>) {
        match outcome {
            Ok(outcome) => {
                self.tally += outcome.tally;
                self.step(name, Ok(outcome.success));
                for test in outcome.failures {
                    println!("failed: {test}");
                }
            }
            Err(e) => {
                self.step(name, Err(e));
            }
        }
    }
}

pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    let scope = parse(words)?;
    let began = Instant::now();
    let mut report = Report { tally: Tally::default(), failed: Vec::new() };
    needs::provide()?;
    if let Some(what) = kernel::skipped() {
        println!("skipped: {what}");
        report.tally.one_was_skipped();
    }
    if scope == Scope::All {
        report.step("programs", programs::provide().map(|()| true));
    }
    report.step("format", shell::succeeds(&mut shell::cargo(&["fmt", "--all", "--check"])));
    let lints = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    report.step("lints", shell::succeeds(&mut shell::cargo(&lints)));
    report.step("fuzz targets", fuzz::check());
    // By itself: what is loaded into programs must not get features that the binary asks of its dependencies.
    // Before its tests: cargo does not build a `cdylib` for the tests of its own package (1.95).
    report.step("preload", shell::succeeds(&mut shell::cargo(&["build", "--package", "oneport-preload"])));
    report.tests("tests", runner::unit());
    let mut docs = shell::cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    report.step("documentation", shell::succeeds(docs.env("RUSTDOCFLAGS", "-D warnings")));
    if report.step("build", shell::succeeds(&mut shell::cargo(&["build", "--package", "oneport-cli"]))) {
        end_to_end(scope, &mut report);
    }
    println!("took {} s", began.elapsed().as_secs());
    for name in &report.failed {
        println!("not passed: {name}");
    }
    println!("{}", report.tally);
    Ok(if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn end_to_end(scope: Scope, report: &mut Report) {
    if !needs::has_node() {
        println!("skipped: Node tests, because node is not installed and cannot be installed here");
        report.tally.skipped += 1;
        if shell::in_ci() {
            report.failed.push("Node tests were skipped, which CI does not accept".to_owned());
        }
        return;
    }
    if let Err(e) = npm::provide_servers() {
        // The tests that need the packages say that they were skipped.
        println!("skipped: servers from npm could not be installed: {e:#}");
        if shell::in_ci() {
            report
                .failed
                .push("tests with packages from npm were skipped, which CI does not accept".to_owned());
        }
    }
    let all = [("ONEPORT_TEST_ALL", Path::new("1"))];
    let env = if scope == Scope::All { &all[..] } else { &[] };
    report.tests("end to end", runner::e2e(&[], &[], env));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_may_be_asked_for() {
        assert_eq!(parse(&[]).unwrap(), Scope::WhatIsInstalled);
        assert_eq!(parse(&["--all".to_owned()]).unwrap(), Scope::All);
        assert!(parse(&["--most".to_owned()]).is_err());
    }
}
