//! What the words of a command mean: apps on the list, configurations that name apps, JSON on standard input, or a script.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};

use oneport_wire::control::{AppSpec, AppView};

use super::apply::here;
use super::select::{Chosen, by_script, choose};
use crate::args::spec::SpecArgs;
use crate::config::{self, Loaded, Reading};
use crate::error::Failure;
use crate::render::manager::Tone;
use crate::state::Home;

/// JSON on standard input may be so long.
const LARGEST: u64 = 1024 * 1024;

/// One thing that was meant.
#[derive(Clone, Debug)]
pub(super) enum Meant {
    /// An app on the list, or some of its slots.
    Known(Chosen),
    /// An app of a configuration, on the list or not.
    Configured(Box<AppSpec>),
    /// One that is to be started also where another one has its name.
    Another(Box<AppSpec>),
    /// Something to be run.
    Script(OsString),
    /// Behind `--`: a program and its arguments.
    Command(OsString, Vec<OsString>),
}

/// How configurations are read.
pub(super) struct How<'a> {
    pub(super) only: &'a [String],
    pub(super) env: Option<&'a str>,
    pub(super) home: &'a Home,
}

impl<'a> How<'a> {
    pub(super) fn of(spec: &'a SpecArgs, only: &'a [String], home: &'a Home) -> How<'a> {
        How { only, env: spec.env_block(), home }
    }

    pub(super) fn plain(home: &'a Home) -> How<'a> {
        How { only: &[], env: None, home }
    }

    fn reading(&self) -> Reading {
        Reading { env: self.env.map(str::to_owned), only: self.only.to_vec(), logs: self.home.logs() }
    }
}

/// Everything that these words mean, in their order.
pub(super) fn gather(words: &[OsString], apps: &[AppView], how: &How<'_>) -> Result<Vec<Meant>, Failure> {
    let here = here()?;
    let mut meant = Vec::new();
    for word in words {
        meant.extend(one(word, apps, how, &here)?);
    }
    Ok(meant)
}

fn one(word: &OsStr, apps: &[AppView], how: &How<'_>, here: &Path) -> Result<Vec<Meant>, Failure> {
    if word == "-" {
        return Ok(configured(config::from_stdin_json(&stdin()?, here, &how.reading())?));
    }
    let path = Path::new(word);
    let is_known = apps.iter().any(|app| word == app.name.as_str());
    if config::is_config(path) && !is_known {
        return Ok(configured(config::read(&here.join(path), &how.reading())?));
    }
    match choose(&[word.to_owned()], apps) {
        Ok(chosen) => {
            let only = |one: &Chosen| how.only.is_empty() || how.only.contains(&one.app);
            Ok(chosen.into_iter().filter(only).map(Meant::Known).collect())
        }
        Err(_) => Ok(vec![Meant::Script(word.to_owned())]),
    }
}

/// The configuration in this directory, where nothing was named.
pub(super) fn of_this_directory(how: &How<'_>) -> Result<Option<Vec<Meant>>, Failure> {
    let Some(path) = config::find_in(&here()?) else { return Ok(None) };
    Ok(Some(configured(config::read(&path, &how.reading())?)))
}

fn configured(loaded: Loaded) -> Vec<Meant> {
    for warning in &loaded.warnings {
        super::say(Tone::Warning, warning);
    }
    let meant = |spec: AppSpec| match loaded.forced.contains(&spec.name) {
        true => Meant::Another(Box::new(spec)),
        false => Meant::Configured(Box::new(spec)),
    };
    loaded.apps.into_iter().map(meant).collect()
}

fn stdin() -> Result<String, Failure> {
    let mut text = String::new();
    // One more shows that it is too long.
    std::io::stdin().take(LARGEST + 1).read_to_string(&mut text).map_err(|cause| {
        Failure::new(format!("cannot read standard input: {}", crate::error::plain(&cause)))
    })?;
    Ok(text)
}

/// Apps on the list, and the configurations that were named for them.
pub(super) struct Targets {
    pub(super) chosen: Vec<Chosen>,
    specs: Vec<AppSpec>,
    /// Apps of configurations that are not on the list.
    pub(super) missing: Vec<AppSpec>,
}

impl Targets {
    /// Whether no configuration was named.
    pub(super) fn are_all_named(&self) -> bool {
        self.specs.is_empty() && self.missing.is_empty()
    }

    pub(super) fn spec_of(&self, app: &str) -> Option<&AppSpec> {
        self.specs.iter().find(|spec| spec.name == app)
    }
}

/// For verbs that are about apps on the list: a word that means none is an error.
pub(super) fn targets(words: &[OsString], apps: &[AppView], how: &How<'_>) -> Result<Targets, Failure> {
    let mut targets = Targets { chosen: Vec::new(), specs: Vec::new(), missing: Vec::new() };
    let mut known = Vec::new();
    for meant in gather(words, apps, how)? {
        match meant {
            Meant::Known(chosen) => known.push(chosen),
            Meant::Configured(spec) | Meant::Another(spec)
                if apps.iter().any(|app| app.name == spec.name) =>
            {
                known.push(Chosen { app: spec.name.clone(), ids: Vec::new() });
                targets.specs.push(*spec);
            }
            Meant::Configured(spec) | Meant::Another(spec) => targets.missing.push(*spec),
            Meant::Script(word) | Meant::Command(word, _) => {
                let found = by_script(&word, apps, &here()?);
                if found.is_empty() {
                    return Err(super::select::unknown(&word.to_string_lossy(), apps));
                }
                known.extend(found);
            }
        }
    }
    for one in known {
        match targets.chosen.iter_mut().find(|chosen| chosen.app == one.app) {
            // All is more than some.
            Some(chosen) if chosen.ids.is_empty() || one.ids.is_empty() => chosen.ids.clear(),
            Some(chosen) => chosen.ids.extend(one.ids),
            None => targets.chosen.push(one),
        }
    }
    Ok(targets)
}

/// Apps on the list that these words mean; at least one.
pub(super) fn on_list(words: &[OsString], apps: &[AppView], how: &How<'_>) -> Result<Vec<Chosen>, Failure> {
    let targets = targets(words, apps, how)?;
    match (targets.chosen.is_empty(), targets.missing.first()) {
        (true, Some(spec)) => Err(super::select::unknown(&spec.name, apps)),
        (true, None) | (false, _) => Ok(targets.chosen),
    }
}

/// Where a script is, if it is one here.
pub(super) fn script_here(cwd: &Path, target: &OsStr) -> Option<PathBuf> {
    let path = cwd.join(target);
    path.is_file().then_some(path)
}
