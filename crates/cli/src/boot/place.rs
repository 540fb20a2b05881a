//! The machine that a unit is for, and how it is told of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::options::Level;
use crate::error::{Failure, plain};

/// Where things are, and who asks.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The directory that the machine takes for `/`.
    pub(crate) root: PathBuf,
    /// None: there is none, and files and links are all that is made.
    pub(crate) systemctl: Option<PathBuf>,
    /// This program, as the unit calls it.
    pub(crate) executable: PathBuf,
    /// Who asks.
    pub(crate) uid: u32,
    pub(crate) environment: BTreeMap<String, String>,
}

impl Place {
    /// This machine and this process.
    pub(crate) fn here() -> Result<Place, Failure> {
        let executable = std::env::current_exe().map_err(|error| {
            Failure::new(format!("cannot find this program's own file: {}", plain(&error)))
        })?;
        if !executable.exists() {
            let shown = executable.display();
            return Err(Failure::new(format!(
                "cannot write `{shown}` into a unit: it was replaced or removed"
            ))
            .hint("call it again"));
        }
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let places = ["/usr/bin/systemctl", "/bin/systemctl", "/run/current-system/sw/bin/systemctl"];
        Ok(Place {
            root: PathBuf::from("/"),
            systemctl: places.map(PathBuf::from).into_iter().find(|path| path.exists()),
            executable,
            uid: rustix::process::geteuid().as_raw(),
            environment: std::env::vars_os().filter_map(text).collect(),
        })
    }

    /// A path of the machine, as it is found from here.
    pub(super) fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether systemd runs there (sd_booted(3)) and can be told something.
    pub(super) fn is_running(&self, level: Level) -> bool {
        let reachable = match level {
            Level::System => true,
            // The socket of the user's manager is in there.
            Level::User => self.variable("XDG_RUNTIME_DIR").is_some(),
        };
        reachable && self.systemctl.is_some() && self.at(Path::new("/run/systemd/system")).is_dir()
    }

    /// Whether there is any sign of systemd.
    pub(super) fn knows_systemd(&self) -> bool {
        let signs = ["/run/systemd/system", "/etc/systemd", "/usr/lib/systemd", "/lib/systemd"];
        self.systemctl.is_some() || signs.iter().any(|sign| self.at(Path::new(sign)).is_dir())
    }

    /// Has systemctl do something. It asks no questions: there may be nobody to answer.
    pub(super) fn systemctl(&self, level: Level, words: &[&str]) -> Result<(), Failure> {
        let Some(systemctl) = &self.systemctl else { return Ok(()) };
        let level = match level {
            Level::System => "--system",
            Level::User => "--user",
        };
        let shown = words.join(" ");
        let failed = |cause: &str| Failure::new(format!("cannot execute `systemctl {shown}`: {cause}"));
        let mut command = Command::new(systemctl);
        command.args([level, "--no-ask-password", "--quiet"]).args(words).stdin(Stdio::null());
        let output = command.output().map_err(|error| failed(&plain(&error)))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().map(str::trim).find(|line| !line.is_empty());
        Err(failed(&first.map_or_else(|| output.status.to_string(), str::to_owned)))
    }
}
