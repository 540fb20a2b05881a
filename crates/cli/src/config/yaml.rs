//! YAML 1.2, from the parser's events. Anchors, aliases and merge keys (`<<`) are resolved here, within bounds: a few lines
//! of aliases of aliases would else become more than any memory holds.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::json::{plain, too_deep};
use super::source::{Place, Problem, Source};
use super::tree::{DEEPEST, Entry, HEAVIEST, Node, What, based, number};

pub(super) fn read(source: &Source) -> Result<Node, Problem> {
    let offsets = Offsets::new(&source.text);
    let mut builder = Builder::default();
    for event in Parser::new_from_str(&source.text) {
        let (event, span) = event.map_err(|error| {
            let start = offsets.byte(error.marker().index());
            Problem::syntax(plain(error.info()), Some(Place { start, end: start + 1 }))
        })?;
        builder.take(event, offsets.place(span))?;
    }
    builder.whole.ok_or_else(|| Problem::syntax("it is empty", None))
}

/// Where letters begin: the parser counts letters, places are bytes.
struct Offsets<'a> {
    text: &'a str,
    /// Every so many letters.
    marks: Vec<usize>,
}

const EVERY: usize = 64;

impl<'a> Offsets<'a> {
    fn new(text: &'a str) -> Offsets<'a> {
        let marks = text.char_indices().step_by(EVERY).map(|(at, _)| at).collect();
        Offsets { text, marks }
    }

    fn byte(&self, letter: usize) -> usize {
        let Some(mark) = self.marks.get(letter / EVERY) else { return self.text.len() };
        let rest = self.text.get(*mark..).unwrap_or_default();
        rest.char_indices().nth(letter % EVERY).map_or(self.text.len(), |(at, _)| mark + at)
    }

    fn place(&self, span: Span) -> Place {
        let (start, end) = (self.byte(span.start.index()), self.byte(span.end.index()));
        Place { start, end: end.max(start + 1) }
    }
}

/// A list or table that is not closed yet.
struct Open {
    at: Place,
    anchor: usize,
    what: Inside,
}

enum Inside {
    List(Vec<Node>),
    Table { entries: Vec<Entry>, key: Option<(String, Place)>, merged: Vec<Node> },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    /// Of all copies: of what has an anchor, and of what an alias stands for.
    weight: usize,
    whole: Option<Node>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: Place) -> Result<(), Problem> {
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => {
                    let weight = node.weight();
                    let node = Node::new(Some(at), node.what.clone());
                    self.grow(weight, Some(at))?;
                    self.put(node, 0)
                }
                // Of a list or table that holds it.
                None => Err(Problem::syntax("an alias that stands within its own anchor", Some(at))),
            },
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                let what = match style {
                    ScalarStyle::Plain if !is_text => scalar(&text),
                    ScalarStyle::Plain
                    | ScalarStyle::SingleQuoted
                    | ScalarStyle::DoubleQuoted
                    | ScalarStyle::Literal
                    | ScalarStyle::Folded => What::Text(text.into_owned()),
                };
                self.put(Node::new(Some(at), what), anchor)
            }
            Event::SequenceStart(anchor, _) => self.begin(at, anchor, Inside::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                let inside = Inside::Table { entries: Vec::new(), key: None, merged: Vec::new() };
                self.begin(at, anchor, inside)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                let what = match open.what {
                    Inside::List(list) => What::List(list),
                    Inside::Table { entries, merged, .. } => What::Table(merge(entries, merged)),
                };
                self.put(Node::new(Some(open.at), what), open.anchor)
            }
        }
    }

    fn begin(&mut self, at: Place, anchor: usize, what: Inside) -> Result<(), Problem> {
        if self.open.len() >= DEEPEST {
            return Err(too_deep(Some(at)));
        }
        self.open.push(Open { at, anchor, what });
        Ok(())
    }

    fn grow(&mut self, weight: usize, at: Option<Place>) -> Result<(), Problem> {
        self.weight = self.weight.saturating_add(weight);
        match self.weight > HEAVIEST {
            true => Err(Problem::syntax("its aliases make it too large", at)),
            false => Ok(()),
        }
    }

    /// A finished value: into what is open, and kept where it has an anchor (whose number is not 0).
    fn put(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        let at = node.at;
        if anchor > 0 {
            self.grow(node.weight(), at)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.what) {
            None if self.whole.is_some() => {
                return Err(Problem::syntax("more than one document in one file", at));
            }
            None => self.whole = Some(node),
            Some(Inside::List(list)) => list.push(node),
            Some(Inside::Table { entries, key, merged }) => match key.take() {
                Some((name, _)) if name == "<<" => merged.push(node),
                Some((key, at)) => entries.push(Entry { key, at: Some(at), value: node }),
                None => match (&node.what, at) {
                    (What::List(_) | What::Table(_), _) | (_, None) => {
                        return Err(Problem::syntax("a list or mapping as a key", at));
                    }
                    (
                        What::Null | What::Truth(_) | What::Whole(_) | What::Number(_) | What::Text(_),
                        Some(at),
                    ) => *key = Some((node.to_text(), at)),
                },
            },
        }
        Ok(())
    }
}

/// What a merge key names stands behind what the mapping itself says, and the first of several before the others.
fn merge(mut entries: Vec<Entry>, merged: Vec<Node>) -> Vec<Entry> {
    if merged.is_empty() {
        return entries;
    }
    let mut known: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    let mut add = |node: Node| {
        if let What::Table(others) = node.what {
            entries.extend(others.into_iter().filter(|other| known.insert(other.key.clone())));
        }
    };
    for node in merged {
        match node.what {
            What::List(list) => list.into_iter().for_each(&mut add),
            What::Null
            | What::Truth(_)
            | What::Whole(_)
            | What::Number(_)
            | What::Text(_)
            | What::Table(_) => add(node),
        }
    }
    entries
}

/// The core schema (YAML 1.2, 10.3.2), but a number that begins with zeros stays as it is written.
fn scalar(text: &str) -> What {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return What::Null,
        "true" | "True" | "TRUE" => return What::Truth(true),
        "false" | "False" | "FALSE" => return What::Truth(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let zeros = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    if zeros {
        return What::Text(text.to_owned());
    }
    based(text, "0x", 16)
        .or_else(|| based(text, "0o", 8))
        .or_else(|| number(text))
        .unwrap_or_else(|| What::Text(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<String, String> {
        let source = Source { name: "x.yml".to_owned(), text: text.to_owned() };
        read(&source).map(|node| node.to_json().to_string()).map_err(|problem| problem.cause)
    }

    #[test]
    fn scalars_are_of_the_kind_that_yaml_gives_them() {
        let text = "a: 1\nb: '1'\nc: yes\nd: true\ne: ~\nf: 0x1f\ng: 01234\nh: 1.5\ni: !!str 7\nj: |\n  x\n  y\nk:\n";
        let json = r#"{"a":1,"b":"1","c":"yes","d":true,"e":null,"f":31,"g":"01234","h":1.5,"i":"7","j":"x\ny\n","k":null}"#;
        assert_eq!(read_text(text), Ok(json.to_owned()));
    }

    #[test]
    fn anchors_and_merge_keys_are_resolved() {
        let text = "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: [*x]\nw:\n  <<: [*x, {c: 4, a: 5}]\n";
        let json = r#"{"w":{"a":1,"b":2,"c":4},"x":{"a":1,"b":2},"y":{"a":1,"b":3},"z":[{"a":1,"b":2}]}"#;
        assert_eq!(read_text(text), Ok(json.to_owned()));
    }

    #[test]
    fn aliases_of_aliases_are_stopped() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..30 {
            let inner = vec![format!("*a{}", n - 1); 10].join(",");
            bomb.push_str(&format!("a{n}: &a{n} [{inner}]\n"));
        }
        assert!(read_text(&bomb).unwrap_err().contains("too large"));
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), "*a,".repeat(1000));
        assert!(read_text(&long).unwrap_err().contains("too large"));
        assert!(read_text("a: &a [*a]\n").is_err());
    }

    #[test]
    fn depth_is_bounded_in_both_styles() {
        for text in [
            "[".repeat(100_000),
            "- ".repeat(100_000),
            "? ".repeat(100_000),
            "{a: ".repeat(100),
            (0..300).map(|n| format!("{}a:\n", " ".repeat(n))).collect(),
        ] {
            assert!(read_text(&text).is_err());
        }
    }

    #[test]
    fn what_yaml_allows_and_no_configuration_means_is_refused() {
        assert!(read_text("a: 1\n---\nb: 2\n").unwrap_err().contains("more than one document"));
        assert!(read_text("[a]: 1\n").unwrap_err().contains("as a key"));
        assert_eq!(read_text("# nothing\n"), Err("it is empty".to_owned()));
    }
}
