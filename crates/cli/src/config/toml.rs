//! TOML, with its places. The crate itself bounds how deeply it nests (80).

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::json::{plain, too_deep};
use super::source::{Place, Problem, Source};
use super::tree::{DEEPEST, Entry, Node, What};

pub(super) fn read(source: &Source) -> Result<Node, Problem> {
    let parsed = DeTable::parse(&source.text).map_err(|error| {
        // A cause of several lines is one cause and what was expected.
        let lines: Vec<_> = error.message().lines().map(plain).collect();
        Problem::syntax(lines.join(", "), error.span().map(place))
    })?;
    let at = Some(place(parsed.span()));
    Ok(Node::new(at, table(parsed.get_ref(), DEEPEST)?))
}

fn place(range: Range<usize>) -> Place {
    Place { start: range.start, end: range.end }
}

fn table(table: &DeTable<'_>, depth: usize) -> Result<What, Problem> {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let key: &Spanned<std::borrow::Cow<'_, str>> = key;
        let at = Some(place(key.span()));
        Ok(Entry { key: key.get_ref().to_string(), at, value: node(value, depth)? })
    };
    let mut entries = table.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    // The crate sorts them by name.
    entries.sort_by_key(|entry| entry.at.map(|at| at.start));
    Ok(What::Table(entries))
}

fn node(value: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Problem> {
    let at = Some(place(value.span()));
    let deeper = || depth.checked_sub(1).ok_or_else(|| too_deep(at));
    let what = match value.get_ref() {
        DeValue::String(text) => What::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(whole) => What::Whole(whole),
            Err(_) => return Err(Problem::syntax("a number of more than 64 bits", at)),
        },
        // `inf` and `nan` are told of as texts: no key takes them.
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(float) if float.is_finite() => What::Number(float),
            Ok(_) | Err(_) => What::Text(number.as_str().to_owned()),
        },
        DeValue::Boolean(truth) => What::Truth(*truth),
        DeValue::Datetime(time) => What::Text(time.to_string()),
        DeValue::Array(list) => {
            let deeper = deeper()?;
            What::List(list.iter().map(|item| node(item, deeper)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(inner) => table(inner, deeper()?)?,
    };
    Ok(Node::new(at, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_kind_are_read() {
        let text =
            "a = 1\nb = 1.5\nc = \"x\"\nd = 1979-05-27\ne = [true, 0xff]\nf = { g = inf }\nn = 1_000\n";
        let source = Source { name: "x.toml".to_owned(), text: text.to_owned() };
        let json = r#"{"a":1,"b":1.5,"c":"x","d":"1979-05-27","e":[true,255],"f":{"g":"inf"},"n":1000}"#;
        assert_eq!(read(&source).unwrap().to_json().to_string(), json);
    }

    #[test]
    fn deep_and_endless_texts_end() {
        for text in [
            format!("a = {}", "[".repeat(500_000)),
            format!("a = {}1{}", "[".repeat(70), "]".repeat(70)),
            format!("{}x = 1", "a.".repeat(100_000)),
            "[a]\n".repeat(1000),
        ] {
            let source = Source { name: "x.toml".to_owned(), text };
            assert!(read(&source).is_err());
        }
    }
}
