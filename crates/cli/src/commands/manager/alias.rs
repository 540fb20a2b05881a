//! PM2's variables that stand for keys of every app: what neither the configuration nor a flag says is taken from them.

use oneport_wire::control::{AppSpec, Span};

/// Fills what is not said. What comes back is for the person: where a value comes from, and which could not be read.
pub(super) fn fill(spec: &mut AppSpec, variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut notes = Vec::new();
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    let mut said = |name: &str, key: &str, read: Result<(), String>| match read {
        Ok(()) => notes.push(format!("{key} is that of {name}: better in the configuration")),
        Err(cause) => notes.push(format!("{name} is left aside: {cause}")),
    };
    for (name, key, slot) in [
        ("PM2_KILL_TIMEOUT", "kill_timeout", &mut spec.kill_timeout),
        ("PM2_GRACEFUL_LISTEN_TIMEOUT", "listen_timeout", &mut spec.listen_timeout),
    ] {
        if slot.is_none()
            && let Some(value) = given(name)
        {
            said(name, key, value.parse::<Span>().map(|span| *slot = Some(span)));
        }
    }
    for (name, key, slot) in [
        ("PM2_KILL_SIGNAL", "stop_signal", &mut spec.stop_signal),
        ("PM2_PROCESS_INSTANCE_VAR", "instance_var", &mut spec.instance_var),
    ] {
        if slot.is_none()
            && let Some(value) = given(name)
        {
            *slot = Some(value);
            said(name, key, Ok(()));
        }
    }
    // PM2 takes any text for a yes; nobody who writes `false` means one.
    let by_message = given("PM2_KILL_USE_MESSAGE").is_some_and(|value| !["0", "false"].contains(&&*value));
    if by_message && !spec.shutdown_with_message {
        spec.shutdown_with_message = true;
        said("PM2_KILL_USE_MESSAGE", "shutdown_with_message", Ok(()));
    }
    notes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn filled(mut spec: AppSpec, variables: &[(&str, &str)]) -> (AppSpec, Vec<String>) {
        let find = |name: &str| variables.iter().find(|one| one.0 == name).map(|one| one.1.to_owned());
        let notes = fill(&mut spec, find);
        (spec, notes)
    }

    #[test]
    fn what_is_not_said_is_taken_and_told() {
        let (spec, notes) = filled(
            AppSpec::default(),
            &[
                ("PM2_KILL_TIMEOUT", "3000"),
                ("PM2_GRACEFUL_LISTEN_TIMEOUT", "8000"),
                ("PM2_KILL_SIGNAL", "SIGTERM"),
                ("PM2_PROCESS_INSTANCE_VAR", "COPY"),
                ("PM2_KILL_USE_MESSAGE", "true"),
            ],
        );
        let expected = AppSpec {
            kill_timeout: Some(Duration::from_secs(3).into()),
            listen_timeout: Some(Duration::from_secs(8).into()),
            stop_signal: Some("SIGTERM".into()),
            instance_var: Some("COPY".into()),
            shutdown_with_message: true,
            ..AppSpec::default()
        };
        assert_eq!(spec, expected);
        assert_eq!(notes.len(), 5, "{notes:?}");
        assert_eq!(notes[0], "kill_timeout is that of PM2_KILL_TIMEOUT: better in the configuration");
    }

    #[test]
    fn what_is_said_stays_without_a_word() {
        let said = AppSpec {
            kill_timeout: Some(Duration::from_secs(1).into()),
            stop_signal: Some("SIGUSR2".into()),
            shutdown_with_message: true,
            ..AppSpec::default()
        };
        let variables = [
            ("PM2_KILL_TIMEOUT", "3000"),
            ("PM2_KILL_SIGNAL", "SIGTERM"),
            ("PM2_KILL_USE_MESSAGE", "1"),
            ("PM2_PROCESS_INSTANCE_VAR", ""),
        ];
        assert_eq!(filled(said.clone(), &variables), (said, vec![]));
    }

    #[test]
    fn what_cannot_be_read_is_left_aside_and_told() {
        let variables = [("PM2_KILL_TIMEOUT", "soon"), ("PM2_KILL_USE_MESSAGE", "false")];
        let (spec, notes) = filled(AppSpec::default(), &variables);
        assert_eq!(spec, AppSpec::default());
        assert!(
            notes.len() == 1 && notes[0].starts_with("PM2_KILL_TIMEOUT is left aside: `soon`"),
            "{notes:?}"
        );
    }
}
