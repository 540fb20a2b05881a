//! One app: from the keys of its table to an [`AppSpec`], in which nothing is left to the place where it was written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oneport_wire::control::AppSpec;
use serde_json::{Map, Value};

use super::keys::Known;
use super::meaning::{Meaning, Special, meaning, names, snake};
use super::near::{did_you_mean, nearest};
use super::notes::Notes;
use super::settle::{Surroundings, check_name, settle, with_source_maps};
use super::source::Problem;
use super::tree::{Entry, Node, What};
use super::{App, Dialect, Reading, keys, value};

/// Reads the apps of one file.
pub(super) struct Reader<'a> {
    dialect: Dialect,
    /// The directory of the file.
    dir: &'a Path,
    home: Option<PathBuf>,
    how: &'a Reading,
    notes: &'a mut Notes,
    /// Whether an app has the block that `--env` names, and the names of the blocks that there are.
    found_env: bool,
    blocks: Vec<String>,
}

/// Keys of one table, by what they mean.
#[derive(Default)]
struct Sorted<'n> {
    values: BTreeMap<&'static str, (&'static Known, &'n Entry)>,
    /// Of the block that `--env` names.
    block: Option<&'n Entry>,
    append_env: bool,
    source_maps: bool,
    force: bool,
    /// What nobody knows, in case it was meant for `script`.
    unknown: Vec<&'n Entry>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(dialect: Dialect, dir: &'a Path, how: &'a Reading, notes: &'a mut Notes) -> Reader<'a> {
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        Reader { dialect, dir, home, how, notes, found_env: false, blocks: Vec::new() }
    }

    /// `node` is a table; `index` counts from 0.
    pub(super) fn app(&mut self, node: &Node, index: usize, defaults: &[Entry]) -> Result<App, Problem> {
        let entries = node.as_table().unwrap_or_default();
        self.read(entries, node, index, defaults).map_err(|problem| {
            // Where no line can be shown, at least the app is named.
            let named =
                entries.iter().find(|entry| entry.key == "name").and_then(|entry| entry.value.as_text());
            let app =
                named.map_or_else(|| format!("app number {}", index + 1), |name| format!("app `{name}`"));
            match (&problem.what, problem.at) {
                (Some(what), None) if what.starts_with('`') => {
                    Problem { what: Some(format!("{what} of {app}")), ..problem }
                }
                (Some(_) | None, _) => problem,
            }
        })
    }

    fn read(
        &mut self,
        entries: &[Entry],
        node: &Node,
        index: usize,
        defaults: &[Entry],
    ) -> Result<App, Problem> {
        let common = self.sort(defaults)?;
        let own = self.sort(entries)?;
        let mut values = Map::new();
        for sorted in [&common, &own] {
            for (name, (known, entry)) in &sorted.values {
                let Some(value) = self.value(known, entry)? else { continue };
                merge(&mut values, name, value);
            }
        }
        for entry in [common.block, own.block].into_iter().flatten() {
            let Some(env) = keys::KEYS.iter().find(|known| known.name == "env") else { continue };
            if let Some(value) = self.value(env, entry)? {
                merge(&mut values, "env", value);
            }
        }
        let mut spec = serde_json::from_value::<AppSpec>(Value::Object(values))
            .map_err(|error| Problem::of(format!("app number {}", index + 1), error.to_string(), node.at))?;
        if spec.script.is_empty() {
            return Err(no_script(&spec, &own, node, index));
        }
        let from = Surroundings { dir: self.dir, home: self.home.as_deref(), logs: &self.how.logs };
        settle(&mut spec, &from)?;
        self.look_at_counting(&spec, &own);
        if common.source_maps || own.source_maps {
            with_source_maps(&mut spec);
        }
        let named = own.values.get("name").or_else(|| own.values.get("script"));
        let at = named.map_or(node.at, |(_, entry)| entry.value.at);
        let written = spec.name.clone();
        if let Some(env) = self.how.env.as_ref().filter(|_| common.append_env || own.append_env) {
            spec.name = format!("{}-{env}", spec.name);
        }
        check_name(&spec.name, at)?;
        Ok(App { spec, written, at, force: common.force || own.force })
    }

    /// What the keys of a table mean.
    fn sort<'n>(&mut self, entries: &'n [Entry]) -> Result<Sorted<'n>, Problem> {
        let mut sorted = Sorted::default();
        for entry in entries {
            let key = entry.key.as_str();
            // What is `null` or `undefined` has not been said; nor has, to PM2, an empty text.
            let empty = self.dialect == Dialect::Pm2 && entry.value.as_text() == Some("");
            if entry.value.is_null() || empty {
                continue;
            }
            match (meaning(key), self.dialect) {
                (Meaning::Key(known), _) => self.keep(&mut sorted, known, entry)?,
                (Meaning::Alias(known), Dialect::Pm2) => self.keep(&mut sorted, known, entry)?,
                (Meaning::Alias(known), Dialect::Own) => {
                    let problem = Problem::of(format!("`{key}`"), "that is PM2's name for it", entry.at);
                    return Err(problem.hint(format!("here it is `{}`", known.name)));
                }
                (Meaning::Block(block), _) => {
                    if self.blocks.len() < 100 && !self.blocks.iter().any(|known| known == block) {
                        self.blocks.push(block.to_owned());
                    }
                    if self.how.env.as_deref() == Some(block) {
                        self.found_env = true;
                        sorted.block = Some(entry);
                    }
                }
                (Meaning::Special(Special::AppendEnvToName), Dialect::Pm2) => {
                    sorted.append_env = entry.value.what == What::Truth(true);
                }
                (Meaning::Special(Special::SourceMaps), Dialect::Pm2) => {
                    sorted.source_maps = entry.value.what == What::Truth(true);
                }
                (Meaning::Special(Special::Force), Dialect::Pm2) => {
                    sorted.force = entry.value.what == What::Truth(true);
                }
                (Meaning::Silent, Dialect::Pm2) => {}
                (Meaning::WithoutEffect, Dialect::Pm2) => self.notes.without_effect(key),
                (Meaning::Unknown, Dialect::Pm2) => {
                    self.notes.unknown(entry.at, key, &format!("unknown key `{key}`"), names());
                    sorted.unknown.push(entry);
                }
                (Meaning::Special(_) | Meaning::Silent | Meaning::WithoutEffect, Dialect::Own) => {
                    let cause = "it is a key of PM2's files only";
                    return Err(Problem::of(format!("`{key}`"), cause, entry.at).hint("leave it out"));
                }
                (Meaning::Unknown, Dialect::Own) => {
                    let problem = Problem::of(format!("`{key}`"), "there is no such key", entry.at);
                    return Err(match did_you_mean(key, names()) {
                        Some(hint) => problem.hint(hint),
                        None => problem.hint("docs/configuration.md lists the keys"),
                    });
                }
            }
        }
        Ok(sorted)
    }

    fn keep<'n>(
        &mut self,
        sorted: &mut Sorted<'n>,
        known: &'static Known,
        entry: &'n Entry,
    ) -> Result<(), Problem> {
        let Some((_, other)) = sorted.values.get(known.name) else {
            sorted.values.insert(known.name, (known, entry));
            return Ok(());
        };
        let twice = match other.key == entry.key {
            true => "it is there twice".to_owned(),
            false => format!("it is the same as `{}`", other.key),
        };
        if self.dialect == Dialect::Own {
            return Err(Problem::of(format!("`{}`", entry.key), twice, entry.at));
        }
        // The last of two alike counts in JavaScript; of two names the one that is PM2's main one.
        let wins = if entry.key == other.key || snake(&entry.key) == known.name { entry } else { *other };
        let text = format!("`{}`: {twice}; {} counts", entry.key, wins.value.found());
        self.notes.at(entry.at, &entry.key, text);
        sorted.values.insert(known.name, (known, wins));
        Ok(())
    }

    fn value(&mut self, known: &'static Known, entry: &Entry) -> Result<Option<Value>, Problem> {
        let (key, node) = (entry.key.as_str(), &entry.value);
        match (known.name, &node.what, self.dialect) {
            ("env", What::Text(_), Dialect::Pm2) => {
                let text =
                    format!("`{key}` is ignored: expected an object of variables, found {}", node.found());
                self.notes.at(entry.at, key, text);
                Ok(None)
            }
            // A name of our own choice, or none.
            ("log_file", What::Truth(yes), Dialect::Pm2) => Ok(yes.then(|| Value::from(""))),
            ("out_file" | "error_file" | "pid_file", What::Truth(_), Dialect::Pm2) => Ok(None),
            ("interpreter", What::Text(text), Dialect::Pm2) if text.starts_with("node@") => {
                self.notes.at(entry.at, key, format!("`{text}`: no version is chosen here, `node` is used"));
                Ok(Some(Value::from("node")))
            }
            (_, _, Dialect::Own | Dialect::Pm2) => {
                value::read(known, key, node, self.dialect, self.notes).map(Some)
            }
        }
    }

    /// PM2 counts upwards from a number, which has to be there.
    fn look_at_counting(&mut self, spec: &AppSpec, own: &Sorted<'_>) {
        let Some(variable) = &spec.increment_var else { return };
        let counts = spec.env.get(variable).is_some_and(|value| value.parse::<i64>().is_ok())
            || (variable == "PORT" && spec.port.is_some());
        if !counts {
            let at = own.values.get("increment_var").and_then(|(_, entry)| entry.value.at);
            let text = format!("`increment_var`: no number `{variable}` in `env`, so nothing is counted");
            self.notes.at(at, "increment_var", text);
        }
    }

    /// What can be said only once all apps are read.
    pub(super) fn end(self) {
        if let Some(env) = self.how.env.as_ref().filter(|_| !self.found_env) {
            let hint = did_you_mean(env, self.blocks.iter().map(String::as_str));
            let hint = hint.map_or_else(String::new, |hint| format!(": {hint}"));
            self.notes.add(format!("no app has a block `env_{env}`{hint}"));
        }
    }
}

fn no_script(spec: &AppSpec, own: &Sorted<'_>, node: &Node, index: usize) -> Problem {
    let app = match spec.name.as_str() {
        "" => format!("app number {}", index + 1),
        name => format!("app `{name}`"),
    };
    let entry = own.values.get("script").map(|(_, entry)| *entry);
    let at = entry.map_or(node.at, |entry| entry.value.at);
    let problem = Problem::of(app, "it has no `script`", at);
    match own.unknown.iter().take(100).find(|entry| nearest(&entry.key, ["script"]).is_some()) {
        Some(meant) => problem.hint(format!("did you mean `script` by `{}`?", meant.key)),
        None => problem.hint("`script` names the file or the command that is run"),
    }
}

/// Tables are put together, everything else is replaced.
fn merge(values: &mut Map<String, Value>, name: &str, value: Value) {
    match (values.get_mut(name), value) {
        (Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
        (_, value) => _ = values.insert(name.to_owned(), value),
    }
}
