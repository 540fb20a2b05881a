//! What every format is read into: values that know where they stand. What the keys mean is not known here.

use serde_json::{Map, Value};

use super::source::{Place, quoted};

/// Lists and tables within one another.
pub(super) const DEEPEST: usize = 64;
/// Bytes that the repeated parts of a tree may take, counted roughly.
pub(super) const HEAVIEST: usize = 16 << 20;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) at: Option<Place>,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Null,
    Truth(bool),
    Whole(i64),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Where the key stands.
    pub(super) at: Option<Place>,
    pub(super) value: Node,
}

impl Node {
    pub(super) fn new(at: Option<Place>, what: What) -> Node {
        Node { at, what }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.what {
            What::Text(text) => Some(text),
            What::Null
            | What::Truth(_)
            | What::Whole(_)
            | What::Number(_)
            | What::List(_)
            | What::Table(_) => None,
        }
    }

    pub(super) fn as_table(&self) -> Option<&[Entry]> {
        match &self.what {
            What::Table(entries) => Some(entries),
            What::Null
            | What::Truth(_)
            | What::Whole(_)
            | What::Number(_)
            | What::Text(_)
            | What::List(_) => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        self.what == What::Null
    }

    /// The entry of this key; of several the last, as in JavaScript.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.as_table()?.iter().rev().find(|entry| entry.key == key)
    }

    /// Bytes it takes, roughly.
    pub(super) fn weight(&self) -> usize {
        size_of::<Entry>()
            + match &self.what {
                What::Null | What::Truth(_) | What::Whole(_) | What::Number(_) => 0,
                What::Text(text) => text.len(),
                What::List(list) => list.iter().map(Node::weight).sum(),
                What::Table(entries) => {
                    entries.iter().map(|entry| entry.key.len() + entry.value.weight()).sum()
                }
            }
    }

    /// How a person would name what was found.
    pub(super) fn found(&self) -> String {
        match &self.what {
            What::Null => "nothing".to_owned(),
            What::Truth(yes) => yes.to_string(),
            What::Whole(number) => number.to_string(),
            What::Number(number) => number.to_string(),
            What::Text(text) => quoted(text),
            What::List(_) => "a list".to_owned(),
            What::Table(_) => "a table".to_owned(),
        }
    }

    /// A scalar as text, as JavaScript would write it; lists and tables as JSON.
    pub(super) fn to_text(&self) -> String {
        match &self.what {
            What::Null => String::new(),
            What::Truth(yes) => yes.to_string(),
            What::Whole(number) => number.to_string(),
            What::Number(number) => number.to_string(),
            What::Text(text) => text.clone(),
            What::List(_) | What::Table(_) => self.to_json().to_string(),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match &self.what {
            What::Null => Value::Null,
            What::Truth(yes) => Value::from(*yes),
            What::Whole(number) => Value::from(*number),
            What::Number(number) => Value::from(*number),
            What::Text(text) => Value::from(text.as_str()),
            What::List(list) => list.iter().map(Node::to_json).collect(),
            What::Table(entries) => {
                let pairs = entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// Of JSON that knows no places. None where it is nested too deeply.
    pub(super) fn from_json(value: Value, depth: usize) -> Option<Node> {
        let deeper = depth.checked_sub(1)?;
        let what = match value {
            Value::Null => What::Null,
            Value::Bool(yes) => What::Truth(yes),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => What::Whole(number),
                (None, Some(number)) => What::Number(number),
                (None, None) => What::Text(number.to_string()),
            },
            Value::String(text) => What::Text(text),
            Value::Array(list) => {
                let list: Option<_> = list.into_iter().map(|item| Node::from_json(item, deeper)).collect();
                What::List(list?)
            }
            Value::Object(map) => {
                let entry =
                    |(key, value)| Some(Entry { key, at: None, value: Node::from_json(value, deeper)? });
                let entries: Option<_> = map.into_iter().map(entry).collect();
                What::Table(entries?)
            }
        };
        Some(Node::new(None, what))
    }
}

/// A number as it is written without quotes. What no number of 64 bits holds keeps its digits.
pub(super) fn number(text: &str) -> Option<What> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(What::Whole(whole));
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(What::Text(text.to_owned()));
    }
    let looks_so = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    text.parse::<f64>().ok().filter(|number| looks_so && number.is_finite()).map(What::Number)
}

/// The same with a base: `0x1f`, `0o17`.
pub(super) fn based(text: &str, prefix: &str, base: u32) -> Option<What> {
    let (minus, rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let digits = rest.strip_prefix(prefix)?;
    let number = i64::from_str_radix(digits, base).ok().filter(|number| *number >= 0)?;
    Some(What::Whole(if minus { -number } else { number }))
}
