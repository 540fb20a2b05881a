//! Fields as messages want them: of a type, required or not. Whatever is wrong is said once, here, and names the field.
//! Only Node's own messages are read through this; users' values never are.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::Json;
use super::fields::{Fields, string};
use crate::Violation;

/// A field as a message wants it: the value, or what to say about it.
pub(super) struct Reader<'a> {
    /// What the message calls itself in a [`Violation`].
    pub(super) act: &'static str,
    pub(super) fields: Fields<'a>,
}

impl<'a> Reader<'a> {
    pub(super) fn wrong(&self, why: impl Into<String>) -> Violation {
        Violation::Malformed { act: self.act, why: why.into() }
    }

    /// What a field must be, and is not.
    pub(super) fn not(&self, name: &str, what: &str) -> Violation {
        self.wrong(format!("`{name}` is not {what}"))
    }

    /// A whole number, required.
    pub(super) fn int(&self, name: &str, raw: Option<&RawValue>) -> Result<i64, Violation> {
        self.int_if(name, raw)?.ok_or_else(|| self.wrong(format!("`{name}` is missing")))
    }

    /// A whole number; absent and null alike give `None`.
    pub(super) fn int_if(&self, name: &str, raw: Option<&RawValue>) -> Result<Option<i64>, Violation> {
        match present(raw) {
            None => Ok(None),
            Some(raw) => raw.get().parse().map(Some).map_err(|_| self.not(name, "a whole number")),
        }
    }

    /// A whole number of the receiving type's range, or its decimal digits in a string: these come from the worker's
    /// own program, and JavaScript takes `"8080"` for a port.
    pub(super) fn loose_if<T: TryFrom<i64>>(
        &self,
        name: &str,
        raw: Option<&RawValue>,
    ) -> Result<Option<T>, Violation> {
        let Some(raw) = present(raw) else { return Ok(None) };
        let digits = string(raw);
        let value: Option<i64> = digits.as_deref().unwrap_or(raw.get()).trim().parse().ok();
        match value.and_then(|value| T::try_from(value).ok()) {
            Some(value) => Ok(Some(value)),
            None => Err(self.not(name, "a whole number in range")),
        }
    }

    /// A string, required.
    pub(super) fn text(&self, name: &str, raw: Option<&'a RawValue>) -> Result<Cow<'a, str>, Violation> {
        self.text_if(name, raw)?.ok_or_else(|| self.wrong(format!("`{name}` is missing")))
    }

    /// A string; absent and null alike give `None`.
    pub(super) fn text_if(
        &self,
        name: &str,
        raw: Option<&'a RawValue>,
    ) -> Result<Option<Cow<'a, str>>, Violation> {
        match present(raw) {
            None => Ok(None),
            Some(raw) => string(raw).map(Some).ok_or_else(|| self.not(name, "a string")),
        }
    }

    /// `true` or `false`; absent and null alike give `None`.
    pub(super) fn bool_if(&self, name: &str, raw: Option<&RawValue>) -> Result<Option<bool>, Violation> {
        match present(raw).map(RawValue::get) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(self.not(name, "true or false")),
        }
    }
}

/// A field that is there and not null.
pub(super) fn present(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

/// Any JSON but null, as its text.
pub(super) fn json_if(raw: Option<&RawValue>) -> Option<Json<'_>> {
    present(raw).map(|raw| Json::scanned(raw.get()))
}

/// Whether JavaScript takes the value for true.
pub(super) fn truthy(raw: Option<&RawValue>) -> bool {
    match present(raw).map(RawValue::get) {
        None | Some("false" | "0" | "\"\"") => false,
        Some(_) => true,
    }
}
