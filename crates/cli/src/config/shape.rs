//! Where the apps stand in a file, and what stands beside them.

use super::Dialect;
use super::meaning::{Meaning, meaning, names, snake};
use super::near::did_you_mean;
use super::notes::Notes;
use super::source::Problem;
use super::tree::{Entry, HEAVIEST, Node, What};

/// Apps of one file.
const MOST_APPS: usize = 1000;

/// The parts of a file.
pub(super) struct Found<'a> {
    /// Each a table, at least one.
    pub(super) apps: Vec<&'a Node>,
    /// What each of them has unless it says otherwise.
    pub(super) defaults: &'a [Entry],
}

pub(super) fn find<'a>(tree: &'a Node, dialect: Dialect, notes: &mut Notes) -> Result<Found<'a>, Problem> {
    let (list, defaults) = match dialect {
        Dialect::Own => own(tree)?,
        Dialect::Pm2 => (pm2(tree, notes)?, None),
    };
    let apps: Vec<&Node> = match list.map(|node| (&node.what, node)) {
        None | Some((What::Null, _)) => Vec::new(),
        Some((What::List(list), _)) => list.iter().collect(),
        Some((What::Truth(_) | What::Whole(_) | What::Number(_) | What::Text(_) | What::Table(_), node)) => {
            vec![node]
        }
    };
    if apps.is_empty() {
        let hint = match dialect {
            Dialect::Own => "an app begins with `[[app]]` and has a `script`",
            Dialect::Pm2 => "expected apps: [{ script: \"server.js\" }]",
        };
        return Err(Problem::syntax("there is no app in it", None).hint(hint));
    }
    if apps.len() > MOST_APPS {
        return Err(Problem::syntax(format!("it has more than {MOST_APPS} apps"), None));
    }
    if let Some(other) = apps.iter().find(|node| node.as_table().is_none()) {
        let cause = format!("expected a table with a `script`, found {}", other.found());
        return Err(Problem::of("an app", cause, other.at));
    }
    let defaults = defaults.unwrap_or_default();
    let weight: usize = defaults.iter().map(|entry| entry.value.weight()).sum();
    if weight.saturating_mul(apps.len()) > HEAVIEST {
        return Err(Problem::syntax("its `defaults` are too large for so many apps", None));
    }
    Ok(Found { apps, defaults })
}

/// `[[app]]` or `[app]`, and `[defaults]`.
#[allow(clippy::type_complexity, reason = "two parts of one file")]
fn own(tree: &Node) -> Result<(Option<&Node>, Option<&[Entry]>), Problem> {
    let (mut apps, mut defaults) = (None, None);
    for entry in tree.as_table().unwrap_or_default() {
        match entry.key.as_str() {
            "app" => apps = Some(&entry.value),
            "defaults" => match entry.value.as_table() {
                Some(table) => defaults = Some(table),
                None => {
                    let cause = format!("expected a table, found {}", entry.value.found());
                    return Err(Problem::of("`defaults`", cause, entry.value.at));
                }
            },
            key => {
                let problem = Problem::of(format!("`{key}`"), "there is no such key here", entry.at);
                let hint = match (did_you_mean(key, ["app", "defaults"]), meaning(key)) {
                    (Some(hint), _) => hint,
                    (None, Meaning::Key(_) | Meaning::Alias(_) | Meaning::Block(_)) => {
                        "what is said of an app stands below `[[app]]`, what is said of all below `[defaults]`".to_owned()
                    }
                    (
                        None,
                        Meaning::Special(_) | Meaning::Silent | Meaning::WithoutEffect | Meaning::Unknown,
                    ) => "expected `[[app]]` or `[defaults]`".to_owned(),
                };
                return Err(problem.hint(hint));
            }
        }
    }
    Ok((apps, defaults))
}

/// A list of apps, one app, or either below `apps` or `pm2`.
fn pm2<'a>(tree: &'a Node, notes: &mut Notes) -> Result<Option<&'a Node>, Problem> {
    let entries = match &tree.what {
        What::List(_) => return Ok(Some(tree)),
        What::Table(entries) => entries,
        What::Null | What::Truth(_) | What::Whole(_) | What::Number(_) | What::Text(_) => {
            let cause = format!("expected a list of apps or an object with `apps`, found {}", tree.found());
            return Err(Problem::syntax(cause, tree.at));
        }
    };
    // In a `package.json`, where the other keys are not meant for us.
    if let Some(entry) = tree.get("pm2") {
        return Ok(Some(entry.value.get("apps").map_or(&entry.value, |entry| &entry.value)));
    }
    let Some(apps) = tree.get("apps") else {
        let says_app = |entry: &Entry| match meaning(&entry.key) {
            Meaning::Key(known) | Meaning::Alias(known) => known.name == "script",
            Meaning::Block(_)
            | Meaning::Special(_)
            | Meaning::Silent
            | Meaning::WithoutEffect
            | Meaning::Unknown => false,
        };
        if entries.iter().any(says_app) {
            return Ok(Some(tree));
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let hint = entries
            .iter()
            .take(100)
            .find_map(|entry| {
                let hint = did_you_mean(&entry.key, ["apps", "script"])?;
                Some(format!("`{}`: {hint}", entry.key))
            })
            .unwrap_or_else(|| "expected apps: [{ script: \"server.js\" }]".to_owned());
        return Err(Problem::syntax("it has neither `apps` nor `pm2` nor a `script`", None).hint(hint));
    };
    for entry in entries {
        match entry.key.as_str() {
            "apps" | "deploy" | "module" | "$schema" => {}
            "static" => notes.at(entry.at, "static", "`static` is ignored: there is no file server here"),
            key => {
                let app = names().any(|known| known == snake(key));
                let hint = if app { ": it belongs into an app" } else { "" };
                notes.unknown(entry.at, key, &format!("`{key}` beside `apps` is ignored{hint}"), ["apps"]);
            }
        }
    }
    Ok(Some(&apps.value))
}
