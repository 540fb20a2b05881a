//! Whether a value is one that its key takes, and the form in which [`AppSpec`] reads it. The last word has `AppSpec` itself,
//! and `judge` on what its types leave open.

use oneport_wire::control::AppSpec;
use serde_json::{Map, Value};

use super::Dialect;
use super::judge::judge;
use super::keys::{Kind, Known};
use super::meaning::{OTHER_WATCH_OPTIONS, snake};
use super::near::did_you_mean;
use super::notes::Notes;
use super::source::{Problem, quoted};
use super::tree::{Entry, Node, What};

/// The value of `known`, which is written as `key`.
pub(super) fn read(
    known: &Known,
    key: &str,
    node: &Node,
    dialect: Dialect,
    notes: &mut Notes,
) -> Result<Value, Problem> {
    let value = shaped(known, key, node, dialect, notes)?;
    let alone = Map::from_iter([(known.name.to_owned(), value.clone())]);
    let spec = serde_json::from_value::<AppSpec>(Value::Object(alone))
        .map_err(|error| wrong(known, key, node, &error.to_string()))?;
    judge(&spec).map_err(|cause| Problem::of(format!("`{key}`"), cause, node.at).key(key))?;
    Ok(value)
}

/// What the reader of the type says, where it is in words of ours; else what was expected and what was found.
fn wrong(known: &Known, key: &str, node: &Node, cause: &str) -> Problem {
    let theirs = ["invalid type", "invalid value", "data did not match", "unknown variant", "unknown field"];
    let found = node.found();
    let cause = match theirs.iter().any(|start| cause.starts_with(start)) {
        true => format!("expected {}, found {found}", known.kind.expected()),
        false if cause.contains(found.trim_matches('"')) => cause.to_owned(),
        false => format!("{cause}, found {found}"),
    };
    let problem = Problem::of(format!("`{key}`"), cause, node.at).key(key);
    if let (Kind::OneOf(words), Some(text)) = (known.kind, node.as_text())
        && let Some(hint) = did_you_mean(text, words.iter().copied())
    {
        return problem.hint(hint);
    }
    problem
}

/// The value as JSON. What JavaScript would take for the same is the same in PM2's files: `"3"` for 3, `"true"` for true,
/// 8080 for a name.
fn shaped(
    known: &Known,
    key: &str,
    node: &Node,
    dialect: Dialect,
    notes: &mut Notes,
) -> Result<Value, Problem> {
    let wrong = || wrong(known, key, node, "invalid type");
    if holds_nul(node) {
        return Err(Problem::of(format!("`{key}`"), "it holds a NUL byte", node.at).key(key));
    }
    let lenient = dialect == Dialect::Pm2;
    match known.kind {
        Kind::Text | Kind::Path => match &node.what {
            What::Text(text) => Ok(Value::from(text.trim())),
            What::Whole(_) | What::Number(_) if lenient => Ok(Value::from(node.to_text())),
            What::Null
            | What::Truth(_)
            | What::Whole(_)
            | What::Number(_)
            | What::List(_)
            | What::Table(_) => Err(wrong()),
        },
        Kind::Truth => match &node.what {
            What::Truth(yes) => Ok(Value::from(*yes)),
            What::Text(text) if lenient && text == "true" => Ok(Value::from(true)),
            What::Text(text) if lenient && text == "false" => Ok(Value::from(false)),
            What::Whole(number @ (0 | 1)) if lenient => Ok(Value::from(*number == 1)),
            What::Null
            | What::Whole(_)
            | What::Number(_)
            | What::Text(_)
            | What::List(_)
            | What::Table(_) => Err(wrong()),
        },
        Kind::Count | Kind::Port => Ok(whole(node, lenient).to_json()),
        Kind::Codes => match &node.what {
            What::List(list) => Ok(list.iter().map(|item| whole(item, lenient).to_json()).collect()),
            What::Null
            | What::Truth(_)
            | What::Whole(_)
            | What::Number(_)
            | What::Text(_)
            | What::Table(_) => Ok(whole(node, lenient).to_json()),
        },
        Kind::Variables => variables(known, key, node, lenient),
        Kind::Table(keys) => table(keys, known, key, node, dialect, notes),
        Kind::OneOf(_) => Ok(match &node.what {
            What::Text(text) => Value::from(text.trim()),
            What::Null
            | What::Truth(_)
            | What::Whole(_)
            | What::Number(_)
            | What::List(_)
            | What::Table(_) => node.to_json(),
        }),
        Kind::Texts | Kind::Which => Ok(match &node.what {
            What::List(list) if lenient => list.iter().map(as_word).collect(),
            What::Null
            | What::Truth(_)
            | What::Whole(_)
            | What::Number(_)
            | What::Text(_)
            | What::List(_)
            | What::Table(_) => node.to_json(),
        }),
        // JavaScript's `false` for never.
        Kind::WordOrNumber if lenient && node.what == What::Truth(false) => Ok(Value::from(0)),
        Kind::Instances if lenient && node.as_text().is_some() => {
            Ok(Value::from(node.to_text().trim().to_owned()))
        }
        Kind::Time | Kind::Size | Kind::Instances | Kind::Words | Kind::Commas | Kind::WordOrNumber => {
            Ok(node.to_json())
        }
    }
}

fn as_word(node: &Node) -> Value {
    match &node.what {
        What::Whole(_) | What::Number(_) => Value::from(node.to_text()),
        What::Null | What::Truth(_) | What::Text(_) | What::List(_) | What::Table(_) => node.to_json(),
    }
}

/// `3.0`, and leniently `"3"`, as 3.
fn whole(node: &Node, lenient: bool) -> Node {
    let number = match &node.what {
        #[allow(clippy::cast_possible_truncation, reason = "in range, checked")]
        What::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => Some(*number as i64),
        What::Text(text) if lenient => text.trim().parse().ok(),
        What::Null
        | What::Truth(_)
        | What::Whole(_)
        | What::Number(_)
        | What::Text(_)
        | What::List(_)
        | What::Table(_) => None,
    };
    match number {
        Some(number) => Node::new(node.at, What::Whole(number)),
        None => node.clone(),
    }
}

fn holds_nul(node: &Node) -> bool {
    match &node.what {
        What::Text(text) => text.contains('\0'),
        What::List(list) => list.iter().any(holds_nul),
        What::Table(entries) => {
            entries.iter().any(|entry| entry.key.contains('\0') || holds_nul(&entry.value))
        }
        What::Null | What::Truth(_) | What::Whole(_) | What::Number(_) => false,
    }
}

/// Names and values; leniently what is no scalar becomes JSON, as in PM2.
fn variables(known: &Known, key: &str, node: &Node, lenient: bool) -> Result<Value, Problem> {
    let Some(entries) = node.as_table() else { return Err(wrong(known, key, node, "invalid type")) };
    let variable = |entry: &Entry| {
        let name = &entry.key;
        if name.is_empty() || name.contains('=') {
            let cause = format!("{} is no name of a variable", quoted(name));
            return Err(Problem::of(format!("`{key}`"), cause, entry.at).key(name));
        }
        match &entry.value.what {
            What::List(_) | What::Table(_) if !lenient => {
                let cause = format!("expected a text, a number or a truth, found {}", entry.value.found());
                Err(Problem::of(format!("`{name}` of `{key}`"), cause, entry.value.at).key(name))
            }
            What::Null
            | What::Truth(_)
            | What::Whole(_)
            | What::Number(_)
            | What::Text(_)
            | What::List(_)
            | What::Table(_) => Ok((name.clone(), Value::from(entry.value.to_text()))),
        }
    };
    entries.iter().map(variable).collect::<Result<Map<_, _>, _>>().map(Value::Object)
}

fn table(
    keys: &[Known],
    known: &Known,
    key: &str,
    node: &Node,
    dialect: Dialect,
    notes: &mut Notes,
) -> Result<Value, Problem> {
    let Some(entries) = node.as_table() else { return Err(wrong(known, key, node, "invalid type")) };
    let mut out = Map::new();
    for entry in entries {
        let plain = snake(&entry.key);
        match keys.iter().find(|known| snake(known.name) == plain) {
            Some(_) if entry.value.is_null() => {}
            Some(inner) => {
                let value = shaped(inner, &entry.key, &entry.value, dialect, notes)?;
                let alone = Map::from_iter([(
                    known.name.to_owned(),
                    Map::from_iter([(inner.name.to_owned(), value.clone())]).into(),
                )]);
                serde_json::from_value::<AppSpec>(Value::Object(alone))
                    .map_err(|error| wrong(inner, &entry.key, &entry.value, &error.to_string()))?;
                out.insert(inner.name.to_owned(), value);
            }
            None if dialect == Dialect::Pm2 && OTHER_WATCH_OPTIONS.contains(&plain.as_str()) => {
                notes.without_effect(&format!("{key}.{}", entry.key));
            }
            None if dialect == Dialect::Pm2 => {
                let text = format!("unknown key `{key}.{}`", entry.key);
                notes.unknown(entry.at, &entry.key, &text, keys.iter().map(|known| known.name));
            }
            None => {
                let cause = format!("there is no such key; expected {}", known.kind.expected());
                let problem = Problem::of(format!("`{}` of `{key}`", entry.key), cause, entry.at);
                return Err(match did_you_mean(&entry.key, keys.iter().map(|known| known.name)) {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                });
            }
        }
    }
    Ok(Value::Object(out))
}
