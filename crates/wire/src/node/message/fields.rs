//! Reading one line as far as Node's own messages need it: is it ours or a user's, and where do the fields stand.
//! Values stay text until a message asks for them, so users may put anything under our names. Invariants: one pass (two
//! over a line with control characters), no recursion into values, nothing allocated unless a name or string has escapes
//! or values nest.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Json;
use crate::Violation;

/// A JSON text, told apart.
#[expect(clippy::large_enum_variant, reason = "on the stack for one line; a box would allocate per message")]
pub(super) enum Scanned<'a> {
    /// A user's.
    User(Json<'a>),
    /// Node's own: an object whose `cmd` begins with `NODE_` and goes on.
    Internal { cmd: Cow<'a, str>, fields: Fields<'a> },
}

impl<'a> Scanned<'a> {
    /// Reads one line.
    pub(super) fn line(line: &'a [u8]) -> Result<Self, Violation> {
        let text = std::str::from_utf8(line).map_err(|_| Violation::NotJson)?;
        Self::text(text.trim_matches([' ', '\t', '\r', '\n']))
    }

    /// Reads a JSON text without white space around it.
    pub(super) fn text(text: &'a str) -> Result<Self, Violation> {
        if !text.starts_with('{') {
            serde_json::from_str::<&RawValue>(text).map_err(|_| Violation::NotJson)?;
            return Ok(Self::User(Json::scanned(text)));
        }
        // Names are read as bytes, in which serde_json 1.0 lets bare control characters pass. Lines as programs write them
        // have no such byte anywhere, so this second look is rare.
        if text.bytes().any(|byte| byte < 0x20) {
            serde_json::from_str::<&RawValue>(text).map_err(|_| Violation::NotJson)?;
        }
        let fields: Fields<'a> = serde_json::from_str(text).map_err(|_| Violation::NotJson)?;
        // Node asks for a string longer than five characters that begins so: `NODE_` itself is a user's.
        match fields.cmd.and_then(string) {
            Some(cmd) if cmd.len() > 5 && cmd.starts_with("NODE_") => Ok(Self::Internal { cmd, fields }),
            _ => Ok(Self::User(Json::scanned(text))),
        }
    }
}

macro_rules! fields {
    ($($field:ident = $name:literal),* $(,)?) => {
        /// The text of every field that any of Node's messages has. Of a repeated name the last counts, as in
        /// JavaScript.
        #[derive(Default)]
        pub(super) struct Fields<'a> { $(pub(super) $field: Option<&'a RawValue>,)* }

        impl<'a> Fields<'a> {
            fn slot(&mut self, name: &[u8]) -> Option<&mut Option<&'a RawValue>> {
                $(if name == $name.as_bytes() { return Some(&mut self.$field); })*
                None
            }
        }
    };
}

fields! {
    cmd = "cmd", act = "act", seq = "seq", ack = "ack", accepted = "accepted", key = "key",
    kind = "type", msg = "msg", errno = "errno", data = "data", sockname = "sockname",
    index = "index", address = "address", port = "port", address_type = "addressType", fd = "fd",
    flags = "flags", backlog = "backlog", readable_all = "readableAll", writable_all = "writableAll",
    dgram_type = "dgramType", count = "count", family = "family", handoff = "handoff",
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        while let Some(Bytes(name)) = map.next_key()? {
            let value = map.next_value()?;
            if let Some(slot) = fields.slot(&name) {
                *slot = Some(value);
            }
        }
        Ok(fields)
    }
}

/// A JSON string as bytes: JavaScript strings may hold half a surrogate pair, which no `str` can.
struct Bytes<'a>(Cow<'a, [u8]>);

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Bytes<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Bytes(Cow::Borrowed(bytes)))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Bytes(Cow::Owned(bytes.to_vec())))
    }
}

/// The string that a JSON text is, or `None` if it is something else. Half surrogate pairs become U+FFFD, as they do
/// in Node wherever a string reaches the system.
pub(super) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    let Bytes(bytes) = serde_json::from_str(raw.get()).ok()?;
    Some(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
}
