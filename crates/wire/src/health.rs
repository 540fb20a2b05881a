//! The question whether a program is well, as HTTP/1.1 (RFC 9112), and as much of the answer as it takes to know: the status.
//! Headers and body mean nothing here. Invariant: whatever comes, the answer is a status, no HTTP, or not known yet; a caller
//! bounds how much it keeps with [`MOST_BYTES`].

use std::net::SocketAddr;

/// More than this is no answer worth waiting for.
pub const MOST_BYTES: usize = 16 * 1024;

/// What has come of an answer so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Not enough yet.
    Part,
    /// The final status, 200 to 999.
    Status(u16),
    /// This is not HTTP.
    Nonsense,
}

/// Whether the path can be asked for: it begins with `/` and has no blank, no control character and nothing beyond ASCII,
/// which would have to be escaped (`%20`). So no path says more than a path.
pub fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.len() <= MOST_BYTES && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Asks for the path, once: the server is told to close.
pub fn request(path: &str, host: SocketAddr) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: oneport\r\nAccept: */*\r\nConnection: close\r\n\r\n")
        .into_bytes()
}

/// Reads what has come so far. Interim answers (100 to 199) are passed over.
pub fn hear(mut bytes: &[u8]) -> Heard {
    loop {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            return if can_begin(bytes) { Heard::Part } else { Heard::Nonsense };
        };
        let (line, rest) = bytes.split_at(end + 1);
        match status(line) {
            None => return Heard::Nonsense,
            Some(100..=199) => match after_head(rest) {
                None => return Heard::Part,
                Some(next) => bytes = next,
            },
            Some(status) => return Heard::Status(status),
        }
    }
}

/// `HTTP/1.1 204 No Content`, of any version.
fn status(line: &[u8]) -> Option<u16> {
    let mut words = line.split(|byte| byte.is_ascii_whitespace());
    let (version, number) = (words.next()?, words.next()?);
    if !version.starts_with(START) || number.len() != 3 || !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(number).ok()?.parse().ok().filter(|number| *number >= 100)
}

const START: &[u8] = b"HTTP/";

fn can_begin(bytes: &[u8]) -> bool {
    bytes.starts_with(START) || START.starts_with(bytes)
}

/// What follows on the empty line.
fn after_head(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = bytes.split_at(end + 1);
        if line.trim_ascii().is_empty() {
            return Some(rest);
        }
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::{Heard, hear, is_path, request};

    #[test]
    fn the_question_is_one_request_and_names_where_it_goes() {
        let text = String::from_utf8(request("/health?full=1", "[::1]:8000".parse().unwrap())).unwrap();
        assert!(text.starts_with("GET /health?full=1 HTTP/1.1\r\nHost: [::1]:8000\r\n"), "{text}");
        assert!(text.ends_with("\r\nConnection: close\r\n\r\n"), "{text}");
    }

    #[test]
    fn a_path_that_would_say_more_is_none() {
        for path in ["/", "/health", "/a%20b?c=d#e"] {
            assert!(is_path(path), "{path}");
        }
        let long = format!("/{}", "x".repeat(super::MOST_BYTES));
        for path in ["", "health", "/a b", "/a\r\nX: y", "/\u{e9}", "http://x/", &long] {
            assert!(!is_path(path), "{path}");
        }
    }

    #[test]
    fn the_status_is_known_with_the_first_line() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n", 200),
            ("HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\n", 503),
            ("HTTP/1.1 204\n", 204),
            ("HTTP/1.1 200 \r\n\r\nwell", 200),
            ("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 301 Elsewhere\r\n", 301),
        ] {
            assert_eq!(hear(answer.as_bytes()), Heard::Status(expected), "{answer:?}");
        }
    }

    #[test]
    fn a_part_is_a_part_however_it_is_cut() {
        let answer = b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n";
        for end in 0..answer.len() {
            assert_eq!(hear(&answer[..end]), Heard::Part, "{end}");
        }
        assert_eq!(hear(answer), Heard::Status(200));
    }

    #[test]
    fn what_is_no_http_is_seen_at_its_first_byte_or_line() {
        for nonsense in ["S", "SSH-2.0-x\r\n", "HTTP", "HTTP/1.1\r\n", "HTTP/1.1 20\r\n", "HTTP/1.1 2000 x\n"]
        {
            let expected = if nonsense == "HTTP" { Heard::Part } else { Heard::Nonsense };
            assert_eq!(hear(nonsense.as_bytes()), expected, "{nonsense:?}");
        }
        for nonsense in
            ["HTTP/1.1 099 x\n", "HTTP/1.1 2x0 x\n", "\n", "HTTP/1.1 +20 x\n", "HTTP/1.1  200 x\n"]
        {
            assert_eq!(hear(nonsense.as_bytes()), Heard::Nonsense, "{nonsense:?}");
        }
    }
}
