//! `list --json`: our own schema, with a version. `docs/list-json.md` says what every field is; a test holds
//! both together.

use oneport_wire::control::AppView;
use serde_json::{Value, json};

use super::secrets::Secrets;

/// Of the schema. It grows when a field goes or means something else; new fields may come without.
pub(crate) const LIST_VERSION: u32 = 1;

/// `{"version": 1, "apps": [...]}`, with the apps in the order of their names.
pub(crate) fn list_json(apps: &[AppView], secrets: Secrets) -> Value {
    let mut apps: Vec<AppView> = apps.to_vec();
    apps.sort_by(|a, b| a.name.cmp(&b.name));
    for app in &mut apps {
        app.spec.env = secrets.values(&app.spec.env);
    }
    json!({ "version": LIST_VERSION, "apps": apps })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::jlist::jlist;
    use super::super::sample;
    use super::*;

    const DOCUMENT: &str = include_str!("../../../../../docs/list-json.md");

    /// Objects whose keys people choose, and one that is explained in words.
    const NOT_ENTERED: [&str; 3] =
        ["list.apps[].spec.env", "jlist[].pm2_env.env", "list.apps[].workers[].last_exit"];

    type Fields = BTreeSet<(String, String)>;

    /// Every field with the path of the object that it is in.
    fn fields(path: &str, value: &Value, found: &mut Fields) {
        match value {
            Value::Object(map) if !NOT_ENTERED.contains(&path) => {
                for (key, value) in map {
                    found.insert((path.to_owned(), key.clone()));
                    fields(&format!("{path}.{key}"), value, found);
                }
            }
            Value::Array(list) => list.iter().for_each(|value| fields(&format!("{path}[]"), value, found)),
            Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// What stands first in the rows of the tables, with the path in the heading above.
    fn documented() -> Fields {
        let mut path = String::new();
        let mut found = Fields::new();
        for line in DOCUMENT.lines() {
            if line.starts_with('#') {
                path = line.split('`').nth(1).unwrap_or_default().to_owned();
            } else if let Some(row) = line.strip_prefix("| `") {
                let key = row.split('`').next().unwrap_or_default();
                assert!(found.insert((path.clone(), key.to_owned())), "`{path}` has `{key}` twice");
                assert_eq!(line.matches(" | ").count(), 2, "a field has a type and a meaning: {line}");
            }
        }
        found
    }

    #[test]
    fn every_field_is_documented_and_nothing_else() {
        let mut found = Fields::new();
        fields("list", &list_json(&[sample::full()], Secrets::Masked), &mut found);
        let mut full = sample::full();
        full.spec.instance_var = None;
        fields("jlist", &jlist(&[full], Secrets::Masked), &mut found);
        let documented = documented();
        let missing: Vec<_> = found.difference(&documented).collect();
        let stale: Vec<_> = documented.difference(&found).collect();
        assert!(
            missing.is_empty() && stale.is_empty(),
            "not documented: {missing:#?}\nnot there: {stale:#?}"
        );
    }

    #[test]
    fn the_list_is_versioned_sorted_and_readable_again() {
        let list = list_json(&sample::several(), Secrets::Masked);
        assert_eq!(list["version"], LIST_VERSION);
        let apps: Vec<AppView> = serde_json::from_value(list["apps"].clone()).unwrap();
        let names: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
        assert_eq!(names, ["api", "feed", "worker"]);
    }

    #[test]
    fn secrets_are_in_it_only_when_asked_for() {
        let env =
            |secrets| list_json(&[sample::full()], secrets)["apps"][0]["spec"]["env"]["DB_PASSWORD"].clone();
        assert_eq!((env(Secrets::Masked), env(Secrets::Shown)), (json!("********"), json!("hunter2")));
    }
}
