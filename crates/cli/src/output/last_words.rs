//! The last lines a worker wrote to standard error, for when its end has to be explained. Whatever it writes, what is
//! kept of it is bounded, in lines and in bytes.

use std::collections::VecDeque;

/// Lines kept. An uncaught error of Node takes 25 lines or so, and the first ones say what it is.
const LINES: usize = 40;
/// Bytes kept in all; the oldest lines go first.
const BYTES: usize = 8 * 1024;
/// Bytes kept of one line: its beginning says most.
const OF_A_LINE: usize = 1024;

#[derive(Clone, Debug, Default)]
pub(super) struct LastWords {
    /// The newest may still be in the writing.
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    open: bool,
}

impl LastWords {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        // What stands before the last LINES lines of this piece would not survive it.
        let mut ends = bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
        let start = ends.nth(LINES).map_or(0, |end| end + 1);
        if start > 0 {
            *self = LastWords::default();
        }
        for piece in bytes[start..].split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            if !self.open {
                self.lines.push_back(Vec::new());
            }
            if let Some(line) = self.lines.back_mut() {
                let kept = &text[..text.len().min(OF_A_LINE - line.len())];
                line.extend_from_slice(kept);
                self.bytes += kept.len();
            }
            self.open = text.len() == piece.len();
            while self.lines.len() > LINES || self.bytes > BYTES {
                self.bytes -= self.lines.pop_front().map_or(0, |line| line.len());
            }
        }
    }

    /// Without their ends of line.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept_and_pieces_are_joined() {
        let mut last = LastWords::default();
        for n in 0..100 {
            last.add(format!("line {n}\nbegun ").as_bytes());
        }
        let lines = last.lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines[LINES - 1], "begun ");
        assert_eq!(lines[LINES - 2], "begun line 99");
    }

    #[test]
    fn one_piece_of_many_lines_leaves_the_last() {
        let mut last = LastWords::default();
        last.add(b"forgotten ");
        let text: String = (0..1000).map(|n| format!("line {n}\n")).collect();
        last.add(text.as_bytes());
        let expected: Vec<String> = (960..1000).map(|n| format!("line {n}")).collect();
        assert_eq!(last.lines(), expected);
    }

    #[test]
    fn a_line_without_end_keeps_its_beginning() {
        let mut last = LastWords::default();
        last.add(b"Error: no database\n");
        last.add(b"begins so ");
        for _ in 0..100 {
            last.add(&[b'x'; 64 * 1024]);
        }
        last.add(b"\nafter it\n");
        let lines = last.lines();
        assert_eq!((lines[0].as_str(), lines[2].as_str()), ("Error: no database", "after it"));
        assert_eq!(lines[1].len(), OF_A_LINE);
        assert!(lines[1].starts_with("begins so x"));
    }

    #[test]
    fn the_oldest_lines_go_when_bytes_run_out() {
        let mut last = LastWords::default();
        for n in 0..30 {
            last.add(format!("{n:03}{}\n", "x".repeat(997)).as_bytes());
        }
        let lines = last.lines();
        assert!(lines.iter().map(String::len).sum::<usize>() <= BYTES);
        assert_eq!((lines.len(), &lines[0][..3], &lines[7][..3]), (8, "022", "029"));
    }
}
