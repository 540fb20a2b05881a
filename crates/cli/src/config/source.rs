//! A file as it was read, places in it, and how a mistake is shown: what, where, the line itself with a caret. The same for
//! every format.

use std::fmt::Write;

use crate::error::Failure;

/// Letters of a line that are shown.
const SHOWN: usize = 100;
/// Letters before the mistake that are kept of a longer line.
const BEFORE: usize = 40;

/// A text and what a person calls it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

/// A part of the text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A mistake in a file.
#[derive(Debug)]
pub(super) struct Problem {
    /// What cannot be used; none: the file as a whole cannot be read.
    pub(super) what: Option<String>,
    pub(super) cause: String,
    pub(super) at: Option<Place>,
    /// The key that it is about, for formats that tell no places.
    pub(super) key: Option<String>,
    pub(super) hint: Option<String>,
}

impl Problem {
    /// The text is not what its format asks for.
    pub(super) fn syntax(cause: impl Into<String>, at: Option<Place>) -> Problem {
        Problem { what: None, cause: cause.into(), at, key: None, hint: None }
    }

    /// Something in it cannot be used.
    pub(super) fn of(what: impl Into<String>, cause: impl Into<String>, at: Option<Place>) -> Problem {
        Problem { what: Some(what.into()), cause: cause.into(), at, key: None, hint: None }
    }

    pub(super) fn key(mut self, key: &str) -> Problem {
        self.key = Some(key.to_owned());
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn into_failure(self, source: &Source) -> Failure {
        let name = &source.name;
        let mut message = match &self.what {
            None => format!("cannot read `{name}`: {}", self.cause),
            Some(what) => format!("cannot use {} in `{name}`: {}", harmless(what), self.cause),
        };
        let at = self.at.or_else(|| source.only_place_of(self.key.as_deref()?));
        if let Some(at) = at {
            message.push_str(&source.excerpt(at));
        }
        match self.hint {
            Some(hint) => Failure::new(message).hint(hint),
            None => Failure::new(message),
        }
    }
}

impl Source {
    /// `file:line:column`, as far as it is known.
    pub(super) fn whereabouts(&self, at: Option<Place>, key: &str) -> String {
        match at.or_else(|| self.only_place_of(key)) {
            Some(at) => {
                let (line, column) = self.line_and_column(at.start);
                format!("{}:{line}:{column}", self.name)
            }
            None => self.name.clone(),
        }
    }

    /// Where this word stands, if it stands nowhere else.
    fn only_place_of(&self, word: &str) -> Option<Place> {
        let letter = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let whole = |start: usize| {
            let before = self.text.get(..start).and_then(|text| text.chars().next_back());
            let behind = self.text.get(start + word.len()..).and_then(|text| text.chars().next());
            !before.is_some_and(letter) && !behind.is_some_and(letter)
        };
        if word.is_empty() {
            return None;
        }
        let mut found = self.text.match_indices(word).map(|(start, _)| start).filter(|start| whole(*start));
        match (found.next(), found.next()) {
            (Some(start), None) => Some(Place { start, end: start + word.len() }),
            (None | Some(_), _) => None,
        }
    }

    /// Both counted from 1, columns in letters.
    fn line_and_column(&self, at: usize) -> (usize, usize) {
        let (start, _) = self.line_around(at);
        let before = self.text.get(..start).unwrap_or_default();
        let column = self.text.get(start..self.boundary(at)).unwrap_or_default().chars().count();
        (before.matches('\n').count() + 1, column + 1)
    }

    /// Where the letter begins that this byte is part of.
    fn boundary(&self, at: usize) -> usize {
        let at = at.min(self.text.len());
        (0..=at).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
    }

    /// Where the line begins and ends that this byte is in, without its end of line.
    fn line_around(&self, at: usize) -> (usize, usize) {
        let at = self.boundary(at);
        let (before, behind) = self.text.split_at(at);
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let end = behind.find('\n').map_or(self.text.len(), |length| at + length);
        (start, end)
    }

    fn excerpt(&self, at: Place) -> String {
        // What is missing at the end of the text is shown where the text ends.
        let text = self.text.trim_end();
        let start = if at.start >= text.len() { text.len() } else { self.boundary(at.start) };
        let (line, column) = self.line_and_column(start);
        let (begin, end) = self.line_around(start);
        let whole = self.text.get(begin..end).unwrap_or_default().trim_end();
        let skipped = if whole.chars().count() > SHOWN { column.saturating_sub(1 + BEFORE) } else { 0 };
        let shown: String = whole.chars().skip(skipped).take(SHOWN).collect();
        let left_out = if skipped > 0 { "..." } else { "" };
        let carets = self.text.get(start..self.boundary(at.end).clamp(start, end)).unwrap_or_default();
        let room = (SHOWN + 1).saturating_sub(column - skipped);
        let carets = carets.trim_end().chars().count().clamp(1, room.max(1));

        let margin = line.to_string().len();
        let mut out = String::new();
        let _ = writeln!(out, "\n{:margin$}--> {}:{line}:{column}", "", self.name);
        let _ = writeln!(out, "{:margin$} |", "");
        let _ = writeln!(out, "{line} | {left_out}{}", harmless(&shown));
        let indent = left_out.len() + column - 1 - skipped;
        let _ = write!(out, "{:margin$} | {:indent$}{}", "", "", "^".repeat(carets));
        out
    }
}

/// Without what a terminal would act on; as many letters as before.
pub(super) fn harmless(text: &str) -> String {
    let shown = |c: char| match c {
        '\t' => ' ',
        // Marks of direction would show a line in another order than it is read.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// A value as it is told of: short, in one line.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 40;
    let cut: String = text.chars().take(LONGEST).collect();
    let more = if cut.len() < text.len() { "..." } else { "" };
    format!("\"{}{more}\"", harmless(&cut))
}
