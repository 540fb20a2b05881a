//! `cargo xtask compat`: the end-to-end tests again, with every Node major and with Deno, as a table.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::runner::{self, Outcome};
use crate::{npm, shell};

const MAJORS: [u32; 5] = [18, 20, 22, 24, 26];

/// The test files in which the runtime makes a difference.
const FILES: [&str; 13] = [
    "hello",
    "listen_forms",
    "port_in_use",
    "policies",
    "protocol",
    "faults",
    "restarts",
    "reload",
    "stop",
    "regress",
    "interop_cluster",
    "interop_fork",
    "interop_primary",
];

struct Wishes {
    majors: Vec<u32>,
    deno: bool,
}

fn parse(words: &[String]) -> Result<Wishes> {
    let mut wishes = Wishes { majors: MAJORS.to_vec(), deno: false };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--deno" => wishes.deno = true,
            "--majors" => {
                let list = words.next().context("cannot read `--majors`: a list as 18,20 follows it")?;
                let parts = list.split(',').filter(|part| !part.is_empty());
                wishes.majors = parts
                    .map(|part| part.trim().parse().with_context(|| format!("cannot read major `{part}`")))
                    .collect::<Result<_>>()?;
            }
            other => bail!("cannot understand `{other}`: known are --majors LIST and --deno"),
        }
    }
    Ok(wishes)
}

struct Row {
    name: String,
    version: String,
    result: Result<Outcome>,
    seconds: u64,
}

pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    let wishes = parse(words)?;
    shell::run(&mut shell::cargo(&["build", "--package", "oneport-cli"]))?;
    if let Err(e) = npm::provide_servers() {
        println!("skipped: servers from npm could not be installed: {e:#}");
    }
    let mut rows = Vec::new();
    for major in wishes.majors {
        rows.push(row(format!("Node {major}"), npm::provide_node(major), |binary| {
            runner::e2e(&FILES, &[], &[("ONEPORT_NODE", binary)])
        }));
    }
    if wishes.deno {
        rows.push(row("Deno".to_owned(), npm::provide_deno(), |binary| {
            runner::e2e(&["deno", "interop_deno"], &["deno"], &[("ONEPORT_DENO", binary)])
        }));
    }
    Ok(show(&rows))
}

fn row(name: String, binary: Result<PathBuf>, test: impl FnOnce(&Path) -> Result<Outcome>) -> Row {
    let began = Instant::now();
    let version =
        binary.as_ref().ok().and_then(|path| shell::first_line(&path.to_string_lossy(), &["--version"]));
    let result = binary.and_then(|path| test(&path));
    Row { name, version: version.unwrap_or_default(), result, seconds: began.elapsed().as_secs() }
}

fn show(rows: &[Row]) -> ExitCode {
    println!();
    println!(
        "{:<9} {:<28} {:>7} {:>7} {:>8} {:>8}",
        "runtime", "version", "passed", "failed", "skipped", "seconds"
    );
    let mut good = true;
    for Row { name, version, result, seconds } in rows {
        match result {
            Ok(Outcome { success, tally, .. }) => {
                let (passed, failed, skipped) = (tally.passed, tally.failed, tally.skipped);
                println!("{name:<9} {version:<28} {passed:>7} {failed:>7} {skipped:>8} {seconds:>8}");
                good &= success;
            }
            Err(e) => {
                println!("{name:<9} {version:<28} {e:#}");
                good = false;
            }
        }
    }
    for Row { name, result, .. } in rows {
        for test in result.iter().flat_map(|outcome| &outcome.failures) {
            println!("failed with {name}: {test}");
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn majors_may_be_chosen() {
        let wishes = parse(&words("--majors 18,26 --deno")).unwrap();
        assert_eq!((wishes.majors, wishes.deno), (vec![18, 26], true));
        assert_eq!(parse(&[]).unwrap().majors, MAJORS);
        assert!(parse(&words("--majors")).is_err());
        assert!(parse(&words("--majors eighteen")).is_err());
        assert!(parse(&words("--bun")).is_err());
    }
}
