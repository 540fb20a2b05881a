//! The environment of a worker, as far as it is anybody's business: what the configuration names, and where
//! the environment of an app and that of who looks differ.

use std::collections::BTreeMap;

use oneport_wire::control::{AppView, WorkerView};

use super::grid::{Cell, Grid, Pair, pairs};
use super::letters::{clean, shown};
use super::paint::{BOLD, HEAD, paint};
use super::secrets::Secrets;

/// What the configuration of the app gives this worker, with `port` as `PORT` and `increment_var` counted up.
/// Nothing of who started it.
pub(crate) fn configured(app: &AppView, worker: &WorkerView) -> BTreeMap<String, String> {
    let mut variables = app.spec.env.clone();
    if let Some(port) = app.spec.port {
        variables.insert("PORT".to_owned(), port.to_string());
    }
    if let Some(value) = app.spec.increment_var.as_ref().and_then(|name| variables.get_mut(name))
        && let Some(counted) =
            value.trim().parse::<i64>().ok().and_then(|n| n.checked_add(i64::from(worker.slot)))
    {
        *value = counted.to_string();
    }
    variables
}

/// One `NAME=value` a line. Line ends within a value are spelled out, so that a line is a variable.
pub(crate) fn env(variables: &BTreeMap<String, String>, secrets: Secrets) -> String {
    let line = |(name, value): (&String, &String)| {
        format!("{}={}\n", clean(name), clean(&secrets.value(name, value)))
    };
    variables.iter().map(line).collect()
}

/// A variable that has not the same value in two environments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) name: String,
    /// In that of the app.
    pub(crate) app: Option<String>,
    /// In that of who looks.
    pub(crate) here: Option<String>,
}

/// Where the two differ, by name.
pub(crate) fn differences(
    app: &BTreeMap<String, String>,
    here: &BTreeMap<String, String>,
) -> Vec<Difference> {
    let mut names: Vec<&String> = app.keys().chain(here.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| Difference {
            name: name.clone(),
            app: app.get(name).cloned(),
            here: here.get(name).cloned(),
        })
        .filter(|difference| difference.app != difference.here)
        .collect()
}

/// Columns of a name or a value in a table of differences, at most and at least.
const VALUE: (usize, usize) = (48, 8);

/// The block of differences.
pub(super) fn difference_block(differences: &[Difference], secrets: Secrets, width: Option<usize>) -> String {
    let title = paint(BOLD, "Where the environment of the app differs from yours");
    if differences.is_empty() {
        return format!("{title}: nowhere\n");
    }
    // Three columns between four borders.
    let most = width.map_or(VALUE.0, |width| (width.saturating_sub(10) / 3).clamp(VALUE.1, VALUE.0));
    let mut grid = Grid::with_heads(vec!["name", "in the app", "here"]);
    for Difference { name, app, here } in differences {
        let cell = |value: &Option<String>| {
            let value = value.as_ref().map(|value| secrets.value(name, value));
            Cell::new(value.map_or_else(|| "(not set)".to_owned(), |value| shown(&value, most)))
        };
        grid.push(vec![Cell::styled(shown(name, most), HEAD), cell(app), cell(here)]);
    }
    format!("{title}\n{}", grid.draw())
}

/// The block of what is configured.
pub(super) fn configured_block(
    variables: &BTreeMap<String, String>,
    secrets: Secrets,
    width: Option<usize>,
) -> String {
    let rows: Vec<Pair> =
        variables.iter().map(|(name, value)| Pair::new(name, secrets.value(name, value))).collect();
    match rows.is_empty() {
        true => String::new(),
        false => format!("{}\n{}", paint(BOLD, "Environment that is configured"), pairs(&rows, width)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn variables(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_configured_is_counted_up_in_each_slot() {
        let app = sample::full();
        let variables = configured(&app, &app.workers[0]);
        assert_eq!(variables["METRICS_PORT"], "9101");
        assert_eq!(variables["PORT"], "8000");
        assert!(!variables.contains_key("PATH"));
    }

    #[test]
    fn a_line_is_a_variable_and_secrets_are_masked() {
        let variables = variables(&[("A", "one\ntwo"), ("B", "\x1b[2J"), ("DB_PASSWORD", "hunter2")]);
        assert_eq!(env(&variables, Secrets::Masked), "A=one\\ntwo\nB=\\x1b[2J\nDB_PASSWORD=********\n");
        assert!(env(&variables, Secrets::Shown).ends_with("DB_PASSWORD=hunter2\n"));
    }

    #[test]
    fn only_what_differs_is_a_difference() {
        let app = variables(&[("A", "1"), ("B", "2"), ("C", "3")]);
        let here = variables(&[("A", "1"), ("B", "x"), ("D", "4")]);
        let text: Vec<String> = differences(&app, &here)
            .into_iter()
            .map(|of| format!("{} {:?} {:?}", of.name, of.app, of.here))
            .collect();
        assert_eq!(text, ["B Some(\"2\") Some(\"x\")", "C Some(\"3\") None", "D None Some(\"4\")"]);
    }
}
