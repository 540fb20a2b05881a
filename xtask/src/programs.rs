//! `cargo xtask test --all`: what the matrix of programs needs, from Debian's packages and from Python's registry. Nothing
//! is started by that: a policy of the machine that starts services when they are installed is suspended meanwhile.
//!
//! Not here: what a plain `cargo xtask test` needs (`needs`). Invariant: what cannot be installed is named, and the tests
//! that miss it fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{needs, shell};

/// How one sees that a package need not be installed.
#[derive(Clone, Copy)]
enum Sign {
    /// A program of this name is in `PATH`, wherever it came from.
    Program(&'static str),
    File(&'static str),
    /// This Python module can be imported.
    Module(&'static str),
}

impl Sign {
    fn is_seen(self) -> bool {
        match self {
            Self::Program(name) => shell::found(name),
            Self::File(path) => Path::new(path).exists(),
            Self::Module(name) => shell::first_line("python3", &["-c", &format!("import {name}")]).is_some(),
        }
    }
}

/// Debian packages.
const WANTED: [(Sign, &str); 11] = [
    (Sign::Program("musl-gcc"), "musl-tools"),
    (Sign::File("/usr/lib32/libc.so.6"), "gcc-multilib"),
    (Sign::Program("ruby"), "ruby"),
    (Sign::File("/usr/share/doc/ruby-webrick"), "ruby-webrick"),
    (Sign::Program("puma"), "puma"),
    (Sign::File("/usr/sbin/nginx"), "nginx-light"),
    (Sign::Program("redis-server"), "redis-server"),
    (Sign::Program("php"), "php-cli"),
    (Sign::Program("go"), "golang-go"),
    (Sign::Program("javac"), "default-jdk-headless"),
    (Sign::Module("ensurepip"), "python3-venv"),
];

fn missing() -> Vec<&'static str> {
    let absent = WANTED.into_iter().filter(|(sign, _)| !sign.is_seen());
    absent.map(|(_, package)| package).collect()
}

/// Installs what is missing.
pub(crate) fn provide() -> Result<()> {
    if !missing().is_empty() && needs::may_install() {
        let suspended = suspend_services()?;
        // What could be installed is used; the rest is named below.
        let done = needs::install(&missing());
        if suspended {
            fs::remove_file(POLICY).with_context(|| format!("cannot remove `{POLICY}`"))?;
        }
        done?;
    }
    let absent = missing();
    if !absent.is_empty() {
        println!("missing: Debian packages {}", absent.join(", "));
    }
    python()
}

/// Asked by Debian's packages before they start a service; 101 means no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// True if it was done here, and is to be undone.
fn suspend_services() -> Result<bool> {
    if Path::new(POLICY).exists() {
        return Ok(false);
    }
    fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write `{POLICY}`"))?;
    fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make `{POLICY}` executable"))?;
    Ok(true)
}

/// A virtual environment below `target/` with the packages of `tests/e2e/programs/python`.
fn python() -> Result<()> {
    let list = shell::root().join("tests/e2e/programs/python/requirements.txt");
    let to = shell::root().join("target/programs/venv");
    let stamp = to.join("installed.txt");
    let wanted = fs::read(&list).with_context(|| format!("cannot read `{}`", list.display()))?;
    if fs::read(&stamp).is_ok_and(|done| done == wanted) {
        return Ok(());
    }
    shell::run(Command::new("python3").args(["-m", "venv"]).arg(&to))?;
    let mut install = Command::new(to.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&list);
    shell::run(&mut install)?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write `{}`", stamp.display()))
}
