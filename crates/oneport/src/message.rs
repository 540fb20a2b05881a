//! One user's message on a channel: a JSON text and perhaps a handle. The same on both sides, primary and worker.
//!
//! Not here: how it is framed (wire), and who sends it. Invariant: the text is one valid JSON value.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Handle;

/// A message of the other side (the arguments of Node's `message` event).
///
/// Dropping it closes its handle, if that was not taken out.
#[derive(Debug)]
pub struct Message {
    json: String,
    handle: Option<Handle>,
}

impl Message {
    /// From a text that is known to be JSON.
    pub(crate) fn received(json: String, handle: Option<Handle>) -> Message {
        Message { json, handle }
    }

    /// The JSON text as it came, without a newline in it; at most 16 MiB.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The value.
    ///
    /// # Errors
    /// `InvalidData` when the text is not of that type.
    pub fn parse<T: DeserializeOwned>(&self) -> io::Result<T> {
        serde_json::from_str(&self.json).map_err(|cause| {
            io::Error::new(io::ErrorKind::InvalidData, format!("cannot read message: {cause}"))
        })
    }

    /// The handle that came with it.
    pub fn handle(&self) -> Option<&Handle> {
        self.handle.as_ref()
    }

    /// Takes the handle out; afterwards there is none.
    pub fn take_handle(&mut self) -> Option<Handle> {
        self.handle.take()
    }

    /// Text and handle.
    pub fn into_parts(self) -> (String, Option<Handle>) {
        (self.json, self.handle)
    }
}

/// A value as JSON text. `InvalidInput` when it cannot be one (a map whose keys are no strings, for example).
pub(crate) fn spell(message: &(impl Serialize + ?Sized)) -> io::Result<String> {
    serde_json::to_string(message).map_err(|cause| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("cannot spell message: {cause}"))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::ErrorKind;

    use super::{Message, spell};

    #[test]
    fn a_value_that_was_spelt_reads_back() {
        let text = spell(&("é\n", 1, None::<u8>)).expect("JSON");
        assert!(!text.contains('\n'));
        let message = Message::received(text, None);
        assert_eq!(message.parse::<(String, u8, Option<u8>)>().expect("the type"), ("é\n".into(), 1, None));
    }

    #[test]
    fn another_type_is_an_error_that_says_so() {
        let error = Message::received("[1]".into(), None).parse::<String>().expect_err("no string");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().starts_with("cannot read message: "), "{error}");
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        let error = spell(&BTreeMap::from([((1, 2), 3)])).expect_err("keys are no strings");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().starts_with("cannot spell message: "), "{error}");
    }
}
