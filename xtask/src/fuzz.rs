//! `cargo xtask fuzz`: every target of `fuzz/` for a bounded time. The tool is taken from `PATH` or from `target/tools`,
//! and installed there when it is in neither. `seeds` makes the inputs to begin with.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::shell;

mod seeds;

#[derive(Debug, PartialEq, Eq)]
struct Wishes {
    seconds: u32,
    /// All of them if empty.
    targets: Vec<String>,
}

fn parse(words: &[String]) -> Result<Wishes> {
    let mut wishes = Wishes { seconds: 20, targets: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => {
                let number = words.next().context("cannot read `--seconds`: a number follows it")?;
                wishes.seconds = number.parse().with_context(|| format!("cannot read seconds `{number}`"))?;
                // libFuzzer takes 0 for no end at all.
                ensure!(wishes.seconds > 0, "cannot fuzz for 0 seconds: the least is 1");
            }
            flag if flag.starts_with('-') => bail!("cannot understand `{flag}`: known is --seconds N"),
            target => wishes.targets.push(target.to_owned()),
        }
    }
    Ok(wishes)
}

pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    let wishes = parse(words)?;
    let tool = Tool::provide()?;
    let known = tool.targets()?;
    if let Some(stranger) = wishes.targets.iter().find(|target| !known.contains(target)) {
        bail!("cannot fuzz `{stranger}`: known are {}", known.join(", "));
    }
    let targets = if wishes.targets.is_empty() { known } else { wishes.targets };
    seeds::write(&shell::root().join("fuzz/corpus"))?;
    shell::run(&mut tool.command("build", &[]))?;
    let mut found = Vec::new();
    for target in &targets {
        if !shell::succeeds(&mut tool.fuzz(target, wishes.seconds)?)? {
            found.push(target.as_str());
        }
    }
    println!(
        "fuzzed {} targets for {} s each with {}",
        targets.len(),
        wishes.seconds,
        tool.toolchain.shown()
    );
    if found.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("found something: {} (inputs in fuzz/artifacts, see fuzz/README.md)", found.join(", "));
    Ok(ExitCode::FAILURE)
}

/// Whether the targets compile, without libFuzzer: a part of `cargo xtask test`.
pub(crate) fn check() -> Result<bool> {
    shell::succeeds(&mut shell::cargo(&[
        "clippy",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--target-dir",
        "target/fuzz",
        "--no-default-features",
        "--",
        "-D",
        "warnings",
    ]))
}

/// Which compiler builds the targets.
enum Toolchain {
    /// With the address sanitizer.
    Nightly,
    /// The one that runs us; it has no sanitizers.
    Ours,
}

impl Toolchain {
    fn choose() -> Self {
        match shell::first_line("rustup", &["run", "nightly", "rustc", "--version"]) {
            Some(_) => Self::Nightly,
            None => Self::Ours,
        }
    }

    fn shown(&self) -> &'static str {
        match self {
            Self::Nightly => "nightly and the address sanitizer",
            Self::Ours => "no sanitizer, for want of a nightly toolchain",
        }
    }
}

/// `cargo-fuzz`, and what it is to compile with.
struct Tool {
    program: PathBuf,
    toolchain: Toolchain,
}

impl Tool {
    fn provide() -> Result<Self> {
        let toolchain = Toolchain::choose();
        if shell::found("cargo-fuzz") {
            return Ok(Self { program: "cargo-fuzz".into(), toolchain });
        }
        let ours = shell::root().join("target/tools");
        let program = ours.join("bin/cargo-fuzz");
        if !program.is_file() {
            println!("cargo-fuzz is not installed: installing it into target/tools");
            let mut install = shell::cargo(&["install", "cargo-fuzz", "--locked", "--root"]);
            shell::run(install.arg(&ours))?;
        }
        Ok(Self { program, toolchain })
    }

    fn command(&self, verb: &str, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["fuzz", verb, "--fuzz-dir", "fuzz"]).current_dir(shell::root());
        if verb != "list" {
            command.args(["--target-dir", "target/fuzz"]);
            match self.toolchain {
                // Set by the cargo that runs us, where it means that one.
                Toolchain::Nightly => command.env_remove("CARGO").env("RUSTUP_TOOLCHAIN", "nightly"),
                Toolchain::Ours => command.args(["--sanitizer", "none"]),
            };
        }
        command.args(words);
        command
    }

    fn targets(&self) -> Result<Vec<String>> {
        let mut list = self.command("list", &[]);
        let output = list.output().with_context(|| format!("cannot start `{}`", shell::spelled(&list)))?;
        ensure!(output.status.success(), "cannot list the targets of `fuzz`");
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    fn fuzz(&self, target: &str, seconds: u32) -> Result<Command> {
        // What is found goes into the first directory; those in the repository stay as they are.
        let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}"));
        seeds::make(&shell::root().join(&corpus))?;
        let mut command = self.command("run", &[target, &corpus]);
        if shell::root().join(&seeds).is_dir() {
            command.arg(seeds);
        }
        command.args(["--", "-dict=fuzz/node.dict", "-timeout=10", "-max_len=20000", "-verbosity=0"]);
        command.arg("-print_final_stats=1").arg(format!("-max_total_time={seconds}"));
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn time_and_targets_may_be_chosen() {
        assert_eq!(parse(&[]).unwrap(), Wishes { seconds: 20, targets: Vec::new() });
        let wishes = parse(&words("framing --seconds 3 pairing")).unwrap();
        assert_eq!(wishes, Wishes { seconds: 3, targets: words("framing pairing") });
        for wrong in ["--seconds", "--seconds 0", "--seconds soon", "--forever"] {
            assert!(parse(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
