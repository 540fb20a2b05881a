//! Which variables of whoever starts an app may be written to disk, so that the app finds its interpreter and its language
//! after a restart of the machine. Everything else stays in memory: PM2 writes all of it, secrets included.

use std::collections::BTreeMap;

/// Whose business a variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Of the person's session: where things are, how texts are written.
    Session,
    /// Of the app and its runtime: what it would have in a configuration.
    App,
}

const SESSION: [&str; 11] =
    ["HOME", "LANG", "LANGUAGE", "LOGNAME", "MANPATH", "PATH", "SHELL", "TMPDIR", "TZ", "TZDIR", "USER"];

const APP: [&str; 58] = [
    "APP_ENV",
    "ASPNETCORE_ENVIRONMENT",
    "ASPNETCORE_URLS",
    "BIND",
    "BUN_INSTALL",
    "BUNDLE_GEMFILE",
    "BUNDLE_PATH",
    "BUNDLE_WITHOUT",
    "CARGO_HOME",
    "CLASSPATH",
    "CONDA_DEFAULT_ENV",
    "CONDA_PREFIX",
    "DEBUG",
    "DENO_DIR",
    "DJANGO_SETTINGS_MODULE",
    "DOTNET_ENVIRONMENT",
    "DOTNET_ROOT",
    "FLASK_APP",
    "FLASK_ENV",
    "FORCE_COLOR",
    "GEM_HOME",
    "GEM_PATH",
    "GOGC",
    "GOMAXPROCS",
    "GOMEMLIMIT",
    "GOPATH",
    "HOST",
    "JAVA_HOME",
    "LD_LIBRARY_PATH",
    "LOG_LEVEL",
    "MALLOC_ARENA_MAX",
    "MIX_ENV",
    "NODE_CLUSTER_SCHED_POLICY",
    "NODE_ENV",
    "NODE_EXTRA_CA_CERTS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NO_COLOR",
    "NVM_DIR",
    "OMP_NUM_THREADS",
    "PERL5LIB",
    "PHPRC",
    "PORT",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONUNBUFFERED",
    "RACK_ENV",
    "RAILS_ENV",
    "RAYON_NUM_THREADS",
    "RUBYLIB",
    "RUBYOPT",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "UV_THREADPOOL_SIZE",
    "VIRTUAL_ENV",
    "WEB_CONCURRENCY",
];

/// Whether a variable of this name is on the list.
pub(crate) fn kept(name: &str) -> Option<Kept> {
    if SESSION.contains(&name) || name.starts_with("LC_") {
        Some(Kept::Session)
    } else {
        APP.contains(&name).then_some(Kept::App)
    }
}

/// Parts of names, between underscores, that speak of a secret.
const SECRET_PARTS: [&str; 24] = [
    "APIKEY",
    "AUTH",
    "BEARER",
    "COOKIE",
    "CRED",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "DSN",
    "JWT",
    "KEY",
    "KEYS",
    "OAUTH",
    "PASS",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PASSWORDS",
    "PRIVATE",
    "PW",
    "PWD",
    "SALT",
    "SIGNATURE",
    "WEBHOOK",
];

/// The same anywhere in a name, as in `PGPASSWORD` or `githubToken`.
const SECRET_WORDS: [&str; 6] = ["SECRET", "TOKEN", "PASSWORD", "PASSWD", "CREDENTIAL", "APIKEY"];

/// Whether the name speaks of a secret, or the value is an address with a password in it.
pub(crate) fn looks_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let parts = || name.split(|c: char| !c.is_ascii_alphanumeric());
    let directory = matches!(name.as_str(), "PWD" | "OLDPWD");
    let by_name = parts().any(|part| SECRET_PARTS.contains(&part))
        || SECRET_WORDS.iter().any(|word| name.contains(word));
    (by_name && !directory) || has_password(value)
}

/// `scheme://user:password@host`, anywhere.
fn has_password(value: &str) -> bool {
    value.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#', ' ', ',']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    })
}

/// Of an environment, what may be saved.
pub(crate) fn allowed(environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let may = |name: &str, value: &str| kept(name).is_some() && !looks_secret(name, value);
    let chosen = environment.iter().filter(|(name, value)| may(name, value));
    chosen.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Names that every shell or desktop sets for itself: no app misses them.
const UNMISSED: [&str; 27] = [
    "_",
    "COLORTERM",
    "COLUMNS",
    "COMP_WORDBREAKS",
    "DISPLAY",
    "EDITOR",
    "HISTCONTROL",
    "HISTSIZE",
    "HOSTNAME",
    "IFS",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LESS",
    "LESSCLOSE",
    "LESSOPEN",
    "LINES",
    "LS_COLORS",
    "MAIL",
    "OLDPWD",
    "PAGER",
    "PS1",
    "PWD",
    "SHLVL",
    "TERM",
    "VISUAL",
    "WINDOWID",
    "XAUTHORITY",
];

const UNMISSED_BEGINNINGS: [&str; 17] = [
    "BASH", "DBUS_", "DESKTOP_", "GPG_", "GNOME_", "KDE_", "ONEPORT_", "PM2_", "SSH_", "SUDO_", "TERM_",
    "TMUX", "VSCODE_", "VTE_", "XDG_", "ZSH", "npm_",
];

/// Whether the variable belongs to the session it was found in, and means nothing outside it.
pub(crate) fn of_the_moment(name: &str) -> bool {
    UNMISSED.contains(&name) || UNMISSED_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// Of an environment, the names of what is not saved and might be missed: neither of the configuration, nor of the session
/// alone. For one line at `start` and `save`.
pub(crate) fn left_out<'a>(
    environment: &'a BTreeMap<String, String>,
    configured: &BTreeMap<String, String>,
) -> Vec<&'a str> {
    let missed = |name: &str, value: &str| {
        !configured.contains_key(name)
            && !of_the_moment(name)
            && (kept(name).is_none() || looks_secret(name, value))
    };
    let chosen = environment.iter().filter(|(name, value)| missed(name, value));
    chosen.map(|(name, _)| name.as_str()).collect()
}

/// Names in a sentence: the first `most`, and how many more.
pub(crate) fn listed(names: &[impl AsRef<str>], most: usize) -> String {
    let shown: Vec<_> = names.iter().take(most).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(most) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_on_the_list_is_kept_and_nothing_else() {
        let environment = variables(&[
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("PORT", "80"),
            ("NODE_OPTIONS", "--max-http-header-size=1"),
            ("STRIPE", "x"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("TERM", "xterm"),
        ]);
        let names: Vec<_> = allowed(&environment).into_keys().collect();
        assert_eq!(names, ["LC_ALL", "NODE_OPTIONS", "PATH", "PORT"]);
        assert_eq!(left_out(&environment, &BTreeMap::new()), ["AWS_SECRET_ACCESS_KEY", "STRIPE"]);
        assert_eq!(left_out(&environment, &variables(&[("STRIPE", "y")])), ["AWS_SECRET_ACCESS_KEY"]);
    }

    #[test]
    fn no_name_on_the_list_speaks_of_a_secret() {
        for name in SESSION.iter().chain(&APP) {
            assert!(!looks_secret(name, ""), "{name}");
            assert!(kept(name).is_some() && !of_the_moment(name), "{name}");
        }
    }

    #[test]
    fn a_listed_name_with_a_password_in_its_value_is_not_kept() {
        let environment = variables(&[("HOST", "http://user:word@example.org")]);
        assert!(allowed(&environment).is_empty());
        assert_eq!(left_out(&environment, &BTreeMap::new()), ["HOST"]);
    }

    #[test]
    fn secrets_are_known_by_name_or_value() {
        for name in [
            "DB_PASSWORD",
            "PGPASSWORD",
            "API_KEY",
            "apiKey_x",
            "githubToken",
            "SESSION_SECRET",
            "SMTP_PASS",
            "DB_PWD",
            "STRIPE_KEY",
            "SENTRY_DSN",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "SSH_AUTH_SOCK",
            "X-AUTH",
            "JWT",
        ] {
            assert!(looks_secret(name, ""), "{name}");
        }
        for name in ["PATH", "PWD", "OLDPWD", "KEYBOARD", "MONKEY", "AUTHOR", "COMPASS", "PORT"] {
            assert!(!looks_secret(name, ""), "{name}");
        }
        assert!(looks_secret("DATABASE_URL", "postgres://app:word@db:5432/shop"));
        assert!(looks_secret("URLS", "redis://a/1,amqp://u:p@b"));
        for harmless in ["postgres://db/shop", "http://a:80/@x:y", "user:word@host", "", "a://b@c"] {
            assert!(!looks_secret("URL", harmless), "{harmless}");
        }
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        assert_eq!(listed(&["A", "B"], 12), "A, B");
        assert!(listed(&["X"; 20], 12).ends_with("X and 8 more"));
    }
}
