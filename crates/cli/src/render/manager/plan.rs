//! `reload --plan`: what would be different afterwards.

use super::grid::{Cell, Grid};
use super::letters::shown;
use super::paint::{GREEN, HEAD, YELLOW};
use super::secrets::Secrets;

/// What makes a change come into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// This reload does.
    Reload,
    /// Only a restart: the primary itself has to begin again, or all workers have to be gone for a moment.
    Restart,
}

/// One thing that would be different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The key of the configuration: `instances`, `env.NODE_ENV`.
    pub(crate) what: String,
    /// None: it is not there.
    pub(crate) old: Option<String>,
    /// None: it is gone then.
    pub(crate) new: Option<String>,
    pub(crate) applied: Applied,
}

/// Columns of a value.
const LONGEST_VALUE: usize = 48;

/// The plan.
pub(crate) fn plan(app: &str, changes: &[Change], secrets: Secrets) -> String {
    let app = shown(app, LONGEST_VALUE);
    if changes.is_empty() {
        return format!("reload of `{app}` would change nothing: each worker is replaced by one alike\n");
    }
    let mut grid = Grid::with_heads(vec!["what", "now", "then", "comes with"]);
    for Change { what, old, new, applied } in changes {
        let value = |value: &Option<String>| match value {
            None => Cell::new("-"),
            // Only values of variables are secrets: `env.DB_PASSWORD`.
            Some(value) => match what.strip_prefix("env.") {
                Some(name) => Cell::new(shown(&secrets.value(name, value), LONGEST_VALUE)),
                None => Cell::new(shown(value, LONGEST_VALUE)),
            },
        };
        let applied = match applied {
            Applied::Reload => Cell::styled("this reload", GREEN),
            Applied::Restart => Cell::styled("a restart only", YELLOW),
        };
        grid.push(vec![Cell::styled(shown(what, LONGEST_VALUE), HEAD), value(old), value(new), applied]);
    }
    let restarts = changes.iter().filter(|change| change.applied == Applied::Restart).count();
    let warning = match restarts {
        0 => String::new(),
        1 => format!("1 change needs `oneport restart {app}`: a reload does not bring it\n"),
        many => format!("{many} changes need `oneport restart {app}`: a reload does not bring them\n"),
    };
    format!("reload of `{app}` would change:\n{}{warning}", grid.draw())
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use insta::assert_snapshot;

    use super::*;

    fn change(what: &str, old: Option<&str>, new: Option<&str>, applied: Applied) -> Change {
        let text = |text: &str| text.to_owned();
        Change { what: text(what), old: old.map(text), new: new.map(text), applied }
    }

    #[test]
    fn a_plan_says_what_a_reload_brings_and_what_it_does_not() {
        let changes = [
            change("args", Some("--color"), Some("--color --fast\x1b[2J"), Applied::Reload),
            change("env.DB_PASSWORD", Some("hunter2"), Some("hunter3"), Applied::Reload),
            change("env.NODE_ENV", None, Some("production"), Applied::Reload),
            change("attach", Some("channel"), None, Applied::Restart),
        ];
        let text = plan("api", &changes, Secrets::Masked);
        assert_snapshot!("plan", strip_str(&text).to_string());
    }

    #[test]
    fn a_plan_without_changes_says_so() {
        assert_eq!(
            plan("api", &[], Secrets::Masked),
            "reload of `api` would change nothing: each worker is replaced by one alike\n"
        );
    }
}
