//! Which variables of a record were configured. PM2 stores the environment of the shell and what the configuration says as one.
//!
//! A variable counts as configured when a block `env_NAME` has it too, or `increment_var` names it, or when whoever imports has
//! not the same value. The shell's are left out, but for those that every saved app keeps. What looks like a secret is named, and
//! taken only when that is asked for.

use std::collections::{BTreeMap, BTreeSet};

use super::super::environment::{Kept, kept, looks_secret, of_the_moment};
use super::{ImportOptions, Secrets};

/// The environment of one app, sorted out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sorted {
    /// Part of its configuration.
    pub(super) configured: BTreeMap<String, String>,
    /// Of who started it.
    pub(super) environment: BTreeMap<String, String>,
    /// Left out: whoever imports has the same.
    pub(super) inherited: Vec<String>,
    /// Left out: they look like secrets.
    pub(super) secret: Vec<String>,
}

/// What PM2 and Node put there for themselves.
const THEIRS: [&str; 10] = [
    "NODE_APP_INSTANCE",
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
    "instances",
    "km_link",
    "pm2_env",
    "pm_id",
    "unique_id",
    "vizion_running",
];

/// Sorts the variables of the app of this name. `instance_var` is the one that holds the number of the slot.
pub(super) fn sort(
    app: &str,
    instance_var: Option<&str>,
    variables: &BTreeMap<String, String>,
    certain: &BTreeSet<String>,
    options: &ImportOptions,
) -> Sorted {
    let mut sorted = Sorted::default();
    for (name, value) in variables {
        let named_after_app = name == app && value.starts_with('{');
        let theirs = THEIRS.contains(&name.as_str()) || instance_var == Some(name) || named_after_app;
        if theirs || of_the_moment(name) {
            continue;
        }
        let same = options.environment.get(name) == Some(value);
        let mut configured = || sorted.configured.insert(name.clone(), value.clone());
        if looks_secret(name, value) {
            match options.secrets {
                Secrets::LeaveOut => sorted.secret.push(name.clone()),
                Secrets::Take => drop(configured()),
            }
            continue;
        }
        match kept(name) {
            _ if certain.contains(name) => drop(configured()),
            Some(Kept::Session) => drop(sorted.environment.insert(name.clone(), value.clone())),
            Some(Kept::App) if same => drop(sorted.environment.insert(name.clone(), value.clone())),
            None if same => sorted.inherited.push(name.clone()),
            Some(Kept::App) | None => drop(configured()),
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn sorted(pairs: &[(&str, &str)], certain: &[&str], secrets: Secrets) -> Sorted {
        let environment =
            variables(&[("PATH", "/bin"), ("EDITION", "big"), ("NODE_ENV", "test"), ("API_KEY", "k")]);
        let options = ImportOptions { environment, secrets };
        let certain = certain.iter().map(|name| (*name).to_owned()).collect();
        sort("web", Some("SLOT"), &variables(pairs), &certain, &options)
    }

    #[test]
    fn what_the_importer_has_too_is_the_shells() {
        let all = [("EDITION", "big"), ("QUEUE", "mail"), ("NODE_ENV", "test"), ("PATH", "/opt/bin")];
        let some = sorted(&all, &[], Secrets::LeaveOut);
        assert_eq!(some.configured, variables(&[("QUEUE", "mail")]));
        assert_eq!(some.environment, variables(&[("NODE_ENV", "test"), ("PATH", "/opt/bin")]));
        assert_eq!(some.inherited, ["EDITION"]);
    }

    #[test]
    fn another_value_or_a_block_of_the_configuration_makes_it_configured() {
        let all = [("EDITION", "small"), ("NODE_ENV", "production"), ("PATH", "/opt/bin")];
        let some = sorted(&all, &["PATH"], Secrets::LeaveOut);
        assert_eq!(some.configured, variables(&all));
        assert!(some.inherited.is_empty() && some.secret.is_empty());
    }

    #[test]
    fn secrets_are_named_and_taken_only_when_asked_for() {
        let all = [("DB_PASSWORD", "word"), ("API_KEY", "k"), ("URL", "http://u:p@h")];
        let without = sorted(&all, &["DB_PASSWORD"], Secrets::LeaveOut);
        assert_eq!(without.configured, BTreeMap::new());
        assert_eq!(without.secret, ["API_KEY", "DB_PASSWORD", "URL"]);
        let with = sorted(&all, &[], Secrets::Take);
        assert_eq!(with.configured, variables(&all));
        assert!(with.secret.is_empty());
    }

    #[test]
    fn what_pm2_node_and_the_shell_put_there_is_dropped() {
        let all = [
            ("web", "{}"),
            ("SLOT", "1"),
            ("PM2_HOME", "/x"),
            ("NODE_CHANNEL_FD", "3"),
            ("SSH_AUTH_SOCK", "/tmp/x"),
            ("_", "/bin/node"),
            ("unique_id", "x"),
        ];
        assert_eq!(sorted(&all, &[], Secrets::Take), Sorted::default());
    }
}
