//! What workers are told apart by.
#![expect(unsafe_code, reason = "getrandom: rustix has it only with a feature of its own")]

use std::fmt;
use std::io;

use super::message;

/// 16 random bytes as 32 hexadecimal digits. Whoever reads a worker's environment knows its token: its own user and root.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub(super) message::Token);

impl Token {
    /// A new one.
    pub fn random() -> io::Result<Self> {
        let mut digits = message::Token::default();
        for (pair, byte) in digits.chunks_exact_mut(2).zip(random_bytes()?) {
            pair.copy_from_slice(&hexadecimal(byte));
        }
        Ok(Self(digits))
    }

    /// One that was saved by its text.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let digits: message::Token = text.as_bytes().try_into().ok()?;
        digits.iter().all(is_digit).then_some(Self(digits))
    }
}

/// The text, as it stands in a worker's environment.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

/// Without the text, which opens doors: logs show this.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

fn hexadecimal(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|half| if half < 10 { b'0' + half } else { b'a' + half - 10 })
}

/// From the kernel's generator; waits only in the first moments after the machine's start.
fn random_bytes() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    let length = bytes.len();
    // SAFETY: `length` bytes of `bytes` are written at most.
    let written = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), length, 0) };
    // Up to 256 bytes come all at once.
    if usize::try_from(written) == Ok(length) { Ok(bytes) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn a_token_is_thirty_two_digits_and_read_back_from_them() {
        let token = Token::random().unwrap();
        let text = token.to_string();
        assert_eq!(text.len(), 32);
        assert_eq!(Token::parse(&text), Some(token));
        assert_ne!(Token::random().unwrap(), token);
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    #[test]
    fn other_texts_are_no_tokens() {
        for text in ["", "0", &"0".repeat(31), &"0".repeat(33), &"G".repeat(32), &"A".repeat(32)] {
            assert_eq!(Token::parse(text), None, "{text}");
        }
    }
}
