//! What is not shown unless it is asked for: values of variables that look like secrets, by their name or by
//! themselves.

use std::collections::BTreeMap;

/// Whether secrets are shown (`--show-secrets`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Secrets {
    #[default]
    Masked,
    Shown,
}

/// Parts of names of secrets, in upper case. Rather one too many masked: it is a flag away.
const PARTS: [&str; 15] = [
    "KEY",
    "TOKEN",
    "SECRET",
    "PASS",
    "PWD",
    "CREDENTIAL",
    "AUTH",
    "PRIVATE",
    "COOKIE",
    "SALT",
    "SIGNATURE",
    "JWT",
    "BEARER",
    "SESSION",
    "DSN",
];

/// The shell's working directories, which would match.
const HARMLESS: [&str; 2] = ["PWD", "OLDPWD"];

/// What stands in place of a secret. Always as long, whatever the secret is.
pub(super) const MASK: &str = "********";

/// Whether a variable of this name looks like a secret.
pub(crate) fn looks_secret(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    !HARMLESS.contains(&upper.as_str()) && PARTS.iter().any(|part| upper.contains(part))
}

impl Secrets {
    /// The value as it may be shown.
    pub(super) fn value(self, name: &str, value: &str) -> String {
        match self {
            Secrets::Shown => value.to_owned(),
            Secrets::Masked if value.is_empty() => String::new(),
            Secrets::Masked if looks_secret(name) || value.contains("PRIVATE KEY-----") => MASK.to_owned(),
            Secrets::Masked => without_password(value),
        }
    }

    /// All of them as they may be shown.
    pub(super) fn values(self, variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        variables.iter().map(|(name, value)| (name.clone(), self.value(name, value))).collect()
    }
}

/// `scheme://user:password@host` without the password, wherever in the text and however often.
fn without_password(value: &str) -> String {
    let (mut out, mut rest) = (String::new(), value);
    while let Some((before, after)) = rest.split_once("://") {
        out += before;
        out += "://";
        rest = after;
        if let Some((from, to)) = password(after) {
            out += &after[..from];
            out += MASK;
            rest = &after[to..];
        }
    }
    out + rest
}

/// Bytes in which the end of a password is looked for: a value may be 128 KiB of `://`.
const LONGEST_WORD: usize = 2048;

/// Where in `user:password@host...` the password is.
fn password(address: &str) -> Option<(usize, usize)> {
    let address = &address[..address.floor_char_boundary(LONGEST_WORD)];
    let word = address.find([' ', '"', '\'', '\n']).unwrap_or(address.len());
    let authority = address[..word].find(['/', '?', '#']).unwrap_or(word);
    let from = address[..authority].find(':')? + 1;
    let to = match address[..authority].rfind('@') {
        Some(at) => at,
        // A port, and the `@` is of the path.
        None if address[from..authority].bytes().all(|byte| byte.is_ascii_digit()) => return None,
        // A password with a `/` in it that should have been written as `%2F`.
        None => address[..word].rfind('@')?,
    };
    (from <= to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known() {
        for name in
            ["DB_PASSWORD", "GITHUB_TOKEN", "apiKey", "AWS_SECRET_ACCESS_KEY", "MYSQL_PWD", "HTTP_AUTH"]
        {
            assert!(looks_secret(name), "{name}");
        }
        for name in ["PWD", "OLDPWD", "PATH", "NODE_ENV", "PORT", "LANG", "HOME", "TZ"] {
            assert!(!looks_secret(name), "{name}");
        }
    }

    #[test]
    fn a_password_within_an_address_is_masked_too() {
        let shown = |value| Secrets::Masked.value("DATABASE_URL", value);
        assert_eq!(shown("postgres://u:p@ss:w@db:5432/x?a=b"), "postgres://u:********@db:5432/x?a=b");
        assert_eq!(shown("redis://:pw@h redis://u:pw@h"), "redis://:********@h redis://u:********@h");
        assert_eq!(shown("http://host:80/a@b:c"), "http://host:80/a@b:c");
        assert_eq!(shown("a://u:p/q@h/x"), "a://u:********@h/x");
        assert_eq!(shown("a://u@h:80/x b://h:80?a@b"), "a://u@h:80/x b://h:80?a@b");
        assert_eq!(shown("://@ ://:@ ://:"), "://@ ://:********@ ://:");
        assert_eq!(Secrets::Shown.value("DATABASE_URL", "a://u:p@h"), "a://u:p@h");
    }

    #[test]
    fn a_value_of_nothing_but_beginnings_is_read_in_time_that_grows_with_it() {
        let value = "://".repeat(40_000);
        assert_eq!(Secrets::Masked.value("X", &value), value);
    }

    #[test]
    fn a_mask_does_not_tell_how_long_the_secret_is() {
        let shown = ["a", "a much longer one"].map(|value| Secrets::Masked.value("TOKEN", value));
        assert_eq!(shown, [MASK, MASK]);
        assert_eq!(Secrets::Masked.value("TOKEN", ""), "");
        let key = "-----BEGIN RSA PRIVATE KEY-----\nx";
        assert_eq!(Secrets::Masked.value("PEM", key), MASK);
    }
}
