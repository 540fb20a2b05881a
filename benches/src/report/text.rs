//! The report as plain text, columns aligned for a terminal.
//!
//! No colour and no wrapping: it is read in logs as often as on screens.

use super::{conditions, judged, judged_cells, load_line, notes, table};
use crate::bench::Bench;
use crate::section::Section;
use std::fmt::Write;

/// The whole page.
pub(super) fn page(bench: &Bench, sections: &[Section]) -> String {
    let mut page = String::from(
        "oneport beside Node's cluster, PM2 and plain sockets: the same server under each, in one run\n\n",
    );
    for line in conditions(bench) {
        let _infallible = writeln!(page, "  {line}");
    }
    let goals = judged(bench, sections);
    let goals: Vec<Vec<String>> = goals.iter().map(|judged| judged_cells(judged).to_vec()).collect();
    if !goals.is_empty() {
        page.push_str("\nGOALS\n");
        page.push_str(&aligned(&goals));
    }
    for section in sections {
        let _infallible = writeln!(page, "\n{}", section.measurement.title.to_uppercase());
        let _infallible = writeln!(page, "  {}", section.measurement.method);
        let _infallible = writeln!(page, "  median (min to max) over rounds; {}", load_line(section));
        page.push_str(&aligned(&table(bench, section)));
        for note in section.peers.iter().flat_map(|&peer| notes(section, peer)) {
            let _infallible = writeln!(page, "  {note}");
        }
        for (peer, reason) in section.reasons() {
            let failures = section.failures(peer);
            let _infallible = writeln!(page, "  {}: failed {failures}x: {reason}", peer.title());
        }
    }
    page
}

/// Rows with every column as wide as its widest cell.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from("  ");
        for (cell, width) in row.iter().zip(&widths) {
            let _infallible = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_also_with_letters_of_several_bytes() {
        let rows = vec![vec!["µs".to_owned(), "b".to_owned()], vec!["long".to_owned(), "c".to_owned()]];
        assert_eq!(aligned(&rows), "  µs    b\n  long  c\n");
    }
}
