//! From files to apps: `oneport.toml`, and PM2's files as they are (JSON, YAML, JavaScript). Every format becomes a tree of
//! values that know where they stand (`tree`; `toml`, `json`, `yaml`, `node`), what stands where is found in `shape`, and one
//! app in `app`, whose keys are in `keys` and whose values are judged in `value`. How a mistake is shown says `source`.
//!
//! The text is a stranger's: its size, its depth, its number of apps and what repeats in it are bounded.

mod app;
mod cron;
mod json;
mod judge;
mod keys;
mod meaning;
mod near;
mod node;
mod notes;
mod paths;
mod sample;
mod settle;
mod shape;
mod source;
mod toml;
mod tree;
mod value;
mod yaml;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use oneport_wire::control::AppSpec;

use crate::error::{Failure, plain};
use notes::Notes;
pub(crate) use paths::name_of_line;
pub(crate) use sample::{ECOSYSTEM, TOML};
pub(crate) use settle::shell_words;
use source::{Place, Problem, Source};
use tree::Node;

/// Bytes of a file, and of what a JavaScript file makes of itself.
const LARGEST: usize = 1 << 20;
/// Files that are looked for where none is named, in this order.
const USUAL: &[&str] = &[
    "oneport.toml",
    "ecosystem.config.js",
    "ecosystem.config.cjs",
    "ecosystem.config.mjs",
    "ecosystem.config.json",
    "ecosystem.config.yml",
    "ecosystem.config.yaml",
    "process.json",
];

/// What of a file is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// `--env NAME`: the block `env_NAME` of each app stands over its `env`.
    pub(crate) env: Option<String>,
    /// `--only A,B`: these apps and no others; empty: all.
    pub(crate) only: Vec<String>,
    /// Where log files are whose names are left to us (PM2's `log_file: true`).
    pub(crate) logs: PathBuf,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loaded {
    /// In the order of the file, at least one; names are there and differ, and paths are absolute.
    pub(crate) apps: Vec<AppSpec>,
    /// Names of those that are to be started beside another one of that name (PM2's `force`).
    pub(crate) forced: Vec<String>,
    /// One line each, for standard error.
    pub(crate) warnings: Vec<String>,
    /// Absolute. None: standard input.
    pub(crate) file: Option<PathBuf>,
}

/// Whose keys and whose strictness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// `oneport.toml`: what is not known is a mistake.
    Own,
    /// PM2's files: what is not known is a warning, as they must go on working.
    Pm2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Toml,
    Json,
    Yaml,
    JavaScript,
}

impl Format {
    /// PM2 looks for these anywhere in the name of the file, in this order.
    fn of(path: &Path) -> Option<Format> {
        let name = path.file_name()?.to_string_lossy();
        let has = |part: &&str| name.contains(*part);
        if name.ends_with(".toml") {
            Some(Format::Toml)
        } else if name.contains(".json") {
            Some(Format::Json)
        } else if [".yml", ".yaml"].iter().any(has) {
            Some(Format::Yaml)
        } else if [".config.js", ".config.cjs", ".config.mjs"].iter().any(has) {
            Some(Format::JavaScript)
        } else {
            None
        }
    }
}

/// Whether a file of this name is a configuration, not a script.
pub(crate) fn is_config(path: &Path) -> bool {
    Format::of(path).is_some()
}

/// The configuration of a directory.
pub(crate) fn find_in(dir: &Path) -> Option<PathBuf> {
    USUAL.iter().map(|name| dir.join(name)).find(|path| path.is_file())
}

/// The apps of a file.
pub(crate) fn read(path: &Path, how: &Reading) -> Result<Loaded, Failure> {
    let shown = path.display().to_string();
    let cannot = |cause: &str| Failure::new(format!("cannot read `{shown}`: {cause}"));
    let Some(format) = Format::of(path) else {
        return Err(cannot("its name is not that of a configuration")
            .hint("name it NAME.toml, NAME.json, NAME.yml or NAME.config.js"));
    };
    let file = paths::collapse(&std::path::absolute(path).map_err(|error| cannot(&plain(&error)))?);
    let dir = file.parent().unwrap_or(Path::new("/")).to_owned();
    let text = bounded_text(&file).map_err(|cause| {
        let other = find_in(&dir).filter(|_| !file.exists());
        match other.as_deref().and_then(Path::file_name) {
            Some(other) => {
                cannot(&cause).hint(format!("there is `{}` in that directory", other.to_string_lossy()))
            }
            None => cannot(&cause),
        }
    })?;
    let source = Source { name: shown, text };
    let mut notes = Notes::default();
    let dialect = match format {
        Format::Toml => Dialect::Own,
        Format::Json | Format::Yaml | Format::JavaScript => Dialect::Pm2,
    };
    let tree = match format {
        Format::Toml => toml::read(&source),
        Format::Json => json::read(&source),
        Format::Yaml => yaml::read(&source),
        Format::JavaScript => Ok(node::read(&file, &source, &mut notes)?),
    };
    let apps = tree
        .and_then(|tree| understood(&tree, dialect, &dir, how, &mut notes))
        .map_err(|problem| problem.into_failure(&source))?;
    loaded(apps, how, &source, notes, Some(file))
}

/// The apps of a JSON text, whose relative paths are meant from `dir`.
pub(crate) fn from_stdin_json(text: &str, dir: &Path, how: &Reading) -> Result<Loaded, Failure> {
    let source =
        Source { name: "standard input".to_owned(), text: text.trim_start_matches('\u{feff}').to_owned() };
    if text.len() > LARGEST {
        return Err(Problem::syntax(too_large(), None).into_failure(&source));
    }
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let mut notes = Notes::default();
    let apps = json::read(&source)
        .and_then(|tree| understood(&tree, Dialect::Pm2, &dir, how, &mut notes))
        .map_err(|problem| problem.into_failure(&source))?;
    loaded(apps, how, &source, notes, None)
}

fn loaded(
    apps: Vec<App>,
    how: &Reading,
    source: &Source,
    notes: Notes,
    file: Option<PathBuf>,
) -> Result<Loaded, Failure> {
    let apps = chosen(apps, how, source)?;
    let forced = apps.iter().filter(|app| app.force).map(|app| app.spec.name.clone()).collect();
    let apps = apps.into_iter().map(|app| app.spec).collect();
    Ok(Loaded { apps, forced, warnings: notes.into_lines(source), file })
}

fn too_large() -> String {
    format!("it is larger than {} MiB", LARGEST >> 20)
}

/// The text of a file that may be anything.
fn bounded_text(path: &Path) -> Result<String, String> {
    let kind = path.metadata().map_err(|error| plain(&error))?;
    // A pipe would be waited for, and a device has no end.
    if !kind.is_file() {
        return Err(if kind.is_dir() { "it is a directory" } else { "it is not a regular file" }.to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| plain(&error))?;
    let most = u64::try_from(LARGEST).unwrap_or(u64::MAX) + 1;
    file.take(most).read_to_end(&mut bytes).map_err(|error| plain(&error))?;
    if bytes.len() > LARGEST {
        return Err(too_large());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..good).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("it is not UTF-8: byte 0x{:02x} in line {line}", error.as_bytes().get(good).unwrap_or(&0))
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// An app, and the name it was written with, where `append_env_to_name` has changed it.
struct App {
    spec: AppSpec,
    written: String,
    at: Option<Place>,
    force: bool,
}

fn understood(
    tree: &Node,
    dialect: Dialect,
    dir: &Path,
    how: &Reading,
    notes: &mut Notes,
) -> Result<Vec<App>, Problem> {
    let found = shape::find(tree, dialect, notes)?;
    let mut reader = app::Reader::new(dialect, dir, how, notes);
    let mut apps: Vec<App> = Vec::new();
    for (index, node) in found.apps.iter().enumerate() {
        let read = reader.app(node, index, found.defaults)?;
        if let Some(name) =
            Some(&read.spec.name).filter(|name| apps.iter().any(|app| app.spec.name == **name))
        {
            let problem = Problem::of(format!("app `{name}`"), "another app has that name", read.at);
            return Err(problem.hint("give each its own `name`"));
        }
        apps.push(read);
    }
    reader.end();
    Ok(apps)
}

/// Those that `--only` names.
fn chosen(apps: Vec<App>, how: &Reading, source: &Source) -> Result<Vec<App>, Failure> {
    let only: Vec<&str> = how
        .only
        .iter()
        .flat_map(|names| names.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    let is = |app: &App, name: &str| app.spec.name == name || app.written == name;
    for name in &only {
        if !apps.iter().any(|app| is(app, name)) {
            let names: Vec<&str> = apps.iter().map(|app| app.spec.name.as_str()).collect();
            let failure = Failure::new(format!(
                "cannot find app `{}` in `{}`: it has {}",
                source::harmless(name),
                source.name,
                listed(&names)
            ));
            return Err(match near::did_you_mean(name, names) {
                Some(hint) => failure.hint(hint),
                None => failure,
            });
        }
    }
    let wanted = |app: &App| only.is_empty() || only.iter().any(|name| is(app, name));
    Ok(apps.into_iter().filter(wanted).collect())
}

/// Names in backquotes, not too many.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<_> =
        names.iter().take(SHOWN).map(|name| format!("`{}`", source::harmless(name))).collect();
    let more = if names.len() > SHOWN { " and others" } else { "" };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
pub(super) mod tests;
