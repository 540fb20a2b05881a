//! Waiting for a line of a worker's output that says it is ready. Whatever the worker writes, what is kept of an unfinished
//! line is bounded, and each line is looked at once.

use regex_lite::Regex;

/// Bytes of a line that are looked at; the rest of it is passed by.
const LOOKED_AT: usize = 8 * 1024;

/// The line that is waited for, and what is done when it comes: once.
pub(crate) struct Awaited {
    pub(crate) pattern: Regex,
    pub(crate) done: Box<dyn FnOnce() + Send>,
}

/// The unfinished line of one stream.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    line: Vec<u8>,
}

impl Unfinished {
    /// Whether one of the lines that these bytes finish fits. Without its end of line, and without the `\r` before it.
    pub(super) fn finds(&mut self, pattern: &Regex, bytes: &[u8]) -> bool {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n");
            let more = text.unwrap_or(piece);
            self.line.extend_from_slice(&more[..more.len().min(LOOKED_AT - self.line.len())]);
            if text.is_some() {
                let line = std::mem::take(&mut self.line);
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                if pattern.is_match(&String::from_utf8_lossy(line)) {
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(pattern: &str, pieces: &[&[u8]]) -> bool {
        let (pattern, mut unfinished) = (Regex::new(pattern).unwrap(), Unfinished::default());
        pieces.iter().any(|piece| unfinished.finds(&pattern, piece))
    }

    #[test]
    fn a_line_is_found_in_however_many_pieces_it_comes() {
        assert!(finds("^ready on \\d+$", &[b"starting\nrea", b"dy on 80", b"00\r\nmore"]));
        assert!(!finds("^ready", &[b"not ready\nalready\n"]));
        assert!(!finds("ready", &[b"ready"]), "the line is not finished");
        assert!(!finds("a\nb", &[b"a\nb\n"]), "each line for itself");
        assert!(finds("caf.", &[b"caf\xff\n"]), "what is no UTF-8 is looked at as well as it can be");
    }

    #[test]
    fn a_line_without_end_is_bounded_and_looked_at_from_its_beginning() {
        let pattern = Regex::new("^begins|behind").unwrap();
        let mut unfinished = Unfinished::default();
        assert!(!unfinished.finds(&pattern, b"begins"));
        for _ in 0..100 {
            assert!(!unfinished.finds(&pattern, &[b'x'; 64 * 1024]));
            assert!(unfinished.line.len() <= LOOKED_AT);
        }
        assert!(unfinished.finds(&pattern, b"behind\n"));
        assert!(!unfinished.finds(&pattern, b"x\n"), "the next line begins anew");
    }
}
