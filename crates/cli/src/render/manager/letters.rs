//! Texts that strangers chose, made fit for a terminal: what is not seen is spelled out, what is too long is
//! cut, and columns are counted as terminals count them.

use unicode_width::UnicodeWidthChar;

/// Columns of the longest value that is ever shown.
pub(super) const LONGEST: usize = 4096;

/// What may not reach a terminal as it is: control characters (escape sequences begin with one), and what
/// turns the direction of text around or is not seen at all, so that one name could look like another. U+200C
/// and U+200D stay: words of some languages and emoji need them.
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with everything that is not seen spelled out: `\n`, `\x1b`, `\u{202e}`.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|letter| push_clean(&mut out, letter));
    out
}

fn push_clean(out: &mut String, letter: char) {
    match letter {
        letter if !is_hidden(letter) => out.push(letter),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        letter if u32::from(letter) < 0x100 => out.push_str(&format!("\\x{:02x}", u32::from(letter))),
        letter => out.push_str(&format!("\\u{{{:x}}}", u32::from(letter))),
    }
}

/// How many columns it takes.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(|letter| letter.width().unwrap_or(0)).sum()
}

/// At most so many columns of a text that is clean; where it is longer, `…` is the last of them. Letters
/// without width are bounded too.
pub(super) fn cut(text: &str, most: usize) -> String {
    match head(text, most) {
        (all, "") => all.to_owned(),
        (_, _) if most == 0 => String::new(),
        _ => format!("{}…", head(text, most - 1).0),
    }
}

/// Cleaned and cut.
pub(super) fn shown(text: &str, most: usize) -> String {
    // Each letter takes a column at least once it is clean, or is one of those that are counted.
    let enough = most.saturating_mul(MARKS).saturating_add(1);
    let end = text.char_indices().nth(enough).map_or(text.len(), |(at, _)| at);
    cut(&clean(&text[..end]), most)
}

/// A text that is clean, in lines of at most so many columns.
pub(super) fn wrapped(text: &str, most: usize) -> Vec<String> {
    let (mut lines, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (line, after) = match head(rest, most.max(2)) {
            // A letter that is wider than a line.
            ("", _) => rest.split_at(rest.chars().next().map_or(rest.len(), char::len_utf8)),
            split => split,
        };
        lines.push(line.to_owned());
        rest = after;
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// Letters without width that may share one column.
const MARKS: usize = 4;

/// As much of the text as fits into so many columns, and the rest.
fn head(text: &str, most: usize) -> (&str, &str) {
    let (mut taken, mut letters) = (0, 0);
    for (at, letter) in text.char_indices() {
        taken += letter.width().unwrap_or(0);
        letters += 1;
        if taken > most || letters > most.saturating_mul(MARKS) {
            return text.split_at(at);
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_spelled_out() {
        assert_eq!(clean("a\x1b[31mb\x07\n\t\r\u{9b}2J"), "a\\x1b[31mb\\x07\\n\\t\\r\\x9b2J");
        assert_eq!(clean("user\u{202e}gpj.exe\u{200b}"), "user\\u{202e}gpj.exe\\u{200b}");
        assert_eq!(clean("Grüße 世界 👨‍👩‍👧"), "Grüße 世界 👨‍👩‍👧");
    }

    #[test]
    fn a_long_text_is_cut_at_columns_not_letters() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        // Each of these takes two columns.
        assert_eq!(cut("世界世界", 6), "世界…");
        assert_eq!(columns(&cut("世界世界", 6)), 5);
        assert_eq!((cut("abc", 1), cut("abc", 0)), ("…".to_owned(), String::new()));
    }

    #[test]
    fn marks_without_width_are_bounded() {
        let zalgo = format!("a{}", "\u{301}".repeat(1_000_000));
        let shown = shown(&zalgo, 10);
        assert!(shown.chars().count() <= 41, "{}", shown.chars().count());
        assert!(shown.ends_with('…'));
    }

    #[test]
    fn lines_hold_all_of_a_text() {
        assert_eq!(wrapped("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrapped("", 3), [""]);
        assert_eq!(wrapped("世界", 0), ["世", "界"]);
        assert_eq!(wrapped(&"\u{301}".repeat(20), 2).concat(), "\u{301}".repeat(20));
    }
}
