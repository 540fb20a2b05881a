//! Words as systemd reads them back (systemd.syntax(7)), and as a shell does.

use crate::error::Failure;

/// Where a word of a unit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// In a command line, where `$` begins a variable.
    OfCommand,
    /// Anywhere else.
    Plain,
}

/// A word for a unit, in quotes where it needs them. `%` begins a specifier everywhere.
pub(super) fn for_unit(text: &str, word: Word) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    for letter in text.chars() {
        match letter {
            '%' => out.push_str("%%"),
            '$' if word == Word::OfCommand => out.push_str("$$"),
            '"' | '\\' => out.extend(['\\', letter]),
            letter => out.push(letter),
        }
    }
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+=:@,%$".contains(letter);
    match text.chars().all(plain) && !text.is_empty() {
        true => out,
        false => format!("\"{out}\""),
    }
}

/// A word for a shell, in quotes where it needs them.
pub(super) fn for_shell(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+=:@,%".contains(letter);
    match text.chars().all(plain) && !text.is_empty() {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Refuses what could become another line of a unit.
pub(super) fn one_line<'a>(what: &str, text: &'a str) -> Result<&'a str, Failure> {
    match text.chars().any(char::is_control) {
        false => Ok(text),
        true => {
            let shown = text.escape_debug();
            Err(Failure::new(format!("cannot write {what} `{shown}` into a unit: it has control characters")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_would_read_differently_is_escaped() {
        for (text, command, plain) in [
            ("/usr/bin/oneport", "/usr/bin/oneport", "/usr/bin/oneport"),
            ("/my apps/a", "\"/my apps/a\"", "\"/my apps/a\""),
            ("/a%h", "/a%%h", "/a%%h"),
            ("/a$HOME", "/a$$HOME", "/a$HOME"),
            ("a\"b\\c", "\"a\\\"b\\\\c\"", "\"a\\\"b\\\\c\""),
            ("a'b", "\"a'b\"", "\"a'b\""),
            (";", "\";\"", "\";\""),
            ("", "\"\"", "\"\""),
        ] {
            assert_eq!(for_unit(text, Word::OfCommand), command);
            assert_eq!(for_unit(text, Word::Plain), plain);
        }
    }

    #[test]
    fn what_a_shell_would_read_differently_is_quoted() {
        assert_eq!(for_shell("/a/b:/c"), "/a/b:/c");
        assert_eq!(for_shell("a b"), "'a b'");
        assert_eq!(for_shell("it's $5"), r"'it'\''s $5'");
        assert_eq!(for_shell(""), "''");
    }

    #[test]
    fn a_second_line_is_refused() {
        let words = one_line("home directory", "/a\nExecStart=/bin/sh").unwrap_err().words();
        assert!(words.contains("has control characters"), "{words}");
    }
}
