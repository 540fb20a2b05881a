//! What is worth a word and stops nothing: collected while a file is read, told once and in a bounded number of lines.

use std::collections::BTreeSet;

use super::near::did_you_mean;
use super::source::{Place, Source, harmless};

/// Lines that are told.
const MOST: usize = 20;
/// Letters of a line.
const LONGEST: usize = 300;

#[derive(Debug, Default)]
pub(super) struct Notes {
    notes: Vec<Note>,
    left_out: usize,
    without_effect: BTreeSet<String>,
}

#[derive(Debug)]
struct Note {
    text: String,
    place: Option<(Option<Place>, String)>,
}

impl Notes {
    /// Of the file as a whole.
    pub(super) fn add(&mut self, text: impl Into<String>) {
        self.push(Note { text: text.into(), place: None });
    }

    /// Of a key of it.
    pub(super) fn at(&mut self, at: Option<Place>, key: &str, text: impl Into<String>) {
        self.push(Note { text: text.into(), place: Some((at, key.to_owned())) });
    }

    /// Of a key that nobody knows. Looking for its neighbours costs more than all else, so what will not be told is not
    /// looked at.
    pub(super) fn unknown<'k>(
        &mut self,
        at: Option<Place>,
        key: &str,
        text: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        if self.notes.len() >= MOST {
            self.left_out += 1;
            return;
        }
        let hint = did_you_mean(key, known).map_or_else(String::new, |hint| format!(": {hint}"));
        self.at(at, key, format!("{text}{hint}"));
    }

    /// A key of PM2's that does nothing here: all of them are named in one line.
    pub(super) fn without_effect(&mut self, key: &str) {
        if self.without_effect.len() < MOST {
            self.without_effect.insert(key.to_owned());
        }
    }

    fn push(&mut self, note: Note) {
        match self.notes.len() < MOST {
            true => self.notes.push(note),
            false => self.left_out += 1,
        }
    }

    pub(super) fn into_lines(self, source: &Source) -> Vec<String> {
        let mut lines: Vec<String> = self
            .notes
            .into_iter()
            .map(|note| match note.place {
                Some((at, key)) => format!("{}: {}", source.whereabouts(at, &key), note.text),
                None => note.text,
            })
            .collect();
        if !self.without_effect.is_empty() {
            let keys: Vec<_> = self.without_effect.iter().map(|key| format!("`{key}`")).collect();
            lines.push(format!("{}: without effect here: {}", source.name, keys.join(", ")));
        }
        if self.left_out > 0 {
            lines.push(format!("{}: and {} more", source.name, self.left_out));
        }
        let short = |line: String| harmless(&line).chars().take(LONGEST).collect();
        lines.into_iter().map(short).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_full_of_strange_keys_is_told_of_in_a_few_lines() {
        let source = Source { name: "x.json".to_owned(), text: String::new() };
        let mut notes = Notes::default();
        for n in 0..10_000 {
            notes.unknown(None, "k", &format!("unknown key `{}`", "x".repeat(n)), ["key"]);
            notes.without_effect(&format!("k{n}"));
        }
        let lines = notes.into_lines(&source);
        assert_eq!(lines.len(), MOST + 2);
        assert!(lines.iter().all(|line| line.chars().count() <= LONGEST));
        assert!(lines.last().unwrap().contains("and 9980 more"));
    }
}
