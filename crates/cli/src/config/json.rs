//! JSON as PM2's users write it: with comments, trailing commas, names and texts in single quotes (JSON5).

use jsonc_parser::ast::{ObjectPropName, Value};
use jsonc_parser::common::Range;
use jsonc_parser::errors::ParseErrorKind;
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, parse_to_ast};

use super::source::{Place, Problem, Source};
use super::tree::{DEEPEST, Entry, Node, What, based, number};

pub(super) fn read(source: &Source) -> Result<Node, Problem> {
    let collect = CollectOptions { comments: CommentCollectionStrategy::Off, tokens: false };
    // In JavaScript a comma may be too many, but none may be missing.
    let options = ParseOptions { allow_missing_commas: false, ..ParseOptions::default() };
    let parsed = parse_to_ast(&source.text, &collect, &options).map_err(|error| {
        let at = Some(place(error.range()));
        let problem = Problem::syntax(plain(&error.kind().to_string()), at);
        #[allow(clippy::wildcard_enum_match_arm, reason = "the crate's list grows")]
        match error.kind() {
            ParseErrorKind::UnexpectedWord | ParseErrorKind::UnexpectedToken => {
                problem.hint("texts stand in quotes; what is computed belongs into a file `NAME.config.js`")
            }
            _ => problem,
        }
    })?;
    match parsed.value {
        Some(value) => node(&value, DEEPEST),
        None => Err(Problem::syntax("it is empty", None)),
    }
}

/// As our messages begin: in lower case.
pub(super) fn plain(message: &str) -> String {
    let mut letters = message.trim_end_matches('.').chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn place(range: Range) -> Place {
    Place { start: range.start, end: range.end }
}

fn node(value: &Value<'_>, depth: usize) -> Result<Node, Problem> {
    let (range, what) = match value {
        Value::StringLit(text) => (text.range, What::Text(text.value.to_string())),
        Value::NumberLit(literal) => (literal.range, numeral(literal.value)),
        Value::BooleanLit(truth) => (truth.range, What::Truth(truth.value)),
        Value::NullKeyword(null) => (null.range, What::Null),
        Value::Array(array) => {
            let deeper = deeper(depth, array.range)?;
            let list = array.elements.iter().map(|item| node(item, deeper)).collect::<Result<_, _>>()?;
            (array.range, What::List(list))
        }
        Value::Object(object) => {
            let deeper = deeper(depth, object.range)?;
            let entry = |property: &jsonc_parser::ast::ObjectProp<'_>| {
                let (key, range) = match &property.name {
                    ObjectPropName::String(text) => (text.value.to_string(), text.range),
                    ObjectPropName::Word(word) => (word.value.to_owned(), word.range),
                };
                Ok(Entry { key, at: Some(place(range)), value: node(&property.value, deeper)? })
            };
            (object.range, What::Table(object.properties.iter().map(entry).collect::<Result<_, _>>()?))
        }
    };
    Ok(Node::new(Some(place(range)), what))
}

fn deeper(depth: usize, range: Range) -> Result<usize, Problem> {
    let start = Place { start: range.start, end: range.start + 1 };
    depth.checked_sub(1).ok_or_else(|| too_deep(Some(start)))
}

/// Of every format.
pub(super) fn too_deep(at: Option<Place>) -> Problem {
    Problem::syntax(format!("more than {DEEPEST} lists and objects within one another"), at)
}

fn numeral(text: &str) -> What {
    based(text, "0x", 16)
        .or_else(|| based(text, "0X", 16))
        .or_else(|| number(text))
        .unwrap_or_else(|| What::Text(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<String, String> {
        let source = Source { name: "x.json".to_owned(), text: text.to_owned() };
        match read(&source) {
            Ok(node) => Ok(node.to_json().to_string()),
            Err(problem) => Err(problem.cause),
        }
    }

    #[test]
    fn what_javascript_allows_is_read() {
        let text = "// apps\n{ /* one */ a: 'x\\'y', \"b\": [1, +2, .5, 0xff, 1e3,], $c: null, d: -7, e: 12345678901234567890123 }";
        let json = r#"{"$c":null,"a":"x'y","b":[1,2,0.5,255,1000.0],"d":-7,"e":"12345678901234567890123"}"#;
        assert_eq!(read_text(text), Ok(json.to_owned()));
    }

    #[test]
    fn what_no_json_is_says_what_was_expected() {
        assert_eq!(read_text("{a: 1 b: 2}"), Err("expected comma".to_owned()));
        assert_eq!(read_text("{a: max}"), Err("unexpected token".to_owned()));
        assert_eq!(read_text(""), Err("it is empty".to_owned()));
        assert!(read_text(&"[".repeat(200_000)).is_err());
        assert!(read_text(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap_err().contains("64"));
    }
}
