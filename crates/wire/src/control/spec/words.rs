//! Values as people write them: words that may be numbers, one or a list, arguments in one text.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A word or a number, kept as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WordOrNumber(pub String);

/// Several words: a list, or one text with commas between them. Numbers count as words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commas(pub Vec<String>);

impl Commas {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A text or a number, as text.
pub(super) struct Text(pub(super) &'static str);

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for WordOrNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WordOrNumber, D::Error> {
        deserializer.deserialize_any(Text("a word or a number")).map(WordOrNumber)
    }
}

impl Serialize for WordOrNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// One value, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

pub(super) fn one_or_more<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    })
}

impl<'de> Deserialize<'de> for Commas {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Commas, D::Error> {
        let parts: Vec<WordOrNumber> = one_or_more(deserializer)?;
        let parts = parts.iter().flat_map(|part| part.0.split(','));
        Ok(Commas(parts.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()))
    }
}

impl Serialize for Commas {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Arguments: a list, whose numbers and truths count as words, or one text that is split at blanks; quotes keep blanks.
pub(super) fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Text(String),
        List(Vec<Scalar>),
    }
    Ok(match Words::deserialize(deserializer)? {
        Words::Text(text) => split_words(&text),
        Words::List(list) => list.into_iter().map(Scalar::into_text).collect(),
    })
}

/// Splits at blanks; what stands in single or double quotes stays together, and a backslash takes the next letter as it is,
/// except in single quotes.
pub(super) fn split_words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut begun) = (Vec::new(), String::new(), false);
    let (mut quote, mut letters) = (None, text.chars());
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None | Some('"')) => {
                word.extend(letters.next());
                begun = true;
            }
            (letter, Some(open)) if letter == open => quote = None,
            ('\'' | '"', None) => (quote, begun) = (Some(letter), true),
            (blank, None) if blank.is_whitespace() => {
                if std::mem::take(&mut begun) {
                    words.push(std::mem::take(&mut word));
                }
            }
            (letter, _) => {
                word.push(letter);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Truth(bool),
    Whole(i64),
    Number(f64),
    Text(String),
    Nothing(()),
}

impl Scalar {
    fn into_text(self) -> String {
        match self {
            Scalar::Truth(yes) => yes.to_string(),
            Scalar::Whole(number) => number.to_string(),
            Scalar::Number(number) => number.to_string(),
            Scalar::Text(text) => text,
            Scalar::Nothing(()) => String::new(),
        }
    }
}

/// Values of variables: texts, and numbers and truths as text.
pub(super) fn variables<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let values: BTreeMap<String, Scalar> = BTreeMap::deserialize(deserializer)?;
    Ok(values.into_iter().map(|(name, value)| (name, value.into_text())).collect())
}
