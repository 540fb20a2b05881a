//! `cargo xtask test`: format, lints, documentation, every test. All steps run, even after one failed.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::runner::{self, Outcome};
use crate::tally::Tally;
use crate::{fuzz, needs, npm, shell};

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

pub(crate) fn run() -> Result<ExitCode> {
    let began = Instant::now();
    let mut report = Report { tally: Tally::default(), failed: Vec::new() };
    needs::provide()?;
    report.step("format", shell::succeeds(&mut shell::cargo(&["fmt", "--all", "--check"])));
    let lints = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    report.step("lints", shell::succeeds(&mut shell::cargo(&lints)));
    report.step("fuzz targets", fuzz::check());
    report.tests("tests", runner::unit());
    let mut docs = shell::cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    report.step("documentation", shell::succeeds(docs.env("RUSTDOCFLAGS", "-D warnings")));
    if report.step("build", shell::succeeds(&mut shell::cargo(&["build", "--package", "oneport-cli"]))) {
        end_to_end(&mut report);
    }
    println!("took {} s", began.elapsed().as_secs());
    for name in &report.failed {
        println!("not passed: {name}");
    }
    println!("{}", report.tally);
    Ok(if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn end_to_end(report: &mut Report) {
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
    report.tests("end to end", runner::e2e(&[], &[], &[]));
}
