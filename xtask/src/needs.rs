//! What a test run needs on the machine, and how to get it on Debian.

use std::process::Command;

use anyhow::Result;

use crate::shell;

/// A program some tests use, and the Debian package that has it.
const TOOLS: [(&str, &str); 9] = [
    ("cc", "gcc"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("python3", "python3"),
    ("openssl", "openssl"),
    ("ss", "iproute2"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("sh", "dash"),
];

/// The programs that are not here.
fn missing() -> Vec<(&'static str, &'static str)> {
    TOOLS.into_iter().filter(|(program, _)| !shell::found(program)).collect()
}

/// Is there a Node for the tests? (`ONEPORT_NODE` names one, or it is in `PATH`)
pub(crate) fn has_node() -> bool {
    std::env::var_os("ONEPORT_NODE").is_some() || shell::found("node")
}

/// Installs what is missing where that is ours to do (root on Debian); else says in one line what is missing.
/// True when everything is here afterwards.
pub(crate) fn provide() -> Result<bool> {
    let absent = missing();
    if absent.is_empty() {
        return Ok(true);
    }
    let mut packages: Vec<&str> = absent.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    if may_install() {
        install(&packages)?;
    }
    let absent = missing();
    if !absent.is_empty() {
        let names: Vec<&str> = absent.iter().map(|(program, _)| *program).collect();
        println!("missing: {} (Debian: apt-get install {})", names.join(", "), packages.join(" "));
    }
    Ok(absent.is_empty())
}

/// Is installing ours to do: root on Debian?
pub(crate) fn may_install() -> bool {
    root() && shell::found("apt-get")
}

/// Installs Debian packages; what fails is seen in its output.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(words);
        command
    };
    let install = [&["install", "--yes", "--no-install-recommends"], packages].concat();
    // Without fresh lists apt may still know the packages.
    shell::succeeds(&mut apt(&["update", "-q"]))?;
    shell::succeeds(&mut apt(&install))?;
    Ok(())
}

/// Do we run as root? (asked without a system call of our own)
fn root() -> bool {
    shell::first_line("id", &["-u"]).is_some_and(|id| id == "0")
}
