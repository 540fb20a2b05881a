//! Spelling one message as one line, straight into the outgoing buffer: no tree of values, nothing allocated but
//! the buffer's own growth (the hand-off line is written once per connection).

use std::io::Write as _;

use super::Json;

/// A JSON object being written at the end of a buffer.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    separator: u8,
}

impl<'o> Object<'o> {
    /// Begins an object.
    pub(super) fn begin(out: &'o mut Vec<u8>) -> Self {
        Self { out, separator: b'{' }
    }

    /// `name` must need no escapes: it is one of ours.
    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        self.out.push(self.separator);
        self.separator = b',';
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(super) fn text(&mut self, name: &str, value: &str) -> &mut Self {
        quoted(self.name(name), value);
        self
    }

    pub(super) fn int(&mut self, name: &str, value: impl Into<i64>) -> &mut Self {
        integer(self.name(name), value.into());
        self
    }

    pub(super) fn int_if(&mut self, name: &str, value: Option<impl Into<i64>>) -> &mut Self {
        match value {
            Some(value) => self.int(name, value),
            None => self,
        }
    }

    pub(super) fn bool(&mut self, name: &str, value: bool) -> &mut Self {
        self.raw(name, if value { "true" } else { "false" })
    }

    pub(super) fn null(&mut self, name: &str) -> &mut Self {
        self.raw(name, "null")
    }

    pub(super) fn json(&mut self, name: &str, value: &Json<'_>) -> &mut Self {
        one_line(self.name(name), value);
        self
    }

    fn raw(&mut self, name: &str, value: &str) -> &mut Self {
        self.name(name).extend_from_slice(value.as_bytes());
        self
    }

    /// A value written by `write`, for an object within this one.
    pub(super) fn nested(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        write(self.name(name));
        self
    }

    pub(super) fn end(&mut self) {
        self.out.push(b'}');
    }
}

/// Appends a JSON text. A newline outside strings is white space and within strings it cannot stand, so a space
/// says the same without ending the line.
pub(super) fn one_line(out: &mut Vec<u8>, value: &Json<'_>) {
    for (n, part) in value.get().split('\n').enumerate() {
        if n > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(part.as_bytes());
    }
}

fn integer(out: &mut Vec<u8>, value: i64) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{value}");
}

/// Appends a JSON string.
fn quoted(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    let mut plain = 0;
    for (at, byte) in value.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&value.as_bytes()[plain..at]);
        plain = at + 1;
        if byte < 0x20 {
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.extend_from_slice(&[b'\\', byte]);
        }
    }
    out.extend_from_slice(&value.as_bytes()[plain..]);
    out.push(b'"');
}
