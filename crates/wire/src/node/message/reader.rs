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

    /// A whole number that the worker's own program chose, so JavaScript's idea of one: digits in a string count,
    /// fractions are cut off, `false` is as good as nothing.
    pub(super) fn loose_if(&self, name: &str, raw: Option<&RawValue>) -> Result<Option<i64>, Violation> {
        let Some(raw) = present(raw).filter(|raw| raw.get() != "false") else { return Ok(None) };
        let text = string(raw).unwrap_or(Cow::Borrowed(raw.get()));
        match text.trim().parse::<f64>() {
            // The cast saturates, far outside of what any of these fields may be.
            Ok(value) if value.is_finite() => Ok(Some(value as i64)),
            Ok(_) | Err(_) => Err(self.not(name, "a whole number")),
        }
    }

    /// [`loose_if`](Self::loose_if) in the range of its receiver.
    pub(super) fn ranged_if<T: TryFrom<i64>>(
        &self,
        name: &str,
        raw: Option<&RawValue>,
    ) -> Result<Option<T>, Violation> {
        let Some(value) = self.loose_if(name, raw)? else { return Ok(None) };
        T::try_from(value).map(Some).map_err(|_| self.not(name, "a whole number in range"))
    }

    /// A version of the hand-off stream. Anything but a number from 1 up is as good as none: what is offered may be
    /// declined, whatever it is.
    pub(super) fn handoff(&self) -> Option<u32> {
        self.fields.handoff?.get().parse().ok().filter(|version| *version > 0)
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
