//! `startup` and `unstartup`, step by step.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::links;
use super::names::{check_platform, given_unit, unit_of};
use super::options::{Done, Level, Network, Outcome, Purpose, StartupOptions};
use super::passwd::{User, Who, find};
use super::place::Place;
use super::quote::{for_shell, one_line};
use super::search::search;
use super::unit::{MARK, UnitOptions, target, unit};
use crate::error::{Failure, plain};
use crate::state::{VARIABLE, atomic, locate};

/// A unit is far shorter.
const MOST_BYTES: u64 = 256 << 10;

/// What was asked, looked up.
struct Plan {
    user: User,
    /// The unit's name, without `.service`.
    name: String,
    /// Where units are, for the machine.
    directory: PathBuf,
}

/// Writes the unit and enables it. Nothing is started: a daemon that runs already would be in the way.
pub(crate) fn startup(options: &StartupOptions, place: &Place) -> Result<Outcome, Failure> {
    let plan = Plan::new(options, place)?;
    let home = plan.daemon_home(options, place)?;
    let (path, warning) = search(place.variable("PATH").unwrap_or_default());
    let executable = text("program", &place.executable)?;
    let unit = unit(&UnitOptions {
        level: options.level,
        name: plan.name.clone(),
        user: plan.user.name.clone(),
        executable: executable.clone(),
        home: text("home directory", &home)?,
        search: path,
        network: options.network,
        least: options.least,
    });
    match options.purpose {
        Purpose::Print => return Ok(Outcome::Printed(unit)),
        Purpose::Do if options.level == Level::System && place.uid != 0 => {
            return Ok(Outcome::NeedsRoot { command: plan.command("startup", options, place, Some(&home)) });
        }
        Purpose::Do => {}
    }
    let file = plan.file();
    let there = place.at(&file);
    let mut said = Vec::new();
    match plan.found(&there)? {
        Some(before) if before == unit => said.push(format!("`{}` is there already", file.display())),
        Some(_) | None => {
            write(&there, &unit)?;
            said.push(format!("`{}` is written", file.display()));
        }
    }
    let service = plan.service();
    if place.is_running(options.level) {
        place.systemctl(options.level, &["daemon-reload"])?;
        place.systemctl(options.level, &["enable", &service])?;
        said.push(format!("`{service}` is enabled: at the next boot the saved apps are started"));
        said.push(plan.now(options.level));
    } else {
        let link = place.at(&links::link_of(&plan.directory, target(options.level), &service));
        links::enable(&link, &file).map_err(|error| {
            Failure::new(format!("cannot enable `{service}`: `{}`: {}", link.display(), plain(&error)))
        })?;
        said.push(format!("systemd does not run here; `{service}` is enabled for when it does"));
    }
    said.extend(warning);
    said.extend(plan.advice(options, place));
    Ok(Outcome::Done(Done { file, said }))
}

/// Disables the unit and removes it. What runs goes on running.
pub(crate) fn unstartup(options: &StartupOptions, place: &Place) -> Result<Outcome, Failure> {
    let plan = Plan::new(options, place)?;
    let (file, service) = (plan.file(), plan.service());
    if options.purpose == Purpose::Do && options.level == Level::System && place.uid != 0 {
        return Ok(Outcome::NeedsRoot { command: plan.command("unstartup", options, place, None) });
    }
    let there = place.at(&file);
    let Some(unit) = plan.found(&there)? else {
        let message = format!("cannot remove `{}`: it is not there", file.display());
        return Err(Failure::new(message).hint("-u USER or --service-name NAME names another"));
    };
    if options.purpose == Purpose::Print {
        return Ok(Outcome::Printed(unit));
    }
    let running = place.is_running(options.level);
    if running {
        place.systemctl(options.level, &["disable", &service])?;
    }
    let removed = |what: &Path, done: std::io::Result<()>| {
        done.map_err(|error| Failure::new(format!("cannot remove `{}`: {}", what.display(), plain(&error))))
    };
    let link = place.at(&links::link_of(&plan.directory, target(options.level), &service));
    removed(&link, links::disable(&link))?;
    removed(&file, fs::remove_file(&there))?;
    if running {
        place.systemctl(options.level, &["daemon-reload"])?;
    }
    let mut said = vec![format!("`{}` is removed: nothing is started at boot", file.display())];
    said.push("what runs goes on: `oneport kill` ends it".to_owned());
    let own = file.with_extension("service.d");
    if place.at(&own).is_dir() {
        said.push(format!("`{}`, with changes of your own, stays", own.display()));
    }
    Ok(Outcome::Done(Done { file, said }))
}

impl Plan {
    fn new(options: &StartupOptions, place: &Place) -> Result<Plan, Failure> {
        match options.platform.as_deref() {
            Some(platform) => check_platform(platform)?,
            None if place.knows_systemd() || options.purpose == Purpose::Print => {}
            None => {
                return Err(Failure::new(
                    "cannot set up a start at boot: there is no systemd on this machine",
                )
                .hint("`oneport startup systemd` writes the unit all the same"));
            }
        }
        let unknown = |user: &str| {
            Failure::usage(format!("cannot start apps of `{user}` at boot: there is no such user"))
        };
        let user = match &options.user {
            Some(name) => find(&place.root, Who::Name(name)).ok_or_else(|| unknown(name))?,
            None => find(&place.root, Who::Uid(place.uid)).ok_or_else(|| unknown(&place.uid.to_string()))?,
        };
        one_line("user", &user.name)?;
        if options.level == Level::User && user.uid != place.uid {
            let message = format!("cannot write a user unit of `{}`: you are somebody else", user.name);
            return Err(Failure::usage(message).hint("be that user, or leave out --user"));
        }
        let home = options.hp.clone().unwrap_or_else(|| user.home.clone());
        let (usual, directory) = match options.level {
            Level::System => (unit_of(&user.name), PathBuf::from("/etc/systemd/system")),
            Level::User => {
                let config = place.variable("XDG_CONFIG_HOME").filter(|path| path.starts_with('/'));
                let config = config.map_or_else(|| home.join(".config"), PathBuf::from);
                ("oneport".to_owned(), config.join("systemd/user"))
            }
        };
        let name = options.service_name.as_deref().map(given_unit).transpose()?.unwrap_or(usual);
        Ok(Plan { user: User { home, ..user }, name, directory })
    }

    fn service(&self) -> String {
        format!("{}.service", self.name)
    }

    fn file(&self) -> PathBuf {
        self.directory.join(self.service())
    }

    /// `ONEPORT_HOME` of who asks, else `.oneport` in the user's home directory. Where a user is named it may be nobody else's.
    fn daemon_home(&self, options: &StartupOptions, place: &Place) -> Result<PathBuf, Failure> {
        let is_named = options.hp.is_some() || options.user.is_some();
        let is_anothers = |path: &str| {
            fs::metadata(place.at(Path::new(path))).is_ok_and(|facts| facts.uid() != self.user.uid)
        };
        let named = place.variable(VARIABLE).filter(|path| !(is_named && is_anothers(path))).map(Into::into);
        let home = locate(named, Some(self.user.home.clone().into_os_string()))?;
        let owner = fs::metadata(place.at(&home)).map(|facts| facts.uid());
        match owner {
            // Only root can be wrong here: everybody else could not have made it.
            Ok(owner) if options.level == Level::System && owner != self.user.uid => {
                let (shown, user) = (home.display(), &self.user.name);
                let message =
                    format!("cannot use `{shown}` as home directory of `{user}`: it belongs to user {owner}");
                Err(Failure::new(message)
                    .hint("-u USER names the user, --hp DIRECTORY that user's home directory"))
            }
            Ok(_) | Err(_) => Ok(home),
        }
    }

    /// The unit that is there; it has to be one of ours.
    fn found(&self, there: &Path) -> Result<Option<String>, Failure> {
        let failed = |cause: String| Failure::new(format!("cannot read `{}`: {cause}", there.display()));
        let facts = match fs::symlink_metadata(there) {
            Ok(facts) => facts,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(plain(&error))),
        };
        let mut text = String::new();
        let ours = facts.is_file() && {
            let file = File::open(there).map_err(|error| failed(plain(&error)))?;
            file.take(MOST_BYTES).read_to_string(&mut text).is_ok() && text.starts_with(MARK)
        };
        match ours {
            true => Ok(Some(text)),
            false => {
                let message = format!("cannot change `{}`: it was not written by oneport", there.display());
                Err(Failure::new(message).hint("--service-name NAME names another unit"))
            }
        }
    }

    /// The line for root, with all that root's own environment does not have.
    fn command(&self, verb: &str, options: &StartupOptions, place: &Place, home: Option<&Path>) -> String {
        let mut words = vec!["sudo".to_owned(), "env".to_owned()];
        if let Some(path) = place.variable("PATH") {
            words.push(format!("PATH={path}"));
        }
        if let Some(home) = home.filter(|home| **home != self.user.home.join(".oneport")) {
            words.push(format!("{VARIABLE}={}", home.display()));
        }
        words.push(place.executable.display().to_string());
        words.extend([verb, "systemd", "-u", &self.user.name, "--hp"].map(str::to_owned));
        words.push(self.user.home.display().to_string());
        if let Some(name) = &options.service_name {
            words.extend(["--service-name".to_owned(), name.clone()]);
        }
        if options.network == Network::Online {
            words.push("--wait-ip".to_owned());
        }
        if options.least == super::Least::TierA {
            words.push("--least".to_owned());
        }
        words.iter().map(|word| for_shell(word)).collect::<Vec<_>>().join(" ")
    }

    /// How the daemon comes under it without a boot.
    fn now(&self, level: Level) -> String {
        let start = match level {
            Level::System => "sudo systemctl start",
            Level::User => "systemctl --user start",
        };
        format!("to have it now: oneport save && oneport kill && {start} {}", self.name)
    }

    fn advice(&self, options: &StartupOptions, place: &Place) -> Vec<String> {
        let mut advice = Vec::new();
        let user = &self.user.name;
        match options.level {
            Level::User => {
                let lingers = place.at(Path::new("/var/lib/systemd/linger")).join(user).exists();
                if !lingers {
                    advice.push(format!(
                        "it starts when `{user}` logs in; at boot after: loginctl enable-linger {user}"
                    ));
                }
                if options.network == Network::Online {
                    advice.push("--wait-ip is nothing that a user's unit can do; it is left out".to_owned());
                }
                if options.least == super::Least::TierA {
                    advice.push("--least is nothing that a user's unit can do; it is left out".to_owned());
                }
            }
            Level::System => {
                let caller = place.variable("SUDO_USER").filter(|caller| *caller != user);
                if let Some(caller) = caller.filter(|_| options.user.is_none()) {
                    advice.push(format!(
                        "these are the apps of `{user}`; for those of `{caller}`: -u {caller}"
                    ));
                }
            }
        }
        advice
    }
}

fn text(what: &str, path: &Path) -> Result<String, Failure> {
    match path.to_str() {
        Some(text) => one_line(what, text).map(str::to_owned),
        None => Err(Failure::new(format!(
            "cannot write {what} `{}` into a unit: it is not UTF-8",
            path.display()
        ))),
    }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let write = || {
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        // Units are for everybody to read.
        atomic::write_for_all(file, text.as_bytes())
    };
    write().map_err(|error| {
        let hint = "a system whose /etc is read-only takes its units from its own configuration; \
                    `oneport startup --print` shows this one";
        let failure = Failure::new(format!("cannot write `{}`: {}", file.display(), plain(&error)));
        let read_only = error.kind() == std::io::ErrorKind::ReadOnlyFilesystem;
        if read_only { failure.hint(hint) } else { failure }
    })
}

#[cfg(test)]
mod tests;
