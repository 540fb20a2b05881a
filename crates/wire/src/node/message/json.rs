//! A JSON text kept as text: users' messages and the `data` that workers attach are carried, never interpreted.
//! Invariant: the text is one valid JSON value, however deep (it was scanned without recursion).

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use crate::Violation;

/// One JSON value as its text.
#[derive(Clone, PartialEq, Eq)]
pub struct Json<'a>(Cow<'a, str>);

impl<'a> Json<'a> {
    /// Takes a text that is one JSON value, white space around it allowed.
    ///
    /// # Errors
    /// [`Violation::NotJson`].
    pub fn parse(text: impl Into<Cow<'a, str>>) -> Result<Self, Violation> {
        let text = text.into();
        match serde_json::from_str::<&RawValue>(&text) {
            Ok(_) => Ok(Self(text)),
            Err(_) => Err(Violation::NotJson),
        }
    }

    /// A text that the scanner has already accepted.
    pub(super) fn scanned(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// The text. One read from a channel has no newline in it.
    #[must_use]
    pub fn get(&self) -> &str {
        &self.0
    }

    /// The same, without the line it was read from.
    #[must_use]
    pub fn into_owned(self) -> Json<'static> {
        Json(Cow::Owned(self.0.into_owned()))
    }

    /// The same for as long as `self` lives, without a copy.
    #[must_use]
    pub fn borrowed(&self) -> Json<'_> {
        Json(Cow::Borrowed(&self.0))
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
