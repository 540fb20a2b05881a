//! Packages from npm, installed below `target/`: the servers of the end-to-end tests, and other runtimes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

fn npm(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.args(words).args(["--no-audit", "--no-fund", "--loglevel", "error"]).current_dir(dir);
    command
}

/// Installs the packages of `tests/e2e/node` into `target/e2e-node`, beside copies of the servers that use
/// them. Does nothing when they are there already.
pub(crate) fn provide_servers() -> Result<()> {
    let from = shell::root().join("tests/e2e/node");
    let to = shell::root().join("target/e2e-node");
    fs::create_dir_all(&to).with_context(|| format!("cannot make `{}`", to.display()))?;
    let lock =
        fs::read(from.join("package-lock.json")).context("cannot read the lock file of tests/e2e/node")?;
    let stamp = to.join("installed.json");
    let fresh = fs::read(&stamp).is_ok_and(|done| done == lock) && to.join("node_modules").is_dir();
    for entry in fs::read_dir(&from).with_context(|| format!("cannot read `{}`", from.display()))? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            fs::copy(&path, to.join(name)).with_context(|| format!("cannot copy `{}`", path.display()))?;
        }
    }
    if !fresh {
        shell::run(&mut npm(&to, &["ci"]))?;
        fs::write(&stamp, lock).with_context(|| format!("cannot write `{}`", stamp.display()))?;
    }
    Ok(())
}

/// Installs one package into `target/compat/<name>` and gives that directory.
fn provide(name: &str, package: &str) -> Result<PathBuf> {
    let dir = shell::root().join("target/compat").join(name);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
    let manifest = dir.join("package.json");
    if !manifest.is_file() {
        fs::write(&manifest, "{ \"private\": true }\n").context("cannot write a package.json")?;
    }
    shell::run(&mut npm(&dir, &["install", "--no-save", package]))?;
    Ok(dir)
}

/// The binary of a Node major version.
pub(crate) fn provide_node(major: u32) -> Result<PathBuf> {
    let dir = provide(&format!("node{major}"), &format!("node@{major}"))?;
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let nested = format!("node_modules/node/node_modules/node-linux-{arch}/bin/node");
    let beside = format!("node_modules/node-linux-{arch}/bin/node");
    first_that_runs(&dir, &["node_modules/node/bin/node", &nested, &beside])
}

/// The binary of Deno itself (the command npm links is a script that starts it).
pub(crate) fn provide_deno() -> Result<PathBuf> {
    let dir = provide("deno", "deno")?;
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let platform = format!("node_modules/@deno/linux-{arch}-glibc/deno");
    first_that_runs(&dir, &[&platform, "node_modules/deno/deno"])
}

fn first_that_runs(dir: &Path, candidates: &[&str]) -> Result<PathBuf> {
    let paths = candidates.iter().map(|path| dir.join(path));
    let mut runs = paths.filter(|path| shell::first_line(&path.to_string_lossy(), &["--version"]).is_some());
    match runs.next() {
        Some(path) => Ok(path),
        None => bail!("cannot find a binary that runs in `{}`", dir.display()),
    }
}
